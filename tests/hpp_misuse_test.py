# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What rapt.hpp makes a compiler refuse: outputs that may not be written, dropped answers, fields
out of order. Each snippet differs by its last line from one that compiles without a warning."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror",
         "-fsyntax-only", "-x", "c++", "-"]

SNIPPET = """
#include "rapt/rapt.hpp"
rapt::Status use(rapt::ConstTensorView q, rapt::TensorView out, rapt::Plan& plan) {
  rapt::Attention problem = {.q = q, .k = q, .v = q, .out = out};
  static_cast<void>(problem);
  static_cast<void>(plan);
  LAST
}
"""

RIGHT = [
    "return rapt::attend(problem);",
    "return rapt::attend({.q = q, .k = q, .v = q, .out = out, .mask = rapt::Mask::causal()});",
    "return plan.create(problem, {.kv_len = 64}, {.threads = 2});",
]
WRONG = {
    "a view that may only be read, as an output": "problem.out = q; return rapt::attend(problem);",
    "the same in the aggregate": "return rapt::attend({.q = q, .out = q});",
    "memory that may only be read, as an output":
        "const float* data = nullptr; problem.out = {data, {1}}; return rapt::attend(problem);",
    "an answer dropped": "rapt::attend(problem); return {};",
    "a plan's answer dropped": "plan.create(problem); return {};",
    "fields out of order": "return rapt::attend({.out = out, .q = q});",
    "an answer taken for a number": "int code = rapt::attend(problem); return {};",
    "a plan copied": "rapt::Plan copy = plan; return copy.create(problem);",
}


def compiles(last_line):
    source = SNIPPET.replace("LAST", last_line)
    compiler = os.environ.get("CXX", "c++")
    return subprocess.run([compiler, "-I", ROOT / "include", *FLAGS], input=source, text=True,
                          capture_output=True)


@pytest.mark.parametrize("line", RIGHT)
def test_right_use_compiles_without_a_warning(line):
    result = compiles(line)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("misuse", WRONG)
def test_misuse_is_diagnosed(misuse):
    assert compiles(WRONG[misuse]).returncode != 0
