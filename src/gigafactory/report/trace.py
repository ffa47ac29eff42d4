"""The course of one campaign as the figures draw it: series, no sums.

Sums (goodput, ETTR, energy ...) come from ``ledger.fold`` alone; here a ledger, of the twin or of
the real run, is only laid out along time and along steps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gigafactory.ledger.entries import Bucket

Level = TypeVar("Level", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Span:
    """The allocation was in ``bucket`` from ``begin_s`` to ``end_s``.

    Where it computed, ``working`` of its GPUs did, at ``pace`` of the full speed.
    """

    begin_s: float
    end_s: float
    bucket: str
    working: float = 1.0
    pace: float = 1.0

    @property
    def shares(self) -> dict[str, float]:
        """Bucket -> share of the GPU time, split as `fold` does where it computed."""
        if self.bucket not in _SPLIT:
            return {self.bucket: 1.0}
        return {
            self.bucket: self.working * self.pace,
            str(Bucket.STRAGGLER): self.working * (1.0 - self.pace),
            str(Bucket.DEGRADED): 1.0 - self.working,
        }


#: Work that was lost later was held up like any other.
_SPLIT = frozenset({str(Bucket.PRODUCTIVE), str(Bucket.REWORK)})


@dataclass(frozen=True, slots=True)
class Mark:
    """A fault or an action; ``name`` groups, ``text`` tells."""

    at_s: float
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of a step as it was first reported; ``redone`` if it was rolled back later."""

    step: int
    loss: float
    redone: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """One campaign; times in s since it began."""

    end_s: float
    spans: Sequence[Span] = ()
    faults: Sequence[Mark] = ()
    actions: Sequence[Mark] = ()
    losses: Sequence[Loss] = ()
    checkpoints: Sequence[tuple[float, int]] = ()
    step_times_s: Sequence[tuple[float, int]] = ()
    """(seconds a step, number of steps that took so long)."""
    power_w: Sequence[tuple[float, float]] = ()
    """(since when, site power)."""


@dataclass(frozen=True, slots=True)
class Bin(Generic[Level]):
    """Seconds spent at each level (a bucket, a power) between ``begin_s`` and ``end_s``."""

    begin_s: float
    end_s: float
    seconds: Mapping[Level, float]


def binned(
    spans: Iterable[tuple[float, float, Level]], *, width_s: float, end_s: float
) -> list[Bin[Level]]:
    """(begin, end, level) spans cut into bins of ``width_s``; the last bin ends at ``end_s``."""
    count = num_bins(width_s=width_s, end_s=end_s)
    sums: list[dict[Level, float]] = [{} for _ in range(count)]
    for begin_s, stop_s, level in spans:
        first, last = (min(count - 1, int(t_s // width_s)) for t_s in (begin_s, stop_s))
        for index in range(first, last + 1):
            right_s = end_s if index == count - 1 else (index + 1) * width_s
            inside_s = min(stop_s, right_s) - max(begin_s, index * width_s)
            if inside_s > 0:
                sums[index][level] = sums[index].get(level, 0.0) + inside_s
    edges_s = bin_edges_s(width_s=width_s, end_s=end_s)
    return [Bin(*edges, seconds) for edges, seconds in zip(edges_s, sums, strict=True)]


def num_bins(*, width_s: float, end_s: float) -> int:
    """How many bins; a last sliver is not worth one and joins its neighbour."""
    return max(1, math.ceil(end_s / width_s - 0.05))


def bin_edges_s(*, width_s: float, end_s: float) -> list[tuple[float, float]]:
    """Begin and end of each bin."""
    count = num_bins(width_s=width_s, end_s=end_s)
    begins_s = [i * width_s for i in range(count)]
    return list(zip(begins_s, [*begins_s[1:], end_s], strict=True))


def buckets_binned(trace: Trace, *, width_s: float) -> list[Bin[str]]:
    """Seconds of the whole allocation in each bucket, bin by bin."""
    spans = ((s.begin_s, s.end_s, (s.bucket, s.working, s.pace)) for s in trace.spans)
    bins = binned(spans, width_s=width_s, end_s=trace.end_s)
    return [Bin(one.begin_s, one.end_s, _split(one.seconds)) for one in bins]


def _split(seconds: Mapping[tuple[str, float, float], float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for (bucket, working, pace), spent_s in seconds.items():
        for part, share in Span(0.0, spent_s, bucket, working, pace).shares.items():
            if share > 0:
                found[part] = found.get(part, 0.0) + share * spent_s
    return found


def power_binned(trace: Trace, *, width_s: float) -> list[Bin[float]]:
    """How long each power was drawn in each bin."""
    ends_s = [at_s for at_s, _ in trace.power_w[1:]] + [trace.end_s]
    levels = ((at_s, end_s, w) for (at_s, w), end_s in zip(trace.power_w, ends_s, strict=True))
    return [b for b in binned(levels, width_s=width_s, end_s=trace.end_s) if b.seconds]


def mean_level(one: Bin[float]) -> float:
    """The mean of a bin's levels, weighted by their seconds."""
    return sum(w * s for w, s in one.seconds.items()) / sum(one.seconds.values())


def counted(marks: Sequence[Mark], *, width_s: float, end_s: float) -> list[Counter[str]]:
    """How many ``marks`` of each name fall into each bin of ``width_s``."""
    count = num_bins(width_s=width_s, end_s=end_s)
    sums: list[Counter[str]] = [Counter() for _ in range(count)]
    for mark in marks:
        sums[min(count - 1, int(mark.at_s // width_s))][mark.name] += 1
    return sums
