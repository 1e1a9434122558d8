#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""rapt beside the best attention libraries on one GPU, in one process and on the same tensors.

    PYTHONPATH=python python3 bench/peers.py --suite forward [--cells REGEX] [--kernel NAME ...]

Calls are captured into CUDA graphs, several back to back on inputs that take turns, and the graphs
of all providers are replayed in turns; `decode` times one call a replay behind a clean L2 cache.
Every answer is compared with float64 on sampled rows, gradients on sampled heads, before it is
timed. Exits 1 if an answer of
rapt's is wrong. docs/python.md says more.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT / "python"), str(ROOT / "tests")]  # rapt; the oracle's dropout

from peers import cells, plot, report  # noqa: E402


def arguments(words: list | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--suite", choices=cells.SUITES, default="forward")
    parser.add_argument("--cells", metavar="REGEX", default="", help="only cases that match")
    parser.add_argument("--dtype", choices=("bf16", "fp16"), default="bf16")
    parser.add_argument("--kernel", metavar="NAME", nargs="+", default=["auto"],
                        help="rapt's kernels; `portable` is cuda/portable_forward, of backwards "
                             "`portable_backward_atomic` cuda/portable_backward_atomic")
    parser.add_argument("--peers", metavar="REGEX", default="", help="only peers that match")
    parser.add_argument("--fa3", metavar="F", help="FlashAttention-3 as a library (peers/fa3.py)")
    parser.add_argument("--rounds", type=int, default=17, help="replays of each graph (17)")
    parser.add_argument("--warm", type=float, default=0.3, help="seconds of replays before (0.3)")
    parser.add_argument("--seconds", type=float, help="begin no cell after so long")
    parser.add_argument("--json", metavar="F", help="write the rows to F, cell by cell")
    parser.add_argument("--plot", metavar="F", help="draw them into F, an SVG")
    parser.add_argument("--list", action="store_true", help="print the cells and end")
    return parser.parse_args(words)


def providers(options: argparse.Namespace) -> list:
    from peers import fa3, gradients, optional
    from peers import providers as forward

    if options.suite == "backward":
        ours, others = gradients.Rapt, gradients.of_torch()
    else:
        ours, others = forward.Rapt, forward.of_torch() + optional.installed()
        if options.fa3:
            others.insert(0, fa3.Fa3(str(Path(options.fa3).resolve())))
    return [*map(ours, options.kernel),
            *(other for other in others if re.search(options.peers, other.name))]


class Comparison:
    """The run: providers, ceilings, and the rows of every cell so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        from peers import timing

        self.options = options
        self.providers = providers(options)
        self.timing = timing
        self.alone = options.suite == "decode"
        self.flush = timing.Flush() if self.alone else None
        self.ceilings = timing.ceilings()
        self.rows: list = []
        self.skipped: list = []

    def run(self, cell: cells.Cell) -> list:
        """Checks and times one cell; its rows, rapt's first."""
        from peers import gradients, inputs, reference

        if cell.backward:
            reference = gradients
        problem = inputs.make(cell, self.alone)
        wanted = reference.samples(problem)
        rows, calls = [], {}
        for provider in self.providers:
            if provider.refuses(cell):
                continue
            row, call = self._answer(provider, problem, wanted, reference)
            rows.append(row)
            if call is not None:
                calls[provider.name] = call
        times = self._time(calls, rows)
        for row in rows:
            if row["provider"] in times:
                report.fill(row, cell, times[row["provider"]], self.ceilings)
        report.compare(rows)
        self._set_against(cell, rows)
        self.rows += rows
        return rows

    def _answer(self, provider, problem, wanted, reference) -> tuple:
        """The row of a provider's answer, and its call where that is right."""
        import torch

        cell, mine = problem.cell, provider.name.startswith("rapt")
        for x in problem.copies:
            x.poison()
        try:
            call, kernel = provider.prepare(problem)
            error, right = reference.error_of(problem, wanted, call(0))
        except Exception as failure:  # of a library that is not ours to name
            torch.cuda.synchronize()
            refused = mine and isinstance(failure, NotImplementedError)
            sentence = str(failure).strip().split("\n")[0][:160]
            return report.row_of(cell, provider.name, checked=refused,
                                 sentence=f"{'refused' if refused else 'failed'}: {sentence}"), None
        row = report.row_of(cell, provider.name, kernel, error, right,
                            "" if right else f"wrong: off by {error:.2e}")
        return row, call if right else None

    def _time(self, calls: dict, rows: list) -> dict:
        if not calls:
            return {}
        count = 1 if self.alone else self.timing.calls_for(
            self.timing.estimate(next(iter(calls.values()))))
        replays = {}
        for row in rows:
            name = row["provider"]
            if name not in calls:
                continue
            try:
                self.timing.estimate(calls[name])  # every copy's kernels are there
                replays[name] = self.timing.Replay(calls[name], count)
            except Exception as failure:
                row["checked"] = False
                row["sentence"] = f"failed: not captured, {str(failure).strip()[:120]}"
        return self.timing.measure(replays, self.options.rounds, self.options.warm, self.flush)

    def _set_against(self, cell: cells.Cell, rows: list) -> None:
        if cell.against is None:
            return
        base = {row["provider"]: row for row in self.rows if row["case"] == cell.against.case}
        for row in rows:
            if report.is_rapt(row) and row["provider"] in base:
                report.set_against(row, base[row["provider"]])

    def wrong(self) -> list:
        return [row for row in self.rows if report.is_rapt(row) and not row["checked"]]


def output_of(*command: str) -> str:
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip().split("\n")[0]


def machine() -> dict:
    import torch

    import rapt

    query = "name,driver_version,clocks.sm,clocks.max.sm,power.draw,power.limit,temperature.gpu"
    return {"gpu": torch.cuda.get_device_name(), "rapt": rapt.version(),
            "torch": torch.__version__, "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "nvidia_smi": output_of("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader")}


def write(options: argparse.Namespace, run: Comparison, about: dict) -> None:
    """Whole after every cell, so that a run that is cut short has left what it had."""
    if options.json:
        found = {"schema": 1, "machine": about, "suite": options.suite,
                 "commit": output_of("git", "describe", "--always", "--dirty", "--abbrev=12"),
                 "timed": "alone, clean L2" if run.alone else "back to back, inputs in turns",
                 "rounds": options.rounds, "ceilings": run.ceilings, "rows": run.rows,
                 "skipped": [cell.case for cell in run.skipped]}
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        Path(options.plot).write_text(drawing(options, run, about), encoding="utf-8")


def drawing(options: argparse.Namespace, run: Comparison, about: dict) -> str:
    key, ceiling, unit = ("gbps", run.ceilings["read_gbps"], "GB/s") if run.alone else \
        ("tflops", run.ceilings["bf16_tflops"] * (options.suite != "fp32"), "TFLOP/s")
    groups: dict = {}
    labels = {cell.case: report.short(cell) for cell in chosen(options)}
    for row in run.rows:
        if row[key]:
            groups.setdefault(labels[row["case"]], {})[row["provider"]] = row[key]
    dtype = "fp32" if options.suite == "fp32" else options.dtype
    return plot.draw(f"rapt and its peers: {options.suite}, {dtype}",
                     f"{about['gpu']}, torch {about['torch']}", list(groups.items()), ceiling, unit)


def chosen(options: argparse.Namespace) -> list:
    return cells.choose(options.suite, options.dtype, options.cells)


def compare(options: argparse.Namespace) -> int:
    import torch

    torch.set_float32_matmul_precision("highest")
    begin = time.monotonic()
    with torch.cuda.stream(torch.cuda.Stream()), torch.no_grad():
        run, about = Comparison(options), machine()
        print(f"{about['nvidia_smi']}\n{run.ceilings}", flush=True)
        for cell in chosen(options):
            if options.seconds and time.monotonic() - begin > options.seconds:
                run.skipped.append(cell)
                continue
            print("\n".join(report.lines(cell, run.run(cell))), flush=True)
            torch.cuda.empty_cache()
            write(options, run, about)
        run.ceilings |= {f"{name}_after": rate for name, rate in run.timing.ceilings().items()}
    about["nvidia_smi_after"] = machine()["nvidia_smi"]
    write(options, run, about)
    return conclude(run)


def conclude(run: Comparison) -> int:
    for (kernel, peer), (mean, least, count) in report.geometric_means(run.rows).items():
        print(f"{kernel} over {peer}: {mean:.3f}x geometric mean, {least:.3f}x lowest of {count}")
    print(f"ceilings {run.ceilings}")
    if run.skipped:
        print(f"out of time: {len(run.skipped)} cells were not begun")
    for row in run.wrong():
        print(f"{row['provider']}: {row['sentence']}: {row['case']}", file=sys.stderr)
    return 1 if run.wrong() else 0


def main() -> int:
    options = arguments()
    if options.list:
        print("\n".join(cell.case for cell in chosen(options)))
        return 0
    try:
        import torch
    except ImportError:
        torch = None
    if torch is None or not torch.cuda.is_available():
        sys.exit("peers.py needs a python3 with torch that sees a CUDA device")
    return compare(options)


if __name__ == "__main__":
    sys.exit(main())
