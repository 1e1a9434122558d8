# SPDX-License-Identifier: Apache-2.0 OR MIT
"""attend_backward from Python: directional derivatives of the float64 oracle, outputs, refusals."""

import numpy as np
import pytest
from python_oracle import BATCH, KV_LEN, Q_HEADS, Q_LEN, dense, make, refused

import rapt

RNG = np.random.default_rng(11)
BIAS = RNG.normal(0, 1, (1, Q_HEADS, 1, KV_LEN)).astype(np.float32)
SINKS = np.array([0.5, -1.0, 2.0, 0.0], np.float32)
SLOPES = np.array([0.5, 0.25, 0.125, 0.0625], np.float32)

FEATURES = {
    "plain": ({}, {}),
    "causal": ({"causal": True}, {"band": (None, 0, 0)}),
    "window and softcap": ({"window": (3, 2), "softcap": 1.5}, {"band": (3, 2, 0), "softcap": 1.5}),
    "dropout": ({"dropout": 0.3, "seed": 7}, {"dropout": (0.3, 7, 0)}),
}


def loss(d_out, q, k, v, **spec):
    return float(np.sum(np.asarray(dense(q, k, v, **spec)[0], np.float64) * d_out))


def along(direction, d_out, arrays, spec):
    """The oracle's derivative where every array moves along its part of the direction."""
    step = 1e-5
    moved = [[np.asarray(a, np.float64) + sign * step * u for a, u in zip(arrays, direction)]
             for sign in (1, -1)]
    return (loss(d_out, *moved[0], **spec) - loss(d_out, *moved[1], **spec)) / (2 * step)


@pytest.mark.parametrize("feature", FEATURES)
def test_gradients_are_the_oracle_s_derivatives(feature):
    keywords, spec = FEATURES[feature]
    q, k, v = make()
    out, lse = rapt.attend(q, k, v, return_lse=True, **keywords)
    d_out = RNG.normal(0, 1, out.shape).astype(np.float32)
    found = rapt.attend_backward(d_out, q, k, v, out, lse, **keywords)
    for _ in range(3):
        direction = [RNG.normal(0, 1, a.shape) for a in (q, k, v)]
        wanted = along(direction, d_out, (q, k, v), spec)
        got = sum(float(np.sum(g.astype(np.float64) * u)) for g, u in zip(found, direction))
        assert got == pytest.approx(wanted, rel=1e-4, abs=1e-3)


def test_what_features_add_is_written_where_asked():
    q, k, v = make()
    keywords = {"bias": BIAS, "sinks": SINKS, "alibi": SLOPES}
    out, lse = rapt.attend(q, k, v, return_lse=True, **keywords)
    d_out = np.ones_like(out)
    wanted = {"d_bias": np.full_like(BIAS, np.nan), "d_sinks": np.full_like(SINKS, np.nan),
              "d_slopes": np.full_like(SLOPES, np.nan)}
    found = rapt.attend_backward(d_out, q, k, v, out, lse, **wanted, **keywords)
    assert found.d_bias is wanted["d_bias"] and found.d_sinks is wanted["d_sinks"]
    assert all(np.isfinite(array).all() for array in wanted.values())
    # What a sink takes from the keys it takes from their bias: together they change nothing.
    assert float(found.d_bias.sum() + found.d_sinks.sum()) == pytest.approx(0, abs=1e-3)


def test_outputs_are_used_and_threads_give_the_same_bits():
    q, k, v = make()
    out, lse = rapt.attend(q, k, v, return_lse=True)
    d_out = RNG.normal(0, 1, out.shape).astype(np.float32)
    dq = np.full_like(q, np.nan)
    one = rapt.attend_backward(d_out, q, k, v, out, lse, dq=dq, threads=1)
    two = rapt.attend_backward(d_out, q, k, v, out, lse, threads=2)
    assert one.dq is dq and one.d_bias is None
    for a, b in zip(one[:3], two[:3]):
        assert np.array_equal(a, b)


def test_torch_agrees_with_its_own_autograd():
    torch = pytest.importorskip("torch")
    q, k, v = (torch.randn(BATCH, Q_LEN, 2, 16, requires_grad=True) for _ in range(3))
    heads = [x.transpose(1, 2) for x in (q, k, v)]
    wanted = torch.nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2)
    d_out = torch.randn(wanted.shape)
    wanted.backward(d_out)
    plain = [x.detach() for x in (q, k, v)]
    out, lse = rapt.attend(*plain, return_lse=True)
    found = rapt.attend_backward(d_out, *plain, out, lse)
    for gradient, x in zip(found, (q, k, v)):
        assert torch.allclose(gradient, x.grad, atol=1e-5)


def test_refusals_begin_with_the_argument():
    q, k, v = make()
    out, lse = rapt.attend(q, k, v, return_lse=True)
    refused(ValueError, "d_out: shape", rapt.attend_backward, out[:, 1:], q, k, v, out, lse)
    refused(ValueError, "lse: is not given", rapt.attend_backward, out, q, k, v, out, None)
    refused(ValueError, "d_sinks: the problem has no sinks", rapt.attend_backward, out, q, k, v,
            out, lse, d_sinks=np.zeros(Q_HEADS, np.float32))
