# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What is compared: each cell is one problem, printed in the grammar of docs/cases.md.

The grid is the field's own: 16,384 tokens and heads of 2048 elements in all. Imports no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Optional

TOKENS, WIDTH = 16384, 2048
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
SKEWED = (6000, 3000, 2000, 1500, 1000, 800, 600, 400, 300, 200, 150, 128, 100, 78, 64, 64)


@dataclass(frozen=True)
class Cell:
    """One problem. `against` is the same shape without what this cell adds to it."""

    suite: str
    dtype: str
    batch: int
    q_len: int
    kv_len: int
    q_heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    causal: bool
    window: int = 0  # keys seen, the query's own among them
    softcap: float = 0.0
    alibi: bool = False
    sinks: bool = False
    bias: str = ""  # the grammar's bias_dims, "-" for keys only; always of the tensors' dtype
    dropout: float = 0.0
    page_size: int = 0
    lens: tuple = ()  # of ragged sequences, queries and keys alike
    backward: bool = False
    against: Optional[Cell] = field(default=None, compare=False)

    @property
    def case(self) -> str:
        """The problem as a line of the grammar."""
        return " ".join(f"{key}={value}" for key, value in self._words() if value != "")

    def _words(self) -> list:
        lens = ",".join(map(str, self.lens))
        ragged = "ragged" if lens else ""
        mask = "" if self.window else "causal" if self.causal else "full"
        return [("direction", "backward" if self.backward else ""),
                ("dtype", self.dtype), ("batch", self.batch), ("q_len", self.q_len),
                ("kv_len", self.kv_len), ("q_heads", self.q_heads), ("kv_heads", self.kv_heads),
                ("head_dim", self.head_dim),
                ("value_dim", "" if self.value_dim == self.head_dim else self.value_dim),
                ("mask", mask), ("left", self.window - 1 if self.window else ""),
                ("right", 0 if self.window else ""), ("softcap", self.softcap or ""),
                ("alibi", "head" if self.alibi else ""), ("sinks", 1 if self.sinks else ""),
                ("bias", self.dtype if self.bias else ""), ("bias_dims", self.bias.strip("-")),
                ("dropout", self.dropout or ""), ("page_size", self.page_size or ""),
                ("q", ragged), ("kv", ragged), ("q_lens", lens), ("kv_lens", lens)]

    @property
    def plain(self) -> bool:
        """Nothing but a mask: what every library computes."""
        return not (self.softcap or self.alibi or self.sinks or self.bias or self.dropout)

    @property
    def lengths(self) -> list:
        """(queries, keys) of each sequence."""
        return [(n, n) for n in self.lens] or [(self.q_len, self.kv_len)] * self.batch

    @property
    def flops(self) -> float:
        """Of the visible scores; a square causal problem counts as half, as the field has it, and
        a backward as two and a half forwards: five products for two."""
        scores = sum(self._scores(q_len, kv_len) for q_len, kv_len in self.lengths)
        forward = 2 * scores * self.q_heads * (self.head_dim + self.value_dim)
        return 2.5 * forward if self.backward else forward

    def _scores(self, q_len: int, kv_len: int) -> float:
        if self.window and self.window < kv_len:
            return sum(min(self.window, kv_len - q_len + i + 1) for i in range(q_len))
        if not self.causal:
            return q_len * kv_len
        return q_len * kv_len / 2 if q_len == kv_len else q_len * (kv_len - (q_len - 1) / 2)

    @property
    def kv_bytes(self) -> int:
        keys = sum(kv_len for _, kv_len in self.lengths)
        return keys * self.kv_heads * (self.head_dim + self.value_dim) * BYTES[self.dtype]

    @property
    def bias_shape(self) -> tuple:
        sizes = (("b", self.batch), ("h", self.q_heads), ("q", self.q_len))
        return (*(size if letter in self.bias else 1 for letter, size in sizes), self.kv_len)

    @property
    def bytes(self) -> int:
        """Of q, k, v, out and bias, each once, and of their gradients."""
        queries = sum(q_len for q_len, _ in self.lengths)
        size = queries * self.q_heads * (self.head_dim + self.value_dim) * BYTES[self.dtype]
        bias = 1
        for extent in self.bias_shape if self.bias else (0,):
            bias *= extent
        forward = size + self.kv_bytes + bias * BYTES[self.dtype]
        return 2 * forward if self.backward else forward


def square(suite: str, dtype: str, head_dim: int, length: int, causal: bool) -> Cell:
    heads = max(1, WIDTH // head_dim)
    return Cell(suite, dtype, TOKENS // length, length, length, heads, heads, head_dim, head_dim,
                causal)


def forward(dtype: str) -> list:
    return [square("forward", dtype, head_dim, length, causal)
            for head_dim in (64, 128, 256) for length in (1024, 4096, 16384)
            for causal in (False, True)]


def backward(dtype: str) -> list:
    return [replace(square("backward", dtype, head_dim, length, causal), backward=True)
            for head_dim in (64, 128, 256) for length in (1024, 4096, 16384)
            for causal in (False, True)]


def fp32(_: str) -> list:
    return [square("fp32", "fp32", head_dim, 4096, causal)
            for head_dim in (64, 128) for causal in (False, True)]


def decode(dtype: str) -> list:
    return [Cell("decode", dtype, batch, 1, context, q_heads, kv_heads, 128, 128, False,
                 page_size=64)
            for q_heads, kv_heads in ((32, 8), (64, 8), (32, 32), (8, 1))
            for context in (512, 2048, 8192, 32768) for batch in (1, 4, 16, 64)]


def features(dtype: str) -> list:
    """Each feature beside the same shape without it, and head sizes between those of the grid."""
    plain = square("features", dtype, 128, 4096, True)
    narrow = square("features", dtype, 64, 4096, True)
    long = square("features", dtype, 128, 16384, True)

    def beside(base: Cell, **changes: object) -> Cell:
        return replace(base, against=base, **changes)  # type: ignore[arg-type]

    return [plain, beside(plain, alibi=True), beside(plain, sinks=True),
            beside(plain, kv_heads=4), beside(plain, softcap=30.0),
            beside(plain, bias="q"), beside(plain, bias="hq"), beside(plain, bias="bhq"),
            beside(plain, dropout=0.1), beside(plain, page_size=64),
            narrow, beside(narrow, softcap=30.0), long, beside(long, window=1024),
            square("features", dtype, 96, 4096, True), square("features", dtype, 192, 4096, True),
            replace(square("features", dtype, 192, 4096, True), value_dim=128),
            square("features", dtype, 256, 4096, True), square("features", dtype, 512, 4096, True)]


def ragged(dtype: str) -> list:
    """A skewed batch, and chunks of a prompt behind a cached prefix, in pages and without."""
    plain = square("ragged", dtype, 128, 4096, True)
    skewed = replace(plain, batch=len(SKEWED), q_len=max(SKEWED), kv_len=max(SKEWED), lens=SKEWED,
                     against=plain)
    found = [plain, skewed]
    for kv_len in (8192, 32768):
        for q_len in (512, 2048, 4096):
            dense = Cell("ragged", dtype, 1, q_len, kv_len, 32, 8, 128, 128, True)
            found += [dense, *(replace(dense, page_size=size, against=dense)
                               for size in (64, 16, 1))]
    return found


SUITES = {"forward": forward, "backward": backward, "decode": decode, "features": features,
          "fp32": fp32, "ragged": ragged}


def choose(suite: str, dtype: str, pattern: str) -> list:
    """The cells of a suite whose case matches the pattern, and those they are set against."""
    cells = SUITES[suite](dtype)
    wanted = [cell for cell in cells if re.search(pattern, cell.case)]
    needed = {cell.against for cell in wanted if cell.against}
    return [cell for cell in cells if cell in wanted or cell in needed]
