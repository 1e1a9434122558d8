# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Compiles a kernel's text for the emulator: compile.py KERNEL.cu KERNEL.so --arch 90 --driver
libcuda.so.1 --include DIR --compiler g++. Complaints go to stderr."""

import argparse
import subprocess
import sys
from pathlib import Path

from translate import translate

# Kernels read the same bytes as this type and as that.
OPTIONS = ["-std=c++20", "-O1", "-fPIC", "-shared", "-fno-strict-aliasing", "-w"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kernel", type=Path)
    parser.add_argument("library", type=Path)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--driver", required=True)
    parser.add_argument("--include", action="append", default=[])
    parser.add_argument("--compiler", required=True)
    arguments = parser.parse_args()
    source = arguments.library.with_suffix(".cpp")
    try:
        source.write_text(translate(arguments.kernel.read_text()))
    except ValueError as error:
        sys.exit(f"error: {error}")
    includes = [f"-I{folder}" for folder in [Path(__file__).parent, *arguments.include]]
    command = [arguments.compiler, *OPTIONS, *includes, f"-D__CUDA_ARCH__={arguments.arch}0",
               source, "-o", arguments.library, arguments.driver]
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
