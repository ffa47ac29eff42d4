"""What a checkpoint holds and how long it stops the job.

The stall of an asynchronous checkpoint grows with the number of ranks that must agree. The two
published points (ByteCheckpoint, arXiv:2407.20143, table 8: 0.34 s on 1,488 GPUs, 0.59 s on
8,960) give the power law used here; it is a fit through two points of different models.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Parameter in bf16, two fp32 moments and the fp32 master copy: what a full checkpoint holds.
CHECKPOINT_BYTES_PER_PARAMETER = 14.0
_STALL_S, _STALL_GPUS, _STALL_POWER = 0.34, 1488, 0.307


def stall_s(num_gpus: ArrayLike) -> NDArray[np.float64]:
    """Blocking part of one asynchronous checkpoint of a job on ``num_gpus``."""
    return np.asarray(_STALL_S * (np.asarray(num_gpus, np.float64) / _STALL_GPUS) ** _STALL_POWER)
