"""How a global batch is shared out among the ranks, evenly or as evenly as may be.

A step sees the same sequences whoever computes them, so changing the number of ranks neither
loses a sample nor repeats one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Batch = NDArray[np.int64]


def rank_share(batch: Batch, *, rank: int, num_ranks: int) -> Batch:
    """The sequences of one data-parallel rank, consecutive; shares differ by one at most."""
    first, end = (len(batch) * r // num_ranks for r in (rank, rank + 1))
    return batch[first:end]


def pieces(
    batch: Batch, *, rank: int, num_ranks: int, micro_batch: int
) -> Iterator[tuple[Batch, int]]:
    """The microbatches of one rank, and how many sequences of each count.

    Every rank gets equally many, because sharded networks compute only in step. Who has too few
    ends with a sequence that counts for nothing.
    """
    share = rank_share(batch, rank=rank, num_ranks=num_ranks)
    largest = -(-len(batch) // num_ranks)
    for first in range(0, largest, micro_batch):
        piece = share[first : first + micro_batch]
        yield (piece, len(piece)) if len(piece) else (batch[:1], 0)
