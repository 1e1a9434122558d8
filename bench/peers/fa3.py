# SPDX-License-Identifier: Apache-2.0 OR MIT
"""FlashAttention-3's Hopper forward as a C library around its launch functions, without torch.

The library is built beside the repository from FA3's own sources. It exports

    fa3_fwd(stream, fp8, q, k, v, out, lse, counter, zero, 3 descales, batch, q_len, kv_len,
            q_heads, kv_heads, head_dim, causal, left, right, scale)
    fa3_varlen(stream, q, k, v, out, lse, q_offsets, kv_offsets, metadata, batch, q_tokens,
               kv_tokens, q_len, kv_len, q_heads, kv_heads, head_dim, causal, left, right, scale)
    fa3_decode_plan(stream, kv_len, metadata, shape..., 0)      -> splits, 0 or less: failed
    fa3_decode(stream, q, k, v, out, lse, out parts, lse parts, table, kv_len, metadata, shape...,
               splits)      with shape = batch, q_len, q_heads, kv_heads, pages, page_size,
                                         pages a sequence, causal;  head_dim 128
    fa3_error() -> the sentence of the last failure; the others answer 0
"""

from __future__ import annotations

import ctypes
from typing import Callable

import torch

from .cells import Cell
from .inputs import Problem

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int
ARGUMENTS = {
    "fa3_fwd": [_POINTER, _INT] + [_POINTER] * 6 + [_INT] + [_POINTER] * 3 + [_INT] * 9
    + [ctypes.c_float],
    "fa3_varlen": [_POINTER] * 9 + [_INT] * 11 + [ctypes.c_float],
    "fa3_decode_plan": [_POINTER] * 3 + [_INT] * 9,
    "fa3_decode": [_POINTER] * 11 + [_INT] * 9,
}
HEAD_DIMS = (64, 128, 256)


def _address(tensor: torch.Tensor) -> int:
    return tensor.data_ptr()


def _stream() -> int:
    return torch.cuda.current_stream().cuda_stream


class Fa3:
    """A call is what FA3's Python API launches; of pages the metadata is made once."""

    name = "fa3"

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)
        self.library.fa3_error.restype = ctypes.c_char_p
        for name, arguments in ARGUMENTS.items():
            if hasattr(self.library, name):
                getattr(self.library, name).argtypes = arguments

    def _check(self, failed: bool) -> None:
        if failed:
            raise RuntimeError(self.library.fa3_error().decode())

    def refuses(self, cell: Cell) -> str:
        if cell.dtype != "bf16" or cell.head_dim not in HEAD_DIMS:
            return "built for bf16 of head_dim 64, 128 and 256"
        if not cell.plain or cell.value_dim != cell.head_dim:
            return "lacks the feature"
        if cell.page_size and cell.head_dim != 128:
            return "built for pages of head_dim 128"
        wanted = "fa3_decode" if cell.page_size else "fa3_varlen" if cell.lens else "fa3_fwd"
        return "" if hasattr(self.library, wanted) else f"the library has no {wanted}"

    def prepare(self, problem: Problem) -> tuple[Callable, str]:
        if problem.cell.page_size:
            return self._paged(problem), ""
        return self._ragged(problem) if problem.cell.lens else self._dense(problem), ""

    def _dense(self, problem: Problem) -> Callable:
        cell = problem.cell
        lse = torch.empty(cell.batch, cell.q_heads, cell.q_len, device="cuda")
        counter = torch.zeros(1, device="cuda", dtype=torch.int32)
        left, right = (cell.window - 1, 0) if cell.window else (-1, -1)
        numbers = (cell.batch, cell.q_len, cell.kv_len, cell.q_heads, cell.kv_heads, cell.head_dim,
                   int(cell.causal and not cell.window), left, right, cell.head_dim**-0.5)

        def call(turn: int) -> torch.Tensor:
            x = problem.at(turn)
            self._check(self.library.fa3_fwd(
                _stream(), 0, *map(_address, (x.q, x.k, x.v, x.out, lse, counter)), 1, None, None,
                None, *numbers))
            return x.out

        return call

    def _ragged(self, problem: Problem) -> Callable:
        cell, tokens = problem.cell, sum(problem.cell.lens)
        lse = torch.empty(cell.q_heads, tokens, device="cuda")
        shared = (lse, problem.offsets, problem.offsets, _metadata(cell))
        numbers = (cell.batch, tokens, tokens, cell.q_len, cell.kv_len, cell.q_heads,
                   cell.kv_heads, cell.head_dim, int(cell.causal), -1, -1, cell.head_dim**-0.5)

        def call(turn: int) -> torch.Tensor:
            x = problem.at(turn)
            self._check(self.library.fa3_varlen(
                _stream(), *map(_address, (x.q, x.k, x.v, x.out, *shared)), *numbers))
            return x.out

        return call

    def _paged(self, problem: Problem) -> Callable:
        cell, metadata = problem.cell, _metadata(problem.cell)
        pages, per_sequence = problem.copies[0].k.shape[0], problem.table.shape[1]
        # Of one query FA3 runs its causal kernel too, which has the better tile for pages.
        shape = (cell.batch, cell.q_len, cell.q_heads, cell.kv_heads, pages, cell.page_size,
                 per_sequence, int(cell.causal or cell.q_len == 1))
        splits = self.library.fa3_decode_plan(_stream(), _address(problem.kv_len),
                                              _address(metadata), *shape, 0)
        self._check(splits < 1)
        rows = (cell.batch, cell.q_heads, cell.q_len)
        lse, lses = torch.empty(rows, device="cuda"), torch.empty(splits, *rows, device="cuda")
        outs = torch.empty(splits, *rows, cell.head_dim, device="cuda")
        shared = (lse, outs, lses, problem.table, problem.kv_len, metadata)

        def call(turn: int) -> torch.Tensor:
            x = problem.at(turn)
            self._check(self.library.fa3_decode(
                _stream(), *map(_address, (x.q, x.k, x.v, x.out, *shared)), *shape, splits))
            return x.out

        return call


def _metadata(cell: Cell) -> torch.Tensor:
    """FA3's scheduler's: four vectors of the batch, rounded up to fours, and a counter."""
    return torch.zeros(4 * (-(-cell.batch // 4) * 4) + 1, device="cuda", dtype=torch.int32)
