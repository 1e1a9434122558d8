# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The command line: exit codes, JSON, help that knows every key, and files that appear whole."""

import json
import os
import re
import struct
import subprocess
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
RAPT = os.environ.get("RAPT_CLI", str(ROOT / "build" / "release" / "rapt"))
REAL_FILE = ROOT / "examples" / "data" / "minilm.safetensors"
DONE, WRONG, USAGE, INVALID, UNSUPPORTED = range(5)
FILE_TYPES = {np.dtype("float32"): "F32", np.dtype("float64"): "F64", np.dtype("float16"): "F16",
              np.dtype("int32"): "I32"}
ROW_KEYS = {"case", "direction", "dtype", "head_dim", "q_len", "kv_len", "backend", "kernel",
            "threads", "median_us", "min_us", "gflops", "gbps", "ceiling", "share", "checked",
            "error", "peer", "speedup", "peak_bytes"}


def rapt(*words, code=DONE, **environment):
    done = subprocess.run([RAPT, *map(str, words)], check=False, capture_output=True, text=True,
                          env={**os.environ, **environment})
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return done


def write_tensors(path, tensors, crooked=False):
    """A safetensors file; crooked: the header's length leaves every tensor misaligned."""
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": FILE_TYPES[array.dtype], "shape": array.shape,
                        "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + int(crooked))
    body = b"".join(array.tobytes() for array in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def read_tensors(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    types = {"F32": np.float32, "F16": np.float16}
    tensors = {}
    for name, entry in json.loads(raw[8:8 + length]).items():
        begin, end = entry["data_offsets"]
        data = raw[8 + length + begin:8 + length + end]
        tensors[name] = np.frombuffer(data, types[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def random_qkv(shape=(2, 5, 3, 8), kv_len=7, dtype=np.float32):
    random = np.random.default_rng(3)
    kv_shape = (*shape[:-3], kv_len, *shape[-2:])
    return {"q": random.standard_normal(shape).astype(dtype),
            "k": random.standard_normal(kv_shape).astype(dtype),
            "v": random.standard_normal(kv_shape).astype(dtype)}


def truth(q, k, v, causal=False, softcap=0.0):
    """out and lse of one sequence [tokens, heads, dim], in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(q.shape[-1])
    scores = softcap * np.tanh(scores / softcap) if softcap else scores
    level = np.arange(len(q))[:, None] + len(k) - len(q)
    if causal:
        scores = np.where(np.arange(len(k)) <= level, scores, -np.inf)
    lse = np.log(np.exp(scores).sum(-1))
    return np.einsum("hij,jhd->ihd", np.exp(scores - lse[..., None]), v), lse


# ---- help

def grammar_keys():
    header = (ROOT / "tests" / "kit" / "case.h").read_text()
    body = header[header.index("struct Case {"):header.index("};")]
    keys = re.findall(r"^\s+(?:std::\w+(?:<[\w:]+>)?|rapt_dtype|bool|double) (\w+)\s*[=;]", body,
                      re.MULTILINE)
    assert len(keys) > 30
    return keys


@pytest.mark.parametrize("command", ["explain", "verify", "bench"])
def test_help_explains_every_key_of_the_grammar(command):
    text = rapt(command, "--help").stdout
    missing = [key for key in grammar_keys() if not re.search(rf"(?<!\w){key}=", text)]
    assert not missing


def test_help_is_a_manual():
    text = rapt("--help").stdout
    for word in ("devices", "explain", "attend", "check", "verify", "bench", "Examples",
                 "compile", "Exit codes", "RAPT_BACKEND", "RAPT_ISA", "RAPT_THREADS"):
        assert word in text
    assert re.match(r"rapt \d+\.\d+\.\d+$", rapt("--version").stdout)


@pytest.mark.parametrize("command", ["", "devices", "explain", "attend", "check", "verify",
                                     "bench", "compile"])
def test_help_fits_the_screen(command):
    lines = rapt(*command.split(), "--help").stdout.splitlines()
    assert not [line for line in lines if len(line) > 100]


# ---- exit codes

@pytest.mark.parametrize("words", [
    [], ["nonsense"], ["explain"], ["explain", "--case", "colour=red"],
    ["explain", "--case", "mask=some"], ["bench"], ["bench", "--suite", "none"],
    ["bench", "--suite", "cpu-peak", "--case", "q_len=8"], ["devices", "--threads", "0"],
    ["attend", "--input", "x"], ["attend", "--input", "x", "--output", "y", "alibi=head"],
    ["verify", "--count", "-3"], ["compile"],
    ["compile", "--arch", "sm_80", "--preset", "some"]])
def test_usage_errors_exit_2(words):
    assert rapt(*words, code=USAGE).stderr.startswith("rapt: ")


def test_problems_that_break_a_rule_exit_3():
    error = rapt("explain", "--case", "head_dim=7", code=INVALID).stderr
    assert error.startswith("rapt: q: head_dim is 7")


@pytest.mark.parametrize("case", ["dtype=fp8_e4m3", "direction=backward page_size=16"])
def test_what_no_kernel_takes_exits_4(case):
    rapt("bench", "--case", case, code=UNSUPPORTED)


def test_an_unknown_backend_is_refused():
    assert rapt("explain", "--case", "", "--backend", "abacus", code=INVALID).stderr


# ---- devices and explain

def test_devices_shows_the_cpu():
    assert "cpu:0" in rapt("devices").stdout
    report = json.loads(rapt("devices", "--json", "-").stdout)
    assert report["schema"] == 1
    cpu = next(device for device in report["devices"] if device["backend"] == "cpu")
    assert cpu["available"] is True and cpu["workers"] >= 1


def test_explain_answers_json(tmp_path):
    path = tmp_path / "answer.json"
    text = rapt("explain", "--case", "head_dim=128", "--json", path).stdout
    answer = json.loads(path.read_text())
    assert set(answer) == {"schema", "chosen", "refused"} and answer["schema"] == 1
    assert f"chosen: {answer['chosen']}" in text
    assert all(set(refused) == {"kernel", "sentence"} for refused in answer["refused"])


@pytest.mark.parametrize("case", ["dtype=fp8_e4m3", "direction=backward page_size=16"])
def test_explain_says_why_nothing_was_chosen(case):
    answer = json.loads(rapt("explain", "--case", case, "--json", "-").stdout)
    assert answer["chosen"] is None and answer["refused"]


@pytest.mark.parametrize("keys", ["head_dim=128", "q=ragged page_size=16 kv_lens=9,3 alibi=head "
                                  "bias=fp32 sinks=1 positions=1", "cache_row=1 left_pad=1"])
def test_explain_asks_cuda_about_tensors_on_its_device(keys):
    """The sentence is about the machine or the kernel, not about tensors in host memory."""
    text = rapt("explain", "--backend", "cuda", "--case", keys, "--json", "-").stdout
    rows = {row["kernel"]: row["sentence"] for row in json.loads(text)["refused"]}
    cuda = [sentence for kernel, sentence in rows.items() if kernel.startswith("cuda/")]
    assert cuda and not [sentence for sentence in cuda if "is on cpu" in sentence]
    devices = json.loads(rapt("devices", "--json", "-").stdout)["devices"]
    missing = [device for device in devices if device["backend"] == "cuda"][0]
    if not missing["available"] and not missing["workers"]:
        assert set(cuda) == {missing["detail"]}


def test_explain_makes_no_tensors():
    rapt("explain", "--case", "batch=1000 q_len=1000000 kv_len=1000000 q_heads=64 head_dim=128")


# ---- compile

def test_compile_fills_a_cache_that_then_serves(tmp_path):
    words = ("compile", "--arch", "sm_80,sm_90a", "--json")
    settings = {"RAPT_CACHE_DIR": str(tmp_path / "cache")}
    path = tmp_path / "kernels.json"
    made = rapt(*words, path, **settings)
    kernels = json.loads(path.read_text())
    assert set(kernels) == {"schema", "kernels"} and kernels["schema"] == 1
    assert all(set(kernel) == {"kernel", "arch", "config", "registers", "spill_bytes",
                               "shared_bytes", "compile_ms"} for kernel in kernels["kernels"])
    assert {kernel["arch"] for kernel in kernels["kernels"]} == {"sm_80", "sm_90a"}
    assert all(kernel["compile_ms"] > 0 for kernel in kernels["kernels"])
    assert "compiled 1 of" in made.stderr and "registers" in made.stdout
    again = json.loads(rapt(*words, "-", **settings).stdout)["kernels"]
    assert again == [{**kernel, "compile_ms": 0} for kernel in kernels["kernels"]]


def test_compile_says_what_is_wrong(tmp_path):
    unknown = rapt("compile", "--arch", "volta", code=INVALID)
    assert unknown.stderr.startswith('rapt: archs: "volta" is no architecture')
    nowhere = rapt("compile", "--arch", "sm_80", code=INVALID, RAPT_CACHE_DIR="/dev/null/cache")
    assert "rapt: cache: /dev/null/cache cannot be written" in nowhere.stderr


# ---- attend and check

def test_attend_answers_a_batch(tmp_path):
    tensors = random_qkv()
    source = write_tensors(tmp_path / "in.safetensors", tensors)
    target = tmp_path / "out.safetensors"
    rapt("attend", "--input", source, "--output", target, "mask=causal", "softcap=2")
    result = read_tensors(target)
    assert set(result) == {"out", "lse"}
    for b in range(2):
        out, lse = truth(*(tensors[name][b] for name in "qkv"), causal=True, softcap=2)
        np.testing.assert_allclose(result["out"][b], out, atol=1e-6)
        np.testing.assert_allclose(result["lse"][b], lse, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir() if path != source] == [target.name]


def test_attend_answers_one_sequence_at_a_crooked_place(tmp_path):
    tensors = random_qkv((5, 2, 16))
    source = write_tensors(tmp_path / "in.safetensors", tensors, crooked=True)
    target = tmp_path / "out.safetensors"
    rapt("attend", "--input", source, "--output", target, "--threads", 1, "q_heads=2")
    result = read_tensors(target)
    out, lse = truth(**tensors)
    np.testing.assert_allclose(result["out"], out, atol=1e-6)
    np.testing.assert_allclose(result["lse"], lse, atol=1e-6)


def test_attend_answers_ragged_sequences(tmp_path):
    tensors = random_qkv((5, 2, 16), kv_len=8)
    tensors["q_offsets"] = np.array([0, 2, 5], np.int32)
    tensors["kv_offsets"] = np.array([0, 5, 8], np.int32)
    source = write_tensors(tmp_path / "in.safetensors", tensors)
    target = tmp_path / "out.safetensors"
    rapt("attend", "--input", source, "--output", target, "lse=0")
    result = read_tensors(target)
    assert set(result) == {"out"}
    out, _ = truth(tensors["q"][2:], tensors["k"][5:], tensors["v"][5:])
    np.testing.assert_allclose(result["out"][2:], out, atol=1e-6)


def test_attend_uses_features_in_the_file_and_names_the_rest(tmp_path):
    tensors = random_qkv((1, 4, 2, 8), kv_len=4)
    plain = write_tensors(tmp_path / "plain.safetensors", tensors)
    tensors["sinks"] = np.array([1, 2], np.float32)
    tensors["other"] = np.zeros(1, np.float32)
    source = write_tensors(tmp_path / "in.safetensors", tensors)
    lse = {}
    for path in (plain, source):
        done = rapt("attend", "--input", path, "--output", tmp_path / "out.safetensors")
        lse[path] = read_tensors(tmp_path / "out.safetensors")["lse"]
        assert ("tensor other is not used" in done.stderr) == (path == source)
    expected = np.logaddexp(lse[plain], np.array([1, 2])[None, :, None])
    np.testing.assert_allclose(lse[source], expected, atol=1e-6)


def broken_inputs(folder):
    good = random_qkv()
    yield folder / "missing", "cannot read"
    yield folder, "cannot read"
    text = folder / "text"
    text.write_text("this is no such file")
    yield text, "no safetensors file"
    whole = write_tensors(folder / "whole", good)
    cut = folder / "cut"
    cut.write_bytes(whole.read_bytes()[:-1])
    yield cut, "no safetensors file"
    yield write_tensors(folder / "no_v", {"q": good["q"], "k": good["k"]}), "v: the file has no"
    yield write_tensors(folder / "f64", random_qkv(dtype=np.float64)), "q: dtype is F64"
    for dtype, words in ((np.int32, "k: dtype is I32"), (np.float16, "k: dtype")):
        mixed = {**good, "k": good["k"].astype(dtype)}
        yield write_tensors(folder / np.dtype(dtype).name, mixed), words
    yield write_tensors(folder / "rank", {**good, "v": good["v"][0]}), "v: rank is 3, q has 4"
    yield write_tensors(folder / "heads", {**good, "q": good["q"][:, :, :2]}), "heads"


def test_bad_inputs_exit_3_and_leave_nothing(tmp_path):
    folder = tmp_path / "inputs"
    folder.mkdir()
    target = tmp_path / "out.safetensors"
    for path, words in broken_inputs(folder):
        error = rapt("attend", "--input", path, "--output", target, code=INVALID).stderr
        assert words in error, (path, error)
        assert [entry.name for entry in tmp_path.iterdir()] == ["inputs"]


def test_a_refused_run_keeps_the_former_output(tmp_path):
    target = tmp_path / "out.safetensors"
    target.write_text("former")
    source = write_tensors(tmp_path / "in.safetensors", random_qkv())
    rapt("attend", "--input", source, "--output", target, "head_dim=16", code=INVALID)
    rapt("attend", "--input", source, "--output", target, "scale=nan", code=INVALID)
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "no" / "where", tmp_path, tmp_path / "pipe"):
        rapt("attend", "--input", source, "--output", place, code=INVALID)
    assert target.read_text() == "former"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["in.safetensors", "out.safetensors", "pipe"]


def test_check_judges_the_real_file():
    report = json.loads(rapt("check", "--input", REAL_FILE, "--rows", 24, "--json", "-").stdout)
    assert report["passed"] is True and 0 < report["error"] < 1e-3
    assert "verdict  correct" in rapt("check", "--input", REAL_FILE, "--rows", 4).stdout


# ---- gradients of files

def gradients(q, k, v, d_out, bias, sinks, slopes):
    """Of sum(out * d_out), each head by itself, in float64; bias is [heads, queries, keys]."""
    q, k, v, d_out = (np.asarray(x, np.float64).swapaxes(0, 1) for x in (q, k, v, d_out))
    scale = q.shape[-1]**-0.5
    i, j = np.arange(q.shape[1])[:, None], np.arange(k.shape[1])
    distance = np.abs(i + k.shape[1] - q.shape[1] - j)
    scores = scale * q @ k.swapaxes(1, 2) + bias - slopes[:, None, None] * distance
    sums = np.exp(scores).sum(-1, keepdims=True) + np.exp(sinks)[:, None, None]
    p, p_sink = np.exp(scores) / sums, np.exp(sinks)[:, None] / sums[..., 0]
    dp = d_out @ v.swapaxes(1, 2)
    delta = (p * dp).sum(-1)
    ds = p * (dp - delta[..., None])
    rows = (scale * ds @ k, scale * ds.swapaxes(1, 2) @ q, p.swapaxes(1, 2) @ d_out)
    return (*(x.swapaxes(0, 1) for x in rows), ds, -(p_sink * delta).sum(-1),
            -(ds * distance).sum((1, 2)))


def test_attend_answers_gradients_of_all_that_the_file_holds(tmp_path):
    random = np.random.default_rng(5)
    tensors = random_qkv()
    features = {"bias": random.standard_normal((1, 3, 5, 7)).astype(np.float32),
                "sinks": random.standard_normal(3).astype(np.float32),
                "slopes": random.random(3).astype(np.float32)}
    d_out = random.standard_normal((2, 5, 3, 8)).astype(np.float32)
    source = write_tensors(tmp_path / "in.safetensors", {**tensors, **features})
    second = write_tensors(tmp_path / "d_out.safetensors", {"d_out": d_out})
    target = tmp_path / "out.safetensors"
    rapt("attend", "--input", source, "--d-out", second, "--output", target)
    found = read_tensors(target)
    both = [gradients(*(tensors[name][b] for name in "qkv"), d_out[b], features["bias"][0],
                      features["sinks"], features["slopes"]) for b in range(2)]
    wanted = [np.stack(parts) for parts in zip(*both)]
    wanted[3:] = [wanted[3].sum(0)[None], wanted[4].sum(0), wanted[5].sum(0)]
    names = ["dq", "dk", "dv", "d_bias", "d_sinks", "d_slopes"]
    assert list(found) == ["out", "lse", *names]
    for name, right in zip(names, wanted):
        assert found[name].shape == right.shape and found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], right, atol=1e-5)


def test_gradients_of_one_sequence_from_one_file(tmp_path):
    tensors = random_qkv((5, 2, 16), kv_len=8, dtype=np.float16)
    tensors["d_out"] = np.ones((5, 2, 16), np.float16)
    source = write_tensors(tmp_path / "in.safetensors", tensors, crooked=True)
    target = tmp_path / "out.safetensors"
    done = rapt("attend", "--input", source, "--d-out", source, "--output", target)
    assert "note" not in done.stderr
    zeros = np.zeros(2)
    right = gradients(*(tensors[name] for name in ("q", "k", "v", "d_out")), np.zeros((2, 5, 8)),
                      zeros - np.inf, zeros)
    found = read_tensors(target)
    assert set(found) == {"out", "lse", "dq", "dk", "dv"}
    for name, wanted in zip(("dq", "dk", "dv"), right):
        assert found[name].shape == wanted.shape and found[name].dtype == np.float16
        np.testing.assert_allclose(found[name].astype(np.float64), wanted, atol=4e-3)
    done = rapt("attend", "--input", source, "--output", target)
    assert "tensor d_out is not used" in done.stderr


def test_check_judges_gradients(tmp_path):
    tensors = random_qkv((40, 2, 16), kv_len=50)
    tensors["d_out"] = random_qkv((40, 2, 16))["k"].repeat(6, 0)[:40]
    source = write_tensors(tmp_path / "in.safetensors", tensors)
    words = ("check", "--input", source, "--d-out", source, "mask=causal", "softcap=2")
    report = json.loads(rapt(*words, "--json", "-").stdout)
    assert report["passed"] is True and 0 < report["error"] < 1e-4
    assert report["kernel"].endswith("backward") and report["time_us"] > 0
    assert json.loads(rapt(*words, "--rows", 3, "--json", "-").stdout)["passed"] is True


def test_bad_gradients_exit_3_and_leave_nothing(tmp_path):
    good = random_qkv()
    source = write_tensors(tmp_path / "in", good)
    d_out = np.zeros((2, 5, 3, 8), np.float32)
    text = tmp_path / "text"
    text.write_text("this is no such file")
    inputs = [(tmp_path / "missing", "d_out: cannot read"), (text, "d_out: "),
              (source, "d_out: the file has no such tensor")]
    for name, wrong, words in (("short", d_out[:, :4], "d_out: "),
                               ("rank", d_out[0], "d_out: rank"),
                               ("half", d_out.astype(np.float16), "d_out: dtype"),
                               ("int", d_out.astype(np.int32), "d_out: dtype is I32")):
        inputs.append((write_tensors(tmp_path / name, {"d_out": wrong}), words))
    target = tmp_path / "out"
    for path, words in inputs:
        for command in (("attend", "--output", target), ("check",)):
            error = rapt(*command, "--input", source, "--d-out", path, code=INVALID).stderr
            assert error.startswith(f"rapt: {words}"), (path, error)
        assert not target.exists()
    whole = write_tensors(tmp_path / "whole", {"d_out": d_out})
    error = rapt("attend", "--input", source, "--d-out", whole, "--output", target, "lse=0",
                 code=INVALID).stderr
    assert error.startswith("rapt: lse: ") and not target.exists()


# ---- verify and bench

def test_verify_reports(tmp_path):
    path = tmp_path / "report.json"
    rapt("verify", "--count", 20, "--seed", 5, "--json", path)
    report = json.loads(path.read_text())
    assert {"schema", "seed", "passed", "failed", "refused", "coverage", "worst",
            "failures"} <= set(report)
    assert report["passed"] == 20 and report["failed"] == 0


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    done = rapt("bench", "--case", "q_len=64 kv_len=96 mask=causal", "--threads", 1, "--repeat", 2,
                "--json", folder / "rows.json", "--plot", folder / "rows.svg")
    return done, json.loads((folder / "rows.json").read_text()), folder / "rows.svg"


def test_bench_answers_json(measured):
    _, report, _ = measured
    assert {"schema", "machine", "commit", "ceilings", "rows"} <= set(report)
    row, = report["rows"]
    assert set(row) == ROW_KEYS
    assert row["checked"] is True and row["threads"] == 1 and row["median_us"] >= row["min_us"] > 0
    scores = sum(min(96, i + 33) for i in range(64))
    assert row["gflops"] == pytest.approx(2 * 128 * scores / row["median_us"] * 1e-3)
    ceiling, = report["ceilings"]
    assert row["share"] == pytest.approx(row["gflops"] / row["ceiling"])
    assert 0.2 < row["ceiling"] / ceiling["fp32_gflops"] < 5  # of other moments
    assert ceiling["threads"] == 1 and ceiling["read_gbps"] > 0


def test_bench_says_what_it_does(measured):
    done, report, _ = measured
    assert "[1/1]" in done.stderr
    assert report["rows"][0]["kernel"] in done.stdout and "ceilings" in done.stdout


def test_bench_draws_a_chart(measured):
    chart = xml.etree.ElementTree.parse(measured[2]).getroot()
    words = " ".join(text.text for text in chart.iter("{http://www.w3.org/2000/svg}text"))
    for wanted in ("q_len=64", "100%", "measured peak", "GFLOP/s"):
        assert wanted in words


def test_bench_lists_its_suites():
    names = {line.split()[0] for line in rapt("bench", "--list").stdout.splitlines()}
    assert names == {"cpu-peak", "cpu-features", "cpu-decode", "cpu-memory", "cpu-lengths",
                     "cpu-threads", "cpu-backward", "cpu-back-memory", "cuda-forward", "cuda-fp32",
                     "cuda-decode", "cuda-features"}


def no_gpu():
    devices = json.loads(rapt("devices", "--json", "-").stdout)["devices"]
    return not any(d["backend"] == "cuda" and d["available"] for d in devices)


@pytest.mark.skipif("not no_gpu()", reason="this machine has a GPU")
@pytest.mark.parametrize("words", [
    ["verify", "--count", 5], ["verify", "--case", "q_len=8"], ["bench", "--case", "q_len=8"],
    ["bench", "--suite", "cuda-fp32"], ["check", "--input", REAL_FILE],
    ["attend", "--input", REAL_FILE, "--output", "nothing.safetensors"],
])
def test_without_a_gpu_the_cuda_backend_is_unsupported(words, tmp_path):
    words = [tmp_path / word if word == "nothing.safetensors" else word for word in words]
    done = rapt(*words, "--backend", "cuda", code=UNSUPPORTED)
    sentence = done.stderr.splitlines()[-1]
    assert "cuda" in sentence and sentence.count("cuda: ") < 3
    assert done.stdout == "" and list(tmp_path.iterdir()) == []
