# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Builds the Python wheel, audits its platform tag, installs it into an empty environment, and runs
the Python tests there, away from this tree."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from symbols_test import declared, exported

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "build" / "release" / "python" / "librapt.so"
HEADER = (ROOT / "include" / "rapt" / "rapt.h").read_text()
VERSION = ".".join(re.findall(r"#define RAPT_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", HEADER))
REQUIREMENTS = (ROOT / "tests" / "requirements.txt").read_text()
PINS = dict(re.findall(r"^([\w-]+)(==.+)$", REQUIREMENTS, re.M))
NEWEST_GLIBC = 34  # 2.34: Red Hat 9, Ubuntu 22.04, Debian 12
# From every distribution; the one of them that is not C's own unwinds C++'s exceptions.
SYSTEM_LIBRARIES = re.compile(r"(libc|libm)\.so\.6|ld-linux[\w-]*\.so\.\d|libgcc_s\.so\.1")
TESTS = ("python_oracle.py", "philox.py", "python_test.py", "python_backward_test.py",
         "python_verbs_test.py", "python_dlpack_test.py", "python_threads_test.py")
WITHOUT_FRAMEWORKS, WITH_FRAMEWORKS = "not torch and not jax", "torch or jax"


def run(*command, **settings):
    """Without what would point Python at this tree; the output."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("PYTHONPATH", "RAPT_LIBRARY")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True,
                          text=True, env=environment, **settings)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(name="wheel", scope="module")
def fixture_wheel(tmp_path_factory):
    """As auditwheel names it, once it has found what it needs of a machine."""
    built, audited = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("audited")
    run(sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--no-build-isolation", "-w",
        built, "-C", f"build-dir={built}/tree", "-C", f"cmake.define.RAPT_PYTHON_LIBRARY={LIBRARY}")
    run(sys.executable, "-m", "auditwheel", "repair", "-w", audited, *built.glob("*.whl"))
    return next(audited.glob("*.whl"))


@pytest.fixture(name="unpacked", scope="module")
def fixture_unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


@pytest.fixture(name="python", scope="module")
def fixture_python(wheel, tmp_path_factory):
    """Of an empty environment, with the wheel and what the tests need."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder)
    needed = [name + PINS[name] for name in ("ml_dtypes", "numpy", "pytest")]
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel, *needed)
    return folder / "bin" / "python"


@pytest.fixture(name="outside")
def fixture_outside(tmp_path):
    """The tests alone, in a folder that knows nothing of this tree."""
    for name in TESTS:
        shutil.copy(ROOT / "tests" / name, tmp_path)
    return tmp_path


def run_tests(python, folder, chosen):
    """They pass, none is skipped, and rapt is the installed one."""
    place = run(python, "-c", "import rapt; print(rapt._library.path)", cwd=folder).strip()
    assert ROOT not in Path(place).parents and Path(place).name == "librapt.so"
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=report.xml", "-k",
        chosen, *folder.glob("*_test.py"), cwd=folder)
    suite = ElementTree.parse(folder / "report.xml").find("testsuite")
    assert int(suite.get("tests")) >= 10 and suite.get("skipped") == "0"


def test_one_wheel_serves_every_python_and_most_distributions(wheel):
    name = re.fullmatch(rf"rapt-{re.escape(VERSION)}-py3-none-manylinux_2_(\d+)_(\w+)\.whl",
                        wheel.name)
    assert name, wheel.name
    assert int(name[1]) <= NEWEST_GLIBC
    assert name[2] == os.uname().machine


def test_the_wheel_holds_the_package_its_library_and_licences(unpacked):
    sources = {path.relative_to(ROOT / "python").as_posix()
               for path in (ROOT / "python").rglob("*") if path.suffix in (".py", ".typed")}
    info = f"rapt-{VERSION}.dist-info"
    wanted = {f"{info}/{name}" for name in
              ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE-APACHE", "licenses/LICENSE-MIT")}
    found = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")
             if path.is_file()}
    assert found == wanted | sources | {"rapt/librapt.so"}
    for licence in ("LICENSE-APACHE", "LICENSE-MIT"):
        text = (unpacked / info / "licenses" / licence).read_text()
        assert text == (ROOT / licence).read_text()


def test_the_metadata_says_what_the_project_says(unpacked):
    text = (unpacked / f"rapt-{VERSION}.dist-info" / "METADATA").read_text()
    metadata = Parser().parsestr(text)
    assert metadata["Version"] == VERSION
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0 OR MIT"
    extra = [line.partition(";")[0] for line in metadata.get_all("Requires-Dist")
             if 'extra == "cuda"' in line]
    assert extra == [name + pin for name, pin in PINS.items() if "nvrtc" in name]


def test_the_library_exports_the_header_and_needs_only_the_system(unpacked):
    library = unpacked / "rapt" / "librapt.so"
    needed = re.findall(r"NEEDED.*\[(.+)\]", run("readelf", "-d", library))
    assert "libc.so.6" in needed
    assert [name for name in needed if not SYSTEM_LIBRARIES.fullmatch(name)] == []
    assert exported(library) == declared()


def test_the_python_tests_pass_in_an_empty_environment(python, outside):
    run_tests(python, outside, WITHOUT_FRAMEWORKS)
    for framework in ("torch", "jax"):
        code = f"import importlib.util; assert importlib.util.find_spec({framework!r}) is None"
        run(python, "-c", code)


def test_the_python_tests_pass_beside_frameworks(wheel, outside):
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", outside, wheel)
    run_tests(sys.executable, outside, WITH_FRAMEWORKS)


def test_pip_installs_a_fresh_clone(tmp_path):
    """With nothing of this tree's builds and nothing but what pip fetches by itself."""
    run("git", "clone", "--quiet", ROOT, tmp_path / "clone")
    run(sys.executable, "-m", "venv", tmp_path / "environment")
    python = tmp_path / "environment" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", tmp_path / "clone")
    code = ("import numpy, rapt; x = numpy.ones((1, 2, 1, 8), numpy.float32); "
            "print(rapt.attend(x, x, x).sum())")
    assert run(python, "-c", code, cwd=tmp_path).strip() == "16.0"
