# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Arrays of other libraries, read where they lie by DLPack: JAX's, CuPy's and whoever else's.

A capsule that nobody takes over gives its tensor back when it is dropped. So a call holds capsules
and reads what they point to; it takes over none. The layouts are dlpack.h's, versions 0 and 1.
"""

from __future__ import annotations

import ctypes
import math
import struct
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Tuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CPU, CUDA = 1, 2
_CUDA_HOST, _CUDA_MANAGED = 3, 13
_PLACES = {CPU: CPU, _CUDA_HOST: CPU, CUDA: CUDA, _CUDA_MANAGED: CUDA}
_DTYPES = {
    (2, 32, 1): "float32", (2, 16, 1): "float16", (4, 16, 1): "bfloat16",
    (10, 8, 1): "float8_e4m3fn", (12, 8, 1): "float8_e5m2", (0, 8, 1): "int8",
    (0, 32, 1): "int32", (1, 32, 1): "uint32", (0, 64, 1): "int64"
}
_VERSION = (1, 0)
_TENSOR = struct.Struct("@PiiiBBHPPQ")  # data, device, ndim, dtype, shape, strides, byte_offset
_HEAD = struct.Struct("@IIPPQ")  # of a DLManagedTensorVersioned: version, context, deleter, flags
_READ_ONLY = 1
_ALIGNMENT = 64  # bytes; less, and JAX copies what it is given
_DEFAULT_STREAM = 1  # DLPack's word for CUDA's legacy default stream, which CUDA calls 0

_name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(
    ("PyCapsule_GetName", ctypes.pythonapi))
_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi))


class Tensor(NamedTuple):
    """What a capsule describes, for as long as the capsule is held."""

    capsule: object
    data: int
    place: int  # CPU or CUDA
    device: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements
    read_only: bool


def read(name: str, array: Any, stream: Optional[int]) -> Tensor:
    """A view of `array`, which its library makes ready on the CUstream `stream` where it lies on a
    CUDA device; None says that there can be no stream, so that only the CPU's memory will do."""
    kind, index = array.__dlpack_device__()
    place = _PLACES.get(int(kind))
    if place is None or (place == CUDA and stream is None):
        raise NotImplementedError(
            f"{name}: is a {type(array).__name__} on DLPack's device {int(kind)}:{index}; must be "
            "on the CPU, or a torch or CuPy array on a CUDA device")
    asked = {"stream": stream or _DEFAULT_STREAM} if place == CUDA else {}
    try:
        capsule = _export(array, asked)
    except BufferError as error:
        raise ValueError(f"{name}: {error}") from None
    return _describe(name, capsule, place, index)


def _export(array: Any, asked: dict[str, Any]) -> object:
    try:
        return array.__dlpack__(max_version=_VERSION, **asked)
    except TypeError:  # from before there were versions
        return array.__dlpack__(**asked)


def _describe(name: str, capsule: object, place: int, index: int) -> Tensor:
    start, flags = _open(name, capsule)
    data, _, _, rank, *dtype, shape_at, strides_at, offset = _TENSOR.unpack(
        ctypes.string_at(start, _TENSOR.size))
    known = _DTYPES.get(tuple(dtype))
    if known is None:
        raise ValueError(f"{name}: DLPack's dtype is {tuple(dtype)} (code, bits, lanes); "
                         f"must be one of {', '.join(_DTYPES.values())}")
    shape = _numbers(rank, shape_at)
    strides = _numbers(rank, strides_at) if strides_at and 0 not in shape else _packed(shape)
    return Tensor(capsule, data + offset, place, index, known, shape, strides,
                  bool(flags & _READ_ONLY))


def _open(name: str, capsule: object) -> Tuple[int, int]:
    """Where its DLTensor is, and its flags."""
    kind = _name_of(capsule)
    if kind == b"dltensor":
        return _pointer_of(capsule, kind), 0
    if kind != b"dltensor_versioned":
        raise ValueError(f"{name}: its capsule is named {kind!r}; must hold a tensor of DLPack")
    start = _pointer_of(capsule, kind)
    major, *_, flags = _HEAD.unpack(ctypes.string_at(start, _HEAD.size))
    if major != _VERSION[0]:
        raise ValueError(f"{name}: DLPack's version is {major}; must be {_VERSION[0]}")
    return start + _HEAD.size, flags


def _numbers(count: int, start: int) -> tuple[int, ...]:
    return tuple((ctypes.c_int64 * count).from_address(start)) if count else ()


def _packed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of an array without gaps, the last dimension innermost."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


# ---- new arrays ----


class New(np.ndarray):  # type: ignore[type-arg]  # is generic for type checkers alone
    """Memory for an array of JAX, which gets it once it is written: JAX's arrays are immutable."""

    like: Any = None

    def publish(self) -> Any:
        """The memory as an array of JAX on `like`'s device; not a copy."""
        plain = self.view(np.ndarray)
        return sys.modules["jax"].device_put(plain, self.like.device, may_alias=True)


def empty_for_jax(like: Any, shape: tuple[int, ...], dtype: str) -> New:
    """Uninitialised and packed, on the CPU."""
    kind = np.dtype(dtype or like.dtype)
    size = kind.itemsize * math.prod(shape)
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    made = memory[start:start + size].view(kind).reshape(shape).view(New)
    made.like = like
    return made


def empty_for_cupy(like: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """Uninitialised and packed, on `like`'s device, of the memory of CuPy's current stream."""
    with like.device:
        return sys.modules["cupy"].empty(shape, dtype or like.dtype)


def empty_for_others(like: Any, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Uninitialised and packed, of NumPy, which every library can take over."""
    name = dtype or read("q", like, None).dtype
    try:
        return np.empty(shape, name)
    except TypeError:
        raise NotImplementedError(f"out: NumPy has no {name} before ml_dtypes is imported; must be "
                                  "given") from None


# ---- CuPy's devices ----


def current_stream(array: Any) -> int:
    """The CUstream that CuPy queues work on the array's device on."""
    return int(sys.modules["cupy"].cuda.get_current_stream(array.device.id).ptr)


def to_device_of(like: Any, numbers: NDArray[Any]) -> Any:
    with like.device:
        return sys.modules["cupy"].asarray(numbers)
