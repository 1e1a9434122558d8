# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Finds and loads librapt, and turns its statuses into exceptions."""

from __future__ import annotations

import ctypes
import functools
import operator
import os
from pathlib import Path
from typing import Optional

from . import _abi

_NAME = "librapt.so"
_VERSION = (0, 1)  # of the header that _abi mirrors; the least that is accepted

_EXCEPTIONS = {
    _abi.INVALID_ARGUMENT: ValueError,
    _abi.UNSUPPORTED: NotImplementedError,
    _abi.OUT_OF_MEMORY: MemoryError,
}


def find() -> Path:
    """The library that is loaded: RAPT_LIBRARY, else the package's, else the build tree's."""
    named = os.environ.get("RAPT_LIBRARY")
    if named:
        return Path(named)
    here = Path(__file__).resolve().parent
    places = (here / _NAME, here.parents[1] / "build" / "release" / _NAME)
    for place in places:
        if place.is_file():
            return place
    raise ImportError(f"{_NAME}: not in {places[0].parent} and not in {places[1].parent}; "
                      "build it, or name it in RAPT_LIBRARY")


def load(path: Path) -> ctypes.CDLL:
    """Loads the library and declares what this package calls; the GIL is released in each call."""
    try:
        library = ctypes.CDLL(str(path))
        for name, arguments in _abi.PROTOTYPES.items():
            function = getattr(library, name)
            function.argtypes = arguments
            function.restype = _abi.RESULTS.get(name, ctypes.c_int32)
    except (OSError, AttributeError) as error:
        raise ImportError(f"{path}: {error}") from error
    major, minor = library.rapt_version() // 10000, library.rapt_version() // 100 % 100
    if major != _VERSION[0] or minor < _VERSION[1]:
        raise ImportError(f"{path}: version is {major}.{minor}; must be "
                          f"{_VERSION[0]}.{_VERSION[1]} or a newer {_VERSION[0]}.x")
    return library


path = find()
lib = load(path)


def check(status: int) -> None:
    """Raises the exception of a status that is not ok, with the library's sentence."""
    if status != _abi.OK:
        raise _EXCEPTIONS.get(status, RuntimeError)(lib.rapt_error_message().decode())


def whole(name: str, value: object, bits: int = 64, signed: bool = True) -> int:
    """`value` as an integer of so many bits, where ctypes would wrap it without a word."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: is a {type(value).__name__}; must be an integer") from None
    low, high = (-(2**(bits - 1)), 2**(bits - 1)) if signed else (0, 2**bits)
    if not low <= number < high:
        raise ValueError(f"{name}: is {number}; must be {low} to {high - 1}")
    return number


def real(name: str, value: object) -> float:
    """`value` as a float; the library judges it."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{name}: is a {type(value).__name__}; must be a number") from None


def options(backend: Optional[str], kernel: Optional[str], threads: int, stream: int) -> object:
    """The rapt_options argument of a call; a null pointer when every choice is the library's."""
    if backend is None and kernel is None and threads == 0 and stream == 0:
        return None
    return _options(backend, kernel, threads, stream)


@functools.lru_cache(maxsize=64, typed=True)  # the library only reads it: 1.4 us less a call
def _options(backend: Optional[str], kernel: Optional[str], threads: int, stream: int) -> object:
    return ctypes.byref(
        _abi.Options(
            backend=None if backend is None else backend.encode(),
            kernel=None if kernel is None else kernel.encode(),
            threads=whole("threads", threads, bits=32),
            stream=stream,
        ))
