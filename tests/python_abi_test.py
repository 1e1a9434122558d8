# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The Python package's mirror of rapt.h, and how it finds the library."""

import ctypes.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import rapt
from rapt import _abi, _library, _problem

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "include" / "rapt" / "rapt.h"
# ---- the mirrored header ----

# Python name of each struct that is mirrored: rapt_append_args is AppendArgs.
MIRRORS = {name: getattr(_abi, "".join(part.title() for part in name.split("_")))
           for name in re.findall(r"^typedef struct rapt_(\w+) \{", HEADER.read_text(), re.M)
           if name not in ("compiled", "compile_args")}
UNBOUND = {"rapt_status_name", "rapt_dtype_bytes", "rapt_dtype_name", "rapt_packed", "rapt_view",
           "rapt_explain_backward", "rapt_compile"}
CONSTANTS = {"RAPT_FP32": _abi.DTYPES["float32"], "RAPT_FP16": _abi.DTYPES["float16"],
             "RAPT_BF16": _abi.DTYPES["bfloat16"], "RAPT_FP8_E4M3": _abi.DTYPES["float8_e4m3fn"],
             "RAPT_FP8_E5M2": _abi.DTYPES["float8_e5m2"], "RAPT_INT8": _abi.DTYPES["int8"],
             "RAPT_INT32": _abi.DTYPES["int32"], "RAPT_UINT32": _abi.DTYPES["uint32"],
             "RAPT_INT64": _abi.DTYPES["int64"], "RAPT_MAX_RANK": _abi.MAX_RANK,
             "RAPT_UNBOUNDED": _abi.UNBOUNDED, "RAPT_OK": _abi.OK,
             "RAPT_INVALID_ARGUMENT": _abi.INVALID_ARGUMENT,
             "RAPT_UNSUPPORTED": _abi.UNSUPPORTED, "RAPT_OUT_OF_MEMORY": _abi.OUT_OF_MEMORY,
             "RAPT_DEVICE_ERROR": _abi.DEVICE_ERROR, "RAPT_INTERNAL": _abi.INTERNAL,
             **{f"RAPT_{name.upper()}": number for name, number in _abi.PAGE_LAYOUTS.items()}}


def layout_of_mirrors():
    lines = {f"sizeof {name}": ctypes.sizeof(mirror) for name, mirror in MIRRORS.items()}
    for name, mirror in MIRRORS.items():
        for field, *_ in mirror._fields_:
            lines[f"{name}.{field}"] = getattr(mirror, field).offset
            lines[f"size {name}.{field}"] = getattr(mirror, field).size
    return {**lines, **CONSTANTS}


def c_expression(line):
    if line.startswith("sizeof "):
        return f"sizeof(rapt_{line[7:]})"
    if line.startswith("size "):
        name, field = line[5:].split(".")
        return f"sizeof(((rapt_{name}*)0)->{field})"
    if "." in line:
        name, field = line.split(".")
        return f"offsetof(rapt_{name}, {field})"
    return line


def test_the_mirrored_structs_are_the_header_s(tmp_path):
    mirrored = layout_of_mirrors()
    prints = "\n".join(f'printf("%lld\\n", (long long)({c_expression(line)}));'
                       for line in mirrored)
    source, program = tmp_path / "probe.c", tmp_path / "probe"
    source.write_text("#include <stdio.h>\n#include <rapt/rapt.h>\n"
                      f"int main(void) {{\n{prints}\nreturn 0;\n}}\n")
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    subprocess.run([compiler, "-std=c11", "-I", str(ROOT / "include"), str(source), "-o",
                    str(program)], check=True)
    answers = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    assert dict(zip(mirrored, map(int, answers.split()))) == mirrored


def test_every_verb_of_the_header_is_bound():
    declared = set(re.findall(r"^RAPT_API [^(]*?(rapt_\w+)\(", HEADER.read_text(), re.M))
    assert declared == set(_abi.PROTOTYPES) | UNBOUND


def test_version_is_the_header_s():
    numbers = re.findall(r"#define RAPT_VERSION_\w+ (\d+)", HEADER.read_text())
    assert rapt.version() == rapt.__version__ == ".".join(numbers)


def test_every_keyword_belongs_to_a_group_and_is_documented():
    how_to_run = {"out", "lse", "return_lse", "threads", "backend", "kernel"}
    keywords = set(_problem.Keywords.__annotations__)
    assert keywords == how_to_run | set(_problem._GROUP_OF)
    page = (ROOT / "docs" / "python.md").read_text()
    for keyword in keywords:
        assert re.search(rf"\b{keyword}\b", rapt.attend.__doc__), keyword
        assert f"`{keyword}`" in page, keyword


# ---- finding the library ----


def python(program, path=ROOT / "python", **environment):
    settings = {**os.environ, "PYTHONPATH": str(path), **environment}
    return subprocess.run([sys.executable, "-c", program], env=settings, capture_output=True,
                          text=True, check=False)


WHICH = "from rapt import _library; print(_library.path)"


def test_rapt_library_names_the_library(tmp_path):
    copy = shutil.copy(_library.path, tmp_path / "other.so")
    assert python(WHICH, RAPT_LIBRARY=str(copy)).stdout.strip() == str(copy)


def test_the_package_s_library_comes_before_the_build_tree_s(tmp_path):
    package = tmp_path / "python" / "rapt"
    shutil.copytree(ROOT / "python" / "rapt", package, ignore=lambda *_: ["__pycache__"])
    built = tmp_path / "build" / "release" / "librapt.so"
    built.parent.mkdir(parents=True)
    missing = python(WHICH, package.parent, RAPT_LIBRARY="")
    assert missing.returncode != 0 and "ImportError: librapt.so: not in" in missing.stderr
    shutil.copy(_library.path, built)
    assert python(WHICH, package.parent, RAPT_LIBRARY="").stdout.strip() == str(built)
    inside = shutil.copy(_library.path, package / "librapt.so")
    assert python(WHICH, package.parent, RAPT_LIBRARY="").stdout.strip() == str(inside)


def test_a_library_that_cannot_serve_is_an_import_error(tmp_path):
    missing = python("import rapt", RAPT_LIBRARY=str(tmp_path / "none.so"))
    assert missing.returncode != 0 and f"ImportError: {tmp_path / 'none.so'}: " in missing.stderr
    other = python("import rapt", RAPT_LIBRARY=ctypes.util.find_library("m"))
    assert other.returncode != 0 and "undefined symbol: rapt_version" in other.stderr
