"""Checksums of tensors that find every flipped bit, at the speed of memory.

Two numbers of 64 bits: the sum of the words, modulo 2^64, and their exclusive or. One changed word
changes both. They guard against broken hardware, not against people.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

_WORD_BYTES = 8


def checksum(tensors: Iterable[Tensor]) -> str:
    """Of all tensors in their order, 32 hexadecimal digits; they must lie on the CPU."""
    total = mixed = 0
    mask = (1 << 64) - 1
    for place, tensor in enumerate(tensors, 1):
        added, crossed = _words(tensor)
        # exchanged tensors must not go unnoticed
        total = (total + added * (2 * place + 1)) & mask
        mixed ^= ((crossed << (place % 63)) | (crossed >> (64 - place % 63))) & mask
    return f"{total:016x}{mixed:016x}"


def is_finite(tensor: Tensor) -> bool:
    """Whether every element is a number."""
    return bool(torch.isfinite(tensor).all()) if tensor.numel() else True


def _words(tensor: Tensor) -> tuple[int, int]:
    flat = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()
    whole = len(flat) - len(flat) % _WORD_BYTES
    words = flat[:whole].view(np.uint64)
    added = int(np.add.reduce(words, dtype=np.uint64)) if whole else 0
    crossed = int(np.bitwise_xor.reduce(words)) if whole else 0
    rest = int.from_bytes(flat[whole:].tobytes(), "little")
    return added + rest, crossed ^ rest
