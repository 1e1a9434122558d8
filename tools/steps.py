# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The steps of ./test: what each one runs and how it counts. tools/run_tests.py runs them."""

import json
import os
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
RELEASE = BUILD / "release"
LOGS = BUILD / "test-logs"
PYTHON = BUILD / "venv" / "bin" / "python"

SEED = 20261124
VERIFY_PROBLEMS = {"quick": 500, "ci": 5_000, "full": 50_000}
LEAST_OF_A_PAIR, LEAST_LONG, LEAST_WIDE = 30, 0.30, 0.10  # of the long runs of verify
ISA_PROBLEMS = {"ci": 1_000, "full": 5_000}
FUZZ_SECONDS = {"ci": 12, "full": 120}
SANITIZER_PROBLEMS = 200
NEON_PROBLEMS = 200
EMULATED_PROBLEMS = {"ci": 100, "full": 2_000}  # a second each, most of it the compiler's

# What the processor must have for each instruction set, in the words of /proc/cpuinfo.
ISAS = {
    "baseline": set(),
    "avx2": {"avx2", "fma", "f16c"},
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "avx512_bf16": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"},
}
# Skipped without a GPU, which one step says for all.
GPU_TESTS = "Gpu*"
# What the quick suite leaves out: long sequences.
NOT_QUICK = f"{GPU_TESTS}:*Growth*"
# Every case on every kernel says nothing about threads, and takes TSan ten minutes; nor does TSan
# follow threads into the children of a process that has some.
NOT_UNDER_TSAN = (f"{NOT_QUICK}:*ComputesEveryNamedCase*:*Backward.IsTheOracles*:"
                  "JitTest.*Process*:CompileTest.FillsACache*")
# What qemu cannot do: fork a process that has threads, as the tests of exits and of the environment
# do. And what says nothing about Arm, and takes minutes there: copies of every named case on a
# device that is the host, and races, since qemu orders memory as the machine that it runs on.
NOT_UNDER_QEMU = (f"{NOT_QUICK}:*Fork*:*DeathTest*:EnvironmentTest.*:CubinCacheTest.*:"
                  "CacheSettings.*:JitTest.*:CompileTest.*:DeviceProblem.ComputesEveryNamedCase:"
                  "BackwardRepeat.*")
# The tests whose subject the validation is: all of its lines are theirs to reach.
OF_VALIDATION = "Validate*:Options.*:Plan.*"
# By architecture: every case on every kernel where all kernels are, then what the oldest take.
EMULATED_TESTS = {
    "90": "Gpu/GpuCase.IsRightOnEvery*:*GpuBackward*:*GpuIndices*:*GpuOrder*:*GpuVerbs*:*Graph*:"
          "*GpuSteps*",
    "70": "Gpu/GpuCase.IsRight/*",
}
# What counts allocations, since the stand-in driver makes some, and two hundred runs; but for
# --full, every feature's gradients too: 600 kernels, for ten minutes of the host's compiler.
NOT_EMULATED = "*ARunIsNothingButKernels*:*GpuBackwardRepeat*"
NOT_EMULATED_IN_CI = f"{NOT_EMULATED}:GpuFeatures/GpuBackward*"
CXX_FILES = ("*.h", "*.cuh", "*.hpp", "*.c", "*.cpp")
CXX_ROOMS = ("include", "src", "kernels", "cli", "bench", "tests", "fuzz", "examples")


class StepFailed(Exception):
    """A command of a step failed; the message says which."""


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    notes: list = field(default_factory=list)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.notes += other.notes
        return self


def one(*notes):
    return Counts(passed=1, notes=list(notes))


@dataclass
class Context:
    """What a step may use: its mode, how many compile jobs, and its log."""

    name: str
    mode: str
    jobs: int

    def __post_init__(self):
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log_path = LOGS / f"{self.name}.log"
        self.log_path.write_bytes(b"")

    def run(self, *command, check=True, **environment):
        """Runs a command from the root, its output in the log; the exit status."""
        words = [str(word) for word in command]
        with self.log_path.open("ab") as log:
            log.write(f"$ {' '.join(words)}\n".encode())
            log.flush()
            status = subprocess.run(words, cwd=ROOT, env=os.environ | environment, check=False,
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
        if check and status != 0:
            raise StepFailed(f"exit status {status}: {' '.join(words)}")
        return status

    def build(self, preset, *targets):
        arguments = ["--target", *targets] if targets else []
        self.run("tools/build.sh", preset, "-j", self.jobs, *arguments)


def count_junit(path):
    """Counts of a JUnit file, which googletest and pytest both write."""
    counts = Counts()
    for_gpu = []  # the reasons of skipped tests that want a GPU: one note for all
    for case in ElementTree.parse(path).iter("testcase"):
        faults = [*case.iter("failure"), *case.iter("error")]
        if faults:
            counts.failed += 1
            counts.notes.append(f"failed: {case.get('classname')}.{case.get('name')}")
            counts.notes += [f"  {line}" for line in (faults[0].get("message") or "").splitlines()]
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            counts.skipped += 1
            name = f"{case.get('classname')}.{case.get('name')}"
            for_gpu += [skip_reason(case)] if name.startswith("Gpu") else []
            counts.notes += [] if name.startswith("Gpu") else [f"skipped: {name}"]
        else:
            counts.passed += 1
    if for_gpu:
        counts.notes.append(f"skipped: {len(for_gpu)} tests of the GPU; {for_gpu[0]}")
    return counts


def skip_reason(case):
    skipped = case.find("skipped")
    lines = (skipped.get("message") or "").splitlines() if skipped is not None else []
    return lines[-1].strip() if lines else "no reason given"


def run_suite(context, directory=RELEASE, leave_out=GPU_TESTS, emulator=(), program="rapt_tests",
              only="*", **environment):
    """The unit tests of one build; a crash counts as a failure."""
    report = LOGS / f"{context.name}.xml"
    report.unlink(missing_ok=True)
    arguments = [f"--gtest_output=xml:{report}", f"--gtest_filter={only}-{leave_out}"]
    status = context.run(*emulator, directory / program, *arguments, check=False,
                         **environment)
    if not report.exists():
        raise StepFailed(f"{program} died with status {status}")
    counts = count_junit(report)
    if status != 0 and counts.failed == 0:
        raise StepFailed(f"{program} ended with status {status} after its tests passed")
    if counts.passed == 0:
        raise StepFailed(f"{program} ran nothing")
    return counts


def run_pytest(context, *arguments):
    report = LOGS / f"{context.name}.xml"
    report.unlink(missing_ok=True)
    status = context.run(PYTHON, "-m", "pytest", "-q", "-rfEs", "-p", "no:cacheprovider",
                         f"--junitxml={report}", *arguments, check=False,
                         PYTHONPATH=str(ROOT / "python"), PYTHONDONTWRITEBYTECODE="1",
                         RAPT_LIBRARY=str(RELEASE / "librapt.so"))
    if status not in (0, 1):
        raise StepFailed(f"pytest ended with status {status}")
    return count_junit(report)


def verify(context, count, directory=RELEASE, emulator=(), backend="cpu", **environment):
    """Random problems against the oracle: one check, whose report is the result."""
    report = LOGS / f"{context.name}-verify.json"
    context.run(*emulator, directory / "rapt", "verify", "--backend", backend,
                "--count", count, "--seed", SEED, "--json", report, **environment)
    found = json.loads(report.read_text())
    if found["passed"] != count:
        raise StepFailed(f"verify passed {found['passed']} problems of {count}")
    return one(f"verify: {count:,} problems passed")


def step_build(context):
    context.build("release")
    return one()


def step_unit(context):
    return run_suite(context, leave_out=NOT_QUICK if context.mode == "quick" else "")


def step_stand_in(context):
    """From the front door to a driver that only counts; kernels are compiled for real."""
    counts = Counts()
    for arch in ("80", "90"):
        counts.add(run_suite(context, program="rapt_device_tests", RAPT_STAND_IN_ARCH=arch,
                             RAPT_CACHE_DIR=str(BUILD / "stand-in-cache")))
    return counts


def step_emulator(context):
    """The GPU's tests on an emulated GPU (tests/emulator)."""
    programs = RELEASE / "emulated"
    for name in ("rapt", "rapt_tests", "librapt.so.0"):
        # Not a link by name: NVRTC is looked for from where a program really is.
        (programs / name).unlink(missing_ok=True)
        os.link((RELEASE / name).resolve(), programs / name)
    environment = {"LD_LIBRARY_PATH": str(RELEASE / "stand_in"),
                   "RAPT_CACHE_DIR": str(RELEASE / "emulated" / "cache")}
    counts = Counts()
    leave_out = NOT_EMULATED if context.mode == "full" else NOT_EMULATED_IN_CI
    for arch, tests in EMULATED_TESTS.items():
        counts.add(run_suite(context, programs, leave_out, only=tests, RAPT_STAND_IN_ARCH=arch,
                             **environment))
    return counts.add(verify(context, EMULATED_PROBLEMS[context.mode], programs,
                             backend="cuda", RAPT_STAND_IN_ARCH="90", **environment))


def step_python(context):
    """Every pytest file but those that build things, which are steps of their own."""
    built = {"install_test.py", "planted_test.py", "wheel_test.py"}
    files = [path for path in sorted((ROOT / "tests").glob("*_test.py")) if path.name not in built]
    return run_pytest(context, *files)


def step_verify(context):
    """The long run; it must also have drawn enough of everything."""
    counts = verify(context, VERIFY_PROBLEMS[context.mode])
    if context.mode == "quick":
        return counts
    coverage = json.loads((LOGS / f"{context.name}-verify.json").read_text())["coverage"]
    fewest = coverage["fewest"]
    drawn = [(fewest["count"], LEAST_OF_A_PAIR, f"problems with {fewest['pair']}"),
             (coverage["kv_len_over_384"], LEAST_LONG, "of kv_len over three key blocks"),
             (coverage["head_dim_over_128"], LEAST_WIDE, "of head_dim over 128")]
    counts.notes += [f"{found} {what}, at least {wanted} wanted" for found, wanted, what in drawn]
    if any(found < wanted for found, wanted, _ in drawn):
        raise StepFailed("; ".join(counts.notes))
    return counts


def make_isa_step(isa):
    def step(context):
        missing = ISAS[isa] - processor_flags()
        if missing:
            return Counts(skipped=1, notes=[f"this processor lacks {', '.join(sorted(missing))}"])
        counts = run_suite(context, RAPT_ISA=isa)
        return counts.add(verify(context, ISA_PROBLEMS[context.mode], RAPT_ISA=isa))
    return step


def processor_flags():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = [line for line in lines if line.startswith(("flags", "Features"))]
    return set(flags[0].split()) if flags else set()


def step_neon(context):
    emulator = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")
    context.build("neon")
    counts = run_suite(context, BUILD / "neon", NOT_UNDER_QEMU, emulator)
    return counts.add(verify(context, NEON_PROBLEMS, BUILD / "neon", emulator))


def make_sanitizer_step(preset):
    def step(context):
        # g++ 12's leak checker loses its way in thread-local storage of libraries opened by dlopen.
        options = {"TSAN_OPTIONS": f"halt_on_error=1 suppressions={ROOT / 'tools' / 'tsan.supp'}",
                   "UBSAN_OPTIONS": "print_stacktrace=1",
                   "ASAN_OPTIONS": "intercept_tls_get_addr=0"}
        context.build(preset, "rapt_tests")
        leave_out = NOT_UNDER_TSAN if preset == "tsan" else NOT_QUICK
        counts = run_suite(context, BUILD / preset, leave_out, **options)
        if preset == "asan" or context.mode == "full":
            context.build(preset, "rapt_cli")
            counts.add(verify(context, SANITIZER_PROBLEMS, BUILD / preset, **options))
        return counts
    return step


def step_coverage(context):
    """Every line of the validation is reached by its tests."""
    build = BUILD / "coverage"
    context.build("coverage", "rapt_tests")
    for old in build.rglob("*.gcda"):
        old.unlink()
    run_suite(context, build, only=OF_VALIDATION)
    executed = executed_lines(sorted(build.glob("**/src/api/validate*.gcda")))
    missed = [f"{name}:{line}" for (name, line), count in sorted(executed.items()) if count == 0]
    if missed or not executed:
        raise StepFailed(f"validation has lines without a test: {', '.join(missed) or 'all'}")
    files = sorted({name for name, _ in executed})
    return one(f"100% of {len(executed)} lines: {' '.join(files)}")


def executed_lines(data_files):
    """(file, line) -> times executed, for src/api/validate*.cpp."""
    executed = {}
    for data in data_files:
        command = ["gcov", "--json-format", "--stdout", str(data)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for file in json.loads(text)["files"]:
            if "src/api/validate" not in file["file"] or not file["file"].endswith(".cpp"):
                continue
            for line in file["lines"]:
                key = (Path(file["file"]).name, line["line_number"])
                executed[key] = executed.get(key, 0) + line["count"]
    return executed


def step_fuzz(context):
    """Each target on its corpus, then for a while on what it makes of it."""
    context.build("fuzz")
    counts = Counts()
    for source in sorted((ROOT / "fuzz").glob("*_fuzz.cpp")):
        grown = BUILD / "fuzz" / "grown" / source.stem
        grown.mkdir(parents=True, exist_ok=True)
        corpus = ROOT / "fuzz" / "corpus" / source.stem
        context.run(BUILD / "fuzz" / source.stem, f"-max_total_time={FUZZ_SECONDS[context.mode]}",
                    "-rss_limit_mb=4096", "-timeout=20", "-print_final_stats=1",
                    f"-artifact_prefix={BUILD / 'fuzz'}/{source.stem}-", grown, corpus)
        counts.passed += 1
    return counts


def cxx_files(*rooms):
    paths = [path for room in rooms for kind in CXX_FILES for path in (ROOT / room).rglob(kind)]
    return [str(path.relative_to(ROOT)) for path in sorted(paths)]


def step_ledger(context):
    """No CUDA kernel takes more of a GPU than the ledger says: a fixed sample, or all."""
    extent = ["--all"] if context.mode == "full" else []
    context.run(PYTHON, "tools/ledger.py", "--check", *extent)
    return one()


def step_format(context):
    context.run("clang-format-19", "--dry-run", "-Werror", *cxx_files(*CXX_ROOMS))
    return one()


def step_tidy(context):
    """The checks of .clang-tidy on everything but the tests, whose macros would drown them."""
    rooms = "/(src|cli|bench|tests/kit)/"
    # The compile commands are g++'s, and name warnings that clang does not know.
    context.run("run-clang-tidy-19", "-quiet", "-p", RELEASE, "-j", context.jobs,
                "-extra-arg=-Wno-unknown-warning-option", rooms)
    return one()


def step_planted(context):
    return run_pytest(context, ROOT / "tests" / "planted_test.py")


def step_install(context):
    return run_pytest(context, ROOT / "tests" / "install_test.py")


def step_wheel(context):
    """From the release build's objects; in full mode also as pip builds a fresh clone."""
    context.build("release", "rapt_python")
    chosen = [] if context.mode == "full" else ["-k", "not fresh_clone"]
    return run_pytest(context, *chosen, ROOT / "tests" / "wheel_test.py")


@dataclass
class Step:
    name: str
    purpose: str
    run: object
    modes: tuple = ("ci", "full")
    needs_build: bool = True


ALWAYS = ("quick", "ci", "full")

# Longest first, so that the two that run at a time end together.
STEPS = [
    Step("neon", "64-bit Arm under qemu: quick suite, random problems", step_neon,
         needs_build=False),
    Step("tsan", "ThreadSanitizer: quick suite", make_sanitizer_step("tsan"),
         needs_build=False),
    Step("asan", "AddressSanitizer: quick suite, random problems", make_sanitizer_step("asan"),
         needs_build=False),
    Step("ubsan", "UndefinedBehaviorSanitizer: quick suite", make_sanitizer_step("ubsan"),
         needs_build=False),
    Step("tidy", "clang-tidy", step_tidy),
    Step("emulator", "the CUDA kernels on an emulated GPU", step_emulator),
    Step("planted", "planted bugs are found, and reproduced", step_planted),
    Step("verify", "random problems against the float64 oracle", step_verify, ALWAYS),
    *[Step(f"isa-{isa}", f"suite and random problems on {isa}", make_isa_step(isa))
      for isa in ISAS],
    Step("fuzz", "libFuzzer on the C structs and the file reader", step_fuzz, needs_build=False),
    Step("coverage", "every line of the validation has a test", step_coverage, needs_build=False),
    Step("install", "find_package and pkg-config, shared and static", step_install),
    Step("wheel", "the Python wheel: platform tag, contents, tests from an empty environment",
         step_wheel),
    Step("ledger", "CUDA kernels against kernels/cuda/ledger.tsv: no register more, no new spill",
         step_ledger),
    Step("unit", "rapt_tests", step_unit, ALWAYS),
    Step("stand_in", "rapt_device_tests", step_stand_in, ALWAYS),
    Step("python", "tests/*_test.py: Python, command line, layers, budgets, examples", step_python,
         ALWAYS),
    Step("format", "clang-format", step_format, ALWAYS, needs_build=False),
]
BUILD_STEP = Step("build", "the release build", step_build, ALWAYS, needs_build=False)
