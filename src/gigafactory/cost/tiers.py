"""Several kinds of failure and several places to come back from: intervals, time outside recovery.

Legend
    i       class of failures: lam_i per second, R_i its recovery
    t       tier of checkpoints (memory of a peer, own disk, store): work tau_t between two of them,
            delta_t its blocking part, c_t its background write, Lam_t the failures it mends
    lam     all failures per second

Sources
    [Vaidya95] N. H. Vaidya, "A case for two-level distributed recovery schemes", SIGMETRICS 1995.
    [Di14]     S. Di et al., "Optimization of multi-level checkpoint model for large scale HPC
               applications", IPDPS 2014.

Classes or tiers are the last axis; leading axes broadcast. All times in seconds of wall clock.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def tier_intervals_s(blocking_s: ArrayLike, *, rate_per_s: ArrayLike) -> Floats:
    """Work between checkpoints of each tier that loses least, first order: sqrt(2 delta / Lam).

    The overhead is the sum over tiers of delta/tau + Lam tau/2, so that every tier is solved by
    itself ([Vaidya95], [Di14]); infinite for a tier that nothing returns to.
    """
    delta, rate = np.broadcast_arrays(_floats(blocking_s), _floats(rate_per_s))
    ratio = np.divide(2.0 * delta, rate, out=np.full(delta.shape, np.inf), where=rate > 0)
    return np.asarray(np.sqrt(ratio))


def up_share(rate_per_s: ArrayLike, *, recovery_s: ArrayLike) -> Floats:
    """Share of the wall time outside recoveries: sum over classes of lam_i/lam exp(-lam R_i).

    Exact for Poisson failures that also strike during recovery and begin a new one: a gap between
    failures is exponential whatever its class, and what it leaves after R_i is exp(-lam R_i)/lam.
    """
    rate, R = np.broadcast_arrays(_floats(rate_per_s), _floats(recovery_s))
    lam = rate.sum(axis=-1, keepdims=True)
    share = np.divide(rate, lam, out=np.zeros(rate.shape), where=lam > 0)
    return np.asarray(np.where(lam[..., 0] > 0, (share * np.exp(-lam * R)).sum(axis=-1), 1.0))


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, dtype=np.float64)
