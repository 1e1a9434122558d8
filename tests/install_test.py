# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Installs rapt, shared and static, and builds tests/consumer against the copy: in C++ and in C, by
find_package and by pkg-config. Nothing of the build tree is needed to run what was built."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
CONSUMER = ROOT / "tests" / "consumer"
HEADER = (ROOT / "include" / "rapt" / "rapt.h").read_text()
MAJOR, MINOR, PATCH = re.findall(r"#define RAPT_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", HEADER)
EXPECTED = f"{10000 * int(MAJOR) + 100 * int(MINOR) + int(PATCH)}: 4 5\n"
COMPILERS = {"use.c": ["gcc", "-std=c11"], "use.cpp": ["g++", "-std=c++20"]}


def run(*command, **environment):
    done = subprocess.run([str(word) for word in command], check=False,
                          env=os.environ | environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def build_static():
    """A static library without optimisation: what is tested here is the packaging."""
    tree = BUILD / "static"
    run("cmake", "-S", ROOT, "-B", tree, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug",
        "-DRAPT_SHARED=OFF", "-DRAPT_CLI=OFF", "-DCMAKE_CXX_FLAGS_DEBUG=-O0")
    run("cmake", "--build", tree, "-j", len(os.sched_getaffinity(0)))
    return tree


@pytest.fixture(scope="module", params=["shared", "static"])
def prefix(request, tmp_path_factory):
    """An installed copy that was moved after its installation, so no path in it can be absolute."""
    tree = BUILD / "release" if request.param == "shared" else build_static()
    first = tmp_path_factory.mktemp(request.param) / "first"
    run("cmake", "--install", tree, "--prefix", first)
    moved = first.rename(first.with_name("moved"))
    return moved


def library_path(prefix):
    return {"LD_LIBRARY_PATH": str(next(prefix.rglob("librapt.*")).parent)}


def test_nothing_but_what_is_meant_is_installed(prefix):
    names = {path.name for path in prefix.rglob("*") if path.is_file()}
    library = {name for name in names if name.startswith("librapt.")}
    assert library in ({"librapt.a"}, {"librapt.so", f"librapt.so.{MAJOR}",
                                       f"librapt.so.{MAJOR}.{MINOR}.{PATCH}"})
    configs = {name for name in names if re.fullmatch(r"rapt-(config|targets).*\.cmake", name)}
    others = {"rapt.h", "rapt.hpp", "rapt.pc", "LICENSE-APACHE", "LICENSE-MIT"}
    assert names - library - configs - {"rapt"} == others
    assert len(configs) == 4


def test_find_package(prefix, tmp_path):
    run("cmake", "-S", CONSUMER, "-B", tmp_path, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", tmp_path)
    assert run(tmp_path / "use_c") == EXPECTED
    assert run(tmp_path / "use_cpp") == EXPECTED


@pytest.mark.parametrize("source", COMPILERS)
def test_pkg_config(prefix, source, tmp_path):
    static = any(prefix.rglob("librapt.a"))
    search = {"PKG_CONFIG_PATH": str(next(prefix.rglob("rapt.pc")).parent)}
    options = ["--cflags", "--libs", *(["--static"] if static else [])]
    flags = run("pkg-config", *options, "rapt", **search).split()
    program = tmp_path / "use"
    run(*COMPILERS[source], CONSUMER / source, "-o", program, *flags)
    assert run(program, **library_path(prefix)) == EXPECTED
    assert run("pkg-config", "--modversion", "rapt", **search).strip() == f"{MAJOR}.{MINOR}.{PATCH}"


def test_the_installed_command_line_finds_its_library(prefix):
    if any(prefix.rglob("librapt.a")):
        assert not (prefix / "bin").exists()  # built without it
        return
    assert "devices" in run(prefix / "bin" / "rapt", "--help")
    library = next(prefix.rglob("librapt.so"))
    hidden = library.with_name("away.so.0")
    loaded = library.with_name(f"librapt.so.{MAJOR}")
    loaded.rename(hidden)
    assert subprocess.run([prefix / "bin" / "rapt", "--help"], check=False,
                          capture_output=True).returncode != 0
    hidden.rename(loaded)


def test_as_a_subproject(tmp_path):
    """add_subdirectory gives rapt::rapt and neither tests, command line nor install rules."""
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(outer LANGUAGES CXX)\n"
        f"add_subdirectory({ROOT} rapt)\nadd_executable(use {CONSUMER}/use.cpp)\n"
        "target_link_libraries(use PRIVATE rapt::rapt)\n")
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build", "-G", "Ninja")
    targets = run("cmake", "--build", tmp_path / "build", "--target", "help")
    assert "librapt.so" in targets
    assert not re.search(r"rapt_tests|rapt_cli", targets)
    shutil.rmtree(tmp_path / "build")
