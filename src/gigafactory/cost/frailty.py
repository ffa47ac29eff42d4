"""Hosts that fail more often than others: gamma frailty, and what taking out the worst does.

Legend
    k       shape of the gamma law of the hosts' rates, whose mean is 1; small: few lemons do it all
    q       share of the hosts taken out, the worst first
    m       mean failures of a host in the time looked at

Sources
    [Greenwood20] M. Greenwood, G. U. Yule, "An inquiry into the nature of frequency distributions
               representative of multiple happenings", J. Roy. Stat. Soc. 83(2), 1920: Poisson
               counts whose rates are gamma are negative binomial.
    [Vaupel79] J. W. Vaupel et al., "The impact of heterogeneity in individual frailty on the
               dynamics of mortality", Demography 16(3), 1979.

Every argument may be an array; results broadcast. Shares and shapes have no unit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_MANY = 400


def worst_share(worst: ArrayLike, *, shape: ArrayLike) -> Floats:
    """Share of all failures that the worst share ``worst`` of the hosts has.

    1 - P(k + 1, x) with P(k, x) = 1 - q and P the regularised incomplete gamma function: the
    Lorenz curve of the gamma law, by true rates.
    """
    q, k = np.broadcast_arrays(_floats(worst), _floats(shape))
    x = _gamma_quantile(1.0 - q, k)
    return np.asarray(np.clip(1.0 - _lower_gamma(k + 1.0, x), 0.0, 1.0))


def negative_binomial(count: ArrayLike, *, mean: ArrayLike, shape: ArrayLike) -> Floats:
    """Probability that a host fails ``count`` times where ``mean`` are expected of all hosts."""
    n, m, k = np.broadcast_arrays(_floats(count), _floats(mean), _floats(shape))
    lgamma = np.vectorize(math.lgamma, otypes=[np.float64])
    log_p = lgamma(n + k) - lgamma(k) - lgamma(n + 1.0)
    return np.asarray(np.exp(log_p + k * np.log(k / (k + m)) + n * np.log(m / (k + m))))


def _gamma_quantile(p: Floats, k: Floats) -> Floats:
    """x with P(k, x) = p, by bisection."""
    low, high = np.zeros_like(p), k + 60.0 + 12.0 * np.sqrt(k)
    for _ in range(80):
        middle = 0.5 * (low + high)
        below = _lower_gamma(k, middle) < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray(0.5 * (low + high))


def _lower_gamma(k: Floats, x: Floats) -> Floats:
    """Regularised lower incomplete gamma function by its power series."""
    lgamma = np.vectorize(math.lgamma, otypes=[np.float64])
    safe = np.maximum(x, 1e-300)
    term = np.exp(k * np.log(safe) - safe - lgamma(k + 1.0))
    total = term.copy()
    for n in range(1, _MANY):
        term = term * safe / (k + n)
        total = total + term
    return np.asarray(np.minimum(total, 1.0))


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, dtype=np.float64)
