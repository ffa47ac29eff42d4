"""How numbers are written on the page: never without their unit."""

from __future__ import annotations

import math
from enum import StrEnum

from gigafactory.units import KWH_J, show, show_time


class Quantity(StrEnum):
    """What a number of the page measures, all in SI units."""

    TIME = "seconds"
    SHARE = "share of one"
    COUNT = "count"
    TOKENS = "tokens"
    TOKENS_PER_S = "tokens per second"
    ENERGY = "joules"
    MONEY = "dollars"
    POWER = "watts"
    MEMORY = "bytes"


def write(value: float, quantity: Quantity) -> str:
    """``value`` (SI) as text with three or four digits and its unit."""
    if not math.isfinite(value):
        return "none" if quantity is Quantity.TIME else "unknown"
    match quantity:
        case Quantity.TIME:
            return show_time(value) if value else "0 s"
        case Quantity.SHARE:
            return percent(value)
        case Quantity.COUNT:
            return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
        case Quantity.TOKENS:
            return _prefix_apart(value, "tokens")
        case Quantity.TOKENS_PER_S:
            return _prefix_apart(value, "tokens/s")
        case Quantity.ENERGY:
            return show(value / KWH_J * 1e3, "Wh")
        case Quantity.MONEY:
            return show(value, "$")
        case Quantity.POWER:
            return show(value, "W")
        case Quantity.MEMORY:
            return show(value, "B")


def _prefix_apart(value: float, unit: str) -> str:
    """``13.1 M tokens/s``: a prefix glued to a word cannot be read."""
    return f"{show(value, '').strip()} {unit}"


def percent(share: float) -> str:
    """``0.97213`` -> ``97.21 %``; small shares keep two digits: ``0.0042 %``."""
    value = 100 * share
    if value == 0:
        return "0 %"
    return f"{value:.2f} %" if abs(value) >= 0.1 else f"{value:.2g} %"


def ratio(value: float) -> str:
    """``1.0312`` -> ``1.03 x``."""
    if value == 0:
        return "0 x"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:,.{digits}f} x"


#: Base units that take a decimal prefix, also in front of ``/year`` and the like.
_PREFIXED = {"W", "B", "$", "FLOP", "tokens", "m"}


def with_unit(value: float, unit: str, *, key: str = "") -> str:
    """A figure of the description: prefixes for SI units, separators for counts.

    Energy is written in watt-hours and large masses in tonnes, as bills do. A figure without a
    unit whose ``key`` ends in ``_share`` or ``_ratio`` is one.
    """
    base, _, per = unit.partition("/")
    over = f"/{per}" if per else ""
    if unit == "s":
        return write(value, Quantity.TIME)
    if base == "J":
        return write(value, Quantity.ENERGY) + over
    if base == "kg":
        return f"{_plain(value / 1e3)} t{over}" if abs(value) >= 1e4 else f"{_plain(value)} {unit}"
    if base in _PREFIXED:
        return show(value, unit)
    if not unit and key.endswith("_share"):
        return percent(value)
    if not unit and key.endswith("_ratio"):
        return ratio(value)
    return f"{_plain(value)} {unit}".strip()


def _plain(value: float) -> str:
    for letter, factor in (("T", 1e12), ("B", 1e9)):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {letter}"
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
