# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The arrows of docs/design.md: reads every #include line and every Python import of the tree and
fails on one that points up or sideways, or at something outside the project that is not allowed."""

import ast
import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)

# Room -> rooms that it may include beside itself. The first room whose path begins a file's path is
# the file's; so a narrower room stands before a wider one.
NOUNS = "src/*"  # files that lie directly in src
ROOMS = {
    "include/rapt": set(),
    "src/api": {"include/rapt", NOUNS, "src/plan", "src/backend/*"},
    "src/plan": {"include/rapt", NOUNS},
    "src/backend/cpu": {"include/rapt", NOUNS, "src/backend/*"},
    "src/backend/cuda": {"include/rapt", NOUNS, "src/backend/*", "kernels/cuda"},
    "kernels/cuda": set(),
    "src/backend/registry.cpp": {"include/rapt", NOUNS, "src/backend/*", "src/backend/cpu",
                                 "src/backend/cuda"},
    "src/backend/*": {"include/rapt", NOUNS},
    NOUNS: {"include/rapt"},
    "tests/kit": {"include/rapt"},
    "tests/emulator": {"src/backend/cpu"},
    "tests/consumer": {"include/rapt"},
    "bench": {"include/rapt", "tests/kit"},
    "cli": {"include/rapt", "tests/kit", "bench"},
    "examples": {"include/rapt"},
    "fuzz": {"include/rapt", "tests/kit", "cli"},
    "tests": {"include/rapt", NOUNS, "src/api", "src/plan", "src/backend/*", "src/backend/cpu",
              "src/backend/cuda", "kernels/cuda", "tests/kit", "tests/emulator", "cli",
              "bench"},
}
SEARCH = ("include", "src", "tests", ".")  # where an #include "..." is looked for, in this order

# Outside headers. The library has the C and C++ run time, POSIX and compiler intrinsics, no more.
SYSTEM = re.compile(r"[a-z_0-9]+(\.h)?|sys/[a-z_]+\.h")
INTRINSICS = {"immintrin.h", "arm_neon.h", "cpuid.h"}
OUTSIDE = {
    "tests/kit": ("nlohmann/",),
    "tests/emulator": ("boost/context/",),
    "bench": ("nlohmann/",),
    "cli": ("nlohmann/", "CLI/"),
    "fuzz": (),
    "tests": ("nlohmann/", "gtest/"),
}
PYTHON_OUTSIDE = {"numpy", "torch", "transformers"}


def room_of(path):
    for room in ROOMS:
        if room.endswith("/*"):
            if path.parent.as_posix() == room[:-2]:
                return room
        elif path.as_posix() == room or room in (parent.as_posix() for parent in path.parents):
            return room
    return None


def sources(root):
    files = (file for room in ROOMS for kind in ("*.h", "*.hpp", "*.c", "*.cpp", "*.inc", "*.cuh")
             for file in (root / room.rstrip("*")).rglob(kind))
    return sorted(set(files))


def target_of(root, file, name):
    places = [file.parent, *(root / place for place in SEARCH)]
    found = next((place / name for place in places if (place / name).is_file()), None)
    return found and found.resolve().relative_to(root.resolve())


def wrong_project_include(root, file, name):
    room, target = room_of(file.relative_to(root)), target_of(root, file, name)
    if target is None:
        return "no such file"
    other = room_of(target)
    return "" if other == room or other in ROOMS[room] else f"{room} may not see {other}"


def wrong_system_include(root, file, name):
    room = room_of(file.relative_to(root))
    if name.startswith("rapt/"):
        return "" if room in ("examples", "tests/consumer") else 'write "rapt/..." with quotes'
    if room == "kernels/cuda":
        return "the run-time compiler has no headers"
    if name in INTRINSICS:
        return "" if room == "src/backend/cpu" else "intrinsics belong to src/backend/cpu"
    if SYSTEM.fullmatch(name) or name.startswith(OUTSIDE.get(room, ())):
        return ""
    return f"{room} may not use it"


def wrong_includes(root):
    for file in sources(root):
        for kind, name in INCLUDE.findall(file.read_text()):
            check = wrong_project_include if kind == '"' else wrong_system_include
            reason = check(root, file, name)
            if reason:
                yield f"{file.relative_to(root)} includes {name}: {reason}"


def imported_modules(node):
    """Every module that running the code may import; names for type checkers alone do not count."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0:
        yield node.module
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield from imported_modules(child)


def wrong_imports(root):
    allowed = {"rapt", *PYTHON_OUTSIDE, *sys.stdlib_module_names}
    for file in sorted((root / "python").rglob("*.py")):
        for module in imported_modules(ast.parse(file.read_text())):
            if module.split(".")[0] not in allowed:
                yield f"{file.relative_to(root)} imports {module}: not allowed"


def wrong_arrows(root):
    return [*wrong_includes(root), *wrong_imports(root)]


def test_every_arrow_points_down():
    assert wrong_arrows(ROOT) == []


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for room in ("include", "src", "kernels", "cli", "bench", "tests", "examples", "fuzz",
                 "python"):
        shutil.copytree(ROOT / room, root / room,
                        ignore=shutil.ignore_patterns("data", "corpus", "__pycache__"))
    return root


@pytest.mark.parametrize(("file", "line"), [
    ("include/rapt/planted.h", '#include "problem.h"'),
    ("src/planted.h", '#include "plan/schedule.h"'),
    ("src/plan/planted.cpp", '#include "backend/backend.h"'),
    ("src/plan/planted.cpp", '  #  include "backend/cpu/kernel.h"'),
    ("src/backend/planted.h", '#include "backend/cpu/kernel.h"'),
    ("src/backend/cpu/planted.h", '#include "plan/schedule.h"'),
    ("src/backend/cpu/planted.h", '#include "backend/cuda/driver.h"'),
    ("src/backend/cuda/planted.h", '#include "backend/cpu/kernel.h"'),
    ("kernels/cuda/planted.cuh", '#include "status.h"'),
    ("kernels/cuda/planted.h", "#include <cstdint>"),
    ("src/api/planted.cpp", '#include "backend/cpu/kernel.h"'),
    ("src/api/planted.cpp", '#include "backend/cuda/jit.h"'),
    ("src/api/planted.cpp", '#include "missing.h"'),
    ("src/api/planted.cpp", "#include <nlohmann/json.hpp>"),
    ("src/api/planted.cpp", "#include <immintrin.h>"),
    ("cli/planted.cpp", '#include "status.h"'),
    ("bench/planted.cpp", '#include "../src/problem.h"'),
    ("tests/kit/planted.h", '#include "problem.h"'),
    ("tests/kit/planted.h", "#include <gtest/gtest.h>"),
    ("examples/planted.c", '#include "kit/case.h"'),
    ("python/rapt/planted.py", "import scipy.linalg"),
])
def test_a_planted_arrow_is_found(copy, file, line):
    planted = copy / file
    planted.write_text(f"{line}\n")
    try:
        assert [arrow for arrow in wrong_arrows(copy) if arrow.startswith(file)]
    finally:
        planted.unlink()
