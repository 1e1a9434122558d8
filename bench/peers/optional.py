# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Providers that take part where they are installed: flash-attn-4 and FlashInfer."""

from __future__ import annotations

from itertools import accumulate
from types import ModuleType
from typing import Callable

import torch

from .cells import Cell
from .inputs import DTYPES, Problem

_WORKSPACE = 256 << 20  # bytes, what FlashInfer's documentation advises at least once over


class FlashAttn4:
    """flash_attn.cute, by its public functions."""

    name = "flash-attn-4"

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def refuses(self, cell: Cell) -> str:
        if cell.dtype == "fp32" or not cell.plain:
            return "lacks the feature"
        return "not timed on pages" if cell.page_size else ""

    def prepare(self, problem: Problem) -> tuple[Callable, str]:
        cell = problem.cell
        keywords: dict = {"causal": cell.causal and not cell.window}
        if cell.window:
            keywords["window_size"] = (cell.window - 1, 0)
        attend = self.module.flash_attn_func
        if cell.lens:
            attend = self.module.flash_attn_varlen_func
            keywords |= {"cu_seqlens_q": problem.offsets, "cu_seqlens_k": problem.offsets,
                         "max_seqlen_q": cell.q_len, "max_seqlen_k": cell.kv_len}

        def call(turn: int) -> torch.Tensor:
            x = problem.at(turn)
            found = attend(x.q, x.k, x.v, **keywords)
            return found[0] if isinstance(found, tuple) else found

        return call, ""


class FlashInfer:
    """FlashInfer's batch wrappers: its tensor-core decode, and its prefill ragged or paged."""

    name = "flashinfer"

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def refuses(self, cell: Cell) -> str:
        if cell.dtype == "fp32" or not cell.plain or cell.window:
            return "not timed with this"
        return "" if cell.head_dim == cell.value_dim <= 256 else "not timed at this head_dim"

    def prepare(self, problem: Problem) -> tuple[Callable, str]:
        make = self._paged if problem.cell.page_size else self._ragged
        wrapper, keys = make(problem)

        def call(turn: int) -> torch.Tensor:
            x = problem.at(turn)
            out = wrapper.run(x.q.flatten(0, -3), *keys(x))
            return out.view(x.out.shape)

        return call, ""

    def _ragged(self, problem: Problem) -> tuple:
        cell = problem.cell
        wrapper = self.module.BatchPrefillWithRaggedKVCacheWrapper(_workspace())
        queries, keys = (_offsets(lens) for lens in zip(*cell.lengths))
        wrapper.plan(queries, keys, cell.q_heads, cell.kv_heads, cell.head_dim,
                     causal=cell.causal, q_data_type=DTYPES[cell.dtype])
        return wrapper, lambda x: (x.k.flatten(0, -3), x.v.flatten(0, -3))

    def _paged(self, problem: Problem) -> tuple:
        cell, table = problem.cell, problem.table
        pages = _offsets([table.shape[1]] * cell.batch)
        last = torch.full((cell.batch,), (cell.kv_len - 1) % cell.page_size + 1,
                          dtype=torch.int32, device="cuda")
        shape = (cell.q_heads, cell.kv_heads, cell.head_dim, cell.page_size)
        if cell.q_len == 1:
            wrapper = self.module.BatchDecodeWithPagedKVCacheWrapper(_workspace(),
                                                                     use_tensor_cores=True)
            wrapper.plan(pages, table.flatten(), last, *shape, q_data_type=DTYPES[cell.dtype])
        else:
            wrapper = self.module.BatchPrefillWithPagedKVCacheWrapper(_workspace())
            wrapper.plan(_offsets([cell.q_len] * cell.batch), pages, table.flatten(), last, *shape,
                         causal=cell.causal, q_data_type=DTYPES[cell.dtype])
        return wrapper, lambda x: ((x.k, x.v),)


def _workspace() -> torch.Tensor:
    return torch.zeros(_WORKSPACE, dtype=torch.uint8, device="cuda")


def _offsets(lens: list) -> torch.Tensor:
    return torch.tensor([0, *accumulate(lens)], dtype=torch.int32, device="cuda")


def installed() -> list:
    found: list = []
    try:
        import flash_attn.cute as flash_attn_4
        found.append(FlashAttn4(flash_attn_4))
    except ImportError:
        pass
    try:
        import flashinfer
        found.append(FlashInfer(flashinfer))
    except ImportError:
        pass
    return found
