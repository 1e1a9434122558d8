# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The package's types by mypy --strict, of its own code and as a user sees them; and its docs."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import rapt

ROOT = Path(__file__).resolve().parent.parent


def mypy(*files):
    """Its complaints; pyproject.toml says how strict and for which Python."""
    command = [sys.executable, "-m", "mypy", "--cache-dir", ROOT / "build" / "mypy", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def test_the_package_and_its_use_are_strictly_typed():
    assert mypy("python/rapt", "tests/typed_use.py") == []


def test_a_wrong_use_is_found(tmp_path):
    use = tmp_path / "use.py"
    use.write_text("import rapt\nrapt.attend(1, 2, 3)\nrapt.version(1)\n")
    assert [line.split(":")[1] for line in mypy(use)] == ["2", "3"]


@pytest.mark.parametrize("name", rapt.__all__)
def test_every_public_name_says_what_it_is(name):
    found = getattr(rapt, name)
    assert inspect.getdoc(found)
    own = vars(found) if inspect.isclass(found) and found.__bases__ == (object,) else {}
    methods = [key for key, method in own.items() if not key.startswith("_") and
               (callable(method) or isinstance(method, property))]
    assert [key for key in methods if not inspect.getdoc(own[key])] == []
