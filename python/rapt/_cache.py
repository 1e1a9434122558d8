# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The paged cache's verbs, and merge, which combines partial results."""

from __future__ import annotations

from ctypes import addressof, byref
from typing import TYPE_CHECKING, NamedTuple, Optional, Sequence, cast, overload

from . import _abi
from ._library import check, lib, options, whole
from ._problem import set_pages
from ._tensor import empty, numbers, publish, put, stream_of, tensor, tensors

if TYPE_CHECKING:
    from typing import Any, Literal, Tuple, Union

    from ._types import A, Array, Numbers


class Rope(NamedTuple):
    """Rotary position embedding of the first rotary_dim elements of each head."""

    cos: Array  # float32 [positions, rotary_dim / 2]
    sin: Array  # as cos
    positions: Numbers  # int32 or int64 [tokens]
    rotary_dim: Optional[int] = None  # default: twice the tables' width
    interleaved: bool = False  # pairs (2i, 2i + 1); else (i, i + rotary_dim / 2)


def append(k: Array,
           v: Array,
           k_cache: Array,
           v_cache: Array,
           slots: Numbers,
           *,
           page_layout: Optional[str] = None,
           page_size: Optional[int] = None,
           rope: Optional[Rope] = None,
           q: Optional[A] = None,
           q_out: Optional[A] = None,
           threads: int = 0,
           backend: Optional[str] = None) -> Optional[A]:
    """Writes new tokens into a paged cache, rotating k on its way in where `rope` is given.

    Args:
      k: [tokens, kv_heads, head_dim], of the cache's dtype. v: [tokens, kv_heads, value_dim].
      k_cache, v_cache: written; pages as attend takes them, with its page_layout and page_size.
      slots: int64 [tokens]; slot s is row s % page_size of page s // page_size, -1 skips the
        token. Two tokens may not name one slot.
      rope: default None, no rotation.
      q, q_out: with rope; [tokens, q_heads, head_dim], rotated into q_out (default: a new array;
        may be q itself).
      threads, backend: as attend's.

    Returns q_out, or None without q. Raises as attend does; nothing is written then.
    """
    args = _abi.AppendArgs()
    put(args, "k", "k", k)
    put(args, "v", "v", v)
    put(args, "k_cache", "k_cache", k_cache, output=True)
    put(args, "v_cache", "v_cache", v_cache, output=True)
    given = numbers("slots", slots, "int64", like=k_cache)
    put(args, "slots", "slots", given)
    set_pages(args, k_cache, page_layout, page_size)
    alive = [] if rope is None else _put_rope(args, rope)
    if q is not None:
        put(args, "q", "q", q)
        q_out = empty(q, tuple(q.shape)) if q_out is None else q_out
    if q_out is not None:
        put(args, "q_out", "q_out", q_out, output=True)
    rotation = {} if rope is None else {f"rope.{key}": x for key, x in rope._asdict().items()}
    stream = stream_of(k_cache, k=k, v=v, v_cache=v_cache, slots=given, q=q, q_out=q_out,
                       **rotation)
    check(lib.rapt_append(byref(args), options(backend, None, threads, stream)))
    del alive  # until here
    return cast("Optional[A]", publish(q_out))


def _put_rope(args: _abi.AppendArgs, rope: Rope) -> list[Any]:
    group = _abi.Rope(interleaved=int(rope.interleaved))
    put(group, "cos", "rope.cos", rope.cos)
    put(group, "sin", "rope.sin", rope.sin)
    positions = numbers("rope.positions", rope.positions, "int64", like=rope.cos)
    put(group, "positions", "rope.positions", positions)
    width = 2 * group.cos.shape[1] if rope.rotary_dim is None else rope.rotary_dim
    group.rotary_dim = whole("rope.rotary_dim", width)
    args.rope = addressof(group)
    return [group, positions]


def copy_pages(cache: Array,
               pairs: Numbers,
               *,
               threads: int = 0,
               backend: Optional[str] = None) -> None:
    """Within one cache (K or V, any layout, pages outermost), copies page pairs[i][0] onto page
    pairs[i][1], for all i as if at once. `pairs` is int64 [n, 2]; no page may be written twice,
    nor both read and written."""
    given = _pairs(pairs, like=cache)
    written, moves = tensor("cache", cache, output=True), tensor("pairs", given)
    check(
        lib.rapt_copy_pages(byref(written), byref(moves),
                            options(backend, None, threads, stream_of(cache, pairs=given))))


def swap_pages(from_: Array,
               to: Array,
               pairs: Numbers,
               *,
               threads: int = 0,
               backend: Optional[str] = None) -> None:
    """From one cache into another of the same page shape and dtype (swap out, swap in): page
    pairs[i][0] of `from_` onto page pairs[i][1] of `to`. `pairs` is int64 [n, 2]; no page may
    be written twice. One of the caches may lie on a device and the other in host memory, where
    `pairs` is best too; pinned memory is copied in the order of the stream and must last so long.
    """
    given = _pairs(pairs, like=None)
    read, written = tensor("from_", from_), tensor("to", to, output=True)
    moves = tensor("pairs", given)
    check(
        lib.rapt_swap_pages(byref(read), byref(written), byref(moves),
                            options(backend, None, threads,
                                    stream_of(from_, to=to, pairs=given) or
                                    stream_of(to, pairs=given))))


def _pairs(pairs: Numbers, like: Optional[Array]) -> Any:
    made = numbers("pairs", pairs, "int64", like)
    return made if pairs is made or len(made) else made.reshape(0, 2)  # an empty list has no width


def clear_pages(cache: Array,
                pages: Numbers,
                *,
                threads: int = 0,
                backend: Optional[str] = None) -> None:
    """Fills pages of one cache with zeros. `pages` is int64 [n]."""
    given = numbers("pages", pages, "int64", like=cache)
    written, cleared = tensor("cache", cache, output=True), tensor("pages", given)
    check(
        lib.rapt_clear_pages(byref(written), byref(cleared),
                             options(backend, None, threads, stream_of(cache, pages=given))))


@overload
def merge(outs: Sequence[A], lses: Sequence[A], *, out: Optional[A] = ..., lse: Optional[A] = ...,
          return_lse: Literal[False] = ..., threads: int = ..., backend: Optional[str] = ...) -> A:
    ...


@overload
def merge(outs: Sequence[A], lses: Sequence[A], *, out: Optional[A] = ..., lse: Optional[A] = ...,
          return_lse: Literal[True], threads: int = ...,
          backend: Optional[str] = ...) -> Tuple[A, A]:
    ...


@overload
def merge(outs: Sequence[A], lses: Sequence[A], *, out: Optional[A] = ..., lse: Optional[A] = ...,
          return_lse: bool, threads: int = ...,
          backend: Optional[str] = ...) -> Union[A, Tuple[A, A]]:
    ...


def merge(outs: Sequence[Any],
          lses: Sequence[Any],
          *,
          out: Optional[Any] = None,
          lse: Optional[Any] = None,
          return_lse: bool = False,
          threads: int = 0,
          backend: Optional[str] = None) -> Any:
    """Combines attention over disjoint sets of keys into attention over their union.

    Args:
      outs, lses: the parts' results of attend(..., return_lse=True), at least one.
      out, lse: arrays to write, of the parts' shapes; each may be one of the parts. Default: new.
      return_lse: answer (out, lse) instead of out.

    Raises as attend does.
    """
    if not outs or len(lses) != len(outs):
        raise ValueError(f"lses: has {len(lses)} parts, outs has {len(outs)}; "
                         "must be as many, 1 or more")
    parts, sums = tensors("outs", outs), tensors("lses", lses)
    args = _abi.MergeArgs(count=len(outs), out=addressof(parts), lse=addressof(sums))
    out = empty(outs[0], tuple(outs[0].shape)) if out is None else out
    put(args, "merged_out", "out", out, output=True)
    if lse is None and return_lse:
        lse = empty(lses[0], tuple(lses[0].shape))
    if lse is not None:
        put(args, "merged_lse", "lse", lse, output=True)
    others = {f"{name}[{i}]": x for name, given in (("outs", outs), ("lses", lses))
              for i, x in enumerate(given)}
    stream = stream_of(outs[0], out=out, lse=lse, **others)
    check(lib.rapt_merge(byref(args), options(backend, None, threads, stream)))
    return (publish(out), publish(lse)) if return_lse else publish(out)
