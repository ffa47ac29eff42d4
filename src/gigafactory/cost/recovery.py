"""What each way to go on after a failure is expected to cost, in seconds of the whole job.

Legend
    M       mean time between interruptions of the job   r       restore from the chosen tier
    S       start: processes, rendezvous, communicators  w       work lost: done since that copy
    n       replicas (or hosts) that train now           k       those that are missing or gained
    s       slowdown of a straggler, at least 1          T       mean time until a part is back
    m       parts away                                   L       remaining life of a failing part

Sources
    [Young74]   J. W. Young, CACM 17(9), 1974: the interval sqrt(2 delta M), whence its growth with
                the root of delta.
    [Karlin94]  A. Karlin, M. Manasse, L. McGeoch, S. Owicki, "Competitive randomized algorithms for
                nonuniform problems", Algorithmica 11, 1994, section 1: waiting as long as the
                alternative costs is at most twice as dear as knowing the future.
    [FT-HSDP]   "Training LLMs with Fault Tolerant HSDP on 100,000 GPUs", arXiv:2602.00277: replica
                groups go on while one is away, and it joins them again.
    [David70]   H. A. David, "Order Statistics", 1970: mean of the k-th of m exponential times.
    [Renewal]   The residual time of a Poisson process is exponential with the same mean.

A second is a second in which the whole job could have trained. Every argument may be an array;
results broadcast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def restart_cost_s(
    start_s: ArrayLike, *, restore_s: ArrayLike = 0.0, lost_work_s: ArrayLike = 0.0
) -> Floats:
    """Everybody stops, starts and goes back: S + r + w."""
    return _floats(start_s) + _floats(restore_s) + _floats(lost_work_s)


def replica_cost_s(
    num_replicas: ArrayLike, *, num_lost: ArrayLike, drop_s: ArrayLike, join_s: ArrayLike
) -> Floats:
    """Dropping ``num_lost`` replicas and taking them in again: 2 drop + k/n join ([FT-HSDP]).

    The others stand still at the drop and at the join; between them only the share k/n is idle.
    """
    return 2.0 * _floats(drop_s) + _share(num_lost, num_replicas) * _floats(join_s)


def wait_for_s(num_missing: ArrayLike, *, num_away: ArrayLike, repair_s: ArrayLike) -> Floats:
    """Expected time until ``num_missing`` of ``num_away`` hosts are back; infinite where fewer are.

    The k-th of m exponential repairs ends after T (H_m - H_(m-k)), with the harmonic numbers H
    ([David70]). ``repair_s`` is the mean of what *remains* of a repair: with a heavy tail well
    above the mean repair.
    """
    k, m = _floats(num_missing), _floats(num_away)
    with np.errstate(invalid="ignore"):
        found = _floats(repair_s) * (_harmonic(m) - _harmonic(np.maximum(m - k, 0.0)))
    return np.asarray(np.where(k <= m, found, np.inf))


def shrink_cost_s(
    num_replicas: ArrayLike, *, num_lost: ArrayLike, until_s: ArrayLike, regrow_s: ArrayLike
) -> Floats:
    """Going on with k of n replicas fewer until ``until_s``, then growing again: k/n t + S."""
    return _share(num_lost, num_replicas) * _floats(until_s) + _floats(regrow_s)


def growth_gain_s(num_training: ArrayLike, *, num_more: ArrayLike, mtbf_s: ArrayLike) -> Floats:
    """Gained by growing now instead of at the next interruption, M away on average: M k/n.

    Poisson failures ([Renewal]): however long ago the last one was, the next is M away.
    """
    return _floats(mtbf_s) * _share(num_more, num_training)


def straggler_gain_s(slowdown: ArrayLike, *, mtbf_s: ArrayLike) -> Floats:
    """Gained by exchanging a host now instead of at the next interruption: M (1 - 1/s).

    All wait for the slowest, so the host takes the share 1 - 1/s of everybody's time.
    """
    return _floats(mtbf_s) * (1.0 - 1.0 / np.maximum(_floats(slowdown), 1.0))


def risk_cost_s(unplanned_s: ArrayLike, *, mtbf_s: ArrayLike, life_s: ArrayLike) -> Floats:
    """Expected cost of leaving a failing part in until the next interruption: C M / (M + L).

    Both ends are exponential; the part ends first with probability M / (M + L), and then costs an
    unplanned interruption of ``unplanned_s`` (C).
    """
    M, L = _floats(mtbf_s), _floats(life_s)
    sooner = np.divide(M, M + L, out=np.ones_like(M + L), where=np.isfinite(M) & (M + L > 0))
    return _floats(unplanned_s) * sooner


def patience_s(alternative_s: ArrayLike) -> Floats:
    """How long to wait for an end of unknown length: as long as the alternative costs.

    So waiting is at most twice as dear as knowing the future ([Karlin94]).
    """
    return np.maximum(_floats(alternative_s), 0.0)


def cadence_s(usual_s: ArrayLike, *, slowdown: ArrayLike) -> Floats:
    """Work between checkpoints into a store that is slow: times the root of s ([Young74])."""
    return _floats(usual_s) * np.sqrt(np.maximum(_floats(slowdown), 1.0))


def _share(part: ArrayLike, whole: ArrayLike) -> Floats:
    k, n = np.broadcast_arrays(_floats(part), _floats(whole))
    return np.asarray(np.divide(k, n, out=np.ones_like(n), where=n > 0))


def _harmonic(n: Floats) -> Floats:
    """1 + 1/2 + ... + 1/n; exact below 20, Euler and Maclaurin above."""
    table = np.concatenate(([0.0], np.cumsum(1.0 / np.arange(1, 21))))
    small = table[np.minimum(n, 20).astype(int)]
    big = np.maximum(n, 20.0)
    large = np.log(big) + np.euler_gamma + 1.0 / (2.0 * big) - 1.0 / (12.0 * big * big)
    return np.asarray(np.where(n <= 20, small, large))


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, dtype=np.float64)
