# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The answer in float64 on sampled rows, and how far off an answer may be.

The yardstick is plain attention in FP32 whose probabilities and output are rounded to the tensors'
dtype: twice its error, or a few units in the last place, is a benchmark's guard against wrong
answers. What is accurate enough is for the test suite to say.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from philox import kept

from .cells import Cell
from .inputs import Problem

SEQUENCES, HEADS, ROWS = 3, 4, 48
UNITS = 4  # in the last place of the largest output
SEED = 7  # of dropout


class Sample(NamedTuple):
    """Rows of some heads of one sequence: [rows, heads, value_dim]."""

    sequence: int
    rows: torch.Tensor
    heads: torch.Tensor
    wanted: torch.Tensor
    allowed: float


def spread(count: int, most: int) -> list:
    """At most so many of range(count), the first and the last among them."""
    picked = min(count, most)
    return sorted({round(i * (count - 1) / max(1, picked - 1)) for i in range(picked)})


def samples(problem: Problem) -> list:
    sequences = spread(len(problem.cell.lengths), SEQUENCES)
    return [_sample(problem, sequence) for sequence in sequences]


def _sample(problem: Problem, sequence: int) -> Sample:
    cell = problem.cell
    q, k, v, _ = problem.sequence(sequence)
    rows = torch.tensor(spread(q.shape[0], ROWS), device=q.device)
    heads = torch.tensor(spread(cell.q_heads, HEADS), device=q.device)
    group = cell.q_heads // cell.kv_heads
    taken = [q[rows][:, heads], *(x[:, heads // group] for x in (k, v))]
    extra = _Extra(problem, sequence, rows, heads, k.shape[0] - q.shape[0], k.shape[0])
    wanted = _attend(*(x.double() for x in taken), cell, extra)
    yard = _attend(*(x.float() for x in taken), cell, extra, rounded=q.dtype)
    error = (yard.double() - wanted).abs().max().item()
    floor = UNITS * torch.finfo(q.dtype).eps * wanted.abs().max().item()
    return Sample(sequence, rows, heads, wanted, max(2 * error, floor))


class _Extra:
    """What of a problem belongs to the sampled scores [heads, rows, keys]."""

    def __init__(self, problem: Problem, sequence: int, rows: torch.Tensor, heads: torch.Tensor,
                 first: int, keys: int) -> None:
        cell = problem.cell
        self.at = (rows + first)[:, None]
        self.keys = torch.arange(keys, device=rows.device)[None, :]
        self.slopes = None if problem.slopes is None else problem.slopes[heads]
        self.sinks = None if problem.sinks is None else problem.sinks[heads]
        bias = problem.copies[0].bias
        self.bias = None if bias is None else bias.expand(
            cell.batch, cell.q_heads, cell.q_len, keys)[sequence][heads][:, rows]
        self.kept = None
        if cell.dropout:
            drawn = [kept((cell.dropout, SEED, 0), sequence * cell.q_heads + int(head),
                          self.at.cpu().numpy(), self.keys.cpu().numpy()) for head in heads]
            self.kept = torch.stack([torch.from_numpy(x) for x in drawn]).to(rows.device)


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cell: Cell, extra: _Extra,
            rounded: torch.dtype | None = None) -> torch.Tensor:
    """[rows, heads, value_dim] in q's precision; probabilities and output rounded where told."""
    scores = torch.einsum("rhd,khd->hrk", q, k) / math.sqrt(cell.head_dim)
    if cell.softcap:
        scores = cell.softcap * torch.tanh(scores / cell.softcap)
    if extra.slopes is not None:
        scores = scores - extra.slopes.to(q.dtype)[:, None, None] * (extra.at - extra.keys).abs()
    if extra.bias is not None:
        scores = scores + extra.bias.to(q.dtype)
    hidden = _hidden(cell, extra)
    if hidden is not None:
        scores = scores.masked_fill(hidden, -math.inf)
    weights = _softmax(scores, extra)
    if extra.kept is not None:
        weights = weights * extra.kept.to(q.dtype)
    if rounded is not None:
        weights = weights.to(rounded).to(q.dtype)
    out = torch.einsum("hrk,khd->rhd", weights, v)
    return out if rounded is None else out.to(rounded)


def _hidden(cell: Cell, extra: _Extra) -> torch.Tensor | None:
    if cell.window:
        return (extra.keys > extra.at) | (extra.keys <= extra.at - cell.window)
    return extra.keys > extra.at if cell.causal else None


def _softmax(scores: torch.Tensor, extra: _Extra) -> torch.Tensor:
    if extra.sinks is None:
        return scores.softmax(-1)
    sink = extra.sinks.to(scores.dtype)[:, None, None].expand(*scores.shape[:2], 1)
    return torch.cat([scores, sink], -1).softmax(-1)[..., :-1]


def error_of(problem: Problem, wanted: list, out: torch.Tensor) -> tuple[float, bool]:
    """The largest error of an answer to the first copy, and whether every one is allowed."""
    worst, right = 0.0, True
    for sample in wanted:
        start = 0 if problem.offsets is None else int(problem.offsets[sample.sequence])
        mine = out[sample.sequence] if problem.offsets is None else out[start:]
        found = mine[sample.rows][:, sample.heads].double()
        error = (found - sample.wanted).abs().max().item()
        right = right and error <= sample.allowed  # which NaN is not
        worst = max(worst, error) if error == error else math.nan
    return worst, right
