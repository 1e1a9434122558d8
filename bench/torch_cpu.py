#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""rapt against torch's CPU scaled_dot_product_attention, in one process on the same tensors.

    PYTHONPATH=python python bench/torch_cpu.py [--direction backward] [--threads 1,2] [--json F]

Calls of the two alternate, and each cell is the median of its samples; with one thread the process
is pinned to one CPU. Before a cell is timed, both answers are compared with float64: out on sampled
rows, gradients whole. torch reads its favourite layout, [batch, heads, len, dim], and rapt the same
memory through a transposed view. A backward is timed alone, each on what its own forward left. The
yardstick is torch 2.13.
"""

import argparse
import contextlib
import itertools
import json
import math
import os
import statistics
import sys
import time
from typing import NamedTuple

import torch
import torch.nn.functional as F

import rapt

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
HEADS = {512: 8, 1024: 8, 4096: 2}  # by length: tens to hundreds of milliseconds a call
LENGTHS = {"forward": (512, 1024, 4096), "backward": (1024, 4096)}
PRODUCTS = {"forward": 2, "backward": 5}  # of matrices, a score
SECONDS = 1.5  # of samples a cell
REST = 0.01  # seconds before a sample; OpenMP's threads give up spinning within a few ms
LEAST, MOST = 7, 60  # samples of each library a cell
SAMPLED_ROWS = 24


class Cell(NamedTuple):
    """One comparison."""

    direction: str
    dtype: str
    head_dim: int
    q_len: int
    causal: bool
    threads: int

    @property
    def case(self) -> str:
        """The problem in rapt's grammar."""
        asks = "lse=0" if self.direction == "forward" else "direction=backward"
        return (f"dtype={self.dtype} q_len={self.q_len} q_heads={HEADS[self.q_len]} "
                f"head_dim={self.head_dim} mask={'causal' if self.causal else 'full'} {asks} "
                "order=bhsd")

    @property
    def flops(self) -> float:
        """Operations on visible scores."""
        scores = self.q_len * (self.q_len + 1) / 2 if self.causal else self.q_len**2
        return 2 * PRODUCTS[self.direction] * scores * self.head_dim * HEADS[self.q_len]


def cells(options: argparse.Namespace) -> list:
    lengths = (512,) if options.quick else LENGTHS[options.direction]
    # Most threads first: a pool that is made while the process is pinned would stay on one CPU.
    return [
        Cell(options.direction, dtype, head_dim, q_len, causal, count)
        for count in sorted(options.threads, reverse=True)
        for dtype, head_dim, q_len, causal in itertools.product(DTYPES, (64, 128), lengths,
                                                                (False, True))
    ]


@contextlib.contextmanager
def pinned(to_one: bool):
    """Holds this thread on its last allowed CPU meanwhile."""
    allowed = os.sched_getaffinity(0)
    try:
        if to_one:
            os.sched_setaffinity(0, {max(allowed)})
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def probabilities(cell: Cell, q: torch.Tensor, k: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    scores = q[..., rows, :] @ k.transpose(-1, -2) / math.sqrt(cell.head_dim)
    if cell.causal:
        scores.masked_fill_(torch.arange(cell.q_len) > rows[:, None], -math.inf)
    return scores.softmax(-1)


class Forward:
    """Both libraries' out, and the truth on sampled rows."""

    def __init__(self, cell: Cell) -> None:
        torch.manual_seed(1)
        shape = (1, HEADS[cell.q_len], cell.q_len, cell.head_dim)
        self.cell = cell
        self.inputs = [torch.randn(shape).to(DTYPES[cell.dtype]) for _ in range(3)]
        self.views = [x.transpose(1, 2) for x in self.inputs]
        self.keywords = {"causal": cell.causal, "threads": cell.threads}
        self.rows = torch.linspace(0, cell.q_len - 1, SAMPLED_ROWS).long()

    def by_rapt(self) -> torch.Tensor:
        return rapt.attend(*self.views, **self.keywords)

    def by_torch(self) -> torch.Tensor:
        return F.scaled_dot_product_attention(*self.inputs, is_causal=self.cell.causal)

    def answers(self) -> tuple:
        """What is compared of both, a list each, and the truth."""
        q, k, v = (x.double() for x in self.inputs)
        both = (self.by_rapt().transpose(1, 2), self.by_torch())
        return (*([out[:, :, self.rows]] for out in both),
                [probabilities(self.cell, q, k, self.rows) @ v])


class Backward(Forward):
    """Both libraries' dq, dk and dv."""

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        self.d_out = torch.randn_like(self.inputs[0])
        self.seen = rapt.attend(*self.views, **self.keywords, return_lse=True)
        self.learned = [x.clone().requires_grad_() for x in self.inputs]
        with torch.enable_grad():
            self.out = F.scaled_dot_product_attention(*self.learned, is_causal=cell.causal)

    def by_rapt(self) -> tuple:
        return rapt.attend_backward(self.d_out.transpose(1, 2), *self.views, *self.seen,
                                    **self.keywords)

    def by_torch(self) -> tuple:
        return torch.autograd.grad(self.out, self.learned, self.d_out, retain_graph=True)

    def answers(self) -> tuple:
        heads = [self.truth(*(x[0, h].double() for x in (*self.inputs, self.d_out)))
                 for h in range(HEADS[self.cell.q_len])]
        return ([x.transpose(1, 2) for x in self.by_rapt()[:3]], self.by_torch(),
                [torch.stack(gradient)[None] for gradient in zip(*heads)])

    def truth(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
              d_out: torch.Tensor) -> tuple:
        """The gradients of one head."""
        p = probabilities(self.cell, q, k, torch.arange(self.cell.q_len))
        dp = d_out @ v.T
        ds = p * (dp - (p * dp).sum(-1, keepdim=True)) / math.sqrt(self.cell.head_dim)
        return ds @ k, ds.T @ q, p.T @ d_out


def check(work: Forward) -> None:
    """rapt may be off by twice what torch is, or by two units in the last place of the type."""
    cell = work.cell
    for by_rapt, by_torch, right in zip(*work.answers()):
        found, peer = ((x.double() - right).abs().max().item() for x in (by_rapt, by_torch))
        floor = 2 * torch.finfo(DTYPES[cell.dtype]).eps * right.abs().max().item()
        if not found <= max(2 * peer, floor):
            sys.exit(f"{cell.case}: rapt is off by {found:.2e}, torch by {peer:.2e}")


def seconds(call) -> float:
    """The second of two calls after a rest. The rest is for the other library's threads, which spin
    for a while behind their last call and would hold a CPU that this one wants; the first call
    wakes this library's own, as the layer before would."""
    time.sleep(REST)
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def alternate(first, second) -> tuple:
    """Medians of both in seconds, their calls taking turns at going first."""
    samples = min(MOST, max(LEAST, int(SECONDS / (seconds(first) + seconds(second)))))
    times = ([], [])
    for i in range(samples):
        for j in ((0, 1), (1, 0))[i % 2]:
            times[j].append(seconds((first, second)[j]))
    return tuple(statistics.median(list_) for list_ in times)


def measure(cell: Cell) -> dict:
    torch.set_num_threads(cell.threads)
    with pinned(cell.threads == 1), torch.no_grad():
        work = (Forward if cell.direction == "forward" else Backward)(cell)
        check(work)
        rapt_s, torch_s = alternate(work.by_rapt, work.by_torch)
    return {
        "case": cell.case, "direction": cell.direction, "dtype": cell.dtype,
        "head_dim": cell.head_dim, "q_len": cell.q_len, "causal": cell.causal,
        "threads": cell.threads,
        "rapt_us": round(rapt_s * 1e6, 1), "torch_us": round(torch_s * 1e6, 1),
        "rapt_gflops": round(cell.flops / rapt_s / 1e9, 2),
        "torch_gflops": round(cell.flops / torch_s / 1e9, 2),
        "speedup": round(torch_s / rapt_s, 3),
    }


HEADING = (f"{'dtype':5} {'dim':>4} {'len':>5} {'mask':6} {'threads':>7} {'rapt':>10} {'torch':>10}"
           f" {'speedup':>8}")


def line(row: dict) -> str:
    mask = "causal" if row["causal"] else "full"
    return (f"{row['dtype']:5} {row['head_dim']:4} {row['q_len']:5} {mask:6} {row['threads']:7}"
            f" {row['rapt_gflops']:5.0f} GF/s {row['torch_gflops']:5.0f} GF/s"
            f" {row['speedup']:7.2f}x")


def summary(rows: list) -> tuple:
    """Geometric mean and lowest speedup of each dtype."""
    speedups = {dtype: [row["speedup"] for row in rows if row["dtype"] == dtype]
                for dtype in DTYPES}
    return ({dtype: round(statistics.geometric_mean(x), 3) for dtype, x in speedups.items()},
            {dtype: min(x) for dtype, x in speedups.items()})


def machine() -> dict:
    cpu = next(device for device in rapt.devices() if device.backend == "cpu")
    return {"cpu": cpu.name, "isa": cpu.detail, "cpus": len(os.sched_getaffinity(0)),
            "torch_isa": torch.backends.cpu.get_cpu_capability(), "rapt": rapt.version()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--direction", choices=PRODUCTS, default="forward")
    parser.add_argument("--json", metavar="F", help="write the rows to F")
    parser.add_argument("--threads", default="1,2", help="thread counts, comma-separated (1,2)")
    parser.add_argument("--quick", action="store_true", help="only the shortest length")
    options = parser.parse_args()
    options.threads = [int(count) for count in options.threads.split(",")]
    return options


def main() -> int:
    options = arguments()
    print(f"torch {torch.__version__}, rapt {rapt.version()}\n{HEADING}", flush=True)
    rows = []
    for cell in cells(options):
        rows.append(measure(cell))
        print(line(rows[-1]), flush=True)
    geomean, lowest = summary(rows)
    for dtype in DTYPES:
        print(f"{dtype}: {geomean[dtype]:.2f}x at geometric mean, {lowest[dtype]:.2f}x at least")
    if options.json:
        report = {"schema": 1, "machine": machine(), "torch": torch.__version__, "rows": rows,
                  "geomean": geomean, "lowest": lowest}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
