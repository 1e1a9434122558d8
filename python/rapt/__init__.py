# SPDX-License-Identifier: Apache-2.0 OR MIT
"""rapt: exact attention for the arrays of NumPy, torch, JAX and CuPy.

    out = rapt.attend(q, k, v, causal=True)
"""

from ._attention import attend, explain, prepare
from ._backward import Gradients, attend_backward
from ._cache import Rope, append, clear_pages, copy_pages, merge, swap_pages
from ._plan import Bounds, Plan
from ._questions import Device, devices, version

__all__ = [
    "Bounds", "Device", "Gradients", "Plan", "Rope", "append", "attend", "attend_backward",
    "clear_pages", "copy_pages", "devices", "explain", "merge", "prepare", "swap_pages", "version"
]

__version__ = version()
