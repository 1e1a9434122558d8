#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Prints docs/support.md: which kernel takes which problem. `--write` writes it.

The CPU's answers, forward and backward, are `rapt explain`'s, which a GPU's would be too, were one
here. So the CUDA columns are of the ledger: the architectures for which it holds a kernel of that
row.
"""

import argparse
import json
import subprocess
from pathlib import Path

import ledger

PAGE = ledger.ROOT / "docs" / "support.md"
DIRECTIONS = ("forward", "backward")
# What a kernel's configuration does not say: the gradients' takes no pages and splits nothing.
BACKWARD = {"kv": "0", "split": "0"}
COLUMNS = {"cuda/hopper_forward": {}, "cuda/portable_forward": {}, "cuda/portable_fma_forward": {},
           "cuda/portable_backward": BACKWARD, "cuda/portable_fma_backward": BACKWARD}
PLAIN = "q_len=64 kv_len=64 q_heads=4 kv_heads=2"
ELEMENTS = {"fp32": "0", "fp16": "1", "bf16": "2"}  # kernels/cuda/element.h
INTRODUCTION = """# What is supported

Made by `tools/support_matrix.py --write`; a test compares. The CPU's columns are what `rapt
explain` answers of the row's case and of its gradient. The CUDA columns name the architectures
for which [the ledger](../kernels/cuda/ledger.tsv) holds such a kernel of that name; "-": none,
since the kernel refuses it or a faster one takes it there. Other GPUs run the same kernels,
compiled for them when they are first wanted. What a kernel refuses on a machine, and why, `rapt
explain --case "..."` says there.
"""

# Row -> the case's words for the CPU, and what a configuration in the ledger must say. Every
# feature's row is of any dtype and head size: the ledger has each with each.
ROWS = [
    *[(dtype, f"dtype={dtype}", {"element": [number]}) for dtype, number in ELEMENTS.items()],
    *[(f"head_dim up to {dim}", f"head_dim={dim}", {"head_dim": [str(dim), str(padded)]})
      for dim, padded in ((64, 64), (96, 128), (128, 128), (192, 192), (256, 256), (512, 512))],
    ("full", "mask=full", {"band": ["0"]}),
    ("causal, window, band, sink tokens", "mask=causal", {"band": ["1"]}),
    ("softcap", "softcap=30", {"softcap": ["1"]}),
    ("ALiBi", "alibi=head", {"alibi": ["1"]}),
    ("additive bias", "bias=fp32", {"bias": ["1", "2", "3"]}),
    ("learned sinks", "sinks=1", {"sinks": ["1"]}),
    ("dropout", "dropout=0.1", {"dropout": ["1"]}),
    ("dense and ragged rows, any strides", "", {"kv": ["0"], "aligned": ["0"]}),
    ("pages: row layouts", "page_size=16", {"kv": ["1", "3"]}),
    ("pages: head_dim_page, x_packed", "page_size=16 layout=x_packed", {"kv": ["2"]}),
    ("split over keys, for decoding", "q_len=1", {"split": ["1"]}),
]


def cpu_answer(direction, words):
    """"yes", or a CPU kernel's sentence of refusal."""
    given = {word.split("=")[0] for word in words.split()}
    plain = [word for word in PLAIN.split() if word.split("=")[0] not in given]
    command = [ledger.RAPT, "explain", "--backend", "cpu", "--json", "-", "--case",
               " ".join([f"direction={direction}", *plain, *words.split()])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer = json.loads(done.stdout)
    sentences = [row["sentence"] for row in answer["refused"] if row["kernel"].startswith("cpu/")]
    return "yes" if answer["chosen"] else sentences[-1]


def architectures(lines, kernel, wanted):
    """Where the ledger holds a kernel of this name whose configuration is as wanted."""
    found = set()
    for line in lines:
        if line.kernel != kernel:
            continue
        config = COLUMNS.get(kernel, {}) | dict(word.split("=") for word in line.config.split())
        # What makes no other kernel is no part of a configuration.
        if all(config.get(name, values[0]) in values for name, values in wanted.items()):
            found.add(line.arch)
    return ", ".join(sorted(found, key=lambda arch: int(arch[3:].rstrip("af")))) or "-"


def page(lines):
    heads = ["", *(f"CPU {direction}" for direction in DIRECTIONS), *COLUMNS]
    rows = [INTRODUCTION, "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for title, words, wanted in ROWS:
        cells = [*(cpu_answer(direction, words) for direction in DIRECTIONS),
                 *(architectures(lines, name, wanted) for name in COLUMNS)]
        rows.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/support.md")
    text = page(list(ledger.load().lines.values()))
    if parser.parse_args().write:
        PAGE.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
