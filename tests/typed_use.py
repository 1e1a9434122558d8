# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What a type checker must take and must refuse of rapt's users; tests/typing_test.py runs one. An
ignored error that is none is an error there. This file is not run."""

from typing import Any, Optional, Union

import jax
import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import assert_type

import rapt
import rapt.torch

Floats = NDArray[np.float32]


def takes_and_gives_arrays_of_one_library(q: Floats, k: Floats, v: Floats, flag: bool) -> None:
    assert_type(rapt.attend(q, k, v), Floats)
    assert_type(rapt.attend(q, k, v, causal=True, window=(255, None), threads=2), Floats)
    assert_type(rapt.attend(q, k, v, return_lse=True, alibi=[0.5, 0.25]), tuple[Floats, Floats])
    assert_type(rapt.attend(q, k, v, return_lse=flag), Union[Floats, tuple[Floats, Floats]])
    assert_type(rapt.merge([q, q], [k, k]), Floats)
    assert_type(rapt.merge([q, q], [k, k], return_lse=True), tuple[Floats, Floats])
    assert_type(rapt.append(k, v, k, v, [0, 1], q=q, rope=rapt.Rope(q, q, [0, 1])),
                Optional[Floats])


def takes_torch_s_tensors(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    assert_type(rapt.attend(q, k, v, kv_len=torch.tensor([3])), torch.Tensor)
    assert_type(rapt.torch.attend(q, k, v, dropout=0.1), torch.Tensor)
    assert_type(rapt.torch.attend(q, k, v, return_lse=True), tuple[torch.Tensor, torch.Tensor])


def takes_jax_s_arrays(q: jax.Array, k: jax.Array, v: jax.Array) -> None:
    assert_type(rapt.attend(q, k, v, causal=True), jax.Array)
    assert_type(rapt.attend(q, k, v, return_lse=True), tuple[jax.Array, jax.Array])


def says_what_the_other_verbs_answer(q: Floats, k: Floats, v: Floats) -> None:
    assert_type(rapt.explain(q, k, v), dict[str, Any])
    assert_type(rapt.devices(), list[rapt.Device])
    assert_type(rapt.version(), str)
    plan = rapt.Plan(q, k, v, bounds=rapt.Bounds(batch=2), return_lse=True)
    plan.upload(kv_len=[3])
    assert_type(plan.kernel, str)
    assert_type(rapt.attend_backward(q, q, k, v, q, k), rapt.Gradients)


def refuses(q: Floats, k: Floats, v: Floats) -> None:
    rapt.attend(q, k)  # type: ignore[call-overload]
    rapt.attend(q, k, [1.0])  # type: ignore[call-overload]
    rapt.attend(q, k, v, casual=True)  # type: ignore[call-overload]
    rapt.attend(q, k, v, window=3)  # type: ignore[call-overload]
    rapt.explain(q, k, v, scale="big")  # type: ignore[arg-type]
    rapt.torch.attend(q, k, v)  # type: ignore[call-overload]
