# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What type checkers are told of arrays and keywords. Nothing here is imported to run."""

from __future__ import annotations

from typing import Any, Protocol, Sequence, TypeVar, Union


class Array(Protocol):
    """An array of NumPy, torch, JAX or CuPy, or of another library that speaks DLPack; whose
    __dlpack_device__ is needed too, but JAX's types leave it out."""

    @property
    def shape(self) -> tuple[int, ...]:
        ...

    def __dlpack__(self) -> Any:
        ...


A = TypeVar("A", bound=Array)
Numbers = Union[Array, Sequence[int], Sequence[float], Sequence[Sequence[int]],
                Sequence[Sequence[float]]]
