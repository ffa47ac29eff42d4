"""Failures of a checkpointed job: rates, the best interval, expected goodput, spares.

Legend
    N       hosts in the job                      lam     failures of the job per second
    M       mean time between failures, 1 / lam   tau     work between two checkpoints
    delta   blocking part of one checkpoint       c       background write until the commit
    R       recovery: from the failure until training goes on
    r       failures of one host per second       p       share of the time a host is away

Sources
    [Young74]  J. W. Young, "A first order approximation to the optimum checkpoint interval",
               CACM 17(9), 1974.
    [Daly06]   J. T. Daly, "A higher order estimate of the optimum checkpoint interval for
               restart dumps", FGCS 22(3), 2006: eq. 37; its complete model gives the renewal form.
    [Kokolis25] "Revisiting Reliability in Large-Scale Machine Learning Research Clusters",
               HPCA 2025, arXiv:2410.21680: job MTTF and expected ETTR.

Every argument may be an array; results broadcast. All times are in seconds of wall clock.
"""

from __future__ import annotations

import bisect
import math
from enum import StrEnum
from typing import assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Convention(StrEnum):
    """What a stated time between failures means; the same figures give 44, 57 or 64 percent."""

    WALL_CLOCK = "wall-clock MTBF, Poisson failures, also during recovery"
    """Failures come at a constant rate whatever the job does; one during recovery restarts it."""
    UPTIME = "uptime MTBF, Poisson failures, never during recovery"
    """The clock of failures stands still while the job recovers."""
    SPACED = "wall-clock MTBF, evenly spaced failures"
    """Exactly one failure every M seconds of wall clock, recovery included."""


def job_failure_rate_per_s(
    num_hosts: ArrayLike, *, host_rate_per_s: ArrayLike, job_rate_per_s: ArrayLike = 0.0
) -> Floats:
    """Failures of a job per second: one per host failure, plus the job's own hazard.

    The second term is needed for small jobs: at 1,024 GPUs hosts alone explain 28.8 h where
    7.9 h were measured ([Kokolis25], section 4).
    """
    return _floats(num_hosts) * _floats(host_rate_per_s) + _floats(job_rate_per_s)


def job_mtbf_s(
    num_hosts: ArrayLike, *, host_rate_per_s: ArrayLike, job_rate_per_s: ArrayLike = 0.0
) -> Floats:
    """Mean wall-clock seconds between failures of a job; infinite where nothing fails."""
    rate = job_failure_rate_per_s(
        num_hosts, host_rate_per_s=host_rate_per_s, job_rate_per_s=job_rate_per_s
    )
    return np.divide(1.0, rate, out=np.full_like(rate, np.inf), where=rate > 0)


def young_interval_s(blocking_s: ArrayLike, *, mtbf_s: ArrayLike) -> Floats:
    """Work between checkpoints that loses least, first order: sqrt(2 delta M) [Young74].

    ``blocking_s`` is only what stops the training; a background write costs no time of the job.
    """
    return np.sqrt(2.0 * _floats(blocking_s) * _floats(mtbf_s))


def daly_interval_s(blocking_s: ArrayLike, *, mtbf_s: ArrayLike) -> Floats:
    """Work between checkpoints that loses least, higher order ([Daly06] eq. 37)."""
    delta, M = _columns(blocking_s, mtbf_s)
    x = np.sqrt(delta / (2.0 * M))
    fine = np.sqrt(2.0 * delta * M) * (1.0 + x / 3.0 + x * x / 9.0) - delta
    return np.where(delta < 2.0 * M, fine, M)


def optimal_interval_s(blocking_s: ArrayLike, *, mtbf_s: ArrayLike) -> Floats:
    """Work between checkpoints that maximises :func:`expected_goodput` exactly.

    The maximum of tau / (exp((tau + delta) / M) - 1) is where 1 - tau/M = exp(-(tau + delta)/M).
    The difference of the sides is convex and positive at tau = M, so Newton's method descends
    from there to the root without passing it.
    """
    delta, M = _columns(blocking_s, mtbf_s)
    x = np.ones_like(M)
    for _ in range(60):
        slope = -np.expm1(-(x + delta / M))
        x = x - np.divide(x - slope, slope, out=np.zeros_like(x), where=slope > 0)
    return x * M


def expected_ettr(
    num_hosts: ArrayLike,
    *,
    host_rate_per_s: ArrayLike,
    restart_s: ArrayLike,
    interval_s: ArrayLike,
    blocking_s: ArrayLike = 0.0,
) -> Floats:
    """Effective training time ratio by the short formula of [Kokolis25].

    (1 - N r (u0 + dt/2)) / (1 + w/dt), first order in the failure rate, hence pessimistic where
    losses are large; never below 0.
    """
    tau = _floats(interval_s)
    lost = _floats(num_hosts) * _floats(host_rate_per_s) * (_floats(restart_s) + tau / 2.0)
    return np.maximum(0.0, 1.0 - lost) / (1.0 + _floats(blocking_s) / tau)


def expected_goodput(
    mtbf_s: ArrayLike,
    *,
    recovery_s: ArrayLike,
    interval_s: ArrayLike,
    blocking_s: ArrayLike = 0.0,
    commit_s: ArrayLike = 0.0,
    convention: Convention = Convention.WALL_CLOCK,
) -> Floats:
    """Kept work over wall time of a job that returns to its last committed checkpoint.

    A run lasts an exponential time; its k-th checkpoint is kept when the run outlives
    k (tau + delta) + c, so a run keeps tau exp(-c/M) / (exp((tau + delta)/M) - 1) on average
    (renewal reward; [Daly06] for c = 0). A run and its recovery take M exp(R/M) where failures
    also hit during recovery, M + R where they do not. ``commit_s`` (c) must not exceed
    ``interval_s``: a checkpoint begins when the last one is committed.
    """
    M, R, tau, delta, c = _columns(mtbf_s, recovery_s, interval_s, blocking_s, commit_s)
    if convention is Convention.WALL_CLOCK:
        return _kept_per_mtbf(M, tau, delta, c) * np.exp(-R / M)
    if convention is Convention.UPTIME:
        return _kept_per_mtbf(M, tau, delta, c) * M / (M + R)
    if convention is Convention.SPACED:
        period = tau + delta
        working = np.divide(tau, period, out=np.ones_like(period), where=period > 0)
        return np.maximum(0.0, M - R - c - period / 2.0) / M * working
    assert_never(convention)


def kept_share(
    mtbf_s: ArrayLike,
    *,
    interval_s: ArrayLike,
    blocking_s: ArrayLike = 0.0,
    commit_s: ArrayLike = 0.0,
) -> Floats:
    """Work kept over the time outside recoveries: the renewal form of :func:`expected_goodput`."""
    return _kept_per_mtbf(*_columns(mtbf_s, interval_s, blocking_s, commit_s))


def hosts_away(num_hosts: ArrayLike, *, host_rate_per_s: ArrayLike, repair_s: ArrayLike) -> Floats:
    """Mean number of hosts in repair: N r MTTR / (1 + r MTTR), whatever the repair times' law.

    Each host alternates between up and away by itself, so only the means matter (renewal
    theory); correlated failures widen the spread, not this mean.
    """
    return _floats(num_hosts) * _away_share(_floats(host_rate_per_s) * _floats(repair_s))


def spares_needed(
    num_hosts: int, *, host_rate_per_s: float, repair_s: float, confidence: float
) -> int:
    """Fewest spares S so that N of N + S hosts are up with probability ``confidence``.

    Binomial with the away share of one host. Published fleets have fatter tails (batches,
    lemons), so this is a lower bound. ValueError where ``confidence`` is not within 0 and 1 or
    hosts are away so long that no number suffices within ten times the job.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1, for example 0.99")
    p = float(_away_share(_floats(host_rate_per_s * repair_s)))

    def suffice(spares: int) -> bool:
        # one more spare adds at most one more host away, so the probability only grows
        up = binomial_at_most(spares, trials=num_hosts + spares, probability=p)
        return up >= confidence

    candidates = range(10 * num_hosts + 1)
    spares = bisect.bisect_left(candidates, True, key=suffice)
    if spares == len(candidates):
        raise ValueError(
            f"hosts are away {p:.0%} of the time: even {10 * num_hosts} spares do not keep "
            f"{num_hosts} up; lower the failure rate or the repair time"
        )
    return spares


def binomial_at_most(count: int, *, trials: int, probability: float) -> float:
    """Probability of at most ``count`` successes in ``trials`` independent draws."""
    if count >= trials or probability <= 0.0:
        return 1.0
    if probability >= 1.0:
        return 0.0
    k = np.arange(count + 1, dtype=np.float64)
    steps = np.log((trials - k[1:] + 1) / k[1:]) + math.log(probability / (1.0 - probability))
    log_terms = trials * math.log1p(-probability) + np.concatenate(([0.0], np.cumsum(steps)))
    return float(min(1.0, np.exp(log_terms).sum()))


def lognormal_shape(median_s: float, *, mean_s: float) -> tuple[float, float]:
    """(mu, sigma) of the lognormal with this median and mean: mean = median exp(sigma^2 / 2).

    ``mu`` is the logarithm of the median in seconds. ValueError where the mean is below the
    median, which no lognormal has.
    """
    if mean_s < median_s:
        raise ValueError(
            f"a mean of {mean_s:g} s below the median of {median_s:g} s fits no lognormal; "
            "the mean must be at least the median"
        )
    return math.log(median_s), math.sqrt(2.0 * math.log(mean_s / median_s))


def _kept_per_mtbf(M: Floats, tau: Floats, delta: Floats, c: Floats) -> Floats:
    """Work kept by a run over the mean length of a run; 1 in the limit of free checkpoints."""
    x = (tau + delta) / M
    # e^700 is near the largest float: nothing at all is kept
    out = np.where(x > 700.0, 0.0, 1.0)
    kept = np.divide(tau / M, np.expm1(np.minimum(x, 700.0)), out=out, where=(x > 0) & (x <= 700.0))
    return kept * np.exp(-c / M)


def _away_share(load: Floats) -> Floats:
    return load / (1.0 + load)


def _columns(*values: ArrayLike) -> list[Floats]:
    """The arguments as float arrays of one shape."""
    return list(np.broadcast_arrays(*(_floats(v) for v in values)))


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, dtype=np.float64)
