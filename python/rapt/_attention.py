# SPDX-License-Identifier: Apache-2.0 OR MIT
"""attend, and its siblings that describe the same problem: explain and prepare."""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING, Any, cast, overload

from . import _abi
from ._library import check, lib
from ._problem import Call

if TYPE_CHECKING:
    from typing import Literal, Tuple, Union

    from typing_extensions import Unpack

    from ._problem import Inputs, Keywords
    from ._types import A, Array

_FIRST_GUESS = 4096  # bytes of an explanation; a longer one costs a second call


@overload
def attend(q: A, k: A, v: A, *, return_lse: Literal[False] = ..., **keywords: Unpack[Inputs]) -> A:
    ...


@overload
def attend(q: A, k: A, v: A, *, return_lse: Literal[True],
           **keywords: Unpack[Inputs]) -> Tuple[A, A]:
    ...


@overload
def attend(q: A, k: A, v: A, *, return_lse: bool,
           **keywords: Unpack[Inputs]) -> Union[A, Tuple[A, A]]:
    ...


def attend(q: Array, k: Array, v: Array, **keywords: Any) -> Any:
    """softmax(scale * q k^T + ...) v, exactly, in memory linear in the length.

    Arrays are NumPy's, torch's, JAX's or CuPy's, or of another library that speaks DLPack, read
    where they lie: any strides, the innermost dimension contiguous. q, k and v are all float32,
    float16 or bfloat16 (ml_dtypes' in NumPy). Those of torch or of CuPy may all lie on one CUDA
    device: the work is then queued on their library's current stream of that device, and the call
    returns before it is done.

    Args:
      q: [batch, q_len, q_heads, head_dim]; ragged [tokens, q_heads, head_dim].
      k: [batch, kv_len, kv_heads, head_dim]; ragged [tokens, kv_heads, head_dim]; paged: see
        page_layout. q_heads is a multiple of kv_heads.
      v: as k, with value_dim in place of head_dim.

    Keywords, how to run:
      out: array to write, [batch, q_len, q_heads, value_dim] or [tokens, q_heads, value_dim], of
        q's dtype or float32. Default: a new one of q's library (of NumPy, where rapt does not know
        how that library makes one) and dtype.
      lse: array to write ln(sum(exp(scores))) to, float32 [batch, q_heads, q_len]; ragged
        [q_heads, tokens]. Default: a new one where return_lse asks for it.
      return_lse: answer (out, lse) instead of out. Default False.
      threads: at most so many; 0 (default): RAPT_THREADS, else the CPUs this process may use.
        Every number gives the same bits.
      backend: "cpu", "cuda" or "auto"; default RAPT_BACKEND, else rapt chooses.
      kernel: a name from explain, to force it.

    Keywords, what to compute (off unless given):
      causal: a query sees keys up to its own position; the last query stands level with the last
        key. Default False: every key.
      window: (left, right), keys seen on either side of the query's position; None = no limit.
      sink_tokens: the first keys that stay visible whatever window's left says.
      scale: factor of q k^T. Default 1 / sqrt(head_dim).
      softcap: the c of c * tanh(score / c); 0 = off.
      alibi: slopes, float32 [q_heads] or [batch, q_heads]; score -= slope * |distance|.
      bias: added to the scores; [batch or 1, q_heads or 1, q_len or 1, kv_len], float32, float16
        or bfloat16.
      sinks: learned logits that join the softmax's denominator, float32 [q_heads].
      dropout, seed, offset: probability of dropping, and what its random numbers follow from.
      q_offsets, kv_offsets, max_q_len, max_kv_len: sequences laid end to end, int32 or uint32
        [batch + 1], and bounds on one sequence.
      page_table, page_layout, page_size: int32 [batch, max_pages]; k and v are then pages, and
        kv_len is needed. page_layout is "page_head_dim" (default), "head_page_dim",
        "head_dim_page" or "x_packed"; page_size follows from k's shape.
      q_len, kv_len, cache_row, left_pad: int32 [batch]; used lengths, places in a dense cache.
      q_start, kv_start: int32 or int64 [batch]; positions of query 0 and of key 0.
      q_descale, k_descale, v_descale: float32 factors of 8-bit inputs.

    Vectors of numbers may be plain lists too; those are copied, to the device where q is on one.

    Returns:
      out, or (out, lse). A query that sees no key has out = 0 and lse = -inf.

    Raises:
      ValueError: the call contradicts itself; the sentence begins with the argument at fault.
      NotImplementedError: sensible, but no kernel here takes it; or a torch tensor requires a
        gradient (detach it, or call under torch.no_grad()).
      TypeError: an argument of the wrong Python type, or an unknown keyword.
      MemoryError: no memory for scratch. RuntimeError: a device or rapt itself failed.
    """
    return run(q, k, v, keywords)


def run(q: Array, k: Array, v: Array, keywords: dict[str, Any]) -> Any:
    """attend, its keywords in a dict that this takes apart."""
    call = Call(q, k, v, keywords)
    check(lib.rapt_attend(call.address, call.options))
    return call.result()


def prepare(q: Array, k: Array, v: Array, **keywords: Unpack[Keywords]) -> None:
    """Compiles and loads ahead what attend would need for the same arguments. Their values are not
    read. On the CPU there is nothing to compile: it raises what attend would raise."""
    call = Call(q, k, v, dict(keywords))
    check(lib.rapt_prepare(call.address, call.options))


def explain(q: Array, k: Array, v: Array, **keywords: Unpack[Keywords]) -> dict[str, Any]:
    """Which kernel attend would run for the same arguments, and why every other one would not.

    Values are not read. Returns {"schema": 1, "chosen": name or None, "refused": [{"kernel": name,
    "sentence": reason}]}. Raises as attend does where the problem is invalid.
    """
    call = Call(q, k, v, dict(keywords))
    needed = ctypes.c_size_t()
    text = ctypes.create_string_buffer(_FIRST_GUESS)
    status = lib.rapt_explain(call.address, call.options, text, len(text), ctypes.byref(needed))
    if status != _abi.OK and needed.value > len(text):
        text = ctypes.create_string_buffer(needed.value)
        status = lib.rapt_explain(call.address, call.options, text, len(text), None)
    check(status)
    return cast("dict[str, Any]", json.loads(text.value))
