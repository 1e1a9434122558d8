#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Trains a small character model twice, with eager attention and with rapt's, from the same seed.

    PYTHONPATH=python python examples/train.py [--steps N] [--plot F.svg] [--json F]

The text is Shakespeare's (examples/data). The two loss curves must be one: exits 1 where they part
by more than FP32 rounding makes of so many steps, or where nothing was learned.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rapt.torch

TEXT = Path(__file__).resolve().parent / "data" / "shakespeare.txt"
WIDTH, HEADS, LAYERS, CONTEXT, BATCH = 128, 4, 4, 128, 8
LEARNING_RATE, WARM_UP, SPREAD = 2e-3, 50, 0.05  # steps of warm-up; deviation of first weights
PARTED = 0.02  # in nats: a rounding in one step grows with the steps after it
STEPS, LEARNED = 600, 1.8  # by default; nats below the loss of the first step after them


def eager(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, causal, on [batch, len, heads, dim]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    hidden = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
    return (scores.masked_fill(hidden, -math.inf).softmax(-1) @ v).transpose(1, 2)


def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return rapt.torch.attend(q, k, v, causal=True)


class Layer(nn.Module):
    """Attention and a feed-forward part, each on normalised input and added to it."""

    def __init__(self, attention) -> None:
        super().__init__()
        self.attention = attention
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.to_qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.from_heads = nn.Linear(WIDTH, WIDTH, bias=False)
        self.forward_part = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(),
                                          nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.to_qkv(self.before(x)).unflatten(-1, (3, HEADS, WIDTH // HEADS))
        x = x + self.from_heads(self.attention(*qkv.unbind(2)).flatten(2))
        return x + self.forward_part(self.between(x))


class Model(nn.Module):
    """The next character from those before it."""

    def __init__(self, characters: int, attention) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, WIDTH)
        self.places = nn.Parameter(torch.empty(CONTEXT, WIDTH))
        self.layers = nn.Sequential(*(Layer(attention) for _ in range(LAYERS)))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, characters))
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=SPREAD)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.layers(self.embedding(ids) + self.places[:ids.shape[1]]))


def characters_of(path: Path) -> tuple[Tensor, int]:
    """The text as numbers of its characters, and how many there are."""
    text = path.read_text(encoding="utf-8")
    alphabet = sorted(set(text))
    number = {character: i for i, character in enumerate(alphabet)}
    return torch.tensor([number[character] for character in text]), len(alphabet)


def train(attention, ids: Tensor, characters: int, steps: int, name: str) -> list:
    """The loss of every step. Weights and batches follow from the seed alone."""
    torch.manual_seed(1)
    model = Model(characters, attention)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    losses, begin = [], time.monotonic()
    for step in range(steps):
        starts = torch.randint(len(ids) - CONTEXT, (BATCH,))
        batch = torch.stack([ids[start:start + CONTEXT + 1] for start in starts])
        logits = model(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARM_UP)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            rate = (step + 1) / (time.monotonic() - begin)
            print(f"{name:6} step {step + 1:4}  loss {losses[-1]:.4f}  {rate:.1f} steps/s",
                  flush=True)
    return losses


def drawing(curves: dict) -> str:
    """Both curves in one SVG: eager's broad, rapt's thin upon it."""
    width, height, left, top = 640, 360, 50, 40
    steps = max(len(curve) for curve in curves.values())
    most = max(map(max, curves.values()))

    def place(step: float, loss: float) -> str:
        return (f"{left + (width - left - 20) * step / max(1, steps - 1):.1f},"
                f"{top + (height - top - 40) * (1 - loss / most):.1f}")

    body = [f'<text x="{left}" y="22" font-size="14">Training loss of a character model, '
            f"{steps} steps: eager attention and rapt's</text>"]
    for tick in range(math.floor(most) + 1):
        x, y = place(0, tick).split(",")
        body.append(f'<line x1="{x}" y1="{y}" x2="{width - 20}" y2="{y}" stroke="#ddd"/>'
                    f'<text x="{left - 10}" y="{float(y) + 4}" font-size="11" '
                    f'text-anchor="end">{tick}</text>')
    pens = {"eager": ("#e8a33d", 5), "rapt": ("#1b6ca8", 1.2)}
    for i, (name, curve) in enumerate(curves.items()):
        colour, pen = pens[name]
        points = " ".join(place(step, loss) for step, loss in enumerate(curve))
        body.append(f'<polyline points="{points}" fill="none" stroke="{colour}" '
                    f'stroke-width="{pen}"/>')
        body.append(f'<text x="{width - 90}" y="{top + 20 + 18 * i}" font-size="12" '
                    f'fill="{colour}">{name}</text>')
    body.append(f'<text x="{width - 20}" y="{height - 12}" font-size="11" text-anchor="end">'
                "steps; loss in nats a character</text>")
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                      f'width="{width}" height="{height}" font-family="sans-serif">',
                      f'<rect width="{width}" height="{height}" fill="#fff"/>', *body, "</svg>\n"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--plot", metavar="F", help="draw the curves into F, an SVG")
    parser.add_argument("--json", metavar="F", help="write them to F")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    ids, characters = characters_of(TEXT)
    curves = {name: train(attention, ids, characters, options.steps, name)
              for name, attention in (("eager", eager), ("rapt", ours))}
    parted = max(abs(a - b) for a, b in zip(curves["eager"], curves["rapt"]))
    learned = curves["rapt"][0] - curves["rapt"][-1]
    print(f"the curves part by at most {parted:.1e}; learned {learned:.2f} nats a character")
    if options.plot:
        Path(options.plot).write_text(drawing(curves), encoding="utf-8")
    if options.json:
        Path(options.json).write_text(json.dumps({"schema": 1, "parted": parted, "losses": curves}))
    too_little = options.steps >= STEPS and learned < LEARNED
    return 1 if parted > PARTED or too_little else 0


if __name__ == "__main__":
    sys.exit(main())
