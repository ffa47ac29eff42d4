"""Which hosts may join: who is measured with whom, and what the measurements say. Pure.

A slow all_reduce has two ends. Every host talks to two others in two rounds, so a good host has a
good talk somewhere, and who has none is to blame.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gigafactory.describe.acceptance import Acceptance, Fitness
from gigafactory.describe.cluster import Cluster, Precision
from gigafactory.describe.measured import DeviceKind
from gigafactory.units import show

#: Fewer hosts are no crowd that one of them could be compared with.
_LEAST_PEERS = 3
_USUAL_CATALOG_SHARE = {DeviceKind.CUDA: 0.55, DeviceKind.CPU: 0.0}
_USUAL_PEERS_SHARE = {DeviceKind.CUDA: 0.97, DeviceKind.CPU: 0.25}
_RATES = {
    "gemm_flops_per_s": ("GEMM", "FLOP/s"),
    "memory_bytes_per_s": ("memory", "B/s"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The least that is accepted; rates of a catalog entry by field of ``Fitness``."""

    catalog: Mapping[str, float]
    catalog_share: float
    peers_share: float
    disk_bytes_per_s: float
    clock_offset_s: float


@dataclass(frozen=True, slots=True)
class Examined:
    """What came of one host's examination."""

    fitness: Fitness | None
    """None: it did not get through it."""
    clock_offset_s: float = 0.0
    """Its clock against the driver's."""
    reason: str = ""
    """Why there is no fitness."""


def marks_of(
    acceptance: Acceptance, *, cluster: Cluster, precision: Precision, device: DeviceKind
) -> Marks:
    """The study's own marks, else those usual for the device."""
    host, share, peers = cluster.host, acceptance.catalog_share, acceptance.peers_share
    return Marks(
        catalog={
            "gemm_flops_per_s": host.gpu.peak(precision),
            "memory_bytes_per_s": host.gpu.memory_bandwidth_bytes_per_s,
            "talks_bytes_per_s": host.nic_bandwidth_bytes_per_s,
        },
        catalog_share=_USUAL_CATALOG_SHARE[device] if share is None else share,
        peers_share=_USUAL_PEERS_SHARE[device] if peers is None else peers,
        disk_bytes_per_s=acceptance.disk_bandwidth_bytes_per_s,
        clock_offset_s=acceptance.clock_offset_s,
    )


def rounds(hosts: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Partners by host in two rounds: neighbours in pairs, then each with its other neighbour."""
    shifted = [*hosts[1:], hosts[0]] if len(hosts) % 2 == 0 else [*hosts[1:]]
    return _pairs(hosts), _pairs(shifted) if len(hosts) > 2 else {}


def _pairs(hosts: Sequence[str]) -> dict[str, str]:
    pairs = zip(hosts[::2], hosts[1::2], strict=False)
    return {one: other for pair in pairs for one, other in (pair, pair[::-1])}


def judge(
    found: Mapping[str, Examined],
    *,
    marks: Marks,
    partners: Sequence[Mapping[str, str]],
) -> dict[str, str]:
    """Why each host that may not join may not; hosts that passed are absent."""
    wrong: dict[str, list[str]] = defaultdict(list)
    for host, one in found.items():
        wrong[host] += _alone(one, marks)
    fit = {host: one.fitness for host, one in found.items() if one.fitness is not None}
    for field in _RATES:
        for host, words in _against_peers(fit, field, marks):
            wrong[host].append(words)
    for host, words in _silent_talkers(fit, marks, partners):
        wrong[host].append(words)
    return {host: "; ".join(words) for host, words in wrong.items() if words}


def _alone(one: Examined, marks: Marks) -> Iterator[str]:
    """What needs no comparison with others."""
    if one.fitness is None:
        yield f"not examined: {one.reason}"
        return
    if abs(one.clock_offset_s) > marks.clock_offset_s:
        most_s = marks.clock_offset_s
        yield f"its clock is {one.clock_offset_s:+.1f} s off, at most {most_s:g} s may be"
    disk = one.fitness.disk_bytes_per_s
    if disk == 0.0:
        yield "what it writes into the run's folder does not come back"
    elif disk < marks.disk_bytes_per_s:
        least = show(marks.disk_bytes_per_s, "B/s")
        yield f"it writes {show(disk, 'B/s')} into the run's folder, at least {least} is asked for"
    for field, (name, unit) in _RATES.items():
        least_rate = marks.catalog_share * marks.catalog[field]
        if getattr(one.fitness, field) < least_rate:
            yield (
                f"{name} {show(getattr(one.fitness, field), unit)}, at least "
                f"{show(least_rate, unit)} is asked for by its catalog entry"
            )


def _against_peers(
    fit: Mapping[str, Fitness], field: str, marks: Marks
) -> Iterator[tuple[str, str]]:
    if len(fit) < _LEAST_PEERS:
        return
    name, unit = _RATES[field]
    median = statistics.median(getattr(one, field) for one in fit.values())
    for host, one in fit.items():
        rate = getattr(one, field)
        if rate < marks.peers_share * median:
            yield host, f"{name} {show(rate, unit)}, {rate / median:.0%} of its peers' median"


def _silent_talkers(
    fit: Mapping[str, Fitness], marks: Marks, partners: Sequence[Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    """Hosts that had a partner and no good talk with any."""
    talks = {
        host: [
            rate or 0.0
            for rate, pairs in zip(one.talks_bytes_per_s, partners, strict=False)
            # of a partner that never got so far nothing can be learnt
            if pairs.get(host) in fit
        ]
        for host, one in fit.items()
    }
    rates = [rate for of_host in talks.values() for rate in of_host if rate]
    median = statistics.median(rates) if len(fit) >= _LEAST_PEERS and rates else 0.0
    least = max(
        marks.catalog_share * marks.catalog["talks_bytes_per_s"],
        marks.peers_share * median,
        math.ulp(0.0),
    )
    for host, of_host in talks.items():
        if of_host and max(of_host) < least:
            best = show(max(of_host), "B/s") if max(of_host) else "nothing"
            yield host, f"all_reduce with each of {len(of_host)} other hosts: {best} at best"
