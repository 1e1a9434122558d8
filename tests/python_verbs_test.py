# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Plan, the paged cache's verbs, merge and the questions, from Python."""

import numpy as np
import pytest
from python_oracle import (BATCH, KV_LEN, PAGE, Q_LEN, arrange, close, dense, make, refused)

import rapt
from rapt import _abi, _attention


# ---- plan ----


def test_a_plan_gives_attend_s_bits():
    q, k, v = make()
    plan = rapt.Plan(q, k, v, causal=True, return_lse=True, threads=1)
    assert plan.kernel == rapt.explain(q, k, v, causal=True, return_lse=True)["chosen"]
    assert plan.workspace_bytes >= 0
    refused(ValueError, "plan: was never uploaded", plan.run, q, k, v)
    plan.upload()
    for seed in (1, 2):
        q, k, v = make(seed)
        found = plan.run(q, k, v)
        wanted = rapt.attend(q, k, v, causal=True, return_lse=True)
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])
    refused(ValueError, "q: sequence 0 is 8", plan.run, *make(q_len=Q_LEN + 1))
    refused(ValueError, "mask.right: ", plan.run, q, k, v, causal=False)


def test_a_plan_serves_each_step_s_lengths():
    q, k, v = make()
    lengths = np.array([KV_LEN, KV_LEN], np.int32)
    plan = rapt.Plan(q, k, v, kv_len=lengths, bounds=rapt.Bounds(kv_len=KV_LEN))
    for step in ([19, 3], [0, 12]):
        lengths[:] = step
        plan.upload(q_len=[Q_LEN] * BATCH, kv_len=step)
        np.testing.assert_array_equal(plan.run(q, k, v), rapt.attend(q, k, v, kv_len=step))
    refused(ValueError, "step.kv_len: sequence 0 is 20", plan.upload,
            q_len=[Q_LEN] * BATCH, kv_len=[KV_LEN + 1, 1])
    refused(ValueError, "kv_len: has 3 lengths", plan.upload, kv_len=[1, 2, 3], batch=2)
    refused(ValueError, "kv_len: is float64", plan.upload, kv_len=[1.5, 2.0])
    refused(ValueError, "kv_len: is float64 of shape .0,.", plan.upload, kv_len=[])
    refused(ValueError, "step.batch: is 3", plan.upload, kv_len=[1, 2, 3])
    plan.upload(kv_len=[5])
    np.testing.assert_array_equal(plan.run(q[:1], k[:1], v[:1], kv_len=[5]),
                                  rapt.attend(q[:1], k[:1], v[:1], kv_len=[5]))


# ---- the paged cache, and merge ----


def rotated(x, cos, sin, interleaved):
    """x [tokens, heads, dim], its first 2 * width elements rotated; cos, sin [tokens, width]."""
    width = cos.shape[1]
    x = x.astype(np.float64)
    pairs = ((slice(0, 2 * width, 2), slice(1, 2 * width, 2)) if interleaved else
             (slice(0, width), slice(width, 2 * width)))
    a, b = x[..., pairs[0]].copy(), x[..., pairs[1]].copy()
    cos, sin = cos[:, None], sin[:, None]
    x[..., pairs[0]], x[..., pairs[1]] = a * cos - b * sin, b * cos + a * sin
    return x


@pytest.mark.parametrize("layout", _abi.PAGE_LAYOUTS)
def test_append_writes_the_slots_it_is_told(layout):
    _, k, v = make(batch=1)
    slots = np.random.default_rng(2).permutation(6 * PAGE)[:KV_LEN].astype(np.int64)
    slots[3] = -1
    wanted = [np.zeros((6, PAGE, *x.shape[2:]), np.float32) for x in (k, v)]
    for cache, x in zip(wanted, (k, v)):
        cache.reshape(6 * PAGE, *x.shape[2:])[slots[slots >= 0]] = x[0][slots >= 0]
    wanted = arrange(layout, *wanted)
    found = [np.zeros_like(x) for x in wanted]
    assert rapt.append(k[0], v[0], *found, slots, page_layout=layout) is None
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])


@pytest.mark.parametrize("interleaved", [False, True])
def test_append_rotates_k_and_q(interleaved):
    q, k, v = (x[0] for x in make(batch=1, q_len=KV_LEN))
    angles = np.random.default_rng(4).uniform(0, 6, (40, 5))
    cos, sin = (f(angles).astype(np.float32) for f in (np.cos, np.sin))
    positions = list(range(3, 3 + KV_LEN))
    rope = rapt.Rope(cos, sin, positions, interleaved=interleaved)
    k_cache, v_cache = (np.zeros((5, PAGE, *x.shape[1:]), np.float32) for x in (k, v))
    q_out = rapt.append(k, v, k_cache, v_cache, list(range(KV_LEN)), rope=rope, q=q)
    here = (cos[positions].astype(np.float64), sin[positions].astype(np.float64), interleaved)
    close(q_out, rotated(q, *here))
    close(k_cache.reshape(-1, *k.shape[1:])[:KV_LEN], rotated(k, *here))
    np.testing.assert_array_equal(v_cache.reshape(-1, *v.shape[1:])[:KV_LEN], v)
    refused(ValueError, "rope.positions: token 0 is 40", rapt.append, k, v, k_cache, v_cache,
            list(range(KV_LEN)), rope=rope._replace(positions=[40] * KV_LEN))
    refused(ValueError, "slots: token 0 is 20", rapt.append, k, v, k_cache, v_cache, [20] * KV_LEN)


def test_pages_are_copied_swapped_and_cleared():
    cache = np.arange(6 * 8, dtype=np.float32).reshape(6, 2, 1, 4)
    wanted = cache.copy()
    wanted[[3, 4]] = wanted[[0, 1]]
    rapt.copy_pages(cache, [[0, 3], [1, 4]])
    np.testing.assert_array_equal(cache, wanted)
    host = np.zeros((2, 2, 1, 4), np.float32)
    rapt.swap_pages(cache, host, np.array([[5, 0], [2, 1]], np.int64))
    np.testing.assert_array_equal(host, wanted[[5, 2]])
    rapt.clear_pages(cache, [0, 5])
    wanted[[0, 5]] = 0
    np.testing.assert_array_equal(cache, wanted)
    refused(ValueError, r"pairs: entry 0\[1\] is 6", rapt.copy_pages, cache, [[0, 6]])
    refused(ValueError, "pages: entry 0 is -1", rapt.clear_pages, cache, [-1])
    refused(ValueError, "to: dtype is fp16", rapt.swap_pages, cache,
            host.astype(np.float16), [[0, 0]])
    rapt.copy_pages(cache, [])
    np.testing.assert_array_equal(cache, wanted)


def test_merge_of_two_halves_is_the_whole():
    q, k, v = make()
    wanted = dense(q, k, v)
    halves = [rapt.attend(q, k[:, part], v[:, part], return_lse=True)
              for part in (slice(0, 8), slice(8, None))]
    outs, lses = zip(*halves)
    out, lse = rapt.merge(outs, lses, return_lse=True)
    close(out, wanted[0])
    close(lse, wanted[1])
    assert rapt.merge(outs, lses, out=outs[0], lse=lses[0]) is outs[0]
    np.testing.assert_array_equal(outs[0], out)
    np.testing.assert_array_equal(lses[0], lse)
    refused(ValueError, "lses: has 1 parts, outs has 2", rapt.merge, outs, lses[:1])
    refused(ValueError, "lses: has 0 parts", rapt.merge, [], [])


# ---- questions ----


def test_explain_names_the_kernel_that_a_forced_call_accepts():
    q, k, v = make()
    answer = rapt.explain(q, k, v, causal=True)
    assert answer["schema"] == 1
    assert all(row["kernel"] and row["sentence"] for row in answer["refused"])
    assert answer["chosen"] not in [row["kernel"] for row in answer["refused"]]
    np.testing.assert_array_equal(rapt.attend(q, k, v, causal=True, kernel=answer["chosen"]),
                                  rapt.attend(q, k, v, causal=True, backend="cpu"))
    refused(ValueError, "k: ", rapt.explain, q, k[..., :8], v)


def test_an_explanation_of_any_length_arrives_whole(monkeypatch):
    q, k, v = make()
    whole = rapt.explain(q, k, v)
    monkeypatch.setattr(_attention, "_FIRST_GUESS", 8)
    assert rapt.explain(q, k, v) == whole
    refused(ValueError, "k: head_dim is 8", rapt.explain, q, k[..., :8], v)


def test_prepare_answers_what_attend_would():
    q, k, v = make()
    assert rapt.prepare(q, k, v) is None
    refused(ValueError, "k: ", rapt.prepare, q, k[..., :8], v)


def test_devices_begin_with_what_runs_here():
    cpu = [device for device in rapt.devices() if device.backend == "cpu"]
    assert len(cpu) == 1 and cpu[0].available and cpu[0].name and cpu[0].workers >= 1
