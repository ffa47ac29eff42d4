"""Dice: one independent stream for each named subsystem.

A stream depends on the seed and its own name only, so a new subsystem, or one that draws more
often, leaves the dice of all others as they were.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(name: str, *, seed: int) -> np.random.Generator:
    """The dice of subsystem ``name`` in a campaign with ``seed`` (any integer from 0 on).

    The name enters as the spawn key of a SeedSequence by a hash that, unlike Python's own, is
    the same in every process.
    """
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    key = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
