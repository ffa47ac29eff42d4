"""The bounds of a plan: which layouts keep them, and by how much an impossible one is missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gigafactory.cost.columns import Bools, Floats
from gigafactory.describe.aim import Aim
from gigafactory.plan.outlook import Outlook
from gigafactory.units import show, show_time


@dataclass(frozen=True)
class Bound:
    """One upper bound of the study."""

    key: str
    most: float
    of: Callable[[Outlook], Floats]
    text: Callable[[float], str]


def bounds_of(aim: Aim) -> tuple[Bound, ...]:
    """Those that the study states."""
    every = (
        (aim.deadline_s, "plan.deadline", lambda o: o.duration_s, show_time),
        (aim.budget_usd, "plan.budget", lambda o: o.cost_usd, lambda v: show(v, "$")),
        (aim.power_w, "plan.power", lambda o: o.power_w, lambda v: show(v, "W")),
    )
    return tuple(Bound(key, most, of, text) for most, key, of, text in every if most is not None)


@dataclass
class Tally:
    """What could be reached while layouts were looked at."""

    bounds: tuple[Bound, ...]
    alone: dict[str, float] = field(default_factory=dict)
    """Least value of each, whatever the others."""
    beside: dict[str, float] = field(default_factory=dict)
    """Least value of each among the layouts that keep all the others."""

    def keeps(self, told: Outlook) -> Bools:
        """Which layouts keep every bound; remembers what could be reached."""
        kept = [bound.of(told) <= bound.most for bound in self.bounds]
        for i, bound in enumerate(self.bounds):
            values = bound.of(told)
            others = _all([k for j, k in enumerate(kept) if j != i], values)
            _lower(self.alone, bound.key, values)
            _lower(self.beside, bound.key, values[others])
        return _all(kept, told.duration_s) & np.isfinite(told.duration_s)

    def refusal(self) -> str:
        """Which bounds cannot be kept, by how much, and what could be."""
        if not self.bounds:
            return (
                "no layout ever ends the job: by faults, policy and storage an interruption and "
                "what it undoes take longer than the time between two interruptions"
            )
        lines = [self._missed(bound) for bound in self.bounds]
        stated = ", ".join(f"{b.key} {b.text(b.most)}" for b in self.bounds)
        return f"no layout keeps {stated}:\n" + "\n".join(lines)

    def _missed(self, bound: Bound) -> str:
        least, other = self.alone[bound.key], self.beside.get(bound.key)
        if least > bound.most:
            return (
                f"{bound.key}: {bound.text(bound.most)} is out of reach; the least is "
                f"{bound.text(least)}, {least / bound.most - 1:.1%} more"
            )
        if other is not None:
            return (
                f"{bound.key}: {bound.text(other)} would do with the other bounds kept, "
                f"{other / bound.most - 1:.1%} more"
            )
        return f"{bound.key}: {bound.text(bound.most)} could be kept without the other bounds"


def _all(conditions: list[Bools], like: Floats) -> Bools:
    """Where every condition holds; everywhere if there is none."""
    held = np.ones(len(like), dtype=np.bool_)
    for condition in conditions:
        held &= condition
    return held


def _lower(least: dict[str, float], key: str, values: Floats) -> None:
    if len(values):
        least[key] = min(least.get(key, np.inf), float(values.min()))
