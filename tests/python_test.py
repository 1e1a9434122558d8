# SPDX-License-Identifier: Apache-2.0 OR MIT
"""attend from Python: every keyword group against float64, views and outputs, torch, refusals.

Run from the repository root with PYTHONPATH=python. torch and ml_dtypes are optional.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from python_oracle import (BATCH, KV_HEADS, KV_LEN, PAGE, Q_HEADS, Q_LEN, VALUE_DIM, close,
                           compare, dense, make, paged, refused, sequence)

import rapt
from rapt import _abi, _library, _problem


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_numpy_dtypes_agree_with_float64(dtype, causal):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    q, k, v = make(dtype=dtype)
    out, _ = compare(dense(q, k, v, band=(None, 0 if causal else None, 0)), q, k, v, causal=causal)
    assert out.dtype == q.dtype


RNG = np.random.default_rng(5)
SLOPES = (2.0**-np.arange(1, 2 * BATCH * Q_HEADS + 1, 2)).astype(np.float32)
BIAS = RNG.normal(0, 1, (BATCH, Q_HEADS, Q_LEN, KV_LEN)).astype(np.float32)
SINKS = np.array([0.5, -np.inf, 2.0, -1.0], np.float32)

# What attend is given, and what the oracle is told.
FEATURES = {
    "window": ({"window": (3, 2)}, {"band": (3, 2, 0)}),
    "window of the past": ({"window": (3, None), "causal": True}, {"band": (3, 0, 0)}),
    "window of the future": ({"window": (None, 1)}, {"band": (None, 1, 0)}),
    "self alone": ({"window": (0, 0)}, {"band": (0, 0, 0)}),
    "sink_tokens": ({"window": (2, 0), "sink_tokens": 3}, {"band": (2, 0, 3)}),
    "scale": ({"scale": 0.7}, {"scale": 0.7}),
    "softcap": ({"softcap": 1.5}, {"softcap": 1.5}),
    "alibi a head": ({"alibi": SLOPES[:Q_HEADS]}, {"alibi": SLOPES[:Q_HEADS]}),
    "alibi as a list": ({"alibi": SLOPES[:Q_HEADS].tolist()}, {"alibi": SLOPES[:Q_HEADS]}),
    "alibi a sequence": ({"alibi": SLOPES.reshape(BATCH, Q_HEADS)},
                         {"alibi": lambda b: SLOPES.reshape(BATCH, Q_HEADS)[b]}),
    "bias": ({"bias": BIAS}, {"bias": lambda b: BIAS[b]}),
    "bias in float16": ({"bias": BIAS.astype(np.float16)},
                        {"bias": lambda b: BIAS[b].astype(np.float16)}),
    "bias broadcast": ({"bias": BIAS[:1, :1]}, {"bias": np.repeat(BIAS[0, :1], Q_HEADS, 0)}),
    "sinks": ({"sinks": SINKS}, {"sinks": SINKS}),
    "dropout": ({"dropout": 0.3, "seed": 2**63 + 5, "offset": 9},
                {"dropout": (0.3, 2**63 + 5, 9)}),
    "q_start": ({"q_start": np.array([4, 11], np.int64), "causal": True},
                {"q_start": lambda b: (4, 11)[b], "band": (None, 0, 0)}),
    "kv_start": ({"kv_start": [2, 5], "q_start": [8, 3], "causal": True},
                 {"kv_start": lambda b: (2, 5)[b], "q_start": lambda b: (8, 3)[b],
                  "band": (None, 0, 0)}),
    "all at once": ({"window": (6, 1), "sink_tokens": 2, "scale": 0.3, "softcap": 2.0,
                     "alibi": SLOPES[:Q_HEADS], "bias": BIAS, "sinks": SINKS, "dropout": 0.1,
                     "seed": 3},
                    {"band": (6, 1, 2), "scale": 0.3, "softcap": 2.0, "alibi": SLOPES[:Q_HEADS],
                     "bias": lambda b: BIAS[b], "sinks": SINKS, "dropout": (0.1, 3, 0)}),
}


@pytest.mark.parametrize("name", FEATURES)
def test_feature_agrees_with_float64(name):
    keywords, spec = FEATURES[name]
    q, k, v = make()
    out, _ = compare(dense(q, k, v, **spec), q, k, v, **keywords)
    plain = rapt.attend(q, k, v)
    assert not np.array_equal(out, plain)


@pytest.mark.parametrize("off", [{"causal": False}, {"window": None}, {"softcap": 0.0},
                                 {"scale": None}, {"dropout": 0.0, "seed": 4}, {"alibi": None},
                                 {"sink_tokens": 0}, {"kv_len": None}, {"page_table": None}])
def test_a_keyword_at_its_default_is_off(off):
    q, k, v = make()
    np.testing.assert_array_equal(rapt.attend(q, k, v, **off), rapt.attend(q, k, v))


def test_a_query_that_sees_nothing_is_zero_and_minus_infinity():
    q, k, v = make(q_len=9, kv_len=4)
    out, lse = compare(dense(q, k, v, band=(None, 0, 0)), q, k, v, causal=True)
    assert (out[:, :5] == 0).all() and np.isneginf(lse[:, :, :5]).all()


def test_no_keys_and_no_queries_are_legal():
    q, k, v = make(kv_len=0)
    out, lse = rapt.attend(q, k, v, return_lse=True)
    assert (out == 0).all() and np.isneginf(lse).all()
    assert rapt.attend(*make(q_len=0)).shape == (BATCH, 0, Q_HEADS, VALUE_DIM)


Q_LENS, KV_LENS = (5, 0, 9), (8, 3, 9)


def ragged_data():
    parts = [make(seed=b, batch=1, q_len=Q_LENS[b], kv_len=KV_LENS[b]) for b in range(3)]
    packed = [np.concatenate([part[i][0] for part in parts]) for i in range(3)]
    wanted = [sequence(*(x[0] for x in part), band=(None, 0, 0)) for part in parts]
    return packed, (np.concatenate([out for out, _ in wanted]),
                    np.concatenate([lse for _, lse in wanted], 1))


@pytest.mark.parametrize("kind", [list, np.int32, np.uint32])
def test_ragged_agrees_with_float64(kind):
    (q, k, v), wanted = ragged_data()
    offsets = [[0, *np.cumsum(lengths).tolist()] for lengths in (Q_LENS, KV_LENS)]
    if kind is not list:
        offsets = [np.array(numbers, kind) for numbers in offsets]
    compare(wanted, q, k, v, causal=True, q_offsets=offsets[0], kv_offsets=offsets[1])
    compare(wanted, q, k, v, causal=True, q_offsets=offsets[0], kv_offsets=offsets[1],
            max_q_len=9, max_kv_len=9)


def test_lengths_cache_row_and_left_pad_agree_with_float64():
    q, k, v = make(batch=4)
    kv_len, left_pad, cache_row, q_len = [19, 11], [0, 4], [3, 1], [7, 5]
    out, lse = rapt.attend(q[:2], k, v, causal=True, return_lse=True, kv_len=kv_len,
                           left_pad=left_pad, cache_row=cache_row, q_len=q_len)
    for b in range(2):
        keys = (cache_row[b], slice(left_pad[b], kv_len[b]))
        wanted = sequence(q[b, :q_len[b]], k[keys], v[keys], band=(None, 0, 0))
        close(out[b, :q_len[b]], wanted[0])
        close(lse[b, :, :q_len[b]], wanted[1])
        assert (out[b, q_len[b]:] == 0).all() and np.isneginf(lse[b, :, q_len[b]:]).all()


@pytest.mark.parametrize("layout", _abi.PAGE_LAYOUTS)
def test_pages_agree_with_float64(layout):
    q, k, v = make()
    (k_cache, v_cache), table = paged(layout, k, v)
    wanted = dense(q, k, v, band=(None, 0, 0))
    common = {"causal": True, "page_table": table, "kv_len": [KV_LEN] * BATCH}
    compare(wanted, q, k_cache, v_cache, page_layout=layout, **common)
    compare(wanted, q, k_cache, v_cache, page_layout=layout, page_size=PAGE, **common)


# ---- arrays: views, outputs, threads ----


def test_views_are_read_where_they_lie():
    q, k, v = make()
    wanted = rapt.attend(q, k, v)
    stored = [np.ascontiguousarray(x.transpose(0, 2, 1, 3)) for x in (q, k, v)]
    views = [x.transpose(0, 2, 1, 3) for x in stored]
    np.testing.assert_array_equal(rapt.attend(*views), wanted)
    call = _problem.Call(*views, {})
    for field, view in zip("qkv", views):
        tensor = getattr(call.problem, field)
        assert tensor.data == view.ctypes.data
        assert tuple(tensor.shape[:4]) == view.shape
        assert tuple(tensor.strides[:4]) == tuple(s // view.itemsize for s in view.strides)


def test_out_and_lse_are_written_in_place():
    q, k, v = make()
    wanted, wanted_lse = rapt.attend(q, k, v, return_lse=True)
    wide = np.full((BATCH, Q_LEN, Q_HEADS, 2 * VALUE_DIM), np.nan, np.float32)
    out = wide[..., :VALUE_DIM]
    lse = np.full((BATCH, Q_HEADS, Q_LEN), np.nan, np.float32)
    assert rapt.attend(q, k, v, out=out) is out
    answer = rapt.attend(q, k, v, out=out, lse=lse, return_lse=True)
    assert answer[0] is out and answer[1] is lse
    np.testing.assert_array_equal(out, wanted)
    np.testing.assert_array_equal(lse, wanted_lse)
    assert np.isnan(wide[..., VALUE_DIM:]).all()


def test_out_may_be_float32_for_16_bit_inputs():
    q, k, v = make(dtype=np.float16)
    out = np.empty((BATCH, Q_LEN, Q_HEADS, VALUE_DIM), np.float32)
    rapt.attend(q, k, v, out=out)
    np.testing.assert_array_equal(out.astype(np.float16), rapt.attend(q, k, v))


@pytest.mark.parametrize("shape", [(130, 257), (1, 5000)])
def test_threads_do_not_change_a_bit(shape):
    q, k, v = make(q_len=shape[0], kv_len=shape[1])
    one = rapt.attend(q, k, v, causal=True, threads=1)
    for threads in (2, 3):
        np.testing.assert_array_equal(rapt.attend(q, k, v, causal=True, threads=threads), one)


def test_python_threads_may_call_at_once():
    calls = [make(seed, q_len=65, kv_len=130) for seed in range(4)] * 4
    wanted = [rapt.attend(*call, causal=True) for call in calls[:4]] * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda call: rapt.attend(*call, causal=True), calls))
    np.testing.assert_array_equal(found, wanted)


# ---- torch ----


@pytest.fixture(name="torch")
def fixture_torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_torch_agrees_with_float64(torch, dtype):
    q, k, v = (torch.from_numpy(x).to(getattr(torch, dtype)) for x in make())
    doubles = [x.double().numpy() for x in (q, k, v)]
    out, lse = rapt.attend(q, k, v, causal=True, return_lse=True)
    assert out.dtype == q.dtype and lse.dtype == torch.float32
    wanted = dense(*doubles, band=(None, 0, 0))
    close(out.double().numpy(), wanted[0], dtype)
    close(lse.numpy(), wanted[1])


def test_torch_views_features_and_out(torch):
    arrays = make()
    q, k, v = (torch.from_numpy(x.transpose(0, 2, 1, 3).copy()).transpose(1, 2) for x in arrays)
    kv_len = torch.tensor([19, 8], dtype=torch.int32)
    out = torch.empty(BATCH, Q_LEN, Q_HEADS, VALUE_DIM)
    assert rapt.attend(q, k, v, kv_len=kv_len, alibi=torch.from_numpy(SLOPES[:4]), out=out) is out
    wanted = rapt.attend(*arrays, kv_len=[19, 8], alibi=SLOPES[:4])
    np.testing.assert_array_equal(out.numpy(), wanted)


def test_torch_gradients_are_refused(torch):
    q, k, v = (torch.from_numpy(x) for x in make())
    q.requires_grad_()
    refused(NotImplementedError, "q: requires a gradient", rapt.attend, q, k, v)
    parameter = torch.nn.Parameter(torch.from_numpy(SINKS))
    refused(NotImplementedError, "sinks: requires a gradient", rapt.attend, q.detach(), k, v,
            sinks=parameter)
    with torch.no_grad():
        out = rapt.attend(q, k, v, sinks=parameter)
    assert torch.equal(out, rapt.attend(q.detach(), k, v, sinks=parameter.detach()))


def test_torch_tensors_that_are_not_plain_cpu_memory_are_refused(torch):
    q, k, v = (torch.from_numpy(x) for x in make())
    refused(NotImplementedError, "k: is on device meta; must be on the CPU or a CUDA device",
            rapt.attend, q, k.to("meta"), v)
    refused(ValueError, "v: dtype is torch.float64", rapt.attend, q, k, v.double())
    lazy = torch.complex(q, q).conj().imag
    assert lazy.is_neg()
    refused(ValueError, "q: is a lazy negation", rapt.attend, lazy, k, v)
    refused(ValueError, "q: is torch.sparse_coo", rapt.attend, q.to_sparse(), k, v)


def on_device(torch, tensor, index):
    """A tensor of the CPU that says it is on a CUDA device."""

    class OnDevice(torch.Tensor):
        is_cpu, is_cuda = False, True
        device = f"device {index}"

        def get_device(self):
            return index

    return tensor.as_subclass(OnDevice)


def test_device_and_current_stream_of_torch_s_cuda_tensors_are_passed_on(torch, monkeypatch):
    class Stream:
        def __init__(self, device):
            self.cuda_stream = {"device 3": 0xABC}[device]

    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    q, k, v = (on_device(torch, torch.from_numpy(x), 3) for x in make())
    call = _problem.Call(q, k, v, {"alibi": on_device(torch, torch.from_numpy(SLOPES), 3)})
    for field in "qkv":
        tensor = getattr(call.problem, field)
        assert (tensor.device_kind, tensor.device_index) == (1, 3)
    assert call.options._obj.stream == call.stream == 0xABC
    cpu = _problem.Call(*make(), {"threads": 1})
    assert (cpu.problem.q.device_kind, cpu.options._obj.stream) == (0, None)


def test_torch_is_not_imported_for_numpy():
    program = ("import sys, numpy as np, rapt; x = np.ones((1, 2, 1, 8), np.float32); "
               "rapt.attend(x, x, x); assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", program], check=True)


# ---- refusals ----


def test_statuses_become_exceptions():
    kinds = {_abi.INVALID_ARGUMENT: ValueError, _abi.UNSUPPORTED: NotImplementedError,
             _abi.OUT_OF_MEMORY: MemoryError, _abi.DEVICE_ERROR: RuntimeError,
             _abi.INTERNAL: RuntimeError}
    for status, kind in kinds.items():
        with pytest.raises(kind) as error:
            _library.check(status)
        assert error.type is kind
    _library.check(_abi.OK)


def test_the_library_s_sentences_arrive():
    q, k, v = make()
    refused(ValueError, "k: head_dim is 8, q has 16", rapt.attend, q, k[..., :8], v)
    refused(ValueError, r"q: strides\[3\] is 2", rapt.attend, q[..., ::2], k[..., ::2], v)
    refused(ValueError, r"q: strides\[1\] is -", rapt.attend, q[:, ::-1], k, v)
    refused(ValueError, "q: rank is 0", rapt.attend, np.zeros((), np.float32), k, v)
    refused(ValueError, "v: rank is 1", rapt.attend, q, k, v[0, 0, 0])
    refused(ValueError, "scale: is -?nan", rapt.attend, q, k, v, scale=float("nan"))
    refused(ValueError, "mask.left: is -1", rapt.attend, q, k, v, window=(-1, 0))
    refused(ValueError, "softcap.cap: is -1", rapt.attend, q, k, v, softcap=-1.0)
    refused(ValueError, "dropout.probability: is 1", rapt.attend, q, k, v, dropout=1.0)
    refused(ValueError, "out: value_dim is 16", rapt.attend, q, k, v, out=np.empty_like(q))
    refused(ValueError, "out: overlaps q", rapt.attend, q, k, k.copy(), out=q)
    refused(ValueError, "options.threads: is -1", rapt.attend, q, k, v, threads=-1)
    refused(ValueError, "lengths.kv_len: sequence 1 is 20", rapt.attend, q, k, v,
            kv_len=[KV_LEN, KV_LEN + 1])
    refused(ValueError, "options.backend: .abacus.", rapt.attend, q, k, v, backend="abacus")
    refused(ValueError, "options.kernel: .cpu/none.", rapt.attend, q, k, v, kernel="cpu/none")


def test_torch_s_8_bit_tensors_answer_unsupported(torch):
    q, k, v = (torch.from_numpy(x).to(torch.float8_e4m3fn) for x in make())
    out = np.empty((BATCH, Q_LEN, Q_HEADS, VALUE_DIM), np.float32)
    factors = np.ones((BATCH, KV_HEADS), np.float32)
    refused(NotImplementedError, "q: dtype is fp8_e4m3", rapt.attend, q, k, v, out=out,
            q_descale=factors, k_descale=factors, v_descale=factors)


def test_arguments_that_no_struct_can_say_are_refused_here():
    q, k, v = make()
    refused(TypeError, "q: is a list", rapt.attend, [1.0], k, v)
    refused(TypeError, "k: is a MaskedArray", rapt.attend, q, np.ma.masked_array(k), v)
    refused(ValueError, "v: dtype is float64", rapt.attend, q, k, v.astype(np.float64))
    refused(ValueError, "q: dtype is >f4", rapt.attend, q.astype(">f4"), k, v)
    refused(ValueError, "q: rank is 6", rapt.attend, q[None, None], k, v)
    refused(ValueError, "q: data is not aligned", rapt.attend, misaligned(q), k, v)
    refused(ValueError, "window: is 3", rapt.attend, q, k, v, window=3)
    refused(ValueError, "window: right is 2", rapt.attend, q, k, v, window=(4, 2), causal=True)
    refused(ValueError, "window: is 9223372036854775808", rapt.attend, q, k, v, window=(2**63, 0))
    refused(TypeError, "window: is a float", rapt.attend, q, k, v, window=(1.5, 0))
    refused(TypeError, "scale: is a str", rapt.attend, q, k, v, scale="big")
    refused(ValueError, "seed: is -1", rapt.attend, q, k, v, dropout=0.5, seed=-1)
    refused(ValueError, "threads: is 4294967296", rapt.attend, q, k, v, threads=2**32)
    refused(ValueError, "kv_len: is .1099511627776, 1.", rapt.attend, q, k, v, kv_len=[2**40, 1])
    refused(ValueError, "kv_len: is a list of float64", rapt.attend, q, k, v, kv_len=[1.5, 2])
    refused(ValueError, "kv_len: ", rapt.attend, q, k, v, kv_len=[[1], [2, 3]])
    refused(ValueError, "max_q_len: is 3", rapt.attend, q, k, v, max_q_len=3)
    refused(ValueError, "page_table: is not given", rapt.attend, q, k, v, page_size=4)
    refused(ValueError, "page_layout: is 'flat'", rapt.attend, q, k, v, page_layout="flat",
            page_table=[[0]])
    refused(TypeError, "unexpected keyword argument 'casual'", rapt.attend, q, k, v,
            casual=True)


def misaligned(q):
    memory = np.zeros(q.nbytes + 1, np.uint8)
    view = memory[1:].view(np.float32).reshape(q.shape)
    view[:] = q
    return view


def test_nothing_is_written_by_a_refused_call():
    q, k, v = make()
    out = np.full((BATCH, Q_LEN, Q_HEADS, VALUE_DIM), 7, np.float32)
    locked = out.view()
    locked.flags.writeable = False
    refused(ValueError, "out: the array is read-only", rapt.attend, q, k, v, out=locked)
    refused(ValueError, "scale: ", rapt.attend, q, k, v, out=out, scale=float("inf"))
    assert (out == 7).all()


def test_read_only_inputs_are_welcome():
    q, k, v = make()
    wanted = rapt.attend(q, k, v)
    for x in (q, k, v):
        x.flags.writeable = False
    np.testing.assert_array_equal(rapt.attend(q, k, v), wanted)
