# SPDX-License-Identifier: Apache-2.0 OR MIT
"""docs/support.md is what tools/support_matrix.py makes of the ledger and of `rapt explain`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import support_matrix  # noqa: E402
from ledger import Line, load  # noqa: E402

LINES = [Line("cuda/a", "sm_90a", "element=2 bias=0", 1, 0, 0),
         Line("cuda/a", "sm_80", "element=2 bias=3", 1, 0, 0),
         Line("cuda/b", "sm_75", "element=1 bias=0", 1, 0, 0)]


def test_architectures_are_those_of_kernels_with_all_that_is_wanted():
    asked = [("cuda/a", {"element": ["2"]}), ("cuda/a", {"element": ["2"], "bias": ["1", "3"]}),
             ("cuda/a", {"element": ["1"]}), ("cuda/b", {"element": ["1"]})]
    answers = [support_matrix.architectures(LINES, kernel, wanted) for kernel, wanted in asked]
    assert answers == ["sm_80, sm_90a", "sm_80", "-", "sm_75"]


def test_what_a_configuration_leaves_out_is_said_by_the_column_or_no_matter(monkeypatch):
    monkeypatch.setitem(support_matrix.COLUMNS, "cuda/b", {"kv": "0"})
    asked = [({"kv": ["1"]}, "-"), ({"kv": ["0"]}, "sm_75"), ({"sinks": ["1"]}, "sm_75")]
    for wanted, answer in asked:
        assert support_matrix.architectures(LINES, "cuda/b", wanted) == answer


def test_the_cpu_answers_as_explain_does():
    assert support_matrix.cpu_answer("forward", "dtype=bf16 mask=causal") == "yes"
    refused = support_matrix.cpu_answer("forward", "dtype=fp8_e4m3")
    assert refused.startswith("q: "), refused
    assert support_matrix.cpu_answer("forward", "page_size=16") == "yes"
    refused = support_matrix.cpu_answer("backward", "page_size=16")
    assert refused.startswith("pages: "), refused


def test_the_committed_page_is_what_the_script_prints():
    assert support_matrix.PAGE.read_text() == support_matrix.page(list(load().lines.values()))
