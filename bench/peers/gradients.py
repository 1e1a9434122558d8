# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Gradients: rapt's and torch's as providers, and float64's on whole heads to judge them by.

A call answers (dq, dk, dv), shaped as q, k and v. What a gradient takes of the forward, every
provider computes for itself before anything is timed. Judged like the forward's answers
(reference.py): the yardstick rounds P, dS, out and the gradients to the tensors' dtype. Eight times
its error is allowed: in FP32 the largest of a small head's is a matter of luck.
"""

from __future__ import annotations

import math
from typing import Callable, NamedTuple

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import rapt

from .cells import Cell
from .inputs import Inputs, Problem
from .reference import UNITS, spread

SEQUENCES, HEADS, ROWS = 2, 2, 1024  # rows of a head that are in memory at once
NAMES = ("dq", "dk", "dv")
FACTOR = 8


class Rapt:
    """rapt.attend_backward by `kernel`, a kernel's name with or without "cuda/"."""

    def __init__(self, kernel: str) -> None:
        self.name = "rapt" if kernel == "auto" else f"rapt {kernel}"
        self.kernel = None if kernel == "auto" else kernel if "/" in kernel else f"cuda/{kernel}"

    def refuses(self, cell: Cell) -> str:
        return ""

    def prepare(self, problem: Problem) -> tuple[Callable, str]:
        causal = problem.cell.causal
        known = [rapt.attend(x.q, x.k, x.v, causal=causal, return_lse=True)
                 for x in problem.copies]

        def call(turn: int) -> tuple:
            x, (out, lse) = problem.at(turn), known[turn % len(known)]
            return rapt.attend_backward(x.d_out, x.q, x.k, x.v, out, lse, *x.gradients,
                                        causal=causal, kernel=self.kernel)[:3]

        return call, self.kernel or ""


class Sdpa:
    """A backend of torch's scaled_dot_product_attention, by autograd."""

    def __init__(self, name: str, backend: SDPBackend) -> None:
        self.name, self.backend = name, backend

    def refuses(self, cell: Cell) -> str:
        return ""

    def prepare(self, problem: Problem) -> tuple[Callable, str]:
        known = [self._forward(problem.cell, x) for x in problem.copies]

        def call(turn: int) -> tuple:
            inputs, out, d_out = known[turn % len(known)]
            return torch.autograd.grad(out, inputs, d_out, retain_graph=True)

        return call, ""

    def _forward(self, cell: Cell, x: Inputs) -> tuple:
        inputs = [y.detach().requires_grad_() for y in (x.q, x.k, x.v)]
        grouped = {"enable_gqa": True} if cell.q_heads != cell.kv_heads else {}
        with torch.enable_grad(), sdpa_kernel(self.backend):
            out = F.scaled_dot_product_attention(*(y.transpose(1, 2) for y in inputs),
                                                 is_causal=cell.causal, **grouped)
        return inputs, out, x.d_out.transpose(1, 2)


def of_torch() -> list:
    return [Sdpa("torch cudnn", SDPBackend.CUDNN_ATTENTION),
            Sdpa("torch flash", SDPBackend.FLASH_ATTENTION)]


class Sample(NamedTuple):
    """One kv head of one sequence, and the query heads that share it."""

    sequence: int
    kv_head: int
    wanted: tuple
    allowed: tuple


def samples(problem: Problem) -> list:
    return [_sample(problem, sequence, head)
            for sequence in spread(problem.cell.batch, SEQUENCES)
            for head in spread(problem.cell.kv_heads, HEADS)]


def _sample(problem: Problem, sequence: int, head: int) -> Sample:
    taken = _of_head(problem.cell, sequence, head,
                     *(getattr(problem.copies[0], name) for name in ("q", "k", "v", "d_out")))
    wanted = _gradients(problem.cell, *(x.double() for x in taken))
    yard = _gradients(problem.cell, *(x.float() for x in taken), rounded=taken[0].dtype)
    unit = UNITS * torch.finfo(taken[0].dtype).eps
    return Sample(sequence, head, wanted, tuple(
        max(FACTOR * (mine.double() - true).abs().max().item(), unit * true.abs().max().item())
        for mine, true in zip(yard, wanted)))


def _of_head(cell: Cell, sequence: int, head: int, q: torch.Tensor, k: torch.Tensor,
             v: torch.Tensor, d_out: torch.Tensor | None = None) -> tuple:
    """[len, heads, dim] of what takes part, keys and values [len, dim]."""
    group = cell.q_heads // cell.kv_heads
    queries = slice(head * group, (head + 1) * group)
    found = (q[sequence][:, queries], k[sequence][:, head], v[sequence][:, head])
    return found if d_out is None else (*found, d_out[sequence][:, queries])


def _gradients(cell: Cell, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, d_out: torch.Tensor,
               rounded: torch.dtype | None = None) -> tuple:
    """dq, dk and dv in q's precision, some rows at a time."""
    scale = 1 / math.sqrt(cell.head_dim)

    def round_(x: torch.Tensor) -> torch.Tensor:
        return x if rounded is None else x.to(rounded).to(x.dtype)

    dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))
    for first in range(0, q.shape[0], ROWS):
        rows = slice(first, first + ROWS)
        scores = torch.einsum("rhd,kd->hrk", q[rows], k) * scale
        if cell.causal:
            at = torch.arange(q.shape[0], device=q.device)[rows, None]
            keys = torch.arange(k.shape[0], device=k.device)[None, :]
            scores = scores.masked_fill(keys > at + k.shape[0] - q.shape[0], -math.inf)
        p = scores.softmax(-1)
        out = round_(torch.einsum("hrk,kd->rhd", p, v))
        delta = (out * d_out[rows]).sum(-1).T[:, :, None]
        ds = round_(p * (torch.einsum("rhd,kd->hrk", d_out[rows], v) - delta))
        p = round_(p)
        dq[rows] = torch.einsum("hrk,kd->rhd", ds, k) * scale
        dk += torch.einsum("hrk,rhd->kd", ds, q[rows]) * scale
        dv += torch.einsum("hrk,rhd->kd", p, d_out[rows])
    return tuple(round_(x) for x in (dq, dk, dv))


def error_of(problem: Problem, wanted: list, found: tuple) -> tuple[float, bool]:
    """The largest error of an answer to the first copy, and whether every one is allowed."""
    worst, right = 0.0, True
    for sample in wanted:
        heads = _of_head(problem.cell, sample.sequence, sample.kv_head, *found)
        for mine, true, allowed in zip(heads, sample.wanted, sample.allowed):
            error = (mine.double() - true).abs().max().item()
            right = right and error <= allowed  # which NaN is not
            worst = max(worst, error) if error == error else math.nan
    return worst, right
