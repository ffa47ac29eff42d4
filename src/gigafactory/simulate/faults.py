"""What breaks, when and where: Poisson streams superposed over the fleet.

The failures of many hosts are one Poisson process with the summed rate, and each of its points
picks its cause and its host. So the work follows the number of failures, not of hosts or GPUs.
A point that picks a host already away strikes nothing, which leaves every other host with
exactly its own rate.

Published traits kept here (sources with the figures in the catalog): several causes with own
detection times (arXiv:2407.21783, Table 5), a hazard of the job itself whatever its size
(arXiv:2410.21680), lemons and simultaneous batches (StepFun trace, SIGCOMM 2025), lognormal
repair times whose mean is several times the median.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigafactory.cost.reliability import lognormal_shape
from gigafactory.describe.faults import Cause, FaultClass, Faults, Repair
from gigafactory.simulate.rng import stream

#: Points drawn at once; NumPy calls are dear, single draws from a block are not.
_BLOCK = 1024
#: Causes that can take a whole group at once: power, cooling, a leaf switch.
_BATCHED = {FaultClass.HOST, FaultClass.NETWORK}


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault happens to ``hosts`` (one, or a whole group)."""

    at_s: float
    cause: Cause
    hosts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JobStrike:
    """The job itself fails (software, storage, people); no host is to blame."""

    at_s: float


@dataclass(frozen=True, slots=True)
class FalseAlarm:
    """A sensor loses sight of a host that is well."""

    at_s: float
    host: int


def strikes(faults: Faults, *, lemon: NDArray[np.bool_], seed: int) -> Iterator[Strike]:
    """Faults of hosts in order of time, without end; empty where no cause has a rate.

    ``lemon`` has one entry a host. A lemon fails ``lemon_factor`` times as often as a sound
    host, and both so much less often that the fleet's mean rate stays as stated. With
    probability ``batch_share`` a host or network fault takes the whole group of
    ``batch_hosts`` neighbours: interruptions keep their stated rate, hosts lost exceed it.
    """
    causes = [c for c in faults.causes if c.rate_per_s > 0]
    rates = np.array([c.rate_per_s for c in causes])
    if not causes:
        return
    which = stream("faults.cause", seed=seed)
    batch = stream("faults.batch", seed=seed)
    hosts = _hosts(lemon, lemon_factor=faults.lemon_factor, dice=stream("faults.host", seed=seed))
    shares = np.cumsum(rates) / rates.sum()
    times = _times(float(rates.sum()) * len(lemon), dice=stream("faults.time", seed=seed))
    for at_s in times:
        cause = causes[int(np.searchsorted(shares[:-1], which.random(), side="right"))]
        host = next(hosts)
        in_batch = batch.random() < faults.batch_share and cause.fault in _BATCHED
        size = faults.batch_hosts if in_batch else 1
        yield Strike(at_s, cause, group_of(host, size=size, num_hosts=len(lemon)))


def job_strikes(faults: Faults, *, seed: int) -> Iterator[JobStrike]:
    """Failures of the job itself, in order of time, without end."""
    times = _times(faults.job_rate_per_s, dice=stream("faults.job", seed=seed))
    return (JobStrike(at_s) for at_s in times)


def false_alarms(faults: Faults, *, num_hosts: int, seed: int) -> Iterator[FalseAlarm]:
    """Alarms without a fault, so many that they make up ``false_alarm_share`` of all alarms."""
    share = faults.false_alarm_share
    rate = faults.rate_per_host_s * num_hosts * share / (1.0 - share)
    dice = stream("faults.false_alarm", seed=seed)
    return (FalseAlarm(at_s, int(dice.integers(num_hosts))) for at_s in _times(rate, dice=dice))


def repair_times_s(repair: Repair, *, seed: int) -> Iterator[float]:
    """Lognormal stays in repair, one after the other."""
    mu, sigma = lognormal_shape(repair.median_s, mean_s=repair.mean_s)
    dice = stream("repair", seed=seed)
    while True:
        yield from dice.lognormal(mu, sigma, size=_BLOCK).tolist()


def group_of(host: int, *, size: int, num_hosts: int) -> tuple[int, ...]:
    """The block of ``size`` neighbouring hosts (a rack, a leaf) that ``host`` stands in."""
    first = host - host % size
    return tuple(range(first, min(first + size, num_hosts)))


def _times(rate_per_s: float, *, dice: np.random.Generator) -> Iterator[float]:
    """Points of a Poisson process from 0 on."""
    now_s = 0.0
    while rate_per_s > 0:
        for gap_s in dice.exponential(1.0 / rate_per_s, size=_BLOCK).tolist():
            now_s += gap_s
            yield now_s


def _hosts(
    lemon: NDArray[np.bool_], *, lemon_factor: float, dice: np.random.Generator
) -> Iterator[int]:
    """Hosts in proportion to their rates: first sound or lemon, then evenly among these."""
    groups = [np.flatnonzero(~lemon), np.flatnonzero(lemon)]
    weight = len(groups[1]) * lemon_factor
    lemon_hits = weight / (weight + len(groups[0]))
    while True:
        for kind_draw, place_draw in dice.random((_BLOCK, 2)).tolist():
            group = groups[kind_draw < lemon_hits]
            yield int(group[int(place_draw * len(group))])
