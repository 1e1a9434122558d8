# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Arrays of other libraries: JAX's own, and what DLPack demands, by producers made here: no copy,
the capsule's life, read-only flags, and the stream of a CUDA device, on which CuPy's arrays lie."""

import contextlib
import ctypes
import gc
import sys
import types
import weakref

import numpy as np
import pytest
from python_oracle import (BATCH, KV_LEN, Q_HEADS, Q_LEN, VALUE_DIM, close, dense, make, refused)

import rapt
from rapt import _abi, _dlpack, _problem, _tensor

VALUES = (BATCH, Q_LEN, Q_HEADS, VALUE_DIM)


class Producer:
    """An array that says of itself no more than its shape and DLPack."""

    device = (1, 0)

    def __init__(self, array):
        self.array, self.asked = array, []

    @property
    def shape(self):
        return self.array.shape

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **asked):
        self.asked.append(asked)
        return self.array.__dlpack__(max_version=asked.get("max_version"))


class OldProducer(Producer):
    """From before DLPack had versions."""

    def __dlpack__(self, *, stream=None):
        return self.array.__dlpack__()


def view_of(array):
    """(data, shape, strides, dtype) that rapt is given for an array."""
    call = _problem.Call(array, array, array, {"out": np.empty(array.shape, np.float32)})
    tensor = call.problem.q
    rank = tensor.rank
    return tensor.data, tuple(tensor.shape[:rank]), tuple(tensor.strides[:rank]), tensor.dtype


# ---- DLPack on the CPU ----


@pytest.mark.parametrize("kind", [Producer, OldProducer])
def test_a_producer_s_memory_is_read_where_it_lies(kind):
    arrays = make()
    views = [x.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3) for x in arrays]
    out, lse = rapt.attend(*map(kind, views), causal=True, return_lse=True)
    assert type(out) is np.ndarray and type(lse) is np.ndarray
    close(out, dense(*arrays, band=(None, 0, 0))[0])
    assert view_of(kind(views[0])) == view_of(views[0])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int32", "uint32", "int64"])
def test_dtypes_and_empty_shapes_are_numpy_s(dtype):
    for shape in ((2, 3, 4, 8), (2, 0, 4, 8), (5,), (1, 1, 2, 8)):
        array = np.zeros(shape, dtype)
        found = _dlpack.read("q", Producer(array), None)
        assert (found.dtype, found.shape) == (dtype, shape)
        assert array.size == 0 or found.data == array.ctypes.data
        wanted = [stride // array.itemsize for stride in array.strides]
        assert array.size == 0 or found.strides == tuple(wanted)


def test_a_byte_offset_and_null_strides_are_understood():
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    capsule = array.__dlpack__()
    start = _dlpack._pointer_of(capsule, b"dltensor")
    fields = list(_dlpack._TENSOR.unpack(ctypes.string_at(start, _dlpack._TENSOR.size)))
    fields[0], fields[-2], fields[-1] = fields[0] - 16, 0, 16
    ctypes.memmove(start, _dlpack._TENSOR.pack(*fields), _dlpack._TENSOR.size)
    found = _dlpack._describe("q", capsule, _dlpack.CPU, 0)
    assert (found.data, found.strides) == (array.ctypes.data, (12, 4, 1))


def test_capsules_of_another_kind_or_version_are_refused():
    capsule = np.zeros(3).__dlpack__(max_version=(1, 0))
    major = ctypes.c_uint32.from_address(_dlpack._pointer_of(capsule, b"dltensor_versioned"))
    major.value = 2
    refused(ValueError, "q: DLPack's version is 2; must be 1", _dlpack._open, "q", capsule)
    major.value = 1
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    other = new(("PyCapsule_New", ctypes.pythonapi))(ctypes.addressof(major), b"else", None)
    refused(ValueError, "q: its capsule is named b'else'", _dlpack._open, "q", other)


class Temporary(Producer):
    """Exports a copy that only the capsule holds."""

    def __dlpack__(self, **asked):
        copy = self.array.copy()
        self.exported = weakref.ref(copy)
        return copy.__dlpack__(max_version=asked.get("max_version"))


def test_a_capsule_lives_as_long_as_the_call_and_no_longer():
    q, k, v = map(Temporary, make())
    slopes = Temporary(np.array([0.5, 0.25, 0.125, 0.0625], np.float32))
    call = _problem.Call(q, k, v, {"alibi": slopes, "out": np.empty(VALUES, np.float32)})
    gc.collect()
    assert all(x.exported() is not None for x in (q, k, v, slopes))
    del call
    gc.collect()
    assert all(x.exported() is None for x in (q, k, v, slopes))
    wanted = rapt.attend(*make(), alibi=slopes.array)
    np.testing.assert_array_equal(rapt.attend(q, k, v, alibi=slopes), wanted)
    assert all(x.exported() is None for x in (q, k, v, slopes))


def test_outputs_are_written_into_producers_that_allow_it():
    q, k, v = make()
    wanted = rapt.attend(q, k, v)
    out = Producer(np.full_like(wanted, np.nan))
    assert rapt.attend(q, k, v, out=out) is out
    np.testing.assert_array_equal(out.array, wanted)
    out.array.flags.writeable = False
    refused(ValueError, "out: the array is read-only", rapt.attend, q, k, v, out=out)


def test_producers_that_rapt_cannot_read_are_refused():
    q, k, v = make()
    elsewhere = Producer(q)
    elsewhere.device = (10, 2)
    refused(NotImplementedError, "q: is a Producer on DLPack's device 10:2; must be on the CPU",
            rapt.attend, elsewhere, k, v)
    elsewhere.device = (2, 0)
    refused(NotImplementedError, "k: is a Producer on DLPack's device 2:0", rapt.attend, q,
            elsewhere, v)
    refused(ValueError, r"v: DLPack's dtype is \(2, 64, 1\)", rapt.attend, q, k,
            Producer(v.astype(np.float64)))
    refused(ValueError, "q: rank is 6", rapt.attend, Producer(q[None, None]), k, v)
    refused(ValueError, "q: rank is 0", rapt.attend, Producer(np.zeros((), np.float32)), k, v)


# ---- CUDA devices, CuPy's way ----


class CupyArray(Producer):
    """On CUDA device 3, or so it says; its memory is the host's."""

    device = None

    def __init__(self, array):
        super().__init__(array)
        self.device = Device()

    def __dlpack_device__(self):
        return (2, self.device.id)

    @property
    def dtype(self):
        return self.array.dtype


CupyArray.__module__ = "cupy"


class Device(contextlib.nullcontext):
    """What CupyArray.device is; `entered` counts the blocks that are inside."""

    id, entered = 3, 0

    def __enter__(self):
        Device.entered += 1

    def __exit__(self, *_):
        Device.entered -= 1


@pytest.fixture(name="cupy")
def fixture_cupy(monkeypatch):
    """A module in CuPy's place, whose current stream of device 3 is `stream`."""
    def empty(shape, dtype):
        assert Device.entered == 1
        return CupyArray(np.empty(shape, dtype))

    def current_stream(device):
        return types.SimpleNamespace(ptr={3: cupy.stream}[device])

    cupy = types.SimpleNamespace(
        stream=0xABC, empty=empty, asarray=lambda x: CupyArray(np.array(x)),
        cuda=types.SimpleNamespace(get_current_stream=current_stream))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


@pytest.mark.parametrize(("current", "asked"), [(0xABC, 0xABC), (2, 2), (0, 1)])
def test_cupy_s_arrays_are_asked_for_on_its_current_stream(cupy, current, asked):
    cupy.stream = current
    q, k, v = map(CupyArray, make())
    call = _problem.Call(q, k, v, {"alibi": [0.5, 0.25, 0.125, 0.0625], "return_lse": True})
    for field, array in zip("qkv", (q, k, v)):
        tensor = getattr(call.problem, field)
        assert (tensor.device_kind, tensor.device_index) == (1, 3)
        assert tensor.data == array.array.ctypes.data
        assert array.asked == [{"stream": asked, "max_version": (1, 0)}]
    assert call.stream == current
    assert (call.options._obj.stream or 0) == current if current else call.options is None
    out, lse = call.result()
    assert isinstance(out, CupyArray) and out.array.dtype == np.float32
    assert isinstance(lse, CupyArray) and lse.shape == (*q.shape[:1], Q_HEADS, q.shape[1])
    slopes = _abi.Alibi.from_address(call.problem.alibi).slopes
    assert (slopes.device_kind, slopes.device_index) == (1, 3)


def test_cupy_s_arrays_reach_the_library_as_a_device_s(cupy):
    q, k, v = map(CupyArray, make())
    refused(NotImplementedError, "q: lives on another device", rapt.attend, q, k, v, backend="cpu")
    refused(ValueError, "k: is on device 0:0, q on 1:3", rapt.attend, q, k.array, v)


def test_one_library_s_arrays_on_a_device(cupy):
    class Tensor(CupyArray):
        is_cuda = True

    Tensor.__module__ = "torch"
    q, k, v = map(CupyArray, make())
    refused(ValueError, "bias: is an array of torch; must be of cupy", rapt.attend, q, k, v,
            bias=Tensor(np.zeros((1, 1, 1, KV_LEN), np.float32)))


def test_the_memory_of_a_plan_of_cupy_s_stays_on_one_stream(cupy):
    refused(NotImplementedError, "plan: CuPy's current stream is another", _tensor.keep,
            CupyArray(np.zeros(8, np.uint8)))


# ---- JAX ----


@pytest.fixture(name="jax")
def fixture_jax():
    return pytest.importorskip("jax")


def of_jax(jax, dtype="float32", **sizes):
    return [jax.numpy.asarray(x).astype(dtype) for x in make(**sizes)]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_jax_s_arrays_give_new_ones_of_numpy_s_bits(jax, dtype):
    q, k, v = of_jax(jax, dtype)
    out, lse = rapt.attend(q, k, v, causal=True, return_lse=True)
    assert isinstance(out, jax.Array) and isinstance(lse, jax.Array)
    assert out.dtype == q.dtype and out.devices() == q.devices()
    wanted = rapt.attend(*map(np.asarray, (q, k, v)), causal=True, return_lse=True)
    np.testing.assert_array_equal(np.asarray(out), wanted[0])
    np.testing.assert_array_equal(np.asarray(lse), wanted[1])
    assert out.sum().shape == ()  # JAX computes with it


def test_jax_s_memory_is_not_copied(jax):
    q, k, v = of_jax(jax)
    call = _problem.Call(q, k, v, {})
    for field, array in zip("qkv", (q, k, v)):
        assert getattr(call.problem, field).data == array.unsafe_buffer_pointer()
    assert call.result().unsafe_buffer_pointer() == call.problem.out.data


def test_jax_s_new_arrays_hold_their_memory(jax):
    q, k, v = of_jax(jax)
    call = _problem.Call(q, k, v, {})
    owner = call.out
    while owner.base is not None:
        owner = owner.base
    memory, out = weakref.ref(owner), call.result()
    del call, owner
    gc.collect()
    assert memory() is not None
    del out
    gc.collect()
    assert memory() is None


def test_jax_s_arrays_are_waited_for(jax):
    q, k, v = of_jax(jax)
    slow = jax.jit(lambda x: x + 0 * jax.numpy.linalg.matrix_power(big, 30).sum())
    big = jax.numpy.eye(700)
    slow(q).block_until_ready()
    wanted = rapt.attend(*map(np.asarray, (q, k, v)))
    np.testing.assert_array_equal(np.asarray(rapt.attend(slow(q), k, v)), wanted)


def test_every_verb_answers_with_jax_s_arrays(jax):
    q, k, v = of_jax(jax)
    out, lse = rapt.attend(q, k, v, return_lse=True)
    numpy_s = [np.asarray(x) for x in (out, q, k, v, out, lse)]
    found = rapt.attend_backward(out, q, k, v, out, lse)[:3]
    for gradient, wanted in zip(found, rapt.attend_backward(*numpy_s)[:3]):
        assert isinstance(gradient, jax.Array)
        np.testing.assert_array_equal(np.asarray(gradient), wanted)
    assert isinstance(rapt.merge([out, out], [lse, lse]), jax.Array)
    plan = rapt.Plan(q, k, v)
    plan.upload()
    np.testing.assert_array_equal(np.asarray(plan.run(q, k, v)), numpy_s[0])
    assert rapt.explain(q, k, v) == rapt.explain(*numpy_s[1:4])


def test_jax_s_arrays_are_never_written(jax):
    q, k, v = of_jax(jax)
    out, lse = rapt.attend(q, k, v, return_lse=True)
    refused(ValueError, "out: the array is read-only", rapt.attend, q, k, v, out=out)
    refused(ValueError, "k_cache: the array is read-only", rapt.append, k[0], v[0], k, v, [0] * 19)
    given = np.empty(out.shape, np.float32)
    assert rapt.attend(q, k, v, out=given) is given
    np.testing.assert_array_equal(given, np.asarray(out))


def test_jax_s_tracers_and_devices_are_refused(jax):
    q, k, v = of_jax(jax)
    with pytest.raises(TypeError, match="q: is a DynamicJaxprTracer; must be an array"):
        jax.jit(lambda q: rapt.attend(q, k, v))(q)

    class OnDevice(Producer):
        device = (2, 0)

    OnDevice.__module__ = "jaxlib"
    refused(NotImplementedError, "q: is a OnDevice on DLPack's device 2:0", rapt.attend,
            OnDevice(np.asarray(q)), k, v)
