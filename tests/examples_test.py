# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The examples of README.md and of examples/ do what they say: each is taken as it stands, built
against the release build with warnings as errors, and run."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RELEASE = ROOT / "build" / "release"
README = (ROOT / "README.md").read_text()
FENCES = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMPILERS = {".c": ["gcc", "-std=c11"], ".cpp": ["g++", "-std=c++20"]}
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
README_LINES = 150


def run(*command, cwd=ROOT):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python"),
                                "PATH": f"{RELEASE}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environment, check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_source(source, folder):
    """Builds and runs one C or C++ file; its output."""
    program = folder / source.stem
    run(*COMPILERS[source.suffix], *WARNINGS, f"-I{ROOT / 'include'}", source, "-o", program,
        f"-L{RELEASE}", "-lrapt", "-lm", f"-Wl,-rpath,{RELEASE}")
    return run(program)


def fence(language):
    found = [text for kind, text in FENCES if kind == language]
    assert len(found) == 1, f"README.md has {len(found)} examples in {language}"
    return found[0]


@pytest.mark.parametrize("language", ["c", "cpp"])
def test_readme_compiled(language, tmp_path):
    source = tmp_path / f"readme.{language}"
    source.write_text(fence(language))
    assert run_source(source, tmp_path) == "1\n"


def test_readme_python(tmp_path):
    source = tmp_path / "readme.py"
    source.write_text(fence("python"))
    assert run(sys.executable, source) == "(1, 128, 8, 64)\n"


def test_readme_command_line(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    run("bash", "-euc", fence("sh"), cwd=tmp_path)
    assert (tmp_path / "out.safetensors").stat().st_size > 1_000_000


def test_readme_is_short():
    assert len(README.splitlines()) <= README_LINES


@pytest.mark.parametrize("source", sorted((ROOT / "examples").glob("*.c*")), ids=lambda p: p.name)
def test_compiled_example(source, tmp_path):
    assert run_source(source, tmp_path)


def test_minilm_example():
    assert run(sys.executable, ROOT / "examples" / "minilm.py")


def test_training_example(tmp_path):
    """A few steps of what ./run --train shows in full: the curves are one."""
    pytest.importorskip("torch")
    curves, plot = tmp_path / "curves.json", tmp_path / "plot.svg"
    run(sys.executable, ROOT / "examples" / "train.py", "--steps", 12, "--json", curves, "--plot",
        plot)
    found = json.loads(curves.read_text())
    assert len(found["losses"]["rapt"]) == len(found["losses"]["eager"]) == 12
    assert found["parted"] < 1e-5 and found["losses"]["rapt"][-1] < found["losses"]["rapt"][0]
    lines = ElementTree.parse(plot).findall(".//{http://www.w3.org/2000/svg}polyline")
    assert [len(line.get("points").split()) for line in lines] == [12, 12]
