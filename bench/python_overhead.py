#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What Python adds to a call of rapt_attend, on the CPU, where nothing requires a gradient.

    python bench/python_overhead.py [--most 12]

One query and one key, so that what is timed is the way there and back. The C call is the same call
with its struct already made. Each figure is the fastest tenth of its samples, taken in turns; with
--most, more microseconds than that for rapt.torch make the exit status 1.
"""

import argparse
import sys
import time

import torch

import rapt
import rapt.torch
from rapt import _library, _problem

SAMPLES, WARM = 20_000, 500


def ways() -> dict:
    """Calls by name, the C call first."""
    q, k, v = (torch.randn(1, 1, 1, 8) for _ in range(3))
    arrays = [x.numpy() for x in (q, k, v)]
    made = _problem.Call(q, k, v, {"causal": True, "threads": 1})
    attend, problem, options = _library.lib.rapt_attend, made.address, made.options
    return {
        "rapt_attend": lambda made=made: attend(problem, options),
        "rapt.attend, NumPy": lambda: rapt.attend(*arrays, causal=True, threads=1),
        "rapt.attend, torch": lambda: rapt.attend(q, k, v, causal=True, threads=1),
        "rapt.torch.attend": lambda: rapt.torch.attend(q, k, v, causal=True),
    }


def fastest_tenth(calls: dict) -> dict:
    """Microseconds by name."""
    times: dict = {name: [] for name in calls}
    for i in range(WARM + SAMPLES):
        for name, call in calls.items():
            start = time.perf_counter_ns()
            call()
            times[name].append(time.perf_counter_ns() - start)
        if i == WARM:
            for list_ in times.values():
                list_.clear()
    return {name: sorted(list_)[len(list_) // 10] / 1e3 for name, list_ in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--most", type=float, metavar="US", help="microseconds rapt.torch may add")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        found = fastest_tenth(ways())
    base = found["rapt_attend"]
    for name, time_ in found.items():
        print(f"{name:20} {time_:6.1f} us, {time_ - base:5.1f} more than the C call")
    return 1 if options.most and found["rapt.torch.attend"] - base > options.most else 0


if __name__ == "__main__":
    sys.exit(main())
