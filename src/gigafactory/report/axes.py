"""Axes of a chart: a range, round ticks inside it, and what to write at them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gigafactory.units import DAY_S, HOUR_S, show

#: Round steps between ticks in the units in which people read time.
_TIME_STEPS_S = (
    *(1.0, 2.0, 5.0, 10.0, 20.0, 30.0),
    *(60.0 * n for n in (1, 2, 5, 10, 20, 30)),
    *(HOUR_S * n for n in (1, 2, 4, 6, 12)),
    *(DAY_S * n for n in (1, 2, 5, 10, 15, 30, 60, 90, 180, 365)),
)
_TIME_UNITS = (("days", DAY_S), ("h", HOUR_S), ("min", 60.0), ("s", 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A value on an axis and the text beside it."""

    value: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """From ``low`` to ``high``; ``label`` names quantity and unit."""

    low: float
    high: float
    ticks: tuple[Tick, ...]
    label: str = ""

    def share(self, value: float) -> float:
        """Where ``value`` lies between low (0) and high (1), held to that range."""
        span = self.high - self.low
        return min(1.0, max(0.0, (value - self.low) / span)) if span > 0 else 0.0


def value_axis(
    values: Iterable[float],
    *,
    text: Callable[[float], str],
    label: str = "",
    num_ticks: int = 4,
) -> Axis:
    """An axis that holds ``values`` (finite ones), ending on round ticks."""
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if high <= low:
        spread = 0.1 * abs(low)
        low, high = (low - spread, low + spread) if spread else (low, low + 1.0)
    step = round_step((high - low) / num_ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(Tick(value=i * step, text=text(i * step)) for i in range(first, last + 1))
    return Axis(low=first * step, high=last * step, ticks=ticks, label=label)


def round_step(width: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``width``."""
    if not (math.isfinite(width) and width > 0):
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(width))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= width * (1 - 1e-9))


def time_axis(end_s: float, *, num_ticks: int = 7) -> Axis:
    """From 0 to ``end_s`` with ticks at round minutes, hours or days, whichever fits."""
    end_s = end_s if end_s > 0 else 1.0
    wide_enough = [s for s in _TIME_STEPS_S if s * num_ticks >= end_s]
    step_s = wide_enough[0] if wide_enough else round_step(end_s / num_ticks)
    if end_s < num_ticks:
        step_s = round_step(end_s / num_ticks)
    unit, unit_s = next((u for u in _TIME_UNITS if step_s >= u[1]), _TIME_UNITS[-1])
    count = math.floor(end_s / step_s + 1e-9)
    ticks = tuple(Tick(value=i * step_s, text=f"{i * step_s / unit_s:g}") for i in range(count + 1))
    return Axis(low=0.0, high=end_s, ticks=ticks, label=f"time since the start ({unit})")


def prefixed(unit: str) -> Callable[[float], str]:
    """Tick text in ``unit`` with a decimal prefix and no needless zeros: ``150 MW``."""

    def text(value: float) -> str:
        number, _, rest = show(value, unit).partition(" ")
        number = number.rstrip("0").rstrip(".") if "." in number else number
        return f"{number} {rest}"

    return text


def plain(value: float) -> str:
    """A tick without a unit: the axis label carries it."""
    return f"{value:,.10g}"
