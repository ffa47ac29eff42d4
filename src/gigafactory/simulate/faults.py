"""What breaks, when and where: one stream of strikes for each cause, merged in order of time.

All units of a cause (hosts, links, leaves, racks ...) together are one Poisson process with the
summed rate, and each of its points picks its unit. So the work follows the number of faults, not of
hosts or GPUs. A point that picks a host already away strikes nothing, which leaves every other
host with exactly its own rate. Hardware of hosts has good and bad days (weather.py), lemons
(lifetimes.py) and batches (batches.py); links, switches, power and cooling take what hangs on them
(describe/exposure.py).

Each cause has dice of its own name, drawn in blocks, so that one more cause leaves the dice of all
others alone. What they share is the weather, whose spread follows the summed rate of the hardware,
and with a repeat factor the memory of which hosts were struck.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigafactory.describe.cluster import Cluster
from gigafactory.describe.exposure import cause_rate_per_s, interruptions_per_s, strikes_per_s
from gigafactory.describe.faults import Cause, FaultClass, Faults, Scope
from gigafactory.simulate.batches import Batches, batches_of, neighbours
from gigafactory.simulate.lifetimes import Places, durations_s
from gigafactory.simulate.network import UPPER_SHARE
from gigafactory.simulate.rng import stream
from gigafactory.simulate.targets import Target, target_of
from gigafactory.simulate.weather import Weather, spreads
from gigafactory.units import DAY_S

Floats = NDArray[np.float64]
#: Points drawn at once; NumPy calls are dear, single draws from a block are not.
_BLOCK = 256
#: Hardware of a host: lemons have more of it, and it has good and bad days.
_HARDWARE = {FaultClass.HOST, FaultClass.CONTAINED, FaultClass.FAILING, FaultClass.NETWORK}
#: What can take neighbours with it: power, cooling, a cable that was pulled.
_BATCHED = {FaultClass.HOST, FaultClass.NETWORK}


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault happens."""

    at_s: float
    cause: Cause
    hosts: tuple[int, ...]
    """Whom it takes; nobody for what concerns all (stores, control plane, capacity)."""
    lasts_s: float = 0.0
    """Until it ends by itself; 0: it does not."""
    slowdown: float = 1.0
    """Times the usual step of its hosts, or of all where it has none."""


@dataclass(frozen=True, slots=True)
class JobStrike:
    """The job itself fails (software, storage, people); no host is to blame."""

    at_s: float


@dataclass(frozen=True, slots=True)
class FalseAlarm:
    """A sensor loses sight of a host that is well."""

    at_s: float
    host: int


@dataclass(frozen=True, slots=True)
class FalseAnomaly:
    """Loss or gradient leave their band, and nothing is wrong but the text."""

    at_s: float


#: Everything that happens to a campaign from outside.
Point = Strike | JobStrike | FalseAlarm | FalseAnomaly


def strikes(
    faults: Faults,
    *,
    cluster: Cluster,
    num_training_hosts: int,
    seed: int,
    upper_share: float = UPPER_SHARE,
) -> Iterator[Strike]:
    """Faults in order of time, without end; empty where no cause has a rate.

    All hosts of ``cluster`` fail, spares too. ``upper_share`` is the share of the step that is
    exposed traffic above the leaves; a job that fits under one pod's leaves has none.
    """
    if num_training_hosts <= cluster.hosts_per_pod:
        upper_share = 0.0
    batches = batches_of(faults)
    weather = _weather(faults, batches, cluster=cluster, seed=seed)
    streams = [
        _Stream(cause, faults, cluster, batches=batches, weather=weather, seed=seed,
                upper_share=upper_share)
        for cause in faults.causes
    ]  # fmt: skip
    yield from sorted((s for one in streams for s in one.at_first()), key=lambda s: s.at_s)
    streams = [one for one in streams if one.rate_per_s > 0]
    places = Places(faults, num_hosts=cluster.num_hosts, seed=seed)
    while streams:
        yield from _merged(streams, places)


def job_strikes(faults: Faults, *, seed: int) -> Iterator[JobStrike]:
    """Failures of the job itself, in order of time, without end."""
    times = _times(faults.job_rate_per_s, dice=stream("faults.job", seed=seed))
    return (JobStrike(at_s) for at_s in times)


def false_alarms(faults: Faults, *, cluster: Cluster, seed: int) -> Iterator[FalseAlarm]:
    """Alarms without a fault, so many that they make up ``false_alarm_share`` of all alarms.

    True alarms are those of causes that interrupt; with precision P = 1 - share there are
    true / P alarms in all.
    """
    share, num_hosts = faults.false_alarm_share, cluster.num_hosts
    true_rate = interruptions_per_s(faults, cluster=cluster, num_hosts=num_hosts)
    rate = (true_rate - faults.job_rate_per_s) * share / (1.0 - share)
    dice = stream("faults.false_alarm", seed=seed)
    return (FalseAlarm(at_s, int(dice.integers(num_hosts))) for at_s in _times(rate, dice=dice))


def false_anomalies(
    faults: Faults, *, cluster: Cluster, num_training_hosts: int, seed: int
) -> Iterator[FalseAnomaly]:
    """Anomalies without corruption, so many that they are ``false_anomaly_share`` of them all."""
    share, true_rate = faults.false_anomaly_share, 0.0
    for cause in faults.causes:
        if cause.fault is FaultClass.CORRUPTION:
            true_rate += strikes_per_s(cause, cluster=cluster, num_hosts=num_training_hosts)
    dice = stream("faults.false_anomaly", seed=seed)
    return (FalseAnomaly(at_s) for at_s in _times(true_rate * share / (1.0 - share), dice=dice))


class _Stream:
    """The points of one cause, a block at a time."""

    def __init__(
        self,
        cause: Cause,
        faults: Faults,
        cluster: Cluster,
        *,
        batches: Batches,
        weather: Weather,
        seed: int,
        upper_share: float,
    ):
        self.rate_per_s = cause_rate_per_s(cause, cluster=cluster)
        self.is_frail = _is_hardware(cause) and cause.liable_share == 1.0
        self._cause = cause
        self._cluster = cluster
        self._batches = batches if self.is_frail and cause.fault in _BATCHED else None
        self._weather = weather if _is_hardware(cause) else None
        self._dice = stream(f"faults.{cause.name}", seed=seed)
        self._target: Target = target_of(cause, cluster=cluster, upper_share=upper_share, seed=seed)
        self._operational_s = 0.0
        self.block = np.empty((4, 0))
        """Rows: time, place, batch, duration."""

    def at_first(self) -> Iterator[Strike]:
        """Hosts that have it from the beginning."""
        for host in self._target.present:
            yield Strike(0.0, self._cause, (host,), 0.0, self._cause.slowdown)

    def fill(self) -> None:
        """The next block, if the last is used up."""
        if self.block.shape[1]:
            return
        dice = self._dice
        times_s = self._operational_s + np.cumsum(
            dice.exponential(1.0 / self.rate_per_s, size=_BLOCK)
        )
        self._operational_s = float(times_s[-1])
        if self._weather is not None:
            times_s = self._weather.times_s(times_s)
        place, batch = dice.random((2, _BLOCK))
        lasts, num = self._cause.lasts, _BLOCK
        stays = np.zeros(num) if lasts is None else durations_s(lasts, dice=dice, num=num)
        sizes = np.ones(num) if self._batches is None else self._batches.num_hosts(batch)
        self.block = np.stack([times_s, place, sizes, stays])

    def take(self, until_s: float) -> Floats:
        """Points up to ``until_s``; they are used up."""
        num = int(np.searchsorted(self.block[0], until_s, side="right"))
        taken, self.block = self.block[:, :num], self.block[:, num:]
        return taken

    def strike(self, at_s: float, place: float, size: float, lasts_s: float) -> Strike:
        """One point that is not of a frail host."""
        hosts, slowdown = self._target.at(place)
        return Strike(at_s, self._target.cause, hosts, lasts_s, slowdown)

    def strike_host(self, at_s: float, host: int, size: float, lasts_s: float) -> Strike:
        """One point of hardware that falls on ``host``."""
        hosts = (host,) if size == 1.0 else neighbours(host, num=int(size), cluster=self._cluster)
        return Strike(at_s, self._cause, hosts, lasts_s, self._cause.slowdown)


def _merged(streams: list[_Stream], places: Places) -> Iterator[Strike]:
    """All points up to the first time at which a stream must draw again."""
    for one in streams:
        one.fill()
    until_s = min(float(one.block[0, -1]) for one in streams)
    taken = [one.take(until_s) for one in streams]
    which = np.repeat(np.arange(len(streams)), [part.shape[1] for part in taken])
    points = np.concatenate(taken, axis=1)
    order = np.argsort(points[0], kind="stable")
    points, which = points[:, order], which[order]
    frail = np.array([one.is_frail for one in streams])[which]
    hosts = np.zeros(len(which), dtype=np.int64)
    hosts[frail] = places.draw(points[0, frail].tolist(), dice=points[1, frail])
    rows = zip(which.tolist(), frail.tolist(), hosts.tolist(), *points.tolist(), strict=True)
    for index, is_frail, host, at_s, place, size, lasts_s in rows:
        if not is_frail:
            yield streams[index].strike(at_s, place, size, lasts_s)
        elif host >= 0:
            yield streams[index].strike_host(at_s, host, size, lasts_s)


def _weather(faults: Faults, batches: Batches, *, cluster: Cluster, seed: int) -> Weather:
    """Days and months so good and bad that the hosts lost have the stated Fano factors."""
    lost = [
        cause_rate_per_s(c, cluster=cluster) * (batches.mean_hosts if c.fault in _BATCHED else 1.0)
        for c in faults.causes
        if _is_hardware(c)
    ]
    month, day = spreads(
        fano=faults.fano_factor,
        month_fano=faults.month_fano_factor,
        batch_fano=batches.fano,
        per_day=math.fsum(lost) * DAY_S,
    )
    return Weather(month_spread=month, day_spread=day, seed=seed)


def _is_hardware(cause: Cause) -> bool:
    return cause.scope is Scope.HOST and cause.fault in _HARDWARE


def _times(rate_per_s: float, *, dice: np.random.Generator) -> Iterator[float]:
    """Points of a Poisson process from 0 on."""
    now_s = 0.0
    while rate_per_s > 0:
        for gap_s in dice.exponential(1.0 / rate_per_s, size=_BLOCK).tolist():
            now_s += gap_s
            yield now_s
