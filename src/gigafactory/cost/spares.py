"""Hosts away at once, with a fat tail: their number at P99 is the spares that a job asks for.

Legend
    a       mean number of hosts away (cost.reliability.hosts_away)
    B       hosts of one batch; s  share of the failures that come in batches
    D       a repair time; f  E[min(D1, D2)] / E[D]: how far a batch stays away together
    c       squared coefficient of variation of the fleet's failure rate, as a repair feels it

Sources
    [Takacs62] L. Takacs, "Introduction to the Theory of Queues", 1962: infinitely many repairers
               with batches; [Holman83] D. F. Holman et al., "On the service system M^X/G/inf",
               EJOR 12(2), 1983: the variance used here.
    [Cox80]    D. R. Cox, V. Isham, "Point Processes", 1980: counts of a doubly stochastic process.

Independent failures give Poisson numbers; published fleets have far fatter tails, because failures
come in batches and because whole weeks are bad. Every argument may be an array.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gigafactory.cost.frailty import negative_binomial

Floats = NDArray[np.float64]


def away_variance(
    mean_away: ArrayLike,
    *,
    batch_share: ArrayLike = 0.0,
    batch_hosts: ArrayLike = 1.0,
    together: ArrayLike = 1.0,
    rate_variation: ArrayLike = 0.0,
) -> Floats:
    """Variance of the number of hosts away: a (1 + s (B - 1) f) + a^2 c.

    The first term is Poisson with batches [Holman83], the second a rate that itself varies over
    times as long as a repair [Cox80]. ``batch_share`` is of failed hosts.
    """
    given = (mean_away, batch_share, batch_hosts, together, rate_variation)
    a, s, B, f, c = (np.asarray(value, np.float64) for value in given)
    return np.asarray(a * (1.0 + s * (B - 1.0) * f) + a * a * c)


def away_quantile(probability: float, *, mean_away: float, variance: float) -> int:
    """Fewest hosts h with P(away <= h) >= ``probability``, the number away negative binomial.

    Poisson where the variance is not above the mean. ValueError unless 0 < probability < 1.
    """
    if not 0.0 < probability < 1.0:
        raise ValueError(f"probability {probability} must lie between 0 and 1, for example 0.99")
    if mean_away <= 0.0:
        return 0
    most = int(mean_away + 40.0 * math.sqrt(max(variance, mean_away)) + 40.0)
    shape = mean_away**2 / max(variance - mean_away, 1e-9 * mean_away)
    below = np.cumsum(negative_binomial(np.arange(most + 1), mean=mean_away, shape=shape))
    return min(int(np.searchsorted(below, probability)), most)
