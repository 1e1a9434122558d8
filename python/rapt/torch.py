# SPDX-License-Identifier: Apache-2.0 OR MIT
"""rapt as an operator of torch: gradients, torch.compile, autocast, checkpointing, nested tensors.

    out = rapt.torch.attend(q, k, v, causal=True)

torch.ops.rapt.attend and torch.ops.rapt.attend_backward are what the graph of a compiler sees; the
functions here are their front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Sequence, Tuple, overload

import torch
from torch import _C

from . import _attention, _backward

if TYPE_CHECKING:
    from typing import Literal, Union

    from torch import Tensor
    from typing_extensions import Unpack

    from ._problem import Inputs

# What attend has a gradient in, beside q, k and v: rapt.h calls the third one slopes.
_LEARNED = ("bias", "sinks", "alibi")
# Tensors of whole numbers, and of 8-bit inputs' factors; what a list of Python numbers becomes.
_VECTORS = {name: torch.int32 for name in ("q_offsets", "kv_offsets", "page_table", "q_len",
                                           "kv_len", "cache_row", "left_pad", "q_start",
                                           "kv_start")}
_VECTORS |= {name: torch.float32 for name in ("q_descale", "k_descale", "v_descale")}
# Everything else, with its type in a schema and its default.
_SETTINGS = {
    "causal": ("bool", False), "left": ("SymInt?", None), "right": ("SymInt?", None),
    "sink_tokens": ("SymInt", 0), "scale": ("float?", None), "softcap": ("float", 0.0),
    "dropout": ("float", 0.0), "seed": ("int", 0), "offset": ("int", 0),
    "max_q_len": ("SymInt", 0), "max_kv_len": ("SymInt", 0), "page_layout": ("str?", None),
    "page_size": ("SymInt?", None), "threads": ("int", 0), "backend": ("str?", None),
    "kernel": ("str?", None)
}
_NAMES = (*_LEARNED, *_VECTORS, *_SETTINGS)
_DEFAULTS = (*[None] * (len(_LEARNED) + len(_VECTORS)), *(value for _, value in _SETTINGS.values()))
_WORD = 2**64


@overload
def attend(q: Tensor, k: Tensor, v: Tensor, *, return_lse: Literal[False] = ...,
           **keywords: Unpack[Inputs]) -> Tensor:
    ...


@overload
def attend(q: Tensor, k: Tensor, v: Tensor, *, return_lse: Literal[True],
           **keywords: Unpack[Inputs]) -> Tuple[Tensor, Tensor]:
    ...


@overload
def attend(q: Tensor, k: Tensor, v: Tensor, *, return_lse: bool,
           **keywords: Unpack[Inputs]) -> Union[Tensor, Tuple[Tensor, Tensor]]:
    ...


def attend(q: Tensor, k: Tensor, v: Tensor, **keywords: Any) -> Any:
    """rapt.attend with gradients in q, k, v, and in bias, sinks and alibi where they require one.

    Shapes, keywords and errors are rapt.attend's, but that there is no out and no lse to write to.
    `threads` defaults to torch.get_num_threads(). Within torch.autocast q, k and v are cast as for
    torch's own attention. lse is detached: no gradient flows through it. The gradient has no
    gradient of its own: differentiating twice raises NotImplementedError. With dropout, give
    another `seed` or `offset` for every layer and step; checkpointing replays the same.

    Returns:
      out [batch, q_len, q_heads, value_dim], or (out, lse).
    """
    if "out" in keywords or "lse" in keywords:
        raise TypeError("unexpected keyword argument 'out' or 'lse': outputs are always new ones")
    if _nobody_watches() and not (torch.is_grad_enabled() and _learns(q, k, v, keywords)):
        keywords["threads"] = keywords.get("threads") or torch.get_num_threads()
        return _attention.run(q, k, v, keywords)
    return_lse = keywords.pop("return_lse", False)
    q, k, v = _autocast(q, k, v)
    out, lse = torch.ops.rapt.attend(q, k, v, *_arguments(q, keywords))
    return (out, lse) if return_lse else out


def attend_nested(q: Any, k: Any, v: Any, **keywords: Any) -> Tensor:
    """attend over nested tensors of layout torch.jagged, [batch, ragged, heads, dim]: one sequence
    an entry, k and v of one raggedness. Answers a nested tensor with q's raggedness."""
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if not tensor.is_nested or tensor.layout != torch.jagged or tensor.dim() != 4:
            raise ValueError(f"{name}: must be a nested tensor of layout torch.jagged, "
                             "[batch, ragged, heads, dim]")
    out = attend(q.values(), k.values(), v.values(), q_offsets=q.offsets().int(),
                 kv_offsets=k.offsets().int(), **keywords)
    return torch.nested.nested_tensor_from_jagged(out, q.offsets())


def _nobody_watches() -> bool:
    """No compiler, tracer, transform or autocast wants to see the operator: a call that needs no
    gradient may leave out torch's dispatcher, which takes longer than all of rapt's Python."""
    return not (torch.compiler.is_compiling() or _C._len_torch_dispatch_stack() or
                _C._are_functorch_transforms_active() or _C._is_any_autocast_enabled())


def _learns(q: Tensor, k: Tensor, v: Tensor, keywords: dict[str, Any]) -> bool:
    return any(getattr(x, "requires_grad", False)
               for x in (q, k, v, *(keywords.get(name) for name in _LEARNED)))


def _autocast(*tensors: Tensor) -> Sequence[Tensor]:
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return [x.to(dtype) if x.is_floating_point() else x for x in tensors]


def _arguments(q: Tensor, keywords: dict[str, Any]) -> list[Any]:
    """The operator's arguments behind q, k and v, in the order of _NAMES."""
    keywords["left"], keywords["right"] = _window(keywords.pop("window", None))
    take = keywords.pop
    found = [take(name, default) for name, default in zip(_NAMES, _DEFAULTS)]
    if keywords:
        raise TypeError(f"unexpected keyword argument {next(iter(keywords))!r}")
    for i, name in enumerate((*_LEARNED, *_VECTORS)):
        if isinstance(found[i], (list, tuple)):
            found[i] = torch.tensor(found[i], dtype=_VECTORS.get(name, torch.float32),
                                    device=q.device)
    for name in ("seed", "offset"):  # unsigned in rapt, signed in a schema
        at = _NAMES.index(name)
        found[at] = (found[at] + _WORD // 2) % _WORD - _WORD // 2
    return found


def _window(window: Any) -> tuple[Any, ...]:
    if window is None:
        return None, None
    if not isinstance(window, (tuple, list)) or len(window) != 2:
        raise ValueError(f"window: is {window!r}; must be a pair (left, right)")
    return tuple(window)


def _keywords(arguments: Sequence[Any]) -> dict[str, Any]:
    """rapt.attend's keywords from the operator's arguments; those at their default are left out.
    A default number of threads stands in no graph: it is that of the day that the graph runs."""
    found = {name: value for name, value, default in zip(_NAMES, arguments, _DEFAULTS)
             if value is not default}
    found["threads"] = found.get("threads") or torch.get_num_threads()
    left, right = found.pop("left", None), found.pop("right", None)
    if left is not None or right is not None:
        found["window"] = (left, right)
    for name in ("seed", "offset"):
        if name in found:
            found[name] %= _WORD
    return found


# ---- the operators ----


def _attend(q: Tensor, k: Tensor, v: Tensor, *arguments: Any) -> Tuple[Tensor, Tensor]:
    with torch.no_grad():
        out, lse = _attention.run(q, k, v, {**_keywords(arguments), "return_lse": True})
    return out, lse


def _attend_fake(q: Tensor, k: Tensor, v: Tensor, *arguments: Any) -> Tuple[Tensor, Tensor]:
    layout = arguments[_NAMES.index("page_layout")]
    value_dim = v.shape[-2 if layout in ("head_dim_page", "x_packed") else -1]
    shape = q.shape
    lse = (*shape[:-3], shape[-2], shape[-3])
    return q.new_empty((*shape[:-1], value_dim)), q.new_empty(lse, dtype=torch.float32)


def _attend_backward(d_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
                     wanted: Sequence[bool], *arguments: Any) -> Tuple[Tensor, ...]:
    """Six gradients; of bias, sinks and alibi those that are wanted, of the others an empty one."""
    learned = _gradients_of_learned(q, wanted, arguments)
    extra = {name: x for name, x in zip(("d_bias", "d_sinks", "d_slopes"), learned) if x.numel()}
    with torch.no_grad():
        if d_out.stride(-1) != 1:  # an expanded one, of a sum say
            d_out = d_out.contiguous()
        found = _backward.attend_backward(d_out, q, k, v, out, lse, **extra,
                                          **_keywords(arguments))
    return (found.dq, found.dk, found.dv, *learned)


def _attend_backward_fake(d_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
                          wanted: Sequence[bool], *arguments: Any) -> Tuple[Tensor, ...]:
    return (*(x.new_empty(x.shape) for x in (q, k, v)),
            *_gradients_of_learned(q, wanted, arguments))


def _gradients_of_learned(q: Tensor, wanted: Sequence[bool],
                          arguments: Sequence[Any]) -> list[Tensor]:
    """Buffers in float32, which is what rapt sums them in."""
    return [q.new_empty(x.shape if one else (0,), dtype=torch.float32)
            for one, x in zip(wanted, arguments)]


class _Attend(torch.autograd.Function):
    """attend above its operator, which has no gradient of its own."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tuple[Tensor, Tensor]:
        with _C._AutoDispatchBelowAutograd():
            out, lse = torch.ops.rapt.attend.default(*arguments)
        tensors = 3 + len(_LEARNED) + len(_VECTORS)
        ctx.save_for_backward(out, lse, *arguments[:tensors])
        ctx.settings = arguments[tensors:]
        ctx.mark_non_differentiable(lse)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    def backward(ctx: Any, *gradients: Optional[Tensor]) -> tuple[Any, ...]:
        out, lse, q, k, v, *tensors = ctx.saved_tensors
        rest = (None,) * (len(_NAMES) - len(_LEARNED))
        if gradients[0] is None:
            return (*(None,) * (3 + len(_LEARNED)), *rest)
        wanted = ctx.needs_input_grad[3:3 + len(_LEARNED)]
        found = torch.ops.rapt.attend_backward(gradients[0], q, k, v, out, lse, wanted, *tensors,
                                               *ctx.settings)
        learned = [gradient.to(x.dtype) if one else None
                   for one, gradient, x in zip(wanted, found[3:], tensors)]
        return (*found[:3], *learned, *rest)


class _AttendBackward(torch.autograd.Function):
    """The gradients, which refuse to be differentiated."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tuple[Tensor, ...]:
        with _C._AutoDispatchBelowAutograd():
            gradients: Tuple[Tensor, ...] = torch.ops.rapt.attend_backward.default(*arguments)
        return gradients

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> None:
        raise NotImplementedError("attend_backward: has no gradient of its own; "
                                  "attention cannot be differentiated twice")


def _schema(name: str, before: str, result: str) -> str:
    tensors = [f"Tensor? {one}" for one in (*_LEARNED, *_VECTORS)]
    settings = [f"{kind} {one}" for one, (kind, _) in _SETTINGS.items()]
    return f"{name}({before}, {', '.join(tensors + settings)}) -> ({result})"


_new_library: Any = torch.library.Library  # torch has no types for it
_library = _new_library("rapt", "DEF")


def _define(name: str, before: str, results: int, kernel: Any, fake: Any, function: Any) -> None:
    result = ", ".join(["Tensor"] * results)
    _library.define(_schema(name, before, result),
                    tags=(torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order))
    _library.impl(name, kernel, "CompositeExplicitAutograd")
    _library.impl(name, function.apply, "Autograd")
    torch.library.register_fake(f"rapt::{name}", fake, lib=_library)


_define("attend", "Tensor q, Tensor k, Tensor v", 2, _attend, _attend_fake, _Attend)
_define("attend_backward",
        "Tensor d_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, bool[3] wanted", 6,
        _attend_backward, _attend_backward_fake, _AttendBackward)
