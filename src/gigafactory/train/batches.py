"""How a global batch is shared out among the ranks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gigafactory.describe.errors import InputError


def rank_share(batch: NDArray[np.int64], *, rank: int, num_ranks: int) -> NDArray[np.int64]:
    """The sequences of one data-parallel rank, consecutive; InputError unless they divide."""
    if len(batch) % num_ranks:
        raise InputError(
            f"job.global_batch {len(batch)} is not a multiple of "
            f"the {num_ranks} data-parallel ranks"
        )
    each = len(batch) // num_ranks
    return batch[rank * each : (rank + 1) * each]
