"""Which tokens a step sees: a pure function of seed and step, whatever the number of ranks.

The stream is cut into windows; each epoch goes through all of them once, in an order drawn from
(seed, epoch), with the cuts shifted by an offset of its own. So a restarted job sees what an
undisturbed one would have seen, and any split over ranks adds up to the same global batch.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from gigafactory.describe.errors import InputError
from gigafactory.train.tokens import Ids


def global_batch(
    stream: Ids, *, seed: int, step: int, num_sequences: int, seq_len: int
) -> NDArray[np.int64]:
    """The batch of ``step`` (1, 2, ...): (num_sequences, seq_len + 1), inputs and next tokens."""
    num_windows = (len(stream) - 1) // seq_len - 1
    if num_windows < 1:
        raise InputError(
            f"job.seq_len {seq_len} is too long for a corpus of {len(stream)} tokens; "
            f"at most {(len(stream) - 1) // 2} would do"
        )
    first = (step - 1) * num_sequences
    starts = [
        _window_start(seed, index, num_windows, seq_len)
        for index in range(first, first + num_sequences)
    ]
    return np.stack([stream[s : s + seq_len + 1].astype(np.int64) for s in starts])


def _window_start(seed: int, index: int, num_windows: int, seq_len: int) -> int:
    epoch, place = divmod(index, num_windows)
    order, offset = _epoch_order(seed, epoch, num_windows, seq_len)
    return int(order[place]) * seq_len + offset


@functools.lru_cache(maxsize=2)
def _epoch_order(
    seed: int, epoch: int, num_windows: int, seq_len: int
) -> tuple[NDArray[np.int64], int]:
    dice = np.random.default_rng([seed, epoch])
    return dice.permutation(num_windows), int(dice.integers(seq_len))


def rank_share(batch: NDArray[np.int64], *, rank: int, num_ranks: int) -> NDArray[np.int64]:
    """The sequences of one data-parallel rank, consecutive; InputError unless they divide."""
    if len(batch) % num_ranks:
        raise InputError(
            f"job.global_batch {len(batch)} is not a multiple of "
            f"the {num_ranks} data-parallel ranks"
        )
    each = len(batch) // num_ranks
    return batch[rank * each : (rank + 1) * each]
