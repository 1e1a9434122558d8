# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Random tensors of a cell on the device, in as many copies as turns are taken over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Optional

import torch

from .cells import Cell

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ROTATION = 320 << 20  # bytes that the copies exceed together: several times an L2 cache
MOST_BYTES = 24 << 30
MOST_COPIES = 64
DEVICE = "cuda"


@dataclass
class Inputs:
    """One copy. q is [batch, q_len, q_heads, head_dim], ragged [tokens, q_heads, head_dim]; k and v
    likewise, or pages [pages, page_size, kv_heads, dim] with a shuffled table. Of a backward
    d_out too, as out, and dq, dk and dv to write."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    out: torch.Tensor
    bias: Optional[torch.Tensor] = None
    d_out: Optional[torch.Tensor] = None
    gradients: tuple = ()

    def poison(self) -> None:
        for answer in (self.out, *self.gradients):
            answer.fill_(math.nan)


@dataclass
class Problem:
    """All copies, and what they share."""

    cell: Cell
    copies: list
    table: Optional[torch.Tensor] = None  # int32 [batch, pages a sequence]
    kv_len: Optional[torch.Tensor] = None  # int32 [batch], paged
    offsets: Optional[torch.Tensor] = None  # int32 [batch + 1], ragged
    slopes: Optional[torch.Tensor] = None
    sinks: Optional[torch.Tensor] = None

    def at(self, turn: int) -> Inputs:
        return self.copies[turn % len(self.copies)]

    def sequence(self, b: int) -> tuple:
        """(q, k, v, out) of sequence b of the first copy, [len, heads, dim], the pages gathered."""
        first = self.copies[0]
        if self.offsets is not None:
            rows = slice(*self.offsets[b:b + 2].tolist())
            return first.q[rows], first.k[rows], first.v[rows], first.out[rows]
        k, v = first.k, first.v
        if self.table is not None:
            k, v = (x[self.table[b].long()].flatten(0, 1) for x in (k, v))
        else:
            k, v = k[b], v[b]
        return first.q[b], k[:self.cell.kv_len], v[:self.cell.kv_len], first.out[b]


def copies_of(cell: Cell, alone: bool) -> int:
    """One where each call is timed alone behind a clean cache, else enough to outgrow the cache."""
    if alone:
        return 1
    wanted = min(MOST_COPIES, max(2, math.ceil(ROTATION / cell.bytes)))
    return max(1, min(wanted, MOST_BYTES // cell.bytes))


def make(cell: Cell, alone: bool, seed: int = 1) -> Problem:
    torch.manual_seed(seed)
    problem = Problem(cell, [_copy(cell) for _ in range(copies_of(cell, alone))])
    if cell.page_size:
        pages = problem.copies[0].k.shape[0]
        problem.table = torch.randperm(pages, device=DEVICE).int().view(cell.batch, -1)
        problem.kv_len = torch.full((cell.batch,), cell.kv_len, device=DEVICE, dtype=torch.int32)
    if cell.lens:
        problem.offsets = torch.tensor([0, *accumulate(cell.lens)], device=DEVICE,
                                       dtype=torch.int32)
    if cell.alibi:
        heads = torch.arange(1, cell.q_heads + 1, device=DEVICE)
        problem.slopes = 2.0 ** (-8.0 * heads / cell.q_heads)
    if cell.sinks:
        problem.sinks = torch.randn(cell.q_heads, device=DEVICE)
    return problem


def _copy(cell: Cell) -> Inputs:
    dtype = DTYPES[cell.dtype]
    tokens = (sum(cell.lens),) if cell.lens else (cell.batch, cell.q_len)
    keys = tokens if cell.lens else (cell.batch, cell.kv_len)
    if cell.page_size:
        keys = (cell.batch * -(-cell.kv_len // cell.page_size), cell.page_size)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=DEVICE, dtype=dtype)

    q, k, v = (random(*tokens, cell.q_heads, cell.head_dim),
               random(*keys, cell.kv_heads, cell.head_dim),
               random(*keys, cell.kv_heads, cell.value_dim))
    out = torch.empty((*tokens, cell.q_heads, cell.value_dim), device=DEVICE, dtype=dtype)
    made = Inputs(q, k, v, out, random(*cell.bias_shape) if cell.bias else None,
                  random(*out.shape) if cell.backward else None,
                  tuple(map(torch.empty_like, (q, k, v))) if cell.backward else ())
    made.poison()
    return made
