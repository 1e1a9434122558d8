# SPDX-License-Identifier: Apache-2.0 OR MIT
"""attend_backward: the gradients of one attend."""

from __future__ import annotations

from ctypes import addressof, byref
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from . import _abi
from ._library import check, lib
from ._problem import Call
from ._tensor import empty, of_one_library, publish, put

if TYPE_CHECKING:
    from ._types import Array


class Gradients(NamedTuple):
    """What attend_backward answers; None for what was not asked for."""

    dq: Any  # arrays of the library of q, k and v
    dk: Any
    dv: Any
    d_bias: Optional[Any] = None
    d_sinks: Optional[Any] = None
    d_slopes: Optional[Any] = None


def attend_backward(d_out: Array, q: Array, k: Array, v: Array, out: Array, lse: Array,
                    dq: Optional[Array] = None, dk: Optional[Array] = None,
                    dv: Optional[Array] = None, d_bias: Optional[Array] = None,
                    d_sinks: Optional[Array] = None, d_slopes: Optional[Array] = None,
                    **keywords: Any) -> Gradients:
    """The gradients of sum(out * d_out) in q, k and v, and where asked in what features add.

    Everything is recomputed from q, k, v, out and lse, in memory linear in the length, with the
    same bits in every run and for every number of threads. Paged caches have no gradient.

    Args:
      d_out: as out, of its dtype.
      q, k, v: those of attend.
      out, lse: what attend(..., return_lse=True) answered.
      dq, dk, dv: arrays to write, as q, k and v. Default: new ones.
      d_bias: float32 array of bias's shape to write; where bias has size 1, the sum.
      d_sinks: float32 [q_heads] to write.
      d_slopes: float32 array of alibi's shape to write.

    Keywords: those of attend that say what is computed, with the values that attend had; threads,
      backend and kernel.

    Returns:
      Gradients(dq, dk, dv, d_bias, d_sinks, d_slopes).

    Raises:
      As attend.
    """
    call = Call(q, k, v, {**keywords, "out": out, "lse": lse}, backward=True)
    gradients = Gradients(empty(q, tuple(q.shape)) if dq is None else dq,
                          empty(k, tuple(k.shape)) if dk is None else dk,
                          empty(v, tuple(v.shape)) if dv is None else dv, d_bias, d_sinks,
                          d_slopes)
    of_one_library(q, d_out=d_out, **gradients._asdict())
    problem = _abi.Gradient(forward=addressof(call.problem))
    put(problem, "d_out", "d_out", d_out)
    for name, array in gradients._asdict().items():
        if array is not None:
            put(problem, name, name, array, output=True)
    check(lib.rapt_attend_backward(byref(problem), call.options))
    return Gradients(*map(publish, gradients))
