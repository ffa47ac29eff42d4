"""How long a job takes to form its communicators, by the number of ranks.

A power law through the published starts of FT-HSDP (arXiv:2602.00277, figure 2: 17, 30, 100 and
200 s at 16, 22, 64 and 98 thousand GPUs), within 13 % of each. An all-to-all exchange of addresses
explains the exponent above 1. Others start far faster (30 s above 10,000 ranks, MegaScale, NSDI
2024, section 3.5), which is what ``scale`` is for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_COMMUNICATORS_S, _RANKS, _POWER = 17.0, 16_000, 1.36


def communicators_s(num_ranks: ArrayLike, *, scale: ArrayLike = 1.0) -> NDArray[np.float64]:
    """Seconds to form the communicators of ``num_ranks``; ``scale`` times the published curve."""
    ranks = np.asarray(num_ranks, np.float64)
    curve_s = _COMMUNICATORS_S * (ranks / _RANKS) ** _POWER
    return np.asarray(np.asarray(scale, np.float64) * curve_s)
