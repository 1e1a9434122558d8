# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Attention of a real transformer in Python: reads the captured activations of MiniLM, runs them
through rapt and through plain softmax(q k^T) v, and compares."""

import json
import math
import struct
from pathlib import Path

import numpy as np

import rapt

FILE = Path(__file__).resolve().parent / "data" / "minilm.safetensors"


def load(path):
    """The float32 tensors of a safetensors file, by name."""
    data = path.read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + header_bytes])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return tensors


def plain(q, k, v):
    """softmax(q k^T / sqrt(head_dim)) v in float64, every score in memory at once."""
    scores = np.einsum("bqhd,bkhd->bhqk", q.astype(float), k) / math.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, v)


def main():
    tensors = load(FILE)
    q, k, v = tensors["q"], tensors["k"], tensors["v"]
    out = rapt.attend(q, k, v)
    error = np.abs(out - plain(q, k, v)).max()
    print(f"rapt {rapt.version()}: {q.shape}, largest difference from float64 {error:.1e}")
    if not error < 1e-5:
        raise SystemExit("too large")


if __name__ == "__main__":
    main()
