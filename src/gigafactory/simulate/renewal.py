"""A job walked from failure to failure, many at a time: what the closed forms must agree with.

No controller, no fleet: only failures, recoveries and checkpoints, by each of the three
conventions that published figures use.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gigafactory.cost.reliability import Convention
from gigafactory.simulate.rng import stream

Floats = NDArray[np.float64]
_NUM_FAILURES = 400_000


def walk(
    mtbf_s: float,
    *,
    recovery_s: float,
    interval_s: float,
    convention: Convention,
    seed: int = 0,
) -> float:
    """Kept work over wall time of a job over many failures.

    ``interval_s`` 0: all work up to a failure is kept. The same seed gives the same share.
    """
    dice = stream("renewal", seed=seed)
    gaps_s = dice.exponential(mtbf_s, size=_NUM_FAILURES)
    if convention is Convention.SPACED:
        # failures keep their distance; where between two checkpoints they fall is left to the dice
        lost_s = recovery_s + dice.random(_NUM_FAILURES) * interval_s
        return float(np.maximum(0.0, mtbf_s - lost_s).mean() / mtbf_s)
    if convention is Convention.UPTIME:
        kept_s = _kept_s(gaps_s, interval_s)
        return float(kept_s.sum() / (gaps_s + recovery_s).sum())
    kept_s = _kept_s(np.maximum(0.0, gaps_s - recovery_s), interval_s)
    return float(kept_s.sum() / gaps_s.sum())


def _kept_s(run_s: Floats, interval_s: float) -> Floats:
    """Work of whole intervals."""
    return interval_s * np.floor(run_s / interval_s) if interval_s else run_s
