# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The budgets of CONTRIBUTING.md: length of functions and lines, and what no file may hold."""

import ast
import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST_LINES, HOST_SHARE = 20, 0.9
KERNEL_LINES = 60
COLUMNS = 100

CODE = (".h", ".cuh", ".hpp", ".c", ".cpp", ".py", ".sh", ".cmake")
SCRIPTS = ("run", "test", ".ci/run", "CMakeLists.txt")
PROSE = (".md", ".json", ".txt", ".in", ".map", ".toml")

# Assembled so that this file does not contain them.
FORBIDDEN = [re.compile(pattern) for pattern in (
    r"(?<![\w.])/(wo" r"rk|ro" r"ot|ho" r"me|t" r"mp)/\w", r"\bTO" r"DO\b", r"\bFIX" r"ME\b")]
MACRO = re.compile(r"^\s*#\s*define\s+(\w+)\(", re.MULTILINE)
# The last two are CUDA's words, for the emulator.
ALLOWED_MACROS = {"RAPT_RETURN_IF_ERROR", "__launch_bounds__", "__align__"}


def project_files():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in sorted(set(listed.splitlines())) if (ROOT / name).is_file()]


def is_code(path):
    return path.suffix in CODE or path.relative_to(ROOT).as_posix() in SCRIPTS


def text_files():
    return [path for path in project_files()
            if is_code(path) or path.suffix in PROSE or path.name.startswith(".clang")]


def kernel_files():
    """What instruction sets compile: the files of src/backend/cpu that an isa_*.cpp reaches."""
    folder = ROOT / "src" / "backend" / "cpu"
    todo, seen = list(folder.glob("isa_*.cpp")), set()
    while todo:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        names = re.findall(r'#include "(?:backend/cpu/)?([\w.]+)"', file.read_text())
        todo += [folder / name for name in names if (folder / name).is_file()]
    return seen


def cxx_functions(files):
    """(place, lines) of every function defined in the files."""
    kinds = ["--languages=C,C++", "--map-C++=+.h", "--kinds-C++=f", "--kinds-C=f"]
    listed = subprocess.run(["ctags", "--output-format=json", "--fields=+ne", *kinds, "-f", "-",
                             *map(str, files)], check=True, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        tag = json.loads(line)
        place = f"{Path(tag['path']).relative_to(ROOT)}:{tag['line']} {tag['name']}"
        yield place, tag["end"] - tag["line"] + 1


def python_functions(files):
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                place = f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
                yield place, node.end_lineno - node.lineno + 1


def host_functions():
    kernels = kernel_files()
    files = [path for room in ("include", "src", "cli") for path in (ROOT / room).rglob("*")
             if path.suffix in (".h", ".hpp", ".c", ".cpp") and path not in kernels]
    return [*cxx_functions(files), *python_functions((ROOT / "python").rglob("*.py"))]


def test_nine_in_ten_host_functions_fit_twenty_lines():
    functions = host_functions()
    long = sorted(((size, place) for place, size in functions if size > HOST_LINES), reverse=True)
    share = 1 - len(long) / len(functions)
    print(f"{share:.1%} of {len(functions)} host functions have {HOST_LINES} lines or fewer")
    assert share >= HOST_SHARE, "\n".join(f"{size} {place}" for size, place in long)


def test_kernel_functions_fit_sixty_lines():
    functions = list(cxx_functions(sorted(kernel_files())))
    assert functions
    assert [item for item in functions if item[1] > KERNEL_LINES] == []


def test_functions_are_measured(tmp_path, monkeypatch):
    """The measure itself, on a file whose functions are known."""
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = tmp_path / "known.cpp"
    file.write_text("namespace a {\ntemplate <class T>\n  requires true\n"
                    "int one(T x) { return x; }\nstruct S {\n  int three() const {\n"
                    "    return one(1);\n  }\n};\n"
                    "auto S_four(int a,\n            int b)\n    -> int {\n  return a + b; }\n}\n")
    lengths = {place.split()[1]: lines for place, lines in cxx_functions([file])}
    assert lengths == {"one": 1, "three": 3, "S_four": 4}


def test_lines_fit_a_hundred_columns():
    long = [f"{path.relative_to(ROOT)}:{number}" for path in project_files() if is_code(path)
            for number, line in enumerate(path.read_text().splitlines(), 1) if len(line) > COLUMNS]
    assert long == []


def test_every_source_names_its_licence():
    def names_licence(path):
        head = path.read_text().splitlines()[:2]
        return any("SPDX-License-Identifier: Apache-2.0 OR MIT" in line for line in head)
    files = [path for path in project_files() if is_code(path)]
    assert [str(path) for path in files if not names_licence(path)] == []


def test_nothing_forbidden_is_written():
    found = [f"{path.relative_to(ROOT)}: {match.group()}" for path in text_files()
             for pattern in FORBIDDEN for match in pattern.finditer(path.read_text())]
    assert found == []


def test_no_function_like_macros():
    files = [path for path in project_files() if path.suffix in (".h", ".hpp", ".c", ".cpp")]
    found = {f"{path.relative_to(ROOT)}: {name}" for path in files
             for name in MACRO.findall(path.read_text()) if name not in ALLOWED_MACROS}
    assert found == set()
