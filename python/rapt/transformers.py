# SPDX-License-Identifier: Apache-2.0 OR MIT
"""rapt as an attention implementation of Hugging Face transformers.

    import rapt.transformers
    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="rapt")

Importing this registers "rapt". Padding on either side, sliding windows, softcap and learned sinks
are computed as the model's eager attention computes them; no mask is formed where a mask is plain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional, Tuple, Union

import torch
from transformers import AttentionInterface
from transformers.masking_utils import (AttentionMaskInterface, causal_mask_function,
                                        prepare_padding_mask, sdpa_mask)

from .torch import attend

if TYPE_CHECKING:
    from torch import Tensor

NAME = "rapt"


def attention(module: torch.nn.Module,
              query: Tensor,
              key: Tensor,
              value: Tensor,
              attention_mask: Optional[Tensor],
              dropout: float = 0.0,
              scaling: Optional[float] = None,
              is_causal: Optional[bool] = None,
              sliding_window: Optional[int] = None,
              softcap: Optional[float] = None,
              s_aux: Optional[Tensor] = None,
              position_bias: Optional[Tensor] = None,
              **keywords: Any) -> Tuple[Tensor, None]:
    """query [batch, heads, q_len, dim], key and value likewise with the model's kv heads; answers
    [batch, q_len, heads, dim]. attention_mask is what `mask` made, or a caller's own of rank 4.
    Dropout draws its seed from torch's generator of the CPU."""
    if keywords.get("output_attentions"):
        raise NotImplementedError("output_attentions: the weights are never formed; must be False")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    found: dict[str, Any] = {"scale": scaling, "softcap": softcap or 0.0}
    if s_aux is not None:
        found["sinks"] = s_aux.float()
    if dropout:
        found |= {"dropout": dropout, "seed": int(torch.empty((), dtype=torch.int64).random_())}
    found |= _masked(attention_mask, causal, sliding_window, key.shape[2])
    if position_bias is not None:
        found["bias"] = position_bias + found["bias"] if "bias" in found else position_bias
    if "bias" in found:
        found["bias"] = _additive(found["bias"], query)
    return attend(*(x.transpose(1, 2) for x in (query, key, value)), **found), None


def _masked(attention_mask: Optional[Tensor], causal: bool, sliding_window: Optional[int],
            kv_len: int) -> dict[str, Any]:
    """The keywords of attend for a mask."""
    if attention_mask is not None and attention_mask.dtype != torch.int32:
        return {"bias": attention_mask[..., :kv_len]}
    found: dict[str, Any] = {"causal": causal}
    if causal and sliding_window:
        found = {"window": (sliding_window - 1, 0)}
    if attention_mask is not None:
        lengths = attention_mask.flatten(1).t().contiguous()
        found["left_pad"], found["kv_len"], found["q_start"] = lengths
    return found


def _additive(mask: Tensor, query: Tensor) -> Tensor:
    """Of a boolean mask, 0 where it is True and the least finite number where it is not: a query
    that sees nothing then averages all, as in eager attention."""
    if mask.dtype != torch.bool:
        return mask.to(query.dtype)
    return torch.zeros_like(mask, dtype=query.dtype).masked_fill(
        ~mask, torch.finfo(query.dtype).min)


def mask(batch_size: int,
         q_length: int,
         kv_length: int,
         q_offset: Any = 0,
         kv_offset: int = 0,
         mask_function: Callable[..., Any] = causal_mask_function,
         attention_mask: Optional[Tensor] = None,
         local_size: Optional[int] = None,
         allow_is_causal_skip: bool = True,
         allow_is_bidirectional_skip: bool = False,
         device: Union[torch.device, str] = "cpu",
         **keywords: Any) -> Optional[Tensor]:
    """None for a plain mask; int32 [batch, 3, 1, 1] of left_pad, kv_len and q_start for padding;
    for all else (packed sequences, overlays, chunks, tracing) transformers' boolean mask. Both have
    rank 4, which is what a model passes on as it is."""
    plain = allow_is_causal_skip or allow_is_bidirectional_skip
    bounded = local_size is not None and kv_offset + kv_length > local_size
    known = not isinstance(q_offset, torch.Tensor) and not torch.compiler.is_compiling()
    if plain and known and not bounded:
        used = q_offset + q_length - kv_offset if allow_is_causal_skip else kv_length
        padding = prepare_padding_mask(attention_mask, kv_length, kv_offset)
        if padding is not None:
            padding = padding[:, kv_offset:kv_offset + kv_length]
        if used >= kv_length and (padding is None or bool(padding.all())):
            return None
        found = _lengths(batch_size, padding, min(used, kv_length), q_offset - kv_offset, device)
        if found is not None:
            return found
    whole: Tensor = sdpa_mask(batch_size, q_length, kv_length, q_offset, kv_offset, mask_function,
                              attention_mask, local_size, allow_is_causal_skip=False,
                              allow_is_bidirectional_skip=False, device=device, **keywords)
    return whole


def _lengths(batch: int, padding: Optional[Tensor], used: int, q_start: int,
             device: Union[torch.device, str]) -> Optional[Tensor]:
    """None where a sequence's keys are not one run."""
    if padding is None:
        padding = torch.ones(batch, used, dtype=torch.bool, device=device)
    seen = padding[:, :used].int()
    count, left = seen.sum(1), seen.argmax(1)
    end = used - seen.flip(1).argmax(1)
    if not bool((end - left == count).all()):
        return None
    return torch.stack([left, end, q_start - left], 1).int()[:, :, None, None]


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, mask)
