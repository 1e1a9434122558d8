# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Passes every test that runs on this machine; ./test calls it after setting up.

Its last line is `N passed, N failed, N skipped`. Logs lie in build/test-logs.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import gpu_record
import gpu_tests
import steps as all_steps
from steps import BUILD_STEP, STEPS, Context, Counts, StepFailed

LOG_TAIL = 40


def parse_arguments():
    names = "\n".join(f"  {step.name:16}{step.purpose}" for step in [BUILD_STEP, *STEPS])
    parser = argparse.ArgumentParser(prog="./test", description=__doc__,
                                     epilog=f"steps:\n{names}",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="what to run while working: minutes")
    mode.add_argument("--full", action="store_true", help="more random problems, longer fuzzing")
    mode.add_argument("--step", action="append", metavar="NAME", help="one step alone; repeatable",
                      choices=[step.name for step in [BUILD_STEP, *STEPS]])
    mode.add_argument("--gpu", action="store_true",
                      help="the GPU's tests, on a tree that is built, into tests/gpu-record.json")
    mode.add_argument("--check-record", action="store_true",
                      help="whether the GPU's last results belong to these sources")
    parser.add_argument("--part", metavar="K/N", help="with --gpu: one part of the tests")
    parser.add_argument("--sanitizer", metavar="PATH",
                        help="with --gpu: this compute-sanitizer over every kernel instead")
    arguments = parser.parse_args()
    if not arguments.gpu and (arguments.part or arguments.sanitizer):
        parser.error("--part and --sanitizer belong to --gpu")
    try:
        arguments.part = gpu_tests.Part.parse(arguments.part or "1/1")
    except ValueError as error:
        parser.error(str(error))
    return arguments


def run_step(step, mode, jobs):
    """One step with its line of output; its counts. Nothing that a step does stops the others."""
    context = Context(step.name, mode, jobs)
    start = time.monotonic()
    try:
        counts = step.run(context)
    except (StepFailed, OSError, KeyError, ValueError) as error:
        counts = Counts(failed=1, notes=[f"{type(error).__name__}: {error}"])
    report(step, counts, time.monotonic() - start, context.log_path)
    return counts


def report(step, counts, seconds, log_path):
    verdict = "FAILED" if counts.failed else "ok"
    tally = f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped"
    lines = [f"{verdict:8}{step.name:18}{seconds:6.0f} s   {tally}"]
    lines += [f"            {note}" for note in counts.notes]
    if counts.failed:
        tail = log_path.read_text(errors="replace").splitlines()[-LOG_TAIL:]
        lines += [f"  | {line}" for line in tail] + [f"  the whole log: {log_path}"]
    print("\n".join(lines), flush=True)


def run_steps(chosen, mode):
    """The release build with every core, then the other steps side by side."""
    cores = len(os.sched_getaffinity(0))
    total = Counts()
    if BUILD_STEP in chosen or any(step.needs_build for step in chosen):
        total.add(run_step(BUILD_STEP, mode, cores))
        if total.failed:
            return total
    rest = [step for step in chosen if step is not BUILD_STEP]
    workers = max(1, min(cores, len(rest)))
    with ThreadPoolExecutor(workers) as pool:
        jobs = max(1, cores // workers)
        for counts in pool.map(lambda step: run_step(step, mode, jobs), rest):
            total.add(counts)
    return total


def finish(passed, failed, skipped=0):
    """The last line; the exit status."""
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def check_record():
    complaints = gpu_record.complaints(all_steps.ROOT)
    print("\n".join(complaints) if complaints else gpu_record.summary(all_steps.ROOT))
    return finish(0, len(complaints)) if complaints else finish(1, 0)


def warn_of_record():
    """Nobody without a GPU can mend the record, so here it is a warning; loud, since it says that
    what runs on GPUs was not tested."""
    complaints = gpu_record.complaints(all_steps.ROOT)
    if complaints:
        frame = "!" * 88
        lines = [f"!! {complaint}" for complaint in complaints[:10]]
        print("\n".join([frame, "!! WARNING: the GPU's tests do not speak for these sources",
                         *lines, "!! ./test --gpu on a machine with a GPU mends it", frame]))


def main():
    arguments = parse_arguments()
    if arguments.gpu:
        return finish(*gpu_tests.run_part(arguments.part, arguments.sanitizer))
    if arguments.check_record:
        return check_record()
    mode = "quick" if arguments.quick else "full" if arguments.full else "ci"
    named = arguments.step or []
    chosen = [step for step in [BUILD_STEP, *STEPS]
              if (step.name in named if named else mode in step.modes)]
    print(f"{len(chosen)} steps; their logs are in {all_steps.LOGS.relative_to(all_steps.ROOT)}",
          flush=True)
    total = run_steps(chosen, mode)
    warn_of_record()
    return finish(total.passed, total.failed, total.skipped)


if __name__ == "__main__":
    sys.exit(main())
