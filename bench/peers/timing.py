# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Times of calls by replaying CUDA graphs, all providers taking turns in one process."""

from __future__ import annotations

import math
import statistics
import time
from typing import Callable, NamedTuple

import torch

REPLAY_MS = 5.0  # of one graph
FEWEST, MOST = 5, 40  # calls of one graph
FLUSH = 256 << 20  # bytes written, then read, before a call that is timed alone


class Times(NamedTuple):
    """Microseconds a call, over the rounds."""

    median: float
    least: float
    most: float


class Replay:
    """`calls` calls in one graph, on inputs that take turns."""

    def __init__(self, call: Callable, calls: int) -> None:
        self.calls = calls
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=torch.cuda.current_stream()):
            for turn in range(calls):
                call(turn)

    def __call__(self) -> None:
        self.graph.replay()


def events() -> list:
    return [torch.cuda.Event(enable_timing=True) for _ in range(2)]


def estimate(call: Callable) -> float:
    """Milliseconds of a warm call, roughly."""
    for turn in range(2):
        call(turn)
    begin, end = events()
    begin.record()
    for turn in range(3):
        call(turn)
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 3


def calls_for(milliseconds: float) -> int:
    """How many calls make a replay of about REPLAY_MS."""
    return min(MOST, max(FEWEST, math.ceil(REPLAY_MS / max(milliseconds, 1e-3))))


def in_turns(names: list, round_: int) -> list:
    """Each round begins with another."""
    first = round_ % len(names)
    return names[first:] + names[:first]


def summary(samples: list) -> Times:
    return Times(*(round(x, 2) for x in (statistics.median(samples), min(samples), max(samples))))


def measure(replays: dict, rounds: int, warm_seconds: float,
            before: Callable[[], object] | None = None) -> dict:
    """Times by name. `before` is queued before every replay and is not timed."""
    names = list(replays)
    deadline = time.monotonic() + warm_seconds
    while names and time.monotonic() < deadline:
        for name in names:
            replays[name]()
        torch.cuda.synchronize()
    samples: dict = {name: [] for name in names}
    for round_ in range(rounds if names else 0):
        pairs = []
        for name in in_turns(names, round_):
            begin, end = events()
            if before is not None:
                before()
            begin.record()
            replays[name]()
            end.record()
            pairs.append((name, begin, end))
        torch.cuda.synchronize()
        for name, begin, end in pairs:
            samples[name].append(begin.elapsed_time(end) * 1e3 / replays[name].calls)
    return {name: summary(taken) for name, taken in samples.items()}


class Flush:
    """Leaves clean lines of nobody's data in the L2 cache."""

    def __init__(self) -> None:
        self.memory = torch.empty(FLUSH // 4, device="cuda")
        self.total = torch.empty((), device="cuda")

    def __call__(self) -> None:
        self.memory.fill_(1.0)
        torch.sum(self.memory, out=self.total, dim=0)


def ceilings() -> dict:
    """What this card does now: matrix products, copying, reading."""
    n, words = 8192, 1 << 29
    square = [torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(4)]
    product = torch.empty_like(square[0])
    memory = torch.randn(words, device="cuda")
    target, total = torch.empty_like(memory), torch.empty((), device="cuda")
    work = {"matmul": lambda turn: torch.mm(square[turn % 3], square[turn % 3 + 1], out=product),
            "copy": lambda _: target.copy_(memory),
            "read": lambda _: torch.sum(memory, dim=0, out=total)}
    for call in work.values():
        call(0)
    torch.cuda.synchronize()
    found = measure({name: Replay(call, FEWEST) for name, call in work.items()}, 9, 0.3)
    return {"bf16_tflops": round(2 * n**3 / found["matmul"].median / 1e6, 1),
            "copy_gbps": round(2 * 4 * words / found["copy"].median / 1e3, 1),
            "read_gbps": round(4 * words / found["read"].median / 1e3, 1)}
