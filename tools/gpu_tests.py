# SPDX-License-Identifier: Apache-2.0 OR MIT
"""`./test --gpu`: the GPU's tests, part by part, on a tree that is built, into the record.

Needs build/release/rapt and rapt_tests, a driver and NVRTC, and no network; the tests from Python
need a python3 that has NumPy, pytest and torch with CUDA. One invocation stays under eight minutes;
what has not ended by then has failed.
"""

import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import gpu_record
from steps import BUILD, LOGS, RELEASE, ROOT, SEED

SECONDS = 450
# Of verify, over all parts, forward and backward; most of a second each goes into compiling.
PROBLEMS = {"forward": 2_400, "backward": 800}
MOST_WORKERS = 14
# Tensors that fill a device are for one process, and the host's time is for one at a time.
LARGE_TESTS, TIMED_TESTS = "*GpuLarge*", "*GpuWarm*"
TESTS = f"Gpu*-{LARGE_TESTS}:{TIMED_TESTS}"
# What each sanitizer looks at: every case on every kernel, and nonsense in the indices.
SANITIZED = {"memcheck": "*GpuCase.IsRightOnEvery*:*GpuIndices*:GpuVerbs*",
             "racecheck": "Gpu/GpuCase.IsRightOnEvery*",
             "initcheck": "Gpu/GpuCase.IsRightOnEvery*"}
SANITIZER_ERROR = 9


@dataclass(frozen=True)
class Part:
    index: int
    count: int

    @classmethod
    def parse(cls, text):
        index, _, count = text.partition("/")
        if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
            raise ValueError(f"part: is {text!r}, wanted K/N with 1 <= K <= N")
        return cls(int(index), int(count))

    def __str__(self):
        return f"{self.index}/{self.count}"

    def shards(self, workers):
        """(shard, shards) for each of the workers, so that all parts together have every shard."""
        first = (self.index - 1) * workers
        return [(first + worker, self.count * workers) for worker in range(workers)]


@dataclass
class Job:
    """One process, and what its report says of each test."""

    name: str
    command: list
    report: Path
    read: object
    environment: dict = field(default_factory=dict)


def outcomes_of_junit(path):
    def outcome(case):
        if case.find("failure") is not None or case.find("error") is not None:
            return "failed"
        ran = case.find("skipped") is None and case.get("status") != "notrun"
        return "passed" if ran else "skipped"
    return {f"{case.get('classname')}.{case.get('name')}": outcome(case)
            for case in ElementTree.parse(path).iter("testcase")}


def outcomes_of_verify(direction, path):
    found = json.loads(path.read_text())
    name = f"verify {direction}, seed {found['seed']}"
    return {name: "passed" if found["passed"] > 0 and found["failed"] == 0 else "failed"}


def report_of(name, suffix):
    return LOGS / f"gpu-{name.replace('/', '-of-').replace(' ', '-')}{suffix}"


def unit_job(name, shard, shards, filters, wrapper=()):
    report = report_of(name, ".xml")
    command = [*wrapper, RELEASE / "rapt_tests", f"--gtest_filter={filters}",
               f"--gtest_output=xml:{report}"]
    return Job(name, command, report, outcomes_of_junit,
               {"GTEST_TOTAL_SHARDS": str(shards), "GTEST_SHARD_INDEX": str(shard)})


def verify_job(direction, shard, shards):
    name = f"verify {direction} {shard + 1}/{shards}"
    report = report_of(name, ".json")
    command = [RELEASE / "rapt", "verify", f"direction={direction}", "--backend", "cuda", "--count",
               -(-PROBLEMS[direction] // shards), "--seed", SEED + shard, "--quiet", "--json",
               report]
    return Job(name, command, report, lambda path: outcomes_of_verify(direction, path))


def python_job():
    """torch's tensors, by the Python that runs this."""
    report = report_of("python", ".xml")
    command = [sys.executable, "-m", "pytest", "-q", "-rfEs", "-p", "no:cacheprovider",
               f"--junitxml={report}", ROOT / "tests" / "python_cuda_test.py"]
    return Job("python", command, report, outcomes_of_junit,
               {"PYTHONPATH": str(ROOT / "python"), "PYTHONDONTWRITEBYTECODE": "1",
                "RAPT_LIBRARY": str(RELEASE / "librapt.so")})


def jobs_alone(part):
    """What runs before the others, by itself."""
    return [unit_job("timed", 0, 1, TIMED_TESTS)] if part.index == 1 else []


def jobs_of(part, workers):
    shards = part.shards(workers)
    python = [python_job()] if part.index == 1 else []
    large = [unit_job("large", 0, 1, LARGE_TESTS)] if part.index == part.count else []
    units = [unit_job(f"unit {shard + 1}/{count}", shard, count, TESTS) for shard, count in shards]
    random = [verify_job(direction, shard, count) for direction in PROBLEMS
              for shard, count in shards]
    return large + python + units + random


def sanitizer_jobs(part, workers, sanitizer):
    jobs = []
    for tool, filters in SANITIZED.items():
        wrapper = [sanitizer, "--tool", tool, "--error-exitcode", SANITIZER_ERROR]
        for shard, count in part.shards(workers):
            name = f"{tool} {shard + 1}/{count}"
            job = unit_job(name, shard, count, filters, wrapper)
            job.read = lambda path, tool=tool: {
                f"{tool}: {test}": outcome for test, outcome in outcomes_of_junit(path).items()}
            jobs.append(job)
    return jobs


def run_job(job, log, deadline=None):
    """Outcomes by test. The job itself is one that failed when it dies, is late, says nothing, or
    ends badly without a test to blame."""
    left = SECONDS if deadline is None else deadline - time.monotonic()
    job.report.unlink(missing_ok=True)
    with log.open("wb") as output:
        try:
            status = subprocess.run([str(word) for word in job.command], check=False,
                                    timeout=max(left, 1), stdin=subprocess.DEVNULL, stdout=output,
                                    stderr=output, env=os.environ | job.environment).returncode
        except subprocess.TimeoutExpired:
            output.write(b"\nout of time: stopped\n")
            status = None
    try:
        outcomes = job.read(job.report)
    except (OSError, ValueError, KeyError, ElementTree.ParseError):
        return {job.name: "failed"}
    blamed = any(outcome != "passed" for outcome in outcomes.values())
    if status != 0 and not blamed:
        outcomes[job.name] = "failed"
    return outcomes


def run_and_report(job, deadline):
    """run_job with its lines of output."""
    begin = time.monotonic()
    log = report_of(job.name, ".log")
    outcomes = run_job(job, log, deadline)
    wrong = [test for test, outcome in outcomes.items() if outcome != "passed"]
    verdict = "FAILED" if wrong else "ok"
    seconds = time.monotonic() - begin
    lines = [f"{verdict:8}{job.name:22}{seconds:6.0f} s   {len(outcomes) - len(wrong)} passed, "
             f"{len(wrong)} failed"]
    if wrong:
        lines += [f"            {test} {outcomes[test]}" for test in wrong[:20]]
        lines += [f"  | {line}" for line in log.read_text(errors="replace").splitlines()[-40:]]
        lines += [f"  the whole log: {log}"]
    print("\n".join(lines), flush=True)
    return outcomes


def gpu_and_driver():
    """Of device 0, as nvidia-smi names it, else as rapt does; None where rapt sees none."""
    command = [str(RELEASE / "rapt"), "devices", "--json", "-"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    device = next((device for device in json.loads(text)["devices"]
                   if device["backend"] == "cuda" and device["available"]), None)
    if device is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", "-i", "0"]
    try:
        words = subprocess.run(query, check=True, capture_output=True, text=True).stdout.split(", ")
        return words[0].strip(), words[1].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return device["name"], device["detail"]


def run_part(part, sanitizer=None):
    """Runs one part and puts it into the record; how many passed, and how many did not."""
    deadline = time.monotonic() + SECONDS
    found = gpu_and_driver()
    if found is None:
        print("rapt sees no GPU here (rapt devices says why): nothing was run, nothing recorded")
        return 0, 1
    gpu, driver = found
    LOGS.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("RAPT_CACHE_DIR", str(BUILD / "gpu-cache"))
    Path(os.environ["RAPT_CACHE_DIR"]).mkdir(parents=True, exist_ok=True)
    workers = max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) - 1))
    alone = [] if sanitizer else jobs_alone(part)
    jobs = sanitizer_jobs(part, workers, sanitizer) if sanitizer else jobs_of(part, workers)
    print(f"part {part} on {gpu}, driver {driver}: {len(alone) + len(jobs)} jobs, {workers} at a "
          "time", flush=True)
    tests = {}
    for job in alone:
        tests.update(run_and_report(job, deadline))
    with ThreadPoolExecutor(workers) as pool:
        for outcomes in pool.map(lambda job: run_and_report(job, deadline), jobs):
            tests.update(outcomes)
    name = f"sanitizer {part}" if sanitizer else str(part)
    add_to_record(name, {"gpu": gpu, "driver": driver, "date": date.today().isoformat(),
                         "tests": dict(sorted(tests.items()))})
    passed = sum(outcome == "passed" for outcome in tests.values())
    return passed, len(tests) - passed


def add_to_record(name, content):
    """A damaged record makes way for a new one."""
    try:
        record = gpu_record.load(ROOT)
    except ValueError as error:
        print(f"{error}; it is begun anew")
        record = None
    sources = gpu_record.source_hash(ROOT)
    gpu_record.save(ROOT, gpu_record.merge(record, sources, name, content))
    print(f"recorded in {gpu_record.RECORD}")
