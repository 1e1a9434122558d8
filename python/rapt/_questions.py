# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What this library is and what this machine has."""

from __future__ import annotations

from ctypes import byref, c_size_t, sizeof
from dataclasses import dataclass

from . import _abi
from ._library import check, lib


@dataclass(frozen=True)
class Device:
    """One device of one backend."""

    backend: str  # "cpu"
    index: int
    available: bool  # False: detail says why
    name: str
    detail: str  # instruction sets or driver version
    memory_bytes: int  # 0 = unknown
    workers: int  # CPUs this process may use, multiprocessors of a GPU


def devices() -> list[Device]:
    """Every device that a backend of this library knows, usable or not."""
    count = c_size_t()
    check(lib.rapt_devices(None, 0, byref(count)))
    entries = (_abi.DeviceInfo * count.value)()
    for entry in entries:
        entry.struct_size = sizeof(_abi.DeviceInfo)
    check(lib.rapt_devices(entries, len(entries), byref(count)))
    return [_device(entry) for entry in entries]


def _device(entry: _abi.DeviceInfo) -> Device:
    return Device(entry.backend.decode(), entry.index, bool(entry.available), entry.name.decode(),
                  entry.detail.decode(), entry.memory_bytes, entry.workers)


def version() -> str:
    """The library's version, "0.1.0" say."""
    number = lib.rapt_version()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
