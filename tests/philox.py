# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Which probabilities dropout keeps, by the rule of rapt.h, for oracles in Python."""

import numpy as np


def philox(key, counter):
    """Philox4x32-7: four arrays of 32-bit words from a 64-bit key and four counter words."""
    mask = 0xFFFFFFFF
    a, b, c, d = (np.asarray(word, np.uint64) & np.uint64(mask) for word in counter)
    low, high = key & mask, key >> 32
    for _ in range(7):
        first, second = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = ((second >> np.uint64(32)) ^ b ^ np.uint64(low), second & np.uint64(mask),
                      (first >> np.uint64(32)) ^ d ^ np.uint64(high), first & np.uint64(mask))
        low, high = (low + 0x9E3779B9) & mask, (high + 0xBB67AE85) & mask
    return np.stack(np.broadcast_arrays(a, b, c, d), -1)


def kept(dropout, head, rows, columns):
    """What dropout leaves of each probability: 0, or 256 / n."""
    probability, seed, offset = dropout
    n = round(256 * (1 - float(np.float32(probability))))
    words = philox(seed, (columns // 16, rows, head, offset))
    lane = np.broadcast_to(columns % 16, words.shape[:-1])
    word = np.take_along_axis(words, (lane // 4)[..., None].astype(np.int64), -1)[..., 0]
    byte = (word >> (8 * (lane % 4)).astype(np.uint64)) & np.uint64(255)
    return np.where(byte < n, 256 / n, 0.0)
