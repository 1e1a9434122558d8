# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The float64 oracle of the Python tests, their data and their comparisons."""

import numpy as np
import pytest
from philox import kept

import rapt

BATCH, Q_LEN, KV_LEN, Q_HEADS, KV_HEADS, HEAD_DIM, VALUE_DIM = 2, 7, 19, 4, 2, 16, 24
PAGE = 4


def visible(rows, columns, band):
    left, right, sink_tokens = band
    seen = columns <= rows + right if right is not None else np.ones_like(rows + columns, bool)
    near = columns >= rows - left if left is not None else np.ones_like(seen)
    return seen & (near | (np.arange(columns.size) < sink_tokens))


def one_head(q, k, v, head, spec):
    """(out, lse) of one head of one sequence; spec holds what a feature test turned on."""
    q_start = spec.get("q_start", len(k) - len(q))
    rows = (q_start + np.arange(len(q)))[:, None]
    columns = (spec.get("kv_start", 0) + np.arange(len(k)))[None, :]
    scores = spec.get("scale", q.shape[1]**-0.5) * (q @ k.T)
    if "softcap" in spec:
        scores = spec["softcap"] * np.tanh(scores / spec["softcap"])
    if "alibi" in spec:
        scores = scores - spec["alibi"][head] * np.abs(rows - columns)
    if "bias" in spec:
        scores = scores + spec["bias"][head][:len(q), :len(k)]
    scores = np.where(visible(rows, columns, spec.get("band", (None, None, 0))), scores, -np.inf)
    sink = spec["sinks"][head] if "sinks" in spec else -np.inf
    peak = np.maximum(scores.max(1, initial=-np.inf), sink)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    weights = np.exp(scores - peak[:, None])
    total = weights.sum(1) + np.exp(sink - peak)
    with np.errstate(divide="ignore"):
        lse = np.log(total) + peak
    weights = weights / np.where(total > 0, total, 1)[:, None]
    if "dropout" in spec:
        weights = weights * kept(spec["dropout"], spec["row"] * spec["heads"] + head, rows, columns)
    return weights @ v, lse


def sequence(q, k, v, **spec):
    """(out [q_len, q_heads, value_dim], lse [q_heads, q_len]) of one sequence."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    group = q.shape[1] // k.shape[1]
    spec["heads"] = q.shape[1]
    heads = [one_head(q[:, h], k[:, h // group], v[:, h // group], h, spec)
             for h in range(q.shape[1])]
    return np.stack([out for out, _ in heads], 1), np.stack([lse for _, lse in heads])


def dense(q, k, v, **spec):
    """The oracle over a batch; a spec value that is callable answers for its sequence."""
    parts = [sequence(q[b], k[b], v[b], row=b,
                      **{key: value(b) if callable(value) else value
                         for key, value in spec.items()})
             for b in range(len(q))]
    return tuple(np.stack(part) for part in zip(*parts))


def make(seed=1, dtype=np.float32, batch=BATCH, q_len=Q_LEN, kv_len=KV_LEN):
    rng = np.random.default_rng(seed)
    shapes = ((batch, q_len, Q_HEADS, HEAD_DIM), (batch, kv_len, KV_HEADS, HEAD_DIM),
              (batch, kv_len, KV_HEADS, VALUE_DIM))
    return tuple(rng.normal(0.1, 1, shape).astype(dtype) for shape in shapes)


def bound(dtype):
    """Error allowed, relative to the largest output: probabilities and outputs have this dtype."""
    name = str(dtype).rsplit(".", maxsplit=1)[-1]
    return {"float32": 32 * 2**-23, "float16": 2 * 2**-10, "bfloat16": 2 * 2**-7}[name]


def close(found, wanted, dtype=np.dtype("float32")):
    found = np.asarray(found, np.float64)
    assert found.shape == wanted.shape
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(found[~finite], wanted[~finite])
    error = np.abs(found[finite] - wanted[finite]).max(initial=0)
    assert error <= bound(dtype) * max(1.0, np.abs(wanted[finite]).max(initial=0)), error


def compare(wanted, q, k, v, **keywords):
    """attend's out and lse against the oracle's, written over NaN."""
    out, lse = rapt.attend(q, k, v, return_lse=True, **keywords)
    close(out, wanted[0], q.dtype)
    close(lse, wanted[1])
    return out, lse


def refused(kind, sentence, call, *arguments, **keywords):
    with pytest.raises(kind, match=f"^{sentence}"):
        call(*arguments, **keywords)


def paged(layout, k, v):
    """k and v [batch, kv_len, heads, dim] cut into pages, shuffled, with spare pages of NaN."""
    batch, kv_len = k.shape[:2]
    per_sequence = -(-kv_len // PAGE)
    table = np.random.default_rng(3).permutation(batch * per_sequence + 2)[:batch * per_sequence]
    table = table.reshape(batch, per_sequence).astype(np.int32)
    caches = []
    for x in (k, v):
        pages = np.full((batch * per_sequence + 2, PAGE, *x.shape[2:]), np.nan, x.dtype)
        for b in range(batch):
            for j in range(kv_len):
                pages[table[b, j // PAGE], j % PAGE] = x[b, j]
        caches.append(pages)
    return arrange(layout, *caches), table


def arrange(layout, k, v):
    """[pages, page, heads, dim] caches in another layout."""
    if layout == "head_page_dim":
        return [np.ascontiguousarray(x.transpose(0, 2, 1, 3)) for x in (k, v)]
    if layout in ("head_dim_page", "x_packed"):
        k, v = (np.ascontiguousarray(x.transpose(0, 2, 3, 1)) for x in (k, v))
    if layout == "x_packed":
        x = 16 // k.itemsize
        pages, heads, dim, size = k.shape
        k = k.reshape(pages, heads, dim // x, x, size).transpose(0, 1, 2, 4, 3)
    return [np.ascontiguousarray(k), v]
