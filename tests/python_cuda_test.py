# SPDX-License-Identifier: Apache-2.0 OR MIT
"""torch's CUDA tensors from Python: every verb against the CPU's answer, streams, graphs, plans.

Part of `./test --gpu`; skipped where torch sees no CUDA device.
"""

import numpy as np
import pytest
from python_oracle import (BATCH, KV_HEADS, KV_LEN, PAGE, Q_HEADS, Q_LEN, VALUE_DIM, bound, make,
                           paged, refused)

import rapt

torch = pytest.importorskip("torch")
import rapt.torch  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")

DTYPES = ["float32", "float16", "bfloat16"]
SLOPES = [0.5, 0.25, 0.125, 0.0625]
FEATURES = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"window": (3, 2), "sink_tokens": 2},
    "softcap": {"softcap": 1.5},
    "alibi": {"alibi": SLOPES},
    "bias": {"bias": np.random.default_rng(5).normal(size=(1, Q_HEADS, Q_LEN, KV_LEN))
             .astype(np.float32)},
    "sinks": {"sinks": [0.5, -1.0, 2.0, 0.0]},
    "dropout": {"dropout": 0.3, "seed": 11},
    "lengths": {"kv_len": [KV_LEN, 3], "q_len": [Q_LEN, 2]},
    "positions": {"q_start": [4, 11], "causal": True},
}


def on_cpu(dtype="float32", **sizes):
    return [torch.from_numpy(x).to(getattr(torch, dtype)) for x in make(**sizes)]


def cuda(value):
    """Arrays on the device; lists and numbers as they are."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    return value.cuda() if isinstance(value, torch.Tensor) else value


def near(found, wanted, dtype="float32"):
    found, wanted = found.cpu().double(), wanted.double()
    finite = wanted.isfinite()
    assert torch.equal(found[~finite], wanted[~finite])
    scale = max(1.0, wanted[finite].abs().max().item()) if finite.any() else 1.0
    assert (found[finite] - wanted[finite]).abs().max().item() <= bound(dtype) * scale


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FEATURES)
def test_attend_agrees_with_the_cpu(name, dtype):
    tensors, keywords = on_cpu(dtype), FEATURES[name]
    wanted = rapt.attend(*tensors, return_lse=True, **keywords)
    keywords = {key: cuda(value) for key, value in keywords.items()}
    out, lse = rapt.attend(*map(cuda, tensors), return_lse=True, **keywords)
    assert out.is_cuda and out.dtype == tensors[0].dtype and lse.is_cuda
    near(out, wanted[0], dtype)
    near(lse, wanted[1])


def test_ragged_and_paged_agree_with_the_cpu():
    q, k, v = on_cpu()
    flat = [x.flatten(0, 1) for x in (q, k, v)]
    offsets = {"q_offsets": [0, 5, 14], "kv_offsets": [0, 19, 38], "causal": True}
    near(rapt.attend(*map(cuda, flat), **offsets), rapt.attend(*flat, **offsets))
    (k_cache, v_cache), table = paged("page_head_dim", k.numpy(), v.numpy())
    pages = [torch.from_numpy(x) for x in (k_cache, v_cache)]
    keywords = {"kv_len": [KV_LEN] * BATCH, "causal": True}
    wanted = rapt.attend(q, *pages, page_table=table, **keywords)
    near(rapt.attend(q.cuda(), *map(cuda, pages), page_table=cuda(table), **keywords), wanted)


def test_views_and_outputs_are_used_where_they_lie():
    tensors = on_cpu()
    views = [x.transpose(1, 2).contiguous().cuda().transpose(1, 2) for x in tensors]
    wide = torch.full((BATCH, Q_LEN, Q_HEADS, 2 * VALUE_DIM), torch.nan, device="cuda")
    out = wide[..., :VALUE_DIM]
    before = torch.cuda.memory_allocated()
    assert rapt.attend(*views, out=out) is out
    assert torch.cuda.memory_allocated() == before
    near(out, rapt.attend(*tensors))
    assert wide[..., VALUE_DIM:].isnan().all()


def test_work_is_queued_on_torch_s_current_stream():
    tensors = on_cpu("float16", batch=1, q_len=512, kv_len=4096)
    wanted = rapt.attend(*tensors, causal=True)
    rapt.attend(*map(cuda, tensors), causal=True)  # compiled before it is timed against the sleep
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = [torch.empty_like(x, device="cuda") for x in tensors]
        torch.cuda._sleep(200_000_000)  # so that a call on another stream would read what is stale
        for to, x in zip(late, tensors):
            to.copy_(x.pin_memory(), non_blocking=True)
        out = rapt.attend(*late, causal=True)
        assert not stream.query()
    stream.synchronize()
    near(out, wanted, "float16")


def test_a_plan_runs_in_a_captured_graph():
    tensors = on_cpu("bfloat16")
    still = [x.cuda() for x in tensors]
    plan = rapt.Plan(*still, causal=True)
    assert plan.kernel.startswith("cuda/")
    plan.upload()
    out = torch.full((BATCH, Q_LEN, Q_HEADS, VALUE_DIM), torch.nan, dtype=torch.bfloat16,
                     device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        plan.run(*still, out=out)
    for seed in (1, 2):
        fresh = on_cpu("bfloat16", seed=seed)
        for to, x in zip(still, fresh):
            to.copy_(x)
        graph.replay()
        near(out, rapt.attend(*fresh, causal=True), "bfloat16")


def test_a_plan_s_workspace_outlives_work_on_another_stream():
    tensors = on_cpu("bfloat16", batch=1, q_len=1, kv_len=4096)
    given = [x.cuda() for x in tensors]
    plan = rapt.Plan(*given)
    assert plan.workspace_bytes > 0
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        plan.upload()
        torch.cuda._sleep(100_000_000)
        out = plan.run(*given)
    size = plan.workspace_bytes
    del plan
    torch.full((size + 64,), 255, dtype=torch.uint8, device="cuda")  # would take a freed workspace
    stream.synchronize()
    near(out, rapt.attend(*tensors), "bfloat16")


def test_the_cache_s_verbs_agree_with_the_cpu():
    rng = np.random.default_rng(7)
    pages = [torch.from_numpy(rng.normal(size=(4, PAGE, KV_HEADS, 16)).astype(np.float32))
             for _ in range(2)]
    new = [torch.from_numpy(rng.normal(size=(3, KV_HEADS, 16)).astype(np.float32))
           for _ in range(2)]
    there = [x.cuda() for x in pages]
    for place, caches in ((lambda x: x, pages), (cuda, there)):
        rapt.append(*map(place, new), *caches, [5, -1, 2])
        rapt.copy_pages(caches[0], [[0, 3]])
        rapt.clear_pages(caches[1], [1])
    for found, wanted in zip(there, pages):
        assert torch.equal(found.cpu(), wanted)
    host = torch.zeros(2, PAGE, KV_HEADS, 16)
    rapt.swap_pages(there[0], host, [[2, 1]])
    torch.cuda.synchronize()
    assert torch.equal(host[1], pages[0][2])


def test_append_s_rotation_and_merge_agree_with_the_cpu():
    rng = np.random.default_rng(8)
    angles = torch.from_numpy(rng.normal(size=(9, 8)).astype(np.float32))
    q = torch.from_numpy(rng.normal(size=(2, Q_HEADS, 16)).astype(np.float32))
    new, cache = q[:, :KV_HEADS].contiguous(), torch.zeros(1, PAGE, KV_HEADS, 16)

    def rotated(place):
        rope = rapt.Rope(place(angles.cos()), place(angles.sin()), [4, 8])
        caches = [place(cache.clone()) for _ in range(2)]
        return rapt.append(place(new), place(new), *caches, [0, 1], rope=rope, q=place(q)), *caches

    for found, wanted in zip(rotated(cuda), rotated(lambda x: x)):
        near(found, wanted)
    tensors = on_cpu()
    halves = [[tensors[0], *(x[:, a:b].contiguous() for x in tensors[1:])]
              for a, b in ((0, 8), (8, None))]
    parts = [rapt.attend(*map(cuda, half), return_lse=True) for half in halves]
    near(rapt.merge([out for out, _ in parts], [lse for _, lse in parts]), rapt.attend(*tensors))


def test_explain_prepare_and_refusals():
    q, k, v = map(cuda, on_cpu("float16"))
    assert rapt.explain(q, k, v)["chosen"].startswith("cuda/")
    rapt.prepare(q, k, v, causal=True)
    refused(ValueError, "k: is on device 0:0, q on 1:0", rapt.attend, q, k.cpu(), v)
    with pytest.raises(NotImplementedError):
        rapt.attend(q, k, v, backend="cpu")


def test_the_last_device_need_not_be_the_current_one():
    tensors, last = on_cpu(), torch.device("cuda", torch.cuda.device_count() - 1)
    out = rapt.attend(*(x.to(last) for x in tensors), alibi=SLOPES)
    assert out.device == last and torch.cuda.current_device() == 0
    near(out, rapt.attend(*tensors, alibi=SLOPES))


# ---- rapt.torch ----


def test_the_operator_agrees_with_the_cpu_and_fits_into_a_graph():
    tensors = on_cpu("bfloat16")
    given = [x.cuda() for x in tensors]
    wanted = rapt.attend(*tensors, causal=True)
    arguments = rapt.torch._arguments(given[0], {"causal": True})
    near(torch.ops.rapt.attend(*given, *arguments)[0], wanted, "bfloat16")
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        out = rapt.torch.attend(*given, causal=True)
    for to, x in zip(given, on_cpu("bfloat16", seed=2)):
        to.copy_(x)
    graph.replay()
    near(out, rapt.attend(*on_cpu("bfloat16", seed=2), causal=True), "bfloat16")


def test_a_compiled_model_calls_the_operator():
    def block(q, k, v):
        return rapt.torch.attend(q * 2, k, v, causal=True) + 1

    tensors = on_cpu("float16")
    compiled = torch.compile(block, fullgraph=True)
    with torch.no_grad():
        near(compiled(*map(cuda, tensors)), block(*tensors), "float16")


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_agree_with_the_cpu(dtype):
    def gradients(tensors):
        tensors = [x.detach().requires_grad_() for x in tensors]
        rapt.torch.attend(*tensors, causal=True, softcap=1.5).float().square().sum().backward()
        return [x.grad for x in tensors]

    tensors = on_cpu(dtype)
    for found, wanted in zip(gradients(map(cuda, tensors)), gradients(tensors)):
        assert found.is_cuda
        near(found, wanted, dtype)
