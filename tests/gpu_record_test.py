# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The record of the GPU's tests: what makes it stale and what does not, how parts become one, and
that a record which was edited, is incomplete or holds a failure is no pass."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import gpu_record  # noqa: E402
import gpu_tests  # noqa: E402

CODE = 'int one() { return 1; }  // a\n'


def part(**tests):
    return {"gpu": "NVIDIA H200", "driver": "580.1", "date": "2026-11-24", "tests": tests}


@pytest.fixture
def tree(tmp_path):
    for folder in (*gpu_record.SOURCES, "tests", "src/backend/cpu"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "kernels/cuda/a.cuh").write_text(CODE)
    (tmp_path / "src/plan/b.cpp").write_text("int two();\n")
    return tmp_path


def record(tree, *parts):
    made = None
    for name, content in parts:
        made = gpu_record.merge(made, gpu_record.source_hash(tree), name, content)
    gpu_record.save(tree, made)


@pytest.mark.parametrize(("text", "code"), [
    ("int a; // b\n", "int a;"), ("a /* b\n * c */ + d", "a+d"), ("a//b\\\nc\nd", "a d"),
    ('s = "a // b  c";', 's="a // b  c";'), ('"\\"/*" x', '"\\"/*"x'), ("'\"' // x", "'\"'"),
    ("'\\'' /*x*/ y", "'\\''y"), ("1'000'000 // it's", "1'000'000"),
    ("0x1'ffp-3 'a'", "0x1'ffp-3'a'"),
    ('R"(// kept  )" // not', 'R"(// kept  )"'), ('R"x(a)" b)x" c', 'R"x(a)" b)x"c'),
    ("return/**/x", "return x"), ("#if A\n#endif\n", "#if A#endif"), ("", ""),
])
def test_comments_and_blank_space_do_not_count(text, code):
    assert gpu_record.stripped(text) == code


@pytest.mark.parametrize(("file", "text", "counts"), [
    ("kernels/cuda/a.cuh", "/* new */\nint one()\n{\n  return 1;\n}\n", False),
    ("kernels/cuda/a.cuh", CODE.replace("1", "2"), True),
    ("kernels/cuda/deep/new.h", "int x;", True),
    ("kernels/cuda/ledger.tsv", "registers\n", False),
    ("src/backend/cuda/new.cpp", "int x;", True),
    ("src/plan/b.cpp", "", True),
    ("src/backend/cpu/new.cpp", "int x;", False),
])
def test_which_changes_count(tree, file, text, counts):
    before = gpu_record.source_hash(tree)
    (tree / file).parent.mkdir(exist_ok=True)
    (tree / file).write_text(text)
    assert (gpu_record.source_hash(tree) != before) == counts


def test_a_renamed_file_counts(tree):
    before = gpu_record.source_hash(tree)
    (tree / "src/plan/b.cpp").rename(tree / "src/plan/c.cpp")
    assert gpu_record.source_hash(tree) != before


def test_parts_become_one_record(tree):
    record(tree, ("1/2", part(a="passed")))
    assert gpu_record.complaints(tree) == ["tests: not all parts were run; missing 2/2"]
    record(tree, ("1/2", part(a="passed")), ("2/2", part(b="passed")))
    assert gpu_record.complaints(tree) == []
    assert gpu_record.summary(tree) == "2 of 2 passed on NVIDIA H200, driver 580.1, 2026-11-24"


def test_another_cut_makes_the_old_parts_void(tree):
    record(tree, ("1/2", part(a="failed")), ("2/2", part(b="passed")), ("1/1", part(c="passed")))
    assert list(gpu_record.load(tree)["parts"]) == ["1/1"]
    assert gpu_record.complaints(tree) == []


def test_other_sources_make_the_old_record_void(tree):
    old = gpu_record.merge(None, "other sources", "1/2", part(a="passed"))
    new = gpu_record.merge(old, gpu_record.source_hash(tree), "2/2", part(b="passed"))
    assert list(new["parts"]) == ["2/2"]


def test_a_part_run_again_replaces_the_old_one(tree):
    record(tree, ("1/1", part(a="failed")), ("1/1", part(a="passed")))
    assert gpu_record.complaints(tree) == []


def test_the_sanitizers_parts_are_beside_the_tests(tree):
    record(tree, ("1/1", part(a="passed")), ("sanitizer 1/2", part(memcheck="passed")))
    assert gpu_record.complaints(tree) == ["sanitizer: not all parts were run; missing 2/2"]
    record(tree, ("sanitizer 1/1", part(memcheck="passed")))
    assert gpu_record.complaints(tree) == ["tests: not all parts were run; missing 1/1"]


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_a_test_that_did_not_pass_is_named(tree, outcome):
    record(tree, ("1/1", part(a="passed", b=outcome)))
    assert gpu_record.complaints(tree) == [f"part 1/1: b {outcome}"]


def test_a_part_without_tests_is_no_pass(tree):
    record(tree, ("1/1", part()))
    assert gpu_record.complaints(tree) == ["part 1/1: no test ran"]


def test_a_stale_record_is_named(tree):
    record(tree, ("1/1", part(a="passed")))
    (tree / "src/plan/b.cpp").write_text("int three();\n")
    complaint, = gpu_record.complaints(tree)
    assert "stale" in complaint


@pytest.mark.parametrize("edit", [
    lambda r: r["parts"]["1/1"]["tests"].update(a="passed"),
    lambda r: r.update(sources="0" * 64),
    lambda r: r["parts"]["1/1"].update(gpu="NVIDIA B200"),
    lambda r: r.pop("seal"),
    lambda r: r.update(schema=2),
])
def test_a_record_edited_by_hand_is_found(tree, edit):
    record(tree, ("1/1", part(a="failed")))
    file = tree / gpu_record.RECORD
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    complaint, = gpu_record.complaints(tree)
    assert "by hand" in complaint or "damaged" in complaint


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
def test_a_file_that_is_no_record_is_found(tree, text):
    (tree / gpu_record.RECORD).write_text(text)
    complaint, = gpu_record.complaints(tree)
    assert "damaged" in complaint


def test_no_record_is_named(tree):
    complaint, = gpu_record.complaints(tree)
    assert "never run" in complaint


# ---- which tests a part runs, and what its reports say

def test_parts_share_the_tests_out():
    jobs = [job.name for k in (1, 2, 3) for job in gpu_tests.jobs_of(gpu_tests.Part(k, 3), 4)]
    assert len(jobs) == len(set(jobs)) and jobs.count("large") == 1
    alone = [job.name for k in (1, 2, 3) for job in gpu_tests.jobs_alone(gpu_tests.Part(k, 3))]
    assert alone == ["timed"]
    shards = [job.environment["GTEST_SHARD_INDEX"] for k in (1, 2, 3)
              for job in gpu_tests.jobs_of(gpu_tests.Part(k, 3), 4) if "unit" in job.name]
    assert sorted(map(int, shards)) == list(range(12))
    verified = [int(job.command[job.command.index("--count") + 1]) for k in (1, 2, 3)
                for job in gpu_tests.jobs_of(gpu_tests.Part(k, 3), 4) if "verify" in job.name]
    assert sum(verified) >= sum(gpu_tests.PROBLEMS.values())


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/2"])
def test_a_part_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError):
        gpu_tests.Part.parse(text)


XML = """<testsuites><testsuite name="Gpu">
<testcase name="A" status="run" classname="Gpu"/>
<testcase name="B" status="run" classname="Gpu"><failure message="wrong"/></testcase>
<testcase name="C" status="run" classname="Gpu"><skipped message="no device"/></testcase>
</testsuite></testsuites>"""


def test_outcomes_of_a_report(tmp_path):
    (tmp_path / "a.xml").write_text(XML)
    assert gpu_tests.outcomes_of_junit(tmp_path / "a.xml") == {
        "Gpu.A": "passed", "Gpu.B": "failed", "Gpu.C": "skipped"}


def fake_job(tmp_path, script, name="unit 1/1"):
    report = tmp_path / "report.xml"
    return gpu_tests.Job(name, [sys.executable, "-c", script, str(report)], report,
                         gpu_tests.outcomes_of_junit, {})


ONE_TEST = XML[:XML.index('<testcase name="B"')] + "</testsuite></testsuites>"
WRITE = f"import sys; open(sys.argv[1], 'w').write({ONE_TEST!r})"


@pytest.mark.parametrize(("script", "outcomes"), [
    (WRITE, {"Gpu.A": "passed"}),
    (WRITE + "; sys.exit(1)", {"Gpu.A": "passed", "unit 1/1": "failed"}),
    ("import os; os.abort()", {"unit 1/1": "failed"}),
    ("pass", {"unit 1/1": "failed"}),
    ("import time; time.sleep(60)", {"unit 1/1": "failed"}),
])
def test_a_job_that_dies_is_a_failure(tmp_path, monkeypatch, script, outcomes):
    monkeypatch.setattr(gpu_tests, "SECONDS", 2)
    assert gpu_tests.run_job(fake_job(tmp_path, script), tmp_path / "log") == outcomes


# ---- the commands

def run_test(*words):
    return subprocess.run([sys.executable, ROOT / "tools" / "run_tests.py", *words], check=False,
                          capture_output=True, text=True)


def test_check_record_says_what_the_record_says():
    done = run_test("--check-record")
    fine = gpu_record.complaints(ROOT) == []
    assert (done.returncode == 0) == fine
    assert done.stdout.splitlines()[-1] == f"{int(fine)} passed, {int(not fine)} failed, 0 skipped"


@pytest.mark.parametrize("words", [["--part", "1/2"], ["--gpu", "--part", "3/2"],
                                   ["--sanitizer", "compute-sanitizer"], ["--gpu", "--quick"]])
def test_words_that_make_no_sense_are_refused(words):
    assert run_test(*words).returncode == 2
