#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""rapt against torch's CPU scaled_dot_product_attention, in one process on the same tensors.

    PYTHONPATH=python python bench/torch_cpu.py [--threads 1,2] [--json F] [--quick]

Calls of the two alternate, and each cell is the median of its samples; with one thread the process
is pinned to one CPU. Before a cell is timed, both answers are compared with float64 on sampled
rows. torch reads its favourite layout, [batch, heads, len, dim], and rapt the same memory through a
transposed view. The yardstick is torch 2.13.
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
SECONDS = 1.5  # of samples a cell
REST = 0.01  # seconds before a sample; OpenMP's threads give up spinning within a few ms
LEAST, MOST = 7, 60  # samples of each library a cell
SAMPLED_ROWS = 24


class Cell(NamedTuple):
    """One comparison."""

    dtype: str
    head_dim: int
    q_len: int
    causal: bool
    threads: int

    @property
    def case(self) -> str:
        """The problem in rapt's grammar."""
        return (f"dtype={self.dtype} q_len={self.q_len} q_heads={HEADS[self.q_len]} "
                f"head_dim={self.head_dim} mask={'causal' if self.causal else 'full'} lse=0 "
                "order=bhsd")

    @property
    def flops(self) -> float:
        """Operations on visible scores."""
        scores = self.q_len * (self.q_len + 1) / 2 if self.causal else self.q_len**2
        return 4 * scores * self.head_dim * HEADS[self.q_len]


def cells(threads: list, quick: bool) -> list:
    lengths = (512,) if quick else tuple(HEADS)
    # Most threads first: a pool that is made while the process is pinned would stay on one CPU.
    return [
        Cell(dtype, head_dim, q_len, causal, count)
        for count in sorted(threads, reverse=True)
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


def tensors(cell: Cell) -> list:
    torch.manual_seed(1)
    shape = (1, HEADS[cell.q_len], cell.q_len, cell.head_dim)
    return [torch.randn(shape).to(DTYPES[cell.dtype]) for _ in range(3)]


def error(cell: Cell, q_k_v: list, out: torch.Tensor) -> float:
    """The largest error on sampled rows of every head, out being [batch, heads, len, dim]."""
    rows = torch.linspace(0, cell.q_len - 1, SAMPLED_ROWS).long()
    q, k, v = (x.double() for x in q_k_v)
    scores = q[:, :, rows] @ k.transpose(-1, -2) / math.sqrt(cell.head_dim)
    if cell.causal:
        scores.masked_fill_(torch.arange(cell.q_len) > rows[:, None], -math.inf)
    return (out[:, :, rows].double() - scores.softmax(-1) @ v).abs().max().item()


def check(cell: Cell, q_k_v: list, by_rapt, by_torch) -> None:
    """rapt may be off by twice what torch is, or by two units in the last place of the type."""
    found = error(cell, q_k_v, by_rapt().transpose(1, 2))
    peer = error(cell, q_k_v, by_torch())
    floor = 2 * torch.finfo(DTYPES[cell.dtype]).eps * max(x.abs().max().item() for x in q_k_v[2:])
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
    q_k_v = tensors(cell)
    views = [x.transpose(1, 2) for x in q_k_v]
    torch.set_num_threads(cell.threads)

    def by_rapt():
        return rapt.attend(*views, causal=cell.causal, threads=cell.threads)

    def by_torch():
        return F.scaled_dot_product_attention(*q_k_v, is_causal=cell.causal)

    with pinned(cell.threads == 1), torch.no_grad():
        check(cell, q_k_v, by_rapt, by_torch)
        rapt_s, torch_s = alternate(by_rapt, by_torch)
    return {
        "case": cell.case, "dtype": cell.dtype, "head_dim": cell.head_dim, "q_len": cell.q_len,
        "causal": cell.causal, "threads": cell.threads,
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
    for cell in cells(options.threads, options.quick):
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
