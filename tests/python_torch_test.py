# SPDX-License-Identifier: Apache-2.0 OR MIT
"""rapt.torch on the CPU: gradients, the operators' registration, compilers, autocast, checkpoints.

torch is optional; everything here is skipped without it.
"""

import pytest
from python_oracle import BATCH, KV_LEN, PAGE, Q_HEADS, Q_LEN, make, paged, refused

import rapt

torch = pytest.importorskip("torch")
import rapt.torch  # noqa: E402

attend = rapt.torch.attend
SLOPES = [0.5, 0.25, 0.125, 0.0625]


def inputs(dtype="float32", requires_grad=True, **sizes):
    found = [torch.from_numpy(x).to(getattr(torch, dtype)) for x in make(**sizes)]
    return [x.requires_grad_(requires_grad) for x in found]


def learned(**shapes):
    torch.manual_seed(3)
    return {name: torch.rand(shape).requires_grad_() for name, shape in shapes.items()}


def plain(q, k, v, causal=False, bias=None, sinks=None, alibi=None, softcap=0.0):
    """Attention as torch would write it, in the inputs' own precision."""
    group = q.shape[2] // k.shape[2]
    k, v = (x.repeat_interleave(group, 2) for x in (k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1]**-0.5
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    rows = torch.arange(q.shape[1])[:, None] + k.shape[1] - q.shape[1]
    columns = torch.arange(k.shape[1])[None]
    if alibi is not None:
        scores = scores - alibi[:, None, None] * (rows - columns).abs()
    if bias is not None:
        scores = scores + bias
    if causal:
        scores = scores.masked_fill(columns > rows, -torch.inf)
    if sinks is not None:
        scores = torch.cat([scores, sinks[None, :, None, None].expand(*scores.shape[:3], 1)], -1)
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1)[..., :k.shape[1]], v)


CASES = {
    "full": ({}, {}),
    "causal": ({"causal": True}, {}),
    "softcap": ({"softcap": 2.0}, {}),
    "bias": ({"causal": True}, {"bias": (BATCH, Q_HEADS, Q_LEN, KV_LEN)}),
    "bias broadcast": ({}, {"bias": (1, 1, Q_LEN, KV_LEN)}),
    "sinks and slopes": ({"causal": True}, {"sinks": (Q_HEADS,), "alibi": (Q_HEADS,)}),
    "all": ({"causal": True, "softcap": 3.0},
            {"bias": (1, Q_HEADS, 1, KV_LEN), "sinks": (Q_HEADS,), "alibi": (Q_HEADS,)}),
}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_agree_with_autograd_in_float64(name, dtype):
    keywords, shapes = CASES[name]
    tensors, extra = inputs(dtype), learned(**shapes)
    out = attend(*tensors, **keywords, **extra)
    d_out = torch.randn_like(out)
    leaves = [*tensors, *extra.values()]
    found = torch.autograd.grad(out, leaves, d_out)
    doubles = [x.detach().double().requires_grad_() for x in leaves]
    wanted_out = plain(*doubles[:3], **keywords, **dict(zip(extra, doubles[3:])))
    wanted = torch.autograd.grad(wanted_out, doubles, d_out.double())
    eps = torch.finfo(tensors[0].dtype).eps
    for leaf, gradient, right in zip([out, *leaves], [out, *found], [wanted_out, *wanted]):
        assert gradient.dtype == leaf.dtype
        error = (gradient.double() - right).abs().max() / right.abs().max()
        assert error <= 8 * eps, error.item()


@pytest.mark.filterwarnings("ignore:Input #. requires gradient")
@pytest.mark.parametrize("keywords", [
    {"causal": True}, {"window": (3, 2), "sink_tokens": 1}, {"softcap": 2.0},
    {"kv_len": [KV_LEN, 5], "q_len": [Q_LEN, 3]}, {"q_start": [4, 11], "causal": True},
    {"dropout": 0.3, "seed": 2**63 + 5},
])
def test_gradcheck(keywords):
    def call(q, k, v):
        return attend(q, k, v, **keywords)
    assert torch.autograd.gradcheck(call, inputs(), eps=1e-2, atol=1e-2, rtol=1e-2)


def ragged_inputs():
    tensors = [x.detach().flatten(0, 1).requires_grad_() for x in inputs()]
    return tensors, {"q_offsets": [0, 5, 14], "kv_offsets": [0, 19, 38], "causal": True}


@pytest.mark.parametrize("name", ["causal", "all", "ragged"])
def test_opcheck(name):
    tensors, keywords = inputs(), {}
    if name == "ragged":
        tensors, keywords = ragged_inputs()
    else:
        keywords = CASES[name][0] | learned(**CASES[name][1])
    arguments = rapt.torch._arguments(tensors[0], dict(keywords, threads=1))
    passed = torch.library.opcheck(torch.ops.rapt.attend, (*tensors, *arguments))
    assert set(passed.values()) == {"SUCCESS"}
    still = [x.detach() if isinstance(x, torch.Tensor) else x for x in (*tensors, *arguments)]
    out, lse = torch.ops.rapt.attend(*still)
    wanted = [name == "all"] * 3
    passed = torch.library.opcheck(torch.ops.rapt.attend_backward,
                                   (torch.randn_like(out), *still[:3], out, lse, wanted,
                                    *still[3:]))
    assert set(passed.values()) == {"SUCCESS"}


def test_pages_have_a_fake_kernel_for_every_layout():
    q, k, v = make()
    for layout in ("page_head_dim", "head_dim_page", "x_packed"):
        (k_cache, v_cache), table = paged(layout, k, v)
        tensors = [torch.from_numpy(x) for x in (q, k_cache, v_cache)]
        keywords = {"page_table": torch.from_numpy(table), "page_layout": layout,
                    "page_size": PAGE, "kv_len": torch.tensor([KV_LEN] * BATCH).int(),
                    "threads": 1}
        arguments = rapt.torch._arguments(tensors[0], keywords)
        torch.library.opcheck(torch.ops.rapt.attend, (*tensors, *arguments))


# ---- the front ----


def test_the_dispatcher_is_left_out_where_nothing_is_learned(monkeypatch):
    calls = []
    monkeypatch.setattr(rapt.torch._attention, "run",
                        lambda q, k, v, keywords: calls.append(keywords))
    q, k, v = inputs()
    with torch.no_grad():
        attend(q, k, v, causal=True)
    attend(q.detach(), k.detach(), v.detach(), threads=3)
    assert [call["threads"] for call in calls] == [torch.get_num_threads(), 3]
    with pytest.raises(TypeError):  # the operator is called, and gets nothing from the above
        attend(q, k, v)
    assert len(calls) == 3


def test_both_ways_have_the_same_bits_and_lse_is_detached():
    q, k, v = inputs()
    recorded, lse = attend(q, k, v, causal=True, return_lse=True, window=(5, None), scale=0.2)
    with torch.no_grad():
        plain_out, plain_lse = attend(q, k, v, causal=True, return_lse=True, window=(5, None),
                                      scale=0.2)
    assert torch.equal(recorded, plain_out) and torch.equal(lse, plain_lse)
    assert recorded.requires_grad and not lse.requires_grad


@pytest.mark.parametrize("requires_grad", [False, True])
def test_refusals_are_those_of_rapt(requires_grad):
    q, k, v = inputs(requires_grad=requires_grad)
    refused(ValueError, "k: head_dim is 8, q has 16", attend, q, k[..., :8], v)
    refused(ValueError, "window: is 3", attend, q, k, v, window=3)
    refused(TypeError, "unexpected keyword argument 'casual'", attend, q, k, v, casual=True)
    refused(TypeError, "unexpected keyword argument 'out'", attend, q, k, v, out=q)
    refused(ValueError, "v: dtype is torch.float64", attend, q, k, v.double())


def test_attention_cannot_be_differentiated_twice():
    q, k, v = inputs()
    gradient, = torch.autograd.grad(attend(q, k, v).sum(), q, create_graph=True)
    refused(NotImplementedError, "attend_backward: has no gradient of its own",
            gradient.sum().backward)


def test_only_what_is_asked_for_gets_a_gradient():
    q, k, v = inputs(requires_grad=False)
    sinks = torch.zeros(Q_HEADS, requires_grad=True)
    bias = torch.zeros(1, 1, 1, KV_LEN)
    attend(q, k, v, sinks=sinks, bias=bias).sum().backward()
    assert sinks.grad.abs().sum() > 0 and q.grad is None and bias.grad is None


def test_a_training_step_copies_nothing():
    q, k, v = inputs()
    d_out = torch.randn(BATCH, Q_LEN, Q_HEADS, v.shape[-1])
    with torch.profiler.profile() as profile:
        torch.autograd.grad(attend(q, k, v, causal=True), (q, k, v), d_out)
    names = {event.name for event in profile.events()}
    assert "rapt::attend" in names and "rapt::attend_backward" in names
    assert not names & {"aten::copy_", "aten::clone", "aten::contiguous", "aten::to", "aten::item"}


# ---- what torch builds on operators ----


def block(q, k, v, bias):
    out = attend(q * 1.5, k, v, causal=True, bias=bias, softcap=4.0)
    return out.sin().sum()


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_whole(backend, dynamic):
    torch._dynamo.reset()
    compiled = torch.compile(block, fullgraph=True, backend=backend, dynamic=dynamic)
    for q_len in (Q_LEN, Q_LEN + 4):
        tensors = inputs(q_len=q_len)
        tensors.append(torch.randn(1, 1, 1, KV_LEN, requires_grad=True))
        loss, compiled_loss = block(*tensors), compiled(*tensors)
        torch.testing.assert_close(compiled_loss, loss, rtol=1e-5, atol=1e-5)
        for found, wanted in zip(torch.autograd.grad(compiled_loss, tensors),
                                 torch.autograd.grad(loss, tensors)):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_export_keeps_the_operator():
    class Model(torch.nn.Module):
        def forward(self, q, k, v):
            return attend(q, k, v, window=(4, 0), threads=1)

    tensors = inputs(requires_grad=False)
    exported = torch.export.export(Model(), tuple(tensors))
    assert any(node.target == torch.ops.rapt.attend.default for node in exported.graph.nodes)
    assert torch.equal(exported.module()(*tensors), Model()(*tensors))


def test_autocast():
    tensors = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        out = attend(*tensors, causal=True)
        assert out.dtype == torch.bfloat16
    gradients = torch.autograd.grad(out.float().sum(), tensors)
    assert all(x.dtype == torch.float32 and x.abs().sum() > 0 for x in gradients)
    with torch.no_grad():
        assert torch.equal(out, attend(*(x.bfloat16() for x in tensors), causal=True))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_replay_the_same_dropout(reentrant):
    def call(q, k, v):
        return attend(q, k, v, dropout=0.4, seed=9, offset=2).square()

    tensors = inputs()
    kept = torch.autograd.grad(call(*tensors).sum(), tensors)
    again = torch.utils.checkpoint.checkpoint(call, *tensors, use_reentrant=reentrant)
    again.sum().backward()
    assert all(torch.equal(x.grad, y) for x, y in zip(tensors, kept))


def test_transforms_see_the_operator():
    q, k, v = inputs(requires_grad=False)
    with pytest.raises(RuntimeError, match="functorch"):  # and not silently no gradient
        torch.func.grad(lambda x: attend(x, k, v).square().sum())(q)
    mapped = torch.vmap(attend)(q[:, None], k[:, None], v[:, None])
    assert torch.equal(mapped[:, 0], attend(q, k, v))


def test_nested_tensors():
    lens = [(5, 8), (2, 3), (9, 9)]
    parts = [inputs(seed=b, batch=1, q_len=n, kv_len=m) for b, (n, m) in enumerate(lens)]
    nested = [torch.nested.as_nested_tensor([x[i][0].detach() for x in parts],
                                            layout=torch.jagged).requires_grad_()
              for i in range(3)]
    out = rapt.torch.attend_nested(*nested, causal=True)
    wanted = [attend(*part, causal=True)[0] for part in parts]
    for found, right in zip(out.unbind(), wanted):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-6)
    gradients = torch.autograd.grad(out.values().sum(), nested)
    for i, gradient in enumerate(gradients):
        rights = [torch.autograd.grad(right.sum(), part[i], retain_graph=True)[0][0]
                  for right, part in zip(wanted, parts)]
        for found, right in zip(gradient.unbind(), rights):
            torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-5)
    refused(ValueError, "k: must be a nested tensor", rapt.torch.attend_nested, nested[0],
            parts[0][1], nested[2])
