# SPDX-License-Identifier: Apache-2.0 OR MIT
"""No instruction leaks out of the instruction set that a file is compiled for: neither straight
(the release build's objects are disassembled) nor by an inline function that the linker would take
from a wide object for everybody."""

import platform
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OBJECTS = ROOT / "build" / "release" / "CMakeFiles" / "rapt_objects.dir" / "src"

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="checks x86-64 objects")

BF16 = re.compile(r"\bv(dpbf16ps|cvtne2?ps2bf16)")
AVX512 = re.compile(r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|2\d|3[01])\b|\{1to\d+\}")
AVX = re.compile(r"%ymm|^v[a-z0-9]+\b")
INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\s+(.*)$")

# Object -> what it must not hold, by the name of its source.
TOO_WIDE = {
    "isa_avx512_bf16": [],
    "isa_avx512": [BF16],
    "isa_avx2": [BF16, AVX512],
}
EVERYWHERE_ELSE = [BF16, AVX512, AVX]


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def isa_of(path):
    return path.name.split(".")[0]


def leaks(path, isa):
    """The instructions of an object that its instruction set does not have."""
    patterns = TOO_WIDE.get(isa, EVERYWHERE_ELSE)
    lines = run("objdump", "-d", "--no-show-raw-insn", str(path)).splitlines()
    instructions = [match.group(1) for match in map(INSTRUCTION.match, lines) if match]
    return [text for text in instructions if any(pattern.search(text) for pattern in patterns)]


def shared_functions(path, isa):
    """Functions that the linker may share between objects, with names not this ISA's own."""
    lines = run("nm", "--demangle", "--defined-only", str(path)).splitlines()
    weak = [line.split(maxsplit=2)[2] for line in lines if line.split(maxsplit=2)[1] in "WVu"]
    own = f"{isa.removeprefix('isa_')}"
    return [name for name in weak if not re.search(rf"\b{own}(_impl|_kernels)?::", name)]


OBJECT_FILES = sorted(OBJECTS.rglob("*.o"))
WIDE_FILES = [path for path in OBJECT_FILES if isa_of(path) in TOO_WIDE]


def test_the_objects_are_there():
    assert {isa_of(path) for path in WIDE_FILES} == set(TOO_WIDE)
    assert len(OBJECT_FILES) > len(WIDE_FILES) + 5


@pytest.mark.parametrize("path", OBJECT_FILES, ids=isa_of)
def test_no_wide_instruction(path):
    assert leaks(path, isa_of(path))[:10] == []


@pytest.mark.parametrize("path", WIDE_FILES, ids=isa_of)
def test_no_shared_function(path):
    assert shared_functions(path, isa_of(path)) == []


SAMPLE = """
#include <algorithm>
#include <immintrin.h>
void add(float* x, const float* y) { for (int i = 0; i < 64; ++i) x[i] += y[i]; }
template <class T> [[gnu::noinline]] T larger(T a, T b) { return std::max(a, b); }
template float larger<float>(float, float);
"""


@pytest.mark.parametrize(("isa", "flags", "leaking"), [
    ("attend", ["-mavx2"], True),
    ("isa_baseline", ["-mavx"], True),
    ("isa_baseline", [], False),
    ("isa_avx2", ["-mavx512f", "-mprefer-vector-width=512"], True),
    ("isa_avx2", ["-mavx2"], False),
    ("isa_avx512", ["-mavx512f", "-mprefer-vector-width=512"], False),
])
def test_a_leak_is_found(tmp_path, isa, flags, leaking):
    source, built = tmp_path / "sample.cpp", tmp_path / "sample.o"
    source.write_text(SAMPLE)
    run("g++", "-O3", *flags, "-c", str(source), "-o", str(built))
    assert bool(leaks(built, isa)) == leaking
    assert shared_functions(built, isa) == ["float larger<float>(float, float)"]
