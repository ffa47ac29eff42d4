"""A gang waits for its slowest host; jobs that straggle waste what the others wait.

Legend
    N    hosts;  rho  share of a host's time in which it is slow;  s  slow over usual time
    mu   mean slowdown of a job beyond 1, exponential among jobs

Sources
    slow hosts: MegaScale, NSDI 2024, section 6.3 (0.5 % of machines 10 % slower); FALCON,
    arXiv:2410.12588 (episodes); straggling jobs: Lin et al., OSDI 2025, arXiv:2505.05713.

Every argument may be an array; results broadcast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def gang_slowdown(num_hosts: ArrayLike, *, slow_share: ArrayLike, slowdown: ArrayLike) -> Floats:
    """Mean step over the usual one: 1 + (1 - (1 - rho)^N)(s - 1), hosts slow independently."""
    N, rho, s = (np.asarray(v, np.float64) for v in (num_hosts, slow_share, slowdown))
    anyone = -np.expm1(N * np.log1p(-rho))
    return np.asarray(1.0 + anyone * (s - 1.0))


def wasted_share(straggling_share: float, *, threshold: float) -> float:
    """GPU time wasted by stragglers where ``straggling_share`` of jobs is so much slower.

    A job slower by x wastes x/(1 + x) of its time. With x exponential, P(x >= threshold) fixes
    mu = threshold / -ln(share), and the mean of x/(1 + x) follows by quadrature.
    """
    mu = threshold / -np.log(straggling_share)
    x = (np.arange(4000) + 0.5) * (40.0 * mu / 4000)
    weight = np.exp(-x / mu)
    return float((x / (1.0 + x) * weight).sum() / weight.sum())
