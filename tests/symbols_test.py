# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Symbols of the release build: the shared library exports rapt_* and nothing else, and everything
that rapt.h declares."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "build" / "release" / "librapt.so"
DECLARATION = re.compile(r"RAPT_API\s+[\w\s*]*?(rapt_\w+)\(")


def declared():
    return set(DECLARATION.findall((ROOT / "include" / "rapt" / "rapt.h").read_text()))


def exported(library):
    listed = subprocess.run(["nm", "-D", "--defined-only", library], check=True,
                            capture_output=True, text=True).stdout
    return {line.split()[-1] for line in listed.splitlines()}


def test_exactly_the_header_is_exported():
    assert {"rapt_attend", "rapt_plan_kernel", "rapt_error_message"} <= declared()
    assert exported(LIBRARY) == declared()
