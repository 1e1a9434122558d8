# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The ledger of CUDA kernels: what of a change it complains about, what an update keeps, and that
the committed one knows every kernel. Compiling is a step of its own (tools/steps.py: ledger)."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import ledger  # noqa: E402
from ledger import Ledger, Line  # noqa: E402

A = Line("cuda/a", "sm_80", "x=1", 100, 0, 4096)
B = Line("cuda/b", "sm_90a", "x=1 y=2", 255, 16, 0, "two rows fill the registers")
TEXTS = {"cuda/a": "aa", "cuda/b": "bb"}
VERSIONS = {"sm_80": "13.0.88", "sm_90a": "13.0.88"}


def of(*lines):
    return Ledger(dict(VERSIONS), dict(TEXTS), {line.key: line for line in lines})


def test_a_ledger_is_read_as_it_was_written():
    assert ledger.parse(ledger.written(of(A, B))) == of(A, B)


@pytest.mark.parametrize(("change", "words"), [
    ({}, []),
    ({"registers": 96}, []), ({"registers": 101}, ["registers 100 -> 101"]),
    ({"spill_bytes": 8}, ["spill_bytes 0 -> 8"]),
    ({"shared_bytes": 4095}, ["shared_bytes 4096 -> 4095"]),
    ({"registers": 128, "shared_bytes": 0}, ["registers 100 -> 128", "shared_bytes 4096 -> 0"]),
])
def test_what_got_worse_is_told(change, words):
    found = ledger.complaints_of_line(A, replace(A, **change))
    assert found == [f"cuda/a sm_80 x=1: {word}" for word in words]


def test_spills_may_shrink_but_not_grow():
    assert ledger.complaints_of_line(B, replace(B, spill_bytes=8)) == []
    assert len(ledger.complaints_of_line(B, replace(B, spill_bytes=24))) == 1
    assert len(ledger.complaints_of_line(None, B)) == 1


@pytest.mark.parametrize(("lines", "listed", "texts", "words"), [
    ([A, B], [A, B], TEXTS, []),
    ([A], [A, B], TEXTS, ["cuda/b sm_90a x=1 y=2: is not in the ledger"]),
    ([A, B], [A], TEXTS, ["cuda/b sm_90a x=1 y=2: is in the ledger, but no kernel any more"]),
    ([A, B], [A, B], {**TEXTS, "cuda/b": "new"}, ["cuda/b: its text changed since the ledger was "
                                                  "written"]),
    ([A, replace(B, reason=" ")], [A, B], TEXTS, ["cuda/b sm_90a x=1 y=2: spills 16 bytes for no "
                                                  "reason that is given"]),
])
def test_what_needs_no_compiler_is_told(lines, listed, texts, words):
    assert ledger.complaints_of_list(of(*lines), [line.key for line in listed], texts) == words


def test_another_compiler_is_told():
    assert ledger.complaints_of_nvrtc(of(A), VERSIONS) == []
    found = ledger.complaints_of_nvrtc(of(A), {**VERSIONS, "sm_80": "13.1.0"})
    assert found == ["sm_80: NVRTC 13.1.0 is here, the ledger is of 13.0.88"]


@pytest.mark.parametrize(("texts", "versions", "kept"), [
    (TEXTS, VERSIONS, [A, B]),
    ({**TEXTS, "cuda/a": "new"}, VERSIONS, [B]),
    (TEXTS, {**VERSIONS, "sm_90a": "13.1.0"}, [A]),
])
def test_an_update_compiles_only_what_changed(texts, versions, kept):
    listed = [A.key, B.key, ("cuda/a", "sm_80", "x=2")]
    assert ledger.kept_lines(of(A, B), listed, texts, versions) == {x.key: x for x in kept}


def test_a_reason_outlives_an_update_as_long_as_there_is_a_spill():
    assert ledger.with_reason(replace(B, spill_bytes=8, reason=""), B).reason == B.reason
    assert ledger.with_reason(replace(B, spill_bytes=0, reason=""), B).reason == ""
    assert ledger.with_reason(replace(A, spill_bytes=8), None).reason == ""


def test_a_sample_is_fixed_and_holds_every_kernel_and_architecture():
    keys = [(f"cuda/{name}", arch, f"x={x}") for name in "abc" for arch in VERSIONS
            for x in range(50)]
    chosen = ledger.sample(keys, 20)
    assert chosen == ledger.sample(list(reversed(keys)), 20)
    assert len(chosen) == len(set(chosen)) == 20
    assert {key[:2] for key in chosen} == {key[:2] for key in keys}
    assert len(ledger.sample(keys, 1)) == 6
    assert ledger.sample(keys, 1000) == sorted(keys)


def test_a_kernels_hash_is_of_what_it_includes_and_not_of_comments(tmp_path):
    kernels, source = tmp_path / "kernels/cuda", tmp_path / "src/backend/cuda"
    for folder in (kernels / "kit", source):
        folder.mkdir(parents=True)
    (source / "a.cpp").write_text('{"cuda/a", "kit/a.cuh"}, {"cuda/b",\n "b.cuh"}, {"cuda/a", 80}')
    (kernels / "kit/a.cuh").write_text('#include "../b.cuh"\nint a;\n')
    (kernels / "b.cuh").write_text("int b;\n")
    first = ledger.text_hashes(tmp_path)
    (kernels / "b.cuh").write_text("int b;  // more\n")
    assert ledger.text_hashes(tmp_path) == first
    (kernels / "kit/a.cuh").write_text('#include "../b.cuh"\nint c;\n')
    second = ledger.text_hashes(tmp_path)
    assert second["cuda/a"] != first["cuda/a"] and second["cuda/b"] == first["cuda/b"]
    (kernels / "b.cuh").write_text("int d;\n")
    third = ledger.text_hashes(tmp_path)
    assert third["cuda/a"] != second["cuda/a"] and third["cuda/b"] != second["cuda/b"]


def test_the_ledger_knows_every_kernel_that_there_is():
    kernels = {kernel for kernel, _, _ in ledger.load().lines}
    assert kernels == set(ledger.kernel_files())
    rapt = ROOT / "build" / "release" / "rapt"
    told = json.loads(subprocess.run([rapt, "explain", "--case", "dtype=fp32", "--json", "-"],
                                     check=True, capture_output=True, text=True).stdout)
    named = {told["chosen"], *(row["kernel"] for row in told["refused"])}
    assert {name for name in named if name and name.startswith("cuda/")} <= kernels


def test_the_committed_ledger_is_of_these_texts_and_gives_its_reasons():
    held = ledger.load()
    assert ledger.complaints_of_reasons(held) == []
    assert held.texts == {name: ledger.text_hashes()[name] for name in held.texts}
