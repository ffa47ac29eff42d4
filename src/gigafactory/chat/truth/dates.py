"""Days as people write them, and whether one says the same as another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

_MONTHS = {
    name: index + 1
    for index, names in enumerate(
        [
            "january jan",
            "february feb",
            "march mar",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sep sept",
            "october oct",
            "november nov",
            "december dec",
        ]
    )
    for name in names.split()
}
_WEEKDAYS = {
    name: index
    for index, name in enumerate(
        ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
    )
}
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})$")
_YEAR = re.compile(r"1[5-9]\d\d$|20\d\d$|21\d\d$")
_DAY = re.compile(r"([12]?\d|3[01])$")
_BEFORE_YEAR = frozenset(
    [
        "in",
        "since",
        "until",
        "by",
        "before",
        "after",
        "during",
        "of",
        "from",
        "to",
        "through",
        "around",
    ]
)
_HALVES = {"am": 0, "a.m.": 0, "pm": 12, "p.m.": 12}


@dataclass(frozen=True, slots=True)
class Day:
    """What is said of a point in time; None is left open."""

    year: int | None = None
    month: int | None = None
    day: int | None = None
    weekday: int | None = None
    hour: int | None = None

    def conflicts(self, other: Day) -> bool:
        """Whether both say something of the same part, and not the same."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return any(a is not None and b is not None and a != b for a, b in pairs)

    def follows_from(self, other: Day) -> bool:
        """Whether ``other`` says all that this says."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return all(a is None or a == b for a, b in pairs)


def find_day(texts: Sequence[str], at: int) -> tuple[Day | None, int]:
    """The day that is written from token ``at`` on, and its tokens."""
    for finder in (_iso, _day_month, _month_day, _weekday, _hour, _year):
        day, count = finder([text.lower() for text in texts[at : at + 6]], texts, at)
        if day is not None:
            return day, count
    return None, 0


_Found = tuple[Day | None, int]


def _iso(near: list[str], _: Sequence[str], __: int) -> _Found:
    match = _ISO.match(near[0])
    if match is None:
        return None, 0
    year, month, day = map(int, match.groups())
    return Day(year, month, day), 1


def _month(texts: Sequence[str], at: int) -> int | None:
    # "may" and "march" are months only in capitals
    if at >= len(texts) or not texts[at][:1].isupper():
        return None
    return _MONTHS.get(texts[at].lower().rstrip("."))


def _number(texts: Sequence[str], at: int, pattern: re.Pattern[str]) -> int | None:
    if at < len(texts) and pattern.match(texts[at]):
        return int(texts[at])
    return None


def _day_month(_: list[str], texts: Sequence[str], at: int) -> _Found:
    day, month = _number(texts, at, _DAY), _month(texts, at + 1)
    if day is None or month is None:
        return None, 0
    year = _number(texts, at + 2, _YEAR)
    return Day(year, month, day), 3 if year else 2


def _month_day(_: list[str], texts: Sequence[str], at: int) -> _Found:
    month = _month(texts, at)
    if month is None:
        return None, 0
    day = _number(texts, at + 1, _DAY)
    after = at + (2 if day else 1)
    is_comma = bool(day) and after < len(texts) and texts[after] == ","
    year = _number(texts, after + is_comma, _YEAR)
    if year is not None:
        return Day(year, month, day), after + is_comma + 1 - at
    is_verb = day is None and texts[at].lower() in ("may", "march") and at == 0
    return (None, 0) if is_verb else (Day(None, month, day), after - at)


def _weekday(near: list[str], texts: Sequence[str], at: int) -> _Found:
    name = near[0].removesuffix("s") if near[0].endswith("days") else near[0]
    if name not in _WEEKDAYS or not texts[at][:1].isupper():
        return None, 0
    return Day(weekday=_WEEKDAYS[name]), 1


def _hour(near: list[str], _: Sequence[str], __: int) -> _Found:
    if len(near) < 2 or near[1] not in _HALVES or not _DAY.match(near[0]):
        return None, 0
    return Day(hour=int(near[0]) % 12 + _HALVES[near[1]]), 2


def _year(near: list[str], texts: Sequence[str], at: int) -> _Found:
    is_led = at > 0 and texts[at - 1].lower() in _BEFORE_YEAR
    if not is_led or not _YEAR.match(near[0]):
        return None, 0
    return Day(int(near[0])), 1
