# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Bugs planted in the kernels by -DRAPT_PLANT=N are found by `rapt verify`, and the reproducer that
it prints fails again when pasted, on the planted build alone."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "planted"
RAPT = ROOT / "build" / "release" / "rapt"
PLANTS = {1: "a mask edge that is off by one", 2: "a lost rescale", 3: "a stale page"}
PROBLEMS = 400


def run(*command, library=None):
    """Runs a command; `rapt` then loads the library of another build tree."""
    environment = os.environ | ({"LD_LIBRARY_PATH": str(library)} if library else {})
    return subprocess.run([str(word) for word in command], env=environment, check=False,
                          capture_output=True, text=True)


def build(plant):
    """The library with the bug; one tree for all, where only the kernels are compiled anew."""
    configured = run("cmake", "-S", ROOT, "-B", TREE, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug",
                     "-DCMAKE_CXX_FLAGS_DEBUG=-O1", "-DRAPT_CLI=OFF", f"-DRAPT_PLANT={plant}")
    assert configured.returncode == 0, configured.stderr
    built = run("cmake", "--build", TREE, "-j", len(os.sched_getaffinity(0)))
    assert built.returncode == 0, built.stdout


@pytest.mark.parametrize("plant", PLANTS, ids=PLANTS.get)
def test_a_planted_bug_is_found(plant, tmp_path):
    build(plant)
    report = tmp_path / "report.json"
    found = run(RAPT, "verify", "--count", PROBLEMS, "--seed", 7, "--json", report, library=TREE)
    assert found.returncode == 1, found.stderr
    failures = json.loads(report.read_text())["failures"]
    assert failures
    assert failures[0]["reproduce"] in found.stdout + found.stderr
    program, *arguments = shlex.split(failures[0]["reproduce"])
    assert program == "rapt"
    assert run(RAPT, *arguments, library=TREE).returncode == 1
    sound = run(RAPT, *arguments)
    assert sound.returncode == 0, sound.stdout + sound.stderr
