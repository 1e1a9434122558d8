# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Plan: the work divided once, reused for every layer and step of the same shapes."""

from __future__ import annotations

import weakref
from ctypes import byref, c_void_p
from typing import TYPE_CHECKING, NamedTuple, Optional, Sequence

import numpy as np

from . import _abi
from ._library import check, lib, options, whole
from ._problem import Call
from ._tensor import address, empty, keep, stream_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from typing import Any

    from numpy.typing import NDArray

    from ._problem import Keywords
    from ._types import Array

_ALIGNMENT = 64  # bytes, of a workspace


class Bounds(NamedTuple):
    """The largest step that a plan must serve; 0 takes the value from the problem's shapes."""

    batch: int = 0
    q_tokens: int = 0  # of the whole batch
    q_len: int = 0  # of one sequence
    kv_len: int = 0  # of one sequence


class Plan:
    """plan -> upload -> run.

        plan = rapt.Plan(q, k, v, causal=True)
        plan.upload()
        out = plan.run(q, k, v)

    A plan is for one thread at a time: calls of one plan must not overlap, nor may what they queue
    on a device, which goes to torch's current stream.
    """

    def __init__(self,
                 q: Array,
                 k: Array,
                 v: Array,
                 *,
                 bounds: Bounds = Bounds(),
                 **keywords: Unpack[Keywords]) -> None:
        """Chooses the kernel and divides the work. Takes attend's arguments and raises as it does;
        values of arrays are not read. `bounds` says how large a step may get."""
        call = Call(q, k, v, dict(keywords))
        self._keywords = dict(keywords, out=None, lse=None)  # each run brings its own buffers
        limits = _abi.Bounds(**{name: whole(name, size) for name, size in bounds._asdict().items()})
        self._choice = (keywords.get("backend"), keywords.get("kernel"), keywords.get("threads", 0))
        self._stream = call.stream
        handle = c_void_p()
        check(lib.rapt_plan_create(call.address, byref(limits), call.options, byref(handle)))
        self._handle = handle.value
        weakref.finalize(self, lib.rapt_plan_free, self._handle)
        self._bytes = int(lib.rapt_plan_workspace_bytes(self._handle))
        self._memory = empty(q, (self._bytes + _ALIGNMENT,), "uint8")
        start = address(self._memory)
        self._workspace = start + -start % _ALIGNMENT

    @property
    def kernel(self) -> str:
        """The kernel chosen, "cpu/avx512_forward" say."""
        return str(lib.rapt_plan_kernel(self._handle), "ascii")

    @property
    def workspace_bytes(self) -> int:
        """Bytes of workspace that the plan holds."""
        return self._bytes

    def upload(self,
               q_len: Optional[Sequence[int]] = None,
               kv_len: Optional[Sequence[int]] = None,
               batch: int = 0) -> None:
        """Takes one step's lengths, each [batch]; those not given are the problem's shapes. Raises
        ValueError for lengths outside the plan's bounds."""
        step = _abi.Step(batch=whole("batch", batch))
        alive = [_lengths(step, name, given) for name, given in (("q_len", q_len),
                                                                 ("kv_len", kv_len))]
        stream = stream_of(self._memory)
        self._outlive(stream)
        check(lib.rapt_upload(self._handle, byref(step), self._workspace, self._bytes,
                              options(*self._choice, stream)))
        del alive  # until here

    def run(self, q: Array, k: Array, v: Array, **keywords: Unpack[Keywords]) -> Any:
        """attend, as planned and uploaded. Keywords that are not given again are the plan's.
        Raises ValueError where shapes, dtypes, features or lengths are others."""
        call = Call(q, k, v, {**self._keywords, **keywords})
        self._outlive(call.stream)
        check(
            lib.rapt_run(self._handle, call.address, self._workspace, self._bytes, call.options))
        return call.result()

    def _outlive(self, stream: int) -> None:
        """Keeps the workspace from being reused, once this plan is gone, before work that is queued
        on another stream than it was allocated on is done."""
        if stream != self._stream:
            keep(self._memory)
            self._stream = stream


def _lengths(step: _abi.Step, name: str, given: Optional[Sequence[int]]) -> Optional[NDArray[Any]]:
    """Points `step` to an int64 copy of `given`, whose length says or confirms the batch."""
    if given is None:
        return None
    lengths = np.array(given)
    if lengths.ndim != 1 or not lengths.size or lengths.dtype.kind not in "iu":
        raise ValueError(f"{name}: is {lengths.dtype} of shape {lengths.shape}; "
                         "must be integers [batch], batch 1 or more")
    if step.batch not in (0, lengths.size):
        raise ValueError(f"{name}: has {lengths.size} lengths, the step has {step.batch} sequences")
    lengths = lengths.astype(np.int64)
    step.batch = lengths.size
    setattr(step, name, lengths.ctypes.data)
    return lengths
