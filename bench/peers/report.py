# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Rows, the table on the terminal, and the numbers that are set beside each other.

Imports no torch. A row is one provider's answer to one cell; what does not apply is None.
"""

from __future__ import annotations

from statistics import geometric_mean
from typing import Optional

from .cells import Cell

MEMORY_SUITES = ("decode",)  # told in bytes a second; the others in operations


def row_of(cell: Cell, provider: str, kernel: str = "", error: Optional[float] = None,
           checked: bool = False, sentence: str = "") -> dict:
    """Without times: an answer that was refused, failed or wrong has a sentence instead."""
    return {"case": cell.case, "suite": cell.suite, "dtype": cell.dtype,
            "head_dim": cell.head_dim, "q_len": cell.q_len, "kv_len": cell.kv_len,
            "provider": provider, "kernel": kernel or None, "median_us": None, "min_us": None,
            "max_us": None, "tflops": None, "gbps": None, "share": None, "checked": checked,
            "error": error, "speedup": {}, "against": None, "sentence": sentence or None}


def fill(row: dict, cell: Cell, times: tuple, ceilings: dict) -> None:
    """Times and what follows from them."""
    row["median_us"], row["min_us"], row["max_us"] = times
    seconds = row["median_us"] * 1e-6
    row["tflops"] = round(cell.flops / seconds / 1e12, 1)
    row["gbps"] = round((cell.kv_bytes if in_bytes(cell) else cell.bytes) / seconds / 1e9, 1)
    if in_bytes(cell):
        row["share"] = round(row["gbps"] / ceilings["read_gbps"], 4)
    elif cell.dtype != "fp32":
        row["share"] = round(row["tflops"] / ceilings["bf16_tflops"], 4)


def in_bytes(cell: Cell) -> bool:
    return cell.suite in MEMORY_SUITES


def compare(rows: list) -> None:
    """Gives each row of rapt its speedups over the peers on the same cell."""
    peers = {row["provider"]: row["median_us"] for row in rows
             if not is_rapt(row) and row["median_us"]}
    for row in rows:
        if is_rapt(row) and row["median_us"]:
            row["speedup"] = {name: round(us / row["median_us"], 3) for name, us in peers.items()}


def set_against(row: dict, base: dict) -> None:
    """Beside the same provider's row of the shape without the feature: 1 is as good."""
    if row["median_us"] and base["median_us"]:
        row["against"] = {"case": base["case"],
                          "time": round(row["median_us"] / base["median_us"], 3),
                          "rate": round(row["tflops"] / base["tflops"], 3)}


def is_rapt(row: dict) -> bool:
    return row["provider"].split()[0] == "rapt"


def short(cell: Cell) -> str:
    """A cell in a few words, for the table and the plot."""
    ragged = "ragged" if cell.lens else ""
    size = f"{cell.q_len}x{cell.kv_len}" if cell.q_len != cell.kv_len else f"S{cell.q_len}"
    heads = f"{cell.q_heads}/{cell.kv_heads}" if cell.q_heads != cell.kv_heads else ""
    dims = f"D{cell.head_dim}" + (f"/{cell.value_dim}" if cell.value_dim != cell.head_dim else "")
    words = ["backward" if cell.backward else "", dims, f"B{cell.batch}", size, heads, ragged,
             "" if cell.window else "causal" if cell.causal else "full" if cell.q_len > 1 else "",
             f"window {cell.window}" if cell.window else "",
             f"softcap {cell.softcap:g}" if cell.softcap else "", "ALiBi" if cell.alibi else "",
             "sinks" if cell.sinks else "", f"bias {cell.bias}" if cell.bias else "",
             f"dropout {cell.dropout:g}" if cell.dropout else "",
             f"page {cell.page_size}" if cell.page_size else ""]
    return " ".join(word for word in words if word)


def lines(cell: Cell, rows: list) -> list:
    """The table's lines of one cell: one a provider that answered or should have."""
    made = []
    for row in rows:
        name, label = row["provider"], short(cell) if row is rows[0] else ""
        if row["median_us"] is None:
            made.append(f"{label:42} {name:16} {row['sentence']}")
            continue
        rate = f"{row['gbps']:7.0f} GB/s " if in_bytes(cell) else f"{row['tflops']:7.1f} TF/s "
        beside = "  ".join(f"{ratio:.2f}x {peer}" for peer, ratio in row["speedup"].items())
        made.append(f"{label:42} {name:16} {row['median_us']:9.2f} us {rate} {beside}{cost(row)}")
    return made


def cost(row: dict) -> str:
    against = row["against"]
    if against is None:
        return ""
    return f"  time {against['time']:.2f}, rate {against['rate']:.2f} of plain"


def geometric_means(rows: list) -> dict:
    """(mean, lowest, cells) of the speedups, by (rapt's kernel, peer)."""
    found: dict = {}
    for row in rows:
        for peer, ratio in row["speedup"].items():
            found.setdefault((row["provider"], peer), []).append(ratio)
    return {pair: (round(geometric_mean(ratios), 3), min(ratios), len(ratios))
            for pair, ratios in found.items()}

