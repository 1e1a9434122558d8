# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Views of arrays on the CPU or a CUDA device, without copying: NumPy's and torch's by what they
tell of themselves, those of other libraries by DLPack.

No library is imported: an argument can only be its array once its caller has imported it. A view is
packed straight into the struct that holds it, which costs a fraction of ctypes fields.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
from ctypes import Structure, sizeof
from typing import TYPE_CHECKING, Any, Callable, Sequence

import numpy as np

from . import _abi, _dlpack

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ._types import Array, Numbers

_SIZE = sizeof(_abi.Tensor)
_CPU, _CUDA = 0, 1  # device kinds of rapt.h


def _packer(rank: int) -> Callable[..., None]:
    gap = 8 * (_abi.MAX_RANK - rank)  # bytes behind the shape and behind the strides
    return struct.Struct(f"@NPii{rank}q{gap}x{rank}q{gap}xii").pack_into


# One a rank, of struct_size, data, dtype, rank, shape, strides, device_kind, device_index.
_PACK = [_packer(rank) for rank in range(_abi.MAX_RANK + 1)]


def put(holder: Structure, field: str, name: str, value: Array, output: bool = False) -> None:
    """Writes a view of `value` into the tensor `field` of `holder`. `name` is what the caller
    calls it; `output` says that rapt will write it."""
    view(holder, getattr(type(holder), field).offset, name, value, output)


def tensor(name: str, value: Array, output: bool = False) -> _abi.Tensor:
    """A view of its own."""
    made = _abi.Tensor()
    view(made, 0, name, value, output)
    return made


def tensors(name: str, values: Sequence[Array]) -> ctypes.Array[_abi.Tensor]:
    """An array of views, of inputs that the caller calls name[0], name[1], ..."""
    made = (_abi.Tensor * len(values))()
    for i, value in enumerate(values):
        view(made, i * _SIZE, f"{name}[{i}]", value, False)
    return made


def numbers(name: str, value: Numbers, dtype: str, like: Any = None) -> Any:
    """`value` itself, or an array of `dtype` made of a sequence of Python numbers, in the memory of
    the device of `like`. A view of it does not keep it alive."""
    if not isinstance(value, (list, tuple)):
        return value
    try:
        found = np.array(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    integers = dtype.startswith("int")
    if found.size and found.dtype.kind not in ("iu" if integers else "iuf"):
        raise ValueError(f"{name}: is a list of {found.dtype}; must be numbers that fit {dtype}")
    made = found.astype(dtype)
    if integers and (made != found).any():
        raise ValueError(f"{name}: is {value}; must be numbers that fit {dtype}")
    if not on_cuda(like):
        return made
    if library(like) == "cupy":
        return _dlpack.to_device_of(like, made)
    return sys.modules["torch"].from_numpy(made).to(like.device)


def address(array: Any) -> int:
    """Of the first element."""
    if isinstance(array, np.ndarray):
        return int(array.__array_interface__["data"][0])
    return int(array.data.ptr if library(array) == "cupy" else array.data_ptr())


def keep(memory: Any) -> None:
    """Once the tensor is gone, its memory is not handed out again before what was queued until then
    on the stream that is torch's current one now is done."""
    if library(memory) == "cupy":
        raise NotImplementedError("plan: CuPy's current stream is another than when the plan was "
                                  "made; must be the same")
    current = sys.modules["torch"].cuda.current_stream(memory.device)
    memory.record_stream(current)


def on_cuda(value: object) -> bool:
    """Whether `value` is a torch tensor on a CUDA device, or an array of CuPy."""
    found = getattr(value, "is_cuda", None)
    return library(value) == "cupy" if found is None else bool(found)


def stream_of(lead: Any, **others: object) -> int:
    """The CUstream that work on `lead` and others is queued on: its library's current one of its
    device. 0, the default stream, for what lies in the memory of the host."""
    if not on_cuda(lead):
        return 0
    of_one_library(lead, **others)
    if library(lead) == "cupy":
        return _dlpack.current_stream(lead)
    return int(sys.modules["torch"].cuda.current_stream(lead.device).cuda_stream)


def of_one_library(lead: object, **others: object) -> None:
    """On a device, arrays of one library share a stream; no library waits for another's, nor knows
    when that is done with memory which it lent."""
    wanted = library(lead)
    for name, value in others.items():
        found = library(value)
        if found != wanted and on_cuda(value) and on_cuda(lead):
            raise ValueError(f"{name}: is an array of {found}; must be of {wanted}, as others of "
                             "this call on a CUDA device")


def empty(like: Any, shape: tuple[int, ...], dtype: str = "") -> Any:
    """An uninitialised packed array of `like`'s library, and of its dtype unless one is named; to
    be published once it is written."""
    if isinstance(like, np.ndarray):
        return np.empty(shape, dtype or like.dtype)
    make = _EMPTY.get(library(like))
    if make is not None:
        return make(like, shape, dtype)
    torch = sys.modules["torch"]
    if dtype:
        return like.new_empty(shape, dtype=getattr(torch, dtype))
    if shape == like.shape and like.is_contiguous():
        return torch.empty_like(like)  # half as long as new_empty
    return like.new_empty(shape)


_EMPTY = {"jax": _dlpack.empty_for_jax, "cupy": _dlpack.empty_for_cupy,
          "dlpack": _dlpack.empty_for_others}


def publish(made: Any) -> Any:
    """An array of `empty`, or a caller's, as the caller gets it."""
    return made.publish() if type(made) is _dlpack.New else made


_LIBRARIES: dict[type, str] = {}


def library(value: object) -> str:
    """Whose array it is: "numpy", "torch", "jax" or "cupy", "dlpack" for others that speak it; else
    "none"."""
    kind = type(value)
    return _LIBRARIES.get(kind) or _LIBRARIES.setdefault(kind, _library_of(kind))


def _library_of(kind: type) -> str:
    modules = {base.__module__.partition(".")[0] for base in kind.__mro__}
    for name in ("torch", "numpy", "cupy", "jax"):
        if name in modules:
            return name
    return "dlpack" if hasattr(kind, "__dlpack__") else "none"


def view(holder: object, offset: int, name: str, value: Array, output: bool = False) -> None:
    """put, by a field's offset."""
    (_VIEWS.get(type(value)) or _view_of(name, type(value)))(holder, offset, name, value, output)


def _view_numpy(holder: object, offset: int, name: str, array: NDArray[Any],
                output: bool) -> None:
    pack, layout = _numpy_layout(name, array.dtype, array.shape, array.strides)
    flags = array.flags
    if not flags.aligned:  # which also says that strides are whole elements
        raise ValueError(f"{name}: data is not aligned to its elements of {array.itemsize} bytes")
    if output and not flags.writeable:
        raise ValueError(f"{name}: the array is read-only; must be writeable")
    pack(holder, offset, _SIZE, array.__array_interface__["data"][0], *layout, _CPU, 0)


@functools.lru_cache(maxsize=1024)  # a step's calls repeat a few layouts: 0.4 us less an array
def _numpy_layout(name: str, dtype: np.dtype[Any], shape: tuple[int, ...],
                  strides: tuple[int, ...]) -> tuple[Any, ...]:
    """The packer, and (code, rank, shape..., strides... in elements)."""
    code = _abi.DTYPES.get(dtype.name) if dtype.isnative else None
    if code is None:
        raise ValueError(_unknown_dtype(name, dtype))
    empty_array = 0 in shape  # any strides describe it; NumPy's may be 0
    elements = [1 if empty_array else stride // dtype.itemsize for stride in strides]
    return _packer_of(name, len(shape)), (code, len(shape), *shape, *elements)


def _view_torch(holder: object, offset: int, name: str, tensor: torch.Tensor,
                output: bool) -> None:
    code = _TORCH_CODES.get(tensor.dtype) or _torch_code(name, tensor.dtype)
    kind, index = (_CPU, 0) if tensor.is_cpu else (_CUDA, tensor.get_device())
    if (kind and not tensor.is_cuda) or tensor.is_neg() or tensor.requires_grad:
        _refuse_torch(name, tensor)
    try:
        data, shape, strides = tensor.data_ptr(), tensor.shape, tensor.stride()
    except RuntimeError:
        raise ValueError(f"{name}: is {tensor.layout}; must have strided memory") from None
    rank = len(shape)
    pack = _PACK[rank] if rank <= _abi.MAX_RANK else _packer_of(name, rank)
    pack(holder, offset, _SIZE, data, code, rank, *shape, *strides, kind, index)


def _view_dlpack(holder: object, offset: int, name: str, array: Any, output: bool) -> None:
    kind = library(array)
    found = _dlpack.read(name, array, _dlpack.current_stream(array) if kind == "cupy" else None)
    if output and (found.read_only or kind == "jax"):
        raise ValueError(f"{name}: the array is read-only; must be writeable")
    rank = len(found.shape)
    pack = _packer_of(name, rank)
    pack(holder, offset, _SIZE, found.data, _abi.DTYPES[found.dtype], rank, *found.shape,
         *found.strides, _CUDA if found.place == _dlpack.CUDA else _CPU, found.device)
    vars(holder).setdefault("capsules", []).append(found.capsule)


def _packer_of(name: str, rank: int) -> Callable[..., None]:
    if rank > _abi.MAX_RANK:
        raise ValueError(f"{name}: rank is {rank}; must be 1 to {_abi.MAX_RANK}")
    return _PACK[rank]


_VIEWS: dict[type, Callable[..., None]] = {np.ndarray: _view_numpy}


def _view_of(name: str, kind: type) -> Callable[..., None]:
    """The view of a type that is met for the first time."""
    torch = sys.modules.get("torch")
    if torch is not None and issubclass(kind, torch.Tensor):
        found: Callable[..., None] = _view_torch
    elif issubclass(kind, np.ndarray) and not issubclass(kind, np.ma.MaskedArray):
        found = _view_numpy
    elif _library_of(kind) in _EMPTY and hasattr(kind, "__dlpack_device__"):
        found = _view_dlpack
    else:
        raise TypeError(f"{name}: is a {kind.__name__}; must be an array of NumPy, torch or "
                        "another library that speaks DLPack")
    _VIEWS[kind] = found
    return found


_TORCH_CODES: dict[torch.dtype, int] = {}


def _torch_code(name: str, dtype: torch.dtype) -> int:
    """Of a dtype that is met for the first time."""
    code = _abi.DTYPES.get(str(dtype).rpartition(".")[2])
    if code is None:
        raise ValueError(_unknown_dtype(name, dtype))
    return _TORCH_CODES.setdefault(dtype, code)


def _unknown_dtype(name: str, dtype: object) -> str:
    return f"{name}: dtype is {dtype!s}; must be one of {', '.join(_abi.DTYPES)}"


def _refuse_torch(name: str, tensor: torch.Tensor) -> None:
    if not tensor.is_cpu and not tensor.is_cuda:
        raise NotImplementedError(f"{name}: is on device {tensor.device}; "
                                  "must be on the CPU or a CUDA device")
    if tensor.is_neg():
        raise ValueError(f"{name}: is a lazy negation; must be plain memory (resolve_neg())")
    if sys.modules["torch"].is_grad_enabled():
        raise NotImplementedError(f"{name}: requires a gradient, which this call does not record; "
                                  "must be detached, or under torch.no_grad()")
