# SPDX-License-Identifier: Apache-2.0 OR MIT
"""rapt and torch's own attention as providers: refuse a cell by a sentence, or make a call of it.

A call takes the number of its turn, computes the answer to that copy of the inputs and returns it
shaped as q is, [batch, q_len, heads, dim] or [tokens, heads, dim].
"""

from __future__ import annotations

import math
from typing import Callable, Protocol

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import rapt

from .cells import Cell
from .inputs import Inputs, Problem
from .reference import SEED


class Provider(Protocol):
    """One library, or one of its ways."""

    name: str

    def refuses(self, cell: Cell) -> str:
        """Why it does not take the cell; empty where it does."""

    def prepare(self, problem: Problem) -> tuple[Callable, str]:
        """The call, and the name of the kernel where the library tells."""


class Rapt:
    """rapt through its plans; `kernel` is a kernel's name or what it begins with behind "cuda/"."""

    def __init__(self, kernel: str) -> None:
        self.name = "rapt" if kernel == "auto" else f"rapt {kernel}"
        self.kernel = kernel

    def refuses(self, cell: Cell) -> str:
        return ""

    def prepare(self, problem: Problem) -> tuple[Callable, str]:
        first, keywords = problem.copies[0], keywords_of(problem)
        if self.kernel != "auto":
            keywords["kernel"] = full_name(self.kernel, first, keywords)
        plan = rapt.Plan(first.q, first.k, first.v, **keywords, bias=first.bias)
        lengths = problem.cell.lengths
        plan.upload(q_len=[q for q, _ in lengths], kv_len=[kv for _, kv in lengths])

        def call(turn: int) -> torch.Tensor:
            x = problem.at(turn)
            return plan.run(x.q, x.k, x.v, out=x.out, bias=x.bias)

        return call, plan.kernel


def keywords_of(problem: Problem) -> dict:
    cell = problem.cell
    found: dict = {"causal": cell.causal and not cell.window, "softcap": cell.softcap,
                   "alibi": problem.slopes, "sinks": problem.sinks, "dropout": cell.dropout,
                   "seed": SEED}
    if cell.window:
        found["window"] = (cell.window - 1, 0)
    if problem.table is not None:
        found |= {"page_table": problem.table, "kv_len": problem.kv_len}
    if problem.offsets is not None:
        longest = max(cell.lens)
        found |= {"q_offsets": problem.offsets, "kv_offsets": problem.offsets,
                  "max_q_len": longest, "max_kv_len": longest}
    return found


def full_name(kernel: str, x: Inputs, keywords: dict) -> str:
    """The first of rapt's kernels that is so named or begins so; else the name as it is, for rapt
    to refuse."""
    said = rapt.explain(x.q, x.k, x.v, bias=x.bias, **keywords)
    names = [said["chosen"], *(row["kernel"] for row in said["refused"])]
    return next((name for name in names
                 if name and (name == kernel or name.startswith(f"cuda/{kernel}"))), kernel)


class Sdpa:
    """One backend of torch's scaled_dot_product_attention, on views [batch, heads, len, dim]."""

    def __init__(self, name: str, backend: SDPBackend, dtypes: tuple, biased: bool) -> None:
        self.name, self.backend, self.dtypes, self.biased = name, backend, dtypes, biased

    def refuses(self, cell: Cell) -> str:
        if cell.dtype not in self.dtypes:
            return f"not timed in {cell.dtype}"
        if cell.page_size or cell.lens:
            return "takes neither pages nor offsets"
        if cell.window or cell.softcap or cell.alibi or cell.sinks:
            return "lacks the feature"
        if cell.dropout:
            return "drops other elements, so that its answer cannot be checked"
        if cell.bias and not self.biased:
            return "takes no bias"
        return "" if cell.q_len == cell.kv_len else "its causal mask is level with the first key"

    def prepare(self, problem: Problem) -> tuple[Callable, str]:
        cell = problem.cell
        masks = [_with_mask(cell, x.bias) for x in problem.copies]
        grouped = {"enable_gqa": True} if cell.q_heads != cell.kv_heads else {}

        def call(turn: int) -> torch.Tensor:
            x = problem.at(turn)
            mask = masks[turn % len(masks)]
            with sdpa_kernel(self.backend):
                return F.scaled_dot_product_attention(
                    *(y.transpose(1, 2) for y in (x.q, x.k, x.v)), attn_mask=mask,
                    is_causal=cell.causal and mask is None, **grouped).transpose(1, 2)

        return call, ""


def _with_mask(cell: Cell, bias: torch.Tensor | None) -> torch.Tensor | None:
    """The bias with the causal mask in it: torch takes one or the other."""
    if bias is None or not cell.causal:
        return bias
    hidden = torch.ones(cell.q_len, cell.kv_len, dtype=torch.bool, device=bias.device).triu(1)
    masked = bias.masked_fill(hidden, -math.inf)
    return masked.expand(cell.batch, cell.q_heads, cell.q_len, cell.kv_len)


class FlashWindow:
    """The operator beneath torch's flash backend, which takes a window where the front does not."""

    name = "torch flash"

    def refuses(self, cell: Cell) -> str:
        alone = cell.window and cell.plain and not cell.page_size and not cell.lens
        return "" if alone and cell.dtype != "fp32" else "only for windows"

    def prepare(self, problem: Problem) -> tuple[Callable, str]:
        cell = problem.cell

        def call(turn: int) -> torch.Tensor:
            x = problem.at(turn)
            return torch.ops.aten._flash_attention_forward(
                x.q, x.k, x.v, None, None, cell.q_len, cell.kv_len, 0.0, True, False,
                window_size_left=cell.window - 1, window_size_right=0)[0]

        return call, ""


def of_torch() -> list:
    half = ("fp16", "bf16")
    return [Sdpa("torch cudnn", SDPBackend.CUDNN_ATTENTION, half, True),
            Sdpa("torch flash", SDPBackend.FLASH_ATTENTION, half, False),
            Sdpa("torch efficient", SDPBackend.EFFICIENT_ATTENTION, ("fp32",), True),
            Sdpa("torch math", SDPBackend.MATH, ("fp32",), True), FlashWindow()]
