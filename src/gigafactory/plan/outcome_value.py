"""The published value of a campaign's row and the band within which it must be met.

Units are those of the table, except that percent become shares: ``44%`` is read as 0.44.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gigafactory.plan.outcome_reading import Range, Row

_NUM = r"([-+]?\d[\d,]*\.?\d*)"


@dataclass(frozen=True)
class Value:
    """One published figure; ``at_least`` where only a lower bound is told."""

    number: float
    percent: bool
    at_least: bool = False


@dataclass(frozen=True)
class Band:
    """What counts as reproduced."""

    relative: float | None = None
    absolute: float | None = None
    fixed: Range | None = None
    at_least: float | None = None
    drop: float | None = None
    """The value after must lie so much below the one before."""
    exact: bool = False

    def around(self, value: float) -> Range | None:
        """The accepted values for a published one; None where the row accepts by no figure."""
        if self.fixed is not None:
            return self.fixed
        if self.at_least is not None:
            return Range(self.at_least, max(self.at_least, 1.0))
        if self.relative is not None:
            spread = abs(value) * self.relative
            return Range(value - spread, value + spread)
        if self.absolute is not None:
            return Range(value - self.absolute, value + self.absolute)
        return Range(value, value) if self.exact else None


def values(text: str) -> list[Value]:
    """The figures of a published value in their order, percent as shares."""
    plain = re.sub(r"\([^)]*\)", " ", text)
    found = []
    for match in re.finditer(rf"([<>~x]?)\s*{_NUM}(?:\s*-\s*{_NUM})?\s*(%?)", plain):
        sign, low, high, percent = match.groups()
        scale = 0.01 if percent else 1.0
        number = _number(low) if high is None else 0.5 * (_number(low) + _number(high))
        found.append(Value(number * scale, bool(percent), sign == ">"))
    return found


def in_brackets(text: str) -> list[float]:
    """The figures that stand in brackets, in their order."""
    return [_number(n) for n in re.findall(rf"\({_NUM}\)", text)]


def band(row: Row, *, percent: bool) -> Band:
    """The band of a row whose published value is in percent or not."""
    text = row["accept_band"].strip()
    scale = 0.01 if percent else 1.0
    if match := re.search(rf"drop\s*>=\s*{_NUM}\s*pts?", text):
        return Band(drop=_number(match[1]) / 100.0)
    if match := re.match(rf">=\s*{_NUM}(%?)", text):
        return Band(at_least=_number(match[1]) * (0.01 if match[2] else 1.0))
    if match := re.search(rf"\((\d[\d,]*)\+-{_NUM}\)", text):
        return Band(absolute=_number(match[2]))
    if match := re.search(rf"\+-\s*{_NUM}\s*(%|pts?|s\b)?", text):
        size, unit = _number(match[1]), match[2] or ""
        if unit == "%":
            return Band(relative=size / 100.0)
        return Band(absolute=size * (0.01 if unit.startswith("pt") else scale))
    if match := re.match(rf"{_NUM}\s*-\s*{_NUM}\s*(%?)", text):
        share = 0.01 if match[3] else 1.0
        return Band(fixed=Range(_number(match[1]) * share, _number(match[2]) * share))
    return Band(exact=text.startswith("exact"))


def tail_band(row: Row) -> Range | None:
    """The band of a percentile where the row names one, such as ``P99 25-37``."""
    match = re.search(rf"P99\s*{_NUM}\s*-\s*{_NUM}", row["accept_band"])
    return Range(_number(match[1]), _number(match[2])) if match else None


def numbers(found: Sequence[Value]) -> list[float]:
    """The figures alone."""
    return [value.number for value in found]


def _number(text: str) -> float:
    return float(text.replace(",", ""))
