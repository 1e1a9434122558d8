# SPDX-License-Identifier: Apache-2.0 OR MIT
"""`rapt explain` on CUDA: without a driver, and over a stand-in for one, of several architectures.
Which row is chosen, and the sentence of each that is not."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RAPT = ROOT / "build" / "release" / "rapt"
STAND_IN = ROOT / "build" / "release" / "stand_in"
PORTABLE, FMA = "cuda/portable_forward", "cuda/portable_fma_forward"


def explain(case, *words, **environment):
    command = [RAPT, "explain", "--case", case, "--json", "-", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True,
                          env=os.environ | environment)
    answer = json.loads(done.stdout)
    return answer["chosen"], {row["kernel"]: row["sentence"] for row in answer["refused"]}


def on_stand_in(case, arch=80, devices=1):
    return explain(case, RAPT_BACKEND="cuda", LD_LIBRARY_PATH=str(STAND_IN),
                   RAPT_STAND_IN_ARCH=str(arch), RAPT_STAND_IN_DEVICES=str(devices))


@pytest.mark.parametrize("words, environment", [
    (["--backend", "cuda"], {}), ([], {"RAPT_BACKEND": "cuda"})])
def test_without_a_device_every_row_says_why(words, environment):
    chosen, refused = explain("dtype=bf16", *words, LD_LIBRARY_PATH=str(STAND_IN),
                              RAPT_STAND_IN_DEVICES="0", **environment)
    assert chosen is None
    assert refused[PORTABLE] == refused[FMA] == "driver: it lists no device"
    of_cpu = {sentence for kernel, sentence in refused.items() if kernel.startswith("cpu/")}
    assert of_cpu == {"options.backend: asks for cuda"}


def test_the_call_wins_over_the_environment():
    chosen, refused = explain("dtype=bf16", "--backend", "cpu", RAPT_BACKEND="cuda")
    assert chosen.startswith("cpu/")
    assert refused[PORTABLE] == "options.backend: asks for cpu"


@pytest.mark.parametrize("case, arch, chosen, other, sentence", [
    ("dtype=bf16", 80, PORTABLE, FMA, f"{PORTABLE}: takes the problem and comes first"),
    ("dtype=fp32", 80, FMA, PORTABLE, "q: dtype is fp32, this kernel takes fp16 or bf16"),
    ("dtype=fp16", 75, FMA, PORTABLE, "device: is of sm_75, this kernel wants sm_80 or newer"),
    ("dtype=fp16 head_dim=512", 75, None, FMA,
     "q: head_dim is 512, value_dim 512; no tile of them fits the 65536 bytes of shared memory"),
    ("dtype=fp16", 61, None, FMA, "device: is of sm_61, this kernel wants sm_70 or newer"),
    ("dtype=bf16 q_len=2000000000 kv_len=8", 80, None, PORTABLE,
     "q: q_len is 2000000000 for 1 heads a kv head; this kernel takes 2^30 rows"),
])
def test_a_device_chooses_a_row_and_the_others_say_why(case, arch, chosen, other, sentence):
    answer, refused = on_stand_in(case, arch)
    assert answer == chosen
    assert refused[other] == sentence


@pytest.mark.parametrize("feature", [
    "mask=causal", "softcap=20", "alibi=head", "bias=fp32", "sinks=1", "dropout=0.1", "page_size=1",
    "page_size=16 layout=x_packed", "q=ragged kv=ragged q_lens=3,5 kv_lens=7,2", "positions=1"])
def test_features_change_nothing_in_the_choice(feature):
    assert on_stand_in(f"dtype=bf16 {feature}")[0] == PORTABLE
