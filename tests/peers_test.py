# SPDX-License-Identifier: Apache-2.0 OR MIT
"""bench/peers.py without a GPU: its cells, counts, reference, rows and plot; the reference and
rapt's provider on small problems in the memory of the host."""

import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "bench"))

from peers import cells, plot, report  # noqa: E402

SMALL = cells.Cell("features", "fp32", 2, 40, 40, 4, 4, 16, 16, True)


# ---- cells ----


def test_the_grids_have_the_fields_shapes():
    grid = cells.forward("bf16")
    assert len(grid) == 18 and len(cells.decode("bf16")) == 64
    assert all(cell.batch * cell.q_len == 16384 for cell in grid)
    assert all(cell.q_heads * cell.head_dim == 2048 for cell in grid)
    assert sum(cells.SKEWED) == 16384


@pytest.mark.parametrize("suite", cells.SUITES)
def test_every_case_is_of_the_grammar(suite):
    rapt = ROOT / "build" / "release" / "rapt"
    for cell in cells.choose(suite, "fp16", ""):
        found = subprocess.run([rapt, "explain", "--case", cell.case], capture_output=True,
                               text=True, check=False)
        assert found.returncode == 0, (cell.case, found.stderr)


def test_operations_are_those_of_the_visible_scores():
    full = replace(SMALL, causal=False)
    assert full.flops == 4 * 2 * 40 * 40 * 4 * 16
    assert SMALL.flops == full.flops / 2  # a square causal problem counts as half
    longer = replace(SMALL, kv_len=60)
    assert longer.flops == 4 * 2 * sum(21 + i for i in range(40)) * 4 * 16
    window = replace(SMALL, window=8)
    assert window.flops == 4 * 2 * sum(min(8, i + 1) for i in range(40)) * 4 * 16
    uneven = replace(SMALL, batch=2, lens=(40, 10))
    assert uneven.flops == 4 * (800 + 50) * 4 * 16
    assert replace(SMALL, value_dim=32).flops == SMALL.flops * 1.5
    assert replace(SMALL, backward=True).flops == SMALL.flops * 2.5


def test_bytes_count_each_tensor_once():
    tensor = 2 * 40 * 4 * 16 * 4
    assert SMALL.bytes == 4 * tensor and SMALL.kv_bytes == 2 * tensor
    assert replace(SMALL, kv_heads=1).kv_bytes == tensor / 2
    assert replace(SMALL, bias="q").bytes == 4 * tensor + 40 * 40 * 4
    assert replace(SMALL, backward=True).bytes == 8 * tensor
    assert replace(SMALL, bias="-").bias_shape == (1, 1, 1, 40)
    assert replace(SMALL, bias="bhq").bias_shape == (2, 4, 40, 40)


def test_what_a_feature_is_set_against_comes_along_and_first():
    chosen = cells.choose("features", "bf16", "alibi=head")
    assert len(chosen) == 2 and chosen[0] == chosen[1].against and not chosen[0].alibi
    assert not cells.choose("forward", "bf16", "head_dim=65")


# ---- rows ----


def timed(provider, us, cell=SMALL):
    row = report.row_of(cell, provider, checked=True)
    report.fill(row, cell, (us, us, us), {"bf16_tflops": 700.0, "read_gbps": 4000.0})
    return row


def test_a_row_of_rapt_has_its_speedup_over_each_peer():
    rows = [timed("rapt", 10.0), timed("rapt hopper", 20.0), timed("fa3", 12.0),
            report.row_of(SMALL, "torch cudnn", sentence="failed: no")]
    report.compare(rows)
    assert rows[0]["speedup"] == {"fa3": 1.2} and rows[1]["speedup"] == {"fa3": 0.6}
    assert rows[2]["speedup"] == {}
    assert report.geometric_means(rows)["rapt", "fa3"] == (1.2, 1.2, 1)
    text = "\n".join(report.lines(SMALL, rows))
    assert "1.20x fa3" in text and "torch cudnn      failed: no" in text
    assert text.count("D16 B2 S40 causal") == 1


def test_rates_and_what_they_are_a_share_of():
    row = timed("rapt", 2.0, replace(SMALL, dtype="bf16"))
    assert row["tflops"] == round(SMALL.flops / 2e-6 / 1e12, 1)
    assert row["share"] == round(row["tflops"] / 700, 4)
    decode = replace(SMALL, suite="decode", dtype="bf16", q_len=1, kv_len=4096)
    row = timed("rapt", 2.0, decode)
    assert row["gbps"] == round(decode.kv_bytes / 2e-6 / 1e9, 1)
    assert row["share"] == round(row["gbps"] / 4000, 4)


def test_a_feature_is_set_against_the_shape_without_it():
    large = cells.forward("bf16")[0]
    row, base = timed("rapt", 150.0, large), timed("rapt", 100.0, large)
    report.set_against(row, base)
    assert row["against"]["time"] == 1.5 and row["against"]["rate"] == 0.667
    assert "time 1.50" in report.cost(row) and report.cost(base) == ""


def test_the_plot_is_xml_with_a_bar_for_every_rate():
    groups = [("a < b", {"rapt": 500.0, "fa3": 400.0}), ("c", {"rapt": 100.0})]
    tree = ElementTree.fromstring(plot.draw("t & t", "s", groups, 700.0, "TFLOP/s"))
    bars = [x for x in tree.iter("{http://www.w3.org/2000/svg}rect") if x.get("height") == "8"]
    widths = [float(bar.get("width")) for bar in bars]
    assert widths == [round(plot.WIDTH * rate / 700, 1) for rate in (500, 400, 100)]


# ---- the reference, in the memory of the host ----


@pytest.fixture(name="bench")
def fixture_bench(monkeypatch):
    pytest.importorskip("torch")
    from peers import inputs, providers, reference

    monkeypatch.setattr(inputs, "DEVICE", "cpu")
    return inputs, providers, reference


VARIANTS = {
    "causal": {}, "full": {"causal": False}, "window": {"window": 7}, "softcap": {"softcap": 2.0},
    "alibi": {"alibi": True}, "sinks": {"sinks": True}, "bias": {"bias": "q"},
    "bias a head": {"bias": "bh"}, "dropout": {"dropout": 0.2}, "gqa": {"kv_heads": 2},
    "wide values": {"value_dim": 24}, "pages": {"page_size": 16, "q_len": 3},
    "pages of one": {"page_size": 1}, "ragged": {"lens": (40, 7, 1, 21), "batch": 4},
    "bf16": {"dtype": "bf16"}, "chunk": {"kv_len": 60},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_rapt_agrees_with_the_reference_and_a_wrong_answer_does_not(bench, name):
    inputs, providers, reference = bench
    cell = replace(SMALL, **VARIANTS[name])
    problem = inputs.make(cell, alone=True)
    wanted = reference.samples(problem)
    call, kernel = providers.Rapt("auto").prepare(problem)
    out = call(0)
    assert kernel.startswith("cpu/")
    error, right = reference.error_of(problem, wanted, out)
    assert right and error < 1
    for wrong in (0.3, math.nan):
        spoilt = out.clone()
        spoilt[-1] += wrong
        assert not reference.error_of(problem, wanted, spoilt)[1]


@pytest.mark.parametrize("name", ["causal", "full", "gqa", "bias", "bias a head"])
def test_torch_agrees_with_the_reference(bench, name):
    inputs, providers, reference = bench
    problem = inputs.make(replace(SMALL, **VARIANTS[name]), alone=True)
    peer = next(x for x in providers.of_torch() if x.name == "torch math")
    assert peer.refuses(problem.cell) == ""
    out = peer.prepare(problem)[0](0)
    assert reference.error_of(problem, reference.samples(problem), out)[1]


@pytest.mark.parametrize("variant", [{}, {"causal": False}, {"kv_heads": 2}, {"dtype": "bf16"}])
def test_gradients_agree_with_the_reference_and_wrong_ones_do_not(bench, variant, monkeypatch):
    from torch.nn.attention import SDPBackend

    from peers import gradients

    monkeypatch.setattr(gradients, "ROWS", 16)  # several times over
    inputs = bench[0]
    problem = inputs.make(replace(SMALL, backward=True, **variant), alone=True)
    wanted = gradients.samples(problem)
    for provider in (gradients.Rapt("auto"), gradients.Sdpa("math", SDPBackend.MATH)):
        found = provider.prepare(problem)[0](0)
        error, right = gradients.error_of(problem, wanted, found)
        assert right and error < 1, provider.name
        for i, name in enumerate(gradients.NAMES):
            for wrong in (0.3, math.nan):
                spoilt = [x.detach().clone() for x in found]
                spoilt[i][-1] += wrong
                assert not gradients.error_of(problem, wanted, spoilt)[1], name


def test_peers_refuse_what_they_would_compute_otherwise(bench):
    _, providers, _ = bench
    for variant in ("window", "softcap", "alibi", "sinks", "dropout", "pages", "ragged", "chunk"):
        cell = replace(SMALL, **VARIANTS[variant])
        assert all(peer.refuses(cell) for peer in providers.of_torch())


def test_inputs_take_turns_and_outgrow_the_cache(bench):
    inputs, _, reference = bench
    assert inputs.copies_of(SMALL, alone=True) == 1
    assert inputs.copies_of(SMALL, alone=False) == inputs.MOST_COPIES
    big = cells.forward("bf16")[0]
    assert inputs.copies_of(big, alone=False) * big.bytes >= inputs.ROTATION
    huge = replace(big, bias="bhq", batch=64, kv_len=16384, q_len=16384)
    assert inputs.copies_of(huge, alone=False) == 1
    assert reference.spread(3, 48) == [0, 1, 2] and reference.spread(100, 3) == [0, 50, 99]
    assert reference.spread(1, 4) == [0]
