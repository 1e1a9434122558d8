# SPDX-License-Identifier: Apache-2.0 OR MIT
"""From Python arguments to rapt_attention: a Call holds the struct and all that it points to.

Every keyword belongs to one group of rapt.h. _GROUPS is the table of them: a group is built only
when one of its keywords was given, so a plain call pays for none.
"""

from __future__ import annotations

from ctypes import Structure, addressof, c_float, sizeof
from typing import TYPE_CHECKING, Any, Callable, Optional, TypedDict

from . import _abi
from ._library import options, real, whole
from ._tensor import empty, numbers, on_cuda, publish, put, stream_of, view

if TYPE_CHECKING:
    from typing import Tuple

    from ._types import Array, Numbers


class Inputs(TypedDict, total=False):
    """Every keyword of attend but return_lse, on which depends what it answers."""

    out: Optional[Array]
    lse: Optional[Array]
    threads: int
    backend: Optional[str]
    kernel: Optional[str]
    causal: bool
    window: Optional[Tuple[Optional[int], Optional[int]]]
    sink_tokens: int
    scale: Optional[float]
    softcap: float
    alibi: Optional[Numbers]
    bias: Optional[Array]
    sinks: Optional[Numbers]
    dropout: float
    seed: int
    offset: int
    q_descale: Optional[Numbers]
    k_descale: Optional[Numbers]
    v_descale: Optional[Numbers]
    q_offsets: Optional[Numbers]
    kv_offsets: Optional[Numbers]
    max_q_len: int
    max_kv_len: int
    page_table: Optional[Numbers]
    page_layout: Optional[str]
    page_size: Optional[int]
    q_len: Optional[Numbers]
    kv_len: Optional[Numbers]
    cache_row: Optional[Numbers]
    left_pad: Optional[Numbers]
    q_start: Optional[Numbers]
    kv_start: Optional[Numbers]


class Keywords(Inputs, total=False):
    """Every keyword of attend, explain, prepare and Plan; attend describes them."""

    return_lse: bool


_PROBLEM_SIZE = sizeof(_abi.Attention)
_Q, _K, _V, _OUT = (getattr(_abi.Attention, name).offset for name in ("q", "k", "v", "out"))
_DIM_BEFORE_PAGE = ("head_dim_page", "x_packed")  # layouts whose values are [..., dim, page]


class Call:
    """One call: the problem, its options, its outputs, and everything their pointers need alive."""

    __slots__ = ("problem", "stream", "options", "k", "out", "lse", "return_lse", "alive")

    def __init__(self, q: Array, k: Array, v: Array, keywords: dict[str, Any],
                 backward: bool = False) -> None:
        """Takes `keywords` apart, the dict itself; attend describes what they name. Backward, out
        and lse are read."""
        self.problem = _abi.Attention(_PROBLEM_SIZE)
        self.k = k
        self.alive: list[Any] = []
        view(self.problem, _Q, "q", q)
        view(self.problem, _K, "k", k)
        view(self.problem, _V, "v", v)
        take = keywords.pop
        self.stream = stream_of(q, k=k, v=v, **keywords) if on_cuda(q) else 0
        self.options = options(take("backend", None), take("kernel", None), take("threads", 0),
                               self.stream)
        self.return_lse = take("return_lse", False)
        self._outputs(q, _value_dim(v, keywords), take("out", None), take("lse", None),
                      not backward)
        if keywords:
            self._groups(keywords)

    @property
    def address(self) -> int:
        return addressof(self.problem)

    def result(self) -> Any:
        out = publish(self.out)
        return (out, publish(self.lse)) if self.return_lse else out

    def _outputs(self, q: Array, value_dim: tuple[int, ...], out: Optional[Array],
                 lse: Optional[Array], written: bool) -> None:
        """Slices of q's shape serve dense and ragged alike; the library judges a wrong rank."""
        shape = tuple(q.shape)
        self.out = empty(q, shape[:-1] + value_dim) if out is None else out
        view(self.problem, _OUT, "out", self.out, output=written)
        if lse is None and self.return_lse:
            lse = empty(q, shape[:-3] + shape[-2:-1] + shape[-3:-2], "float32")
        self.lse = lse
        if lse is not None:
            put(self.problem, "lse", "lse", lse, output=written)

    def _groups(self, keywords: dict[str, Any]) -> None:
        try:
            groups = {_GROUP_OF[keyword]: None for keyword in keywords}
        except KeyError as unknown:
            raise TypeError(f"unexpected keyword argument {unknown}") from None
        for group in groups:
            built = _GROUPS[group][0](self, keywords)
            if built is not None:
                self.alive.append(built)
                setattr(self.problem, group, addressof(built))


def _value_dim(v: Array, keywords: dict[str, Any]) -> tuple[int, ...]:
    if keywords.get("page_layout") in _DIM_BEFORE_PAGE:
        return tuple(v.shape)[-2:-1]
    return tuple(v.shape)[-1:]  # to cut a torch.Size takes longer


Builder = Callable[[Call, "dict[str, Any]"], Optional[Structure]]
_CAUSAL = _abi.Mask(left=_abi.UNBOUNDED)


def _mask(call: Call, keywords: dict[str, Any]) -> Optional[Structure]:
    causal, window = keywords.get("causal", False), keywords.get("window")
    sink_tokens = keywords.get("sink_tokens", 0)
    if window is None and not sink_tokens:
        return _CAUSAL if causal else None
    left, right = _pair(window)
    if causal and right not in (0, _abi.UNBOUNDED):
        raise ValueError(f"window: right is {right}; must be 0 or None with causal")
    return _abi.Mask(left=left, right=0 if causal else right,
                     sink_tokens=whole("sink_tokens", sink_tokens))


def _pair(window: object) -> Tuple[int, int]:
    if window is None:
        return _abi.UNBOUNDED, _abi.UNBOUNDED
    if not isinstance(window, (tuple, list)) or len(window) != 2:
        raise ValueError(f"window: is {window!r}; must be a pair (left, right)")
    left, right = (_abi.UNBOUNDED if side is None else whole("window", side) for side in window)
    return left, right


def _scale(call: Call, keywords: dict[str, Any]) -> Optional[c_float]:
    scale = keywords["scale"]
    return None if scale is None else c_float(real("scale", scale))


def _softcap(call: Call, keywords: dict[str, Any]) -> Optional[Structure]:
    cap = real("softcap", keywords["softcap"])
    return _abi.Softcap(cap=cap) if cap else None


def _dropout(call: Call, keywords: dict[str, Any]) -> Optional[Structure]:
    probability = real("dropout", keywords.get("dropout", 0.0))
    seed = whole("seed", keywords.get("seed", 0), signed=False)
    offset = whole("offset", keywords.get("offset", 0), signed=False)
    if not probability:
        return None
    return _abi.Dropout(probability=probability, seed=seed, offset=offset)


def _tensors(group: type, dtype: str, **keyword_of: str) -> Builder:
    """A builder of a group of tensors, off when none is given. Lists become arrays of `dtype`;
    keyword_of names the keyword of each field."""

    def build(call: Call, keywords: dict[str, Any]) -> Optional[Structure]:
        built = None
        for field, keyword in keyword_of.items():
            value = keywords.get(keyword)
            if value is not None:
                built = built or group()
                call.alive.append(numbers(keyword, value, dtype, like=call.k))
                put(built, field, keyword, call.alive[-1])
        return built

    return build


_offsets = _tensors(_abi.Ragged, "int32", q_offsets="q_offsets", kv_offsets="kv_offsets")
_table = _tensors(_abi.Pages, "int32", table="page_table")


def _ragged(call: Call, keywords: dict[str, Any]) -> Optional[Structure]:
    group = _offsets(call, keywords)
    for bound in ("max_q_len", "max_kv_len"):
        value = whole(bound, keywords.get(bound, 0))
        if group is not None:
            setattr(group, bound, value)
        elif value:
            raise ValueError(f"{bound}: is {value}; must be 0 without q_offsets")
    return group


def _pages(call: Call, keywords: dict[str, Any]) -> Optional[Structure]:
    layout, page_size = keywords.get("page_layout"), keywords.get("page_size")
    group = _table(call, keywords)
    if group is not None:
        set_pages(group, call.k, layout, page_size)
    elif layout is not None or page_size is not None:
        raise ValueError("page_table: is not given; page_layout and page_size need it")
    return group


def set_pages(group: Structure, k: Array, layout: Optional[str], page_size: Optional[int]) -> None:
    """Fills layout and page_size; their defaults are page_head_dim and what k's shape says."""
    name = "page_head_dim" if layout is None else layout
    if name not in _abi.PAGE_LAYOUTS:
        raise ValueError(f"page_layout: is {name!r}; must be one of {', '.join(_abi.PAGE_LAYOUTS)}")
    group.layout = _abi.PAGE_LAYOUTS[name]
    if page_size is None:
        axis = {"page_head_dim": 1, "head_page_dim": 2}.get(name, 3)
        page_size = k.shape[axis] if axis < len(k.shape) else 0
    group.page_size = whole("page_size", page_size)


# Group of rapt_attention: its builder and the keywords that ask for it.
_GROUPS = {
    "scale": (_scale, ("scale",)),
    "mask": (_mask, ("causal", "window", "sink_tokens")),
    "softcap": (_softcap, ("softcap",)),
    "alibi": (_tensors(_abi.Alibi, "float32", slopes="alibi"), ("alibi",)),
    "bias": (_tensors(_abi.Bias, "float32", bias="bias"), ("bias",)),
    "sinks": (_tensors(_abi.Sinks, "float32", sinks="sinks"), ("sinks",)),
    "dropout": (_dropout, ("dropout", "seed", "offset")),
    "descale": (_tensors(_abi.Descale, "float32", q="q_descale", k="k_descale", v="v_descale"),
                ("q_descale", "k_descale", "v_descale")),
    "ragged": (_ragged, ("q_offsets", "kv_offsets", "max_q_len", "max_kv_len")),
    "pages": (_pages, ("page_table", "page_layout", "page_size")),
    "lengths": (_tensors(_abi.Lengths, "int32", q_len="q_len", kv_len="kv_len",
                         cache_row="cache_row", left_pad="left_pad"),
                ("q_len", "kv_len", "cache_row", "left_pad")),
    "positions": (_tensors(_abi.Positions, "int64", q_start="q_start", kv_start="kv_start"),
                  ("q_start", "kv_start")),
}

_GROUP_OF = {keyword: group for group, (_, keywords) in _GROUPS.items() for keyword in keywords}
