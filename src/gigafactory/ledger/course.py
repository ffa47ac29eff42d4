"""The course behind the sums of `fold`: causes, spares, checkpoints by tier, power."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from gigafactory.control.actions import StartGang, Tier
from gigafactory.ledger.away import Away, Spares
from gigafactory.ledger.blame import Blame, Blamed
from gigafactory.ledger.entries import (
    WORKING,
    ActionTaken,
    CheckpointKept,
    Entry,
    Opened,
    PowerFrom,
)

#: A change of power by more than this share of the highest is a swing.
_SWING = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TierUse:
    """Checkpoints of one tier."""

    tier: str
    num_kept: int
    every_s: float | None
    """Working time between two of them; None where there were none."""
    num_restores: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCourse:
    """At the meter: IT power times PUE."""

    mean_w: float
    low_w: float
    peak_w: float
    num_swings: int
    """Changes by more than a tenth of the peak."""
    swing_w: float
    """The largest of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One campaign, told for a person who decides."""

    causes: tuple[Blamed, ...]
    """Most expensive first."""
    upkeep_gpu_s: dict[str, float]
    """Bucket -> GPU-seconds that are nobody's fault."""
    spares: Spares | None
    """None where no brain was launched."""
    tiers: tuple[TierUse, ...]
    power: PowerCourse | None
    """None where no power is in the book."""

    def to_json(self) -> dict[str, Any]:
        """Plain values without the series."""
        found = asdict(self)
        if self.spares:
            del found["spares"]["levels"]
        return found


def course_of(entries: Iterable[Entry]) -> Course:
    """One pass over a ledger whose first entry is `Opened`."""
    blame, away = Blame(), Away()
    kept: Counter[Tier] = Counter()
    restores: Counter[Tier] = Counter()
    power: list[tuple[float, float]] = []
    for entry in entries:
        blame.take(entry)
        away.take(entry)
        match entry.content:
            case CheckpointKept(tier=tier, num=num):
                kept[tier] += num
            case ActionTaken(action=StartGang(tier=tier, step=step)):
                restores[tier] += step is not None
            case PowerFrom(draw_w=draw_w):
                power.append((entry.at_s, draw_w))
    opened, gpu_s = blame.tally.opened, blame.tally.spent_gpu_s(at_s=away.now_s)
    assert opened is not None, "a ledger has at least one entry"
    working_s = math.fsum(gpu_s[bucket] for bucket in WORKING) / opened.num_gpus
    return Course(
        causes=blame.causes(),
        upkeep_gpu_s=blame.upkeep_gpu_s(),
        spares=away.spares(),
        tiers=tuple(
            _tier(tier, kept[tier], restores[tier], working_s)
            for tier in Tier
            if kept[tier] or restores[tier]
        ),
        power=_power(power, opened, end_s=away.now_s) if power else None,
    )


def _tier(tier: Tier, num_kept: int, num_restores: int, working_s: float) -> TierUse:
    every_s = working_s / num_kept if num_kept else None
    return TierUse(tier=tier.value, num_kept=num_kept, every_s=every_s, num_restores=num_restores)


def _power(levels: list[tuple[float, float]], opened: Opened, *, end_s: float) -> PowerCourse:
    ends_s = [at_s for at_s, _ in levels[1:]] + [end_s]
    watts = [opened.pue * w for _, w in levels]
    spans = [until_s - at_s for (at_s, _), until_s in zip(levels, ends_s, strict=True)]
    span_s = math.fsum(spans)
    energy_j = math.fsum(w * s for w, s in zip(watts, spans, strict=True))
    jumps = [abs(after - before) for before, after in pairwise(watts)]
    peak_w = max(watts)
    return PowerCourse(
        mean_w=energy_j / span_s if span_s else watts[-1],
        low_w=min(watts),
        peak_w=peak_w,
        num_swings=sum(jump > _SWING * peak_w for jump in jumps),
        swing_w=max(jumps, default=0.0),
    )
