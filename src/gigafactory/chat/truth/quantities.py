"""Numbers with their bounds and units, and what follows from what.

A quantity is an interval: "more than 40" is (40, inf), "about 40" is [36, 44]. A claim follows
where
the source's interval lies inside its own, and is contradicted where the two are apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?$|\d+(?:\.\d+)?$")
_WORDS = {
    name: index
    for index, name in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
}
_WORDS |= {
    name: 10 * (index + 3)
    for index, name in enumerate(
        ["thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    )
}
_SCALES = {
    "hundred": 1e2,
    "thousand": 1e3,
    "million": 1e6,
    "millions": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
    "bn": 1e9,
    "mn": 1e6,
    "dozen": 12.0,
}
_MONEY_SCALES = {"k": 1e3, "m": 1e6, "b": 1e9}
"""Behind a sign of money only: elsewhere "5 m" are metres."""
_FRACTIONS = {
    "half": 0.5,
    "quarter": 0.25,
    "third": 1 / 3,
    "two-thirds": 2 / 3,
    "three-quarters": 0.75,
}
_TIMES = {"once": 1.0, "twice": 2.0, "thrice": 3.0}
_MONEY_SIGNS = {"$": "dollar", "€": "euro", "£": "gbp", "¥": "yen"}


class Dimension(Enum):
    """What is measured; units of one dimension convert into each other."""

    COUNT = auto()
    SHARE = auto()
    LENGTH = auto()
    MASS = auto()
    TIME = auto()
    POWER = auto()
    VOLUME = auto()
    AREA = auto()
    DOLLAR = auto()
    EURO = auto()
    POUND = auto()
    """Money or mass: the word does not tell."""
    YEN = auto()
    FRACTION = auto()


_UNITS: dict[str, tuple[Dimension, float]] = {}
for _dimension, _names in {
    Dimension.LENGTH: "m=1 km=1e3 kilometre=1e3 kilometer=1e3 metre=1 meter=1 cm=0.01 "
    "centimetre=0.01 mm=1e-3 "
    "millimetre=1e-3 mile=1609.344 foot=0.3048 feet=0.3048 inch=0.0254 inches=0.0254 yard=0.9144",
    Dimension.MASS: "kg=1 kilogram=1 kilo=1 gram=1e-3 g=1e-3 tonne=1e3 ton=1e3 mg=1e-6",
    Dimension.TIME: "seconds=1 minute=60 hour=3600 day=86400 week=604800",
    Dimension.POWER: "watt=1 w=1 kw=1e3 kilowatt=1e3 mw=1e6 megawatt=1e6 gw=1e9 gigawatt=1e9",
    Dimension.VOLUME: "litre=1 liter=1 ml=1e-3",
    Dimension.AREA: "hectare=1e4 acre=4046.8564224",
    Dimension.DOLLAR: "dollar=1 usd=1",
    Dimension.EURO: "euro=1 eur=1",
    Dimension.YEN: "yen=1",
    Dimension.POUND: "pound=1 gbp=1 lb=1 lbs=1",
    Dimension.SHARE: "percent=1 %=1",
}.items():
    for _entry in _names.split():
        _name, _factor = _entry.split("=")
        _UNITS[_name] = (_dimension, float(_factor))

_MONEY = frozenset((Dimension.DOLLAR, Dimension.EURO, Dimension.POUND, Dimension.YEN))


class Bound(Enum):
    """How a number is meant."""

    EXACT = auto()
    ABOUT = auto()
    MORE = auto()
    AT_LEAST = auto()
    LESS = auto()
    AT_MOST = auto()
    NEARLY = auto()


_BOUNDS = {
    ("more", "than"): Bound.MORE,
    ("over",): Bound.MORE,
    ("above",): Bound.MORE,
    ("at", "least"): Bound.AT_LEAST,
    ("fewer", "than"): Bound.LESS,
    ("less", "than"): Bound.LESS,
    ("under",): Bound.LESS,
    ("below",): Bound.LESS,
    ("at", "most"): Bound.AT_MOST,
    ("up", "to"): Bound.AT_MOST,
    ("as", "many", "as"): Bound.AT_MOST,
    ("no", "more", "than"): Bound.AT_MOST,
    ("about",): Bound.ABOUT,
    ("around",): Bound.ABOUT,
    ("some",): Bound.ABOUT,
    ("roughly",): Bound.ABOUT,
    ("approximately",): Bound.ABOUT,
    ("nearly",): Bound.NEARLY,
    ("almost",): Bound.NEARLY,
    ("exactly",): Bound.EXACT,
    ("only",): Bound.EXACT,
    ("just",): Bound.EXACT,
}


class Relation(Enum):
    """How a claim's quantity stands to the source's."""

    FOLLOWS = auto()
    CONFLICTS = auto()
    OPEN = auto()


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in the base unit of its dimension."""

    value: float
    dimension: Dimension = Dimension.COUNT
    bound: Bound = Bound.EXACT

    @property
    def interval(self) -> tuple[float, float]:
        """Lowest and highest value that are meant."""
        value = self.value
        return {
            Bound.EXACT: (value, value),
            Bound.ABOUT: (0.9 * value, 1.1 * value),
            Bound.NEARLY: (0.9 * value, value),
            Bound.MORE: (value, math.inf),
            Bound.AT_LEAST: (value, math.inf),
            Bound.LESS: (0.0, value),
            Bound.AT_MOST: (0.0, value),
        }[self.bound]


def compare(claim: Quantity, source: Quantity) -> Relation:
    """Whether ``claim`` follows from ``source``."""
    if claim.dimension is not source.dimension:
        are_money = claim.dimension in _MONEY and source.dimension in _MONEY
        is_other_pound = Dimension.POUND in (claim.dimension, source.dimension) and (
            Dimension.MASS in (claim.dimension, source.dimension)
        )
        return Relation.CONFLICTS if are_money or is_other_pound else Relation.OPEN
    low, high = claim.interval
    least, most = source.interval
    slack = 1e-9 * max(abs(claim.value), abs(source.value))
    if claim.bound is source.bound and abs(claim.value - source.value) <= slack:
        return Relation.FOLLOWS
    if least >= low - slack and most <= high + slack:
        # a bound that the value just touches is another statement: 40 is not more than 40
        strict = {Bound.MORE: least > low, Bound.LESS: most < high, Bound.NEARLY: most < high}
        return Relation.FOLLOWS if strict.get(claim.bound, True) else Relation.OPEN
    is_apart = least > high + slack or most < low - slack
    return Relation.CONFLICTS if is_apart else Relation.OPEN


def find_quantity(texts: Sequence[str], at: int) -> tuple[Quantity | None, int]:
    """The quantity that is written from token ``at`` on, and its tokens."""
    if texts[at].lower() in _TIMES and (at + 1 == len(texts) or not texts[at + 1].isalpha()):
        return Quantity(_TIMES[texts[at].lower()]), 1
    bound, begin = _bound(texts, at)
    sign = _MONEY_SIGNS.get(texts[begin]) if begin < len(texts) else None
    begin += sign is not None
    value, end = _value(texts, begin, is_money=sign is not None)
    if value is None:
        return None, 0
    if value in _FRACTIONS.values() and end < len(texts) and texts[end].lower() == "of":
        return Quantity(value, Dimension.FRACTION, bound), end - at
    unit = sign or (texts[end].lower() if end < len(texts) else "")
    dimension, factor = _UNITS.get(unit, (None, 1.0)) if unit else (None, 1.0)
    if dimension is None:
        dimension, factor = _UNITS.get(unit.removesuffix("s"), (None, 1.0))
    if dimension is None:
        return Quantity(value, Dimension.COUNT, bound), end - at
    return Quantity(value * factor, dimension, bound), end - at + (sign is None)


def _bound(texts: Sequence[str], at: int) -> tuple[Bound, int]:
    for size in (3, 2, 1):
        words = tuple(text.lower() for text in texts[at : at + size])
        if len(words) == size and words in _BOUNDS:
            return _BOUNDS[words], at + size
    return Bound.EXACT, at


def _value(texts: Sequence[str], at: int, *, is_money: bool) -> tuple[float | None, int]:
    scales = _SCALES | _MONEY_SCALES if is_money else _SCALES
    value: float | None = None
    end = at
    if at < len(texts):
        value, end = _plain(texts, at)
    if value is None:
        return None, at
    while end < len(texts) and texts[end].lower() in scales:
        value *= scales[texts[end].lower()]
        end += 1
    return value, end


def _plain(texts: Sequence[str], at: int) -> tuple[float | None, int]:
    word = texts[at].lower()
    if _NUMBER.match(word):
        return float(word.replace(",", "")), at + 1
    if word in ("a", "one") and at + 1 < len(texts):
        following = texts[at + 1].lower()
        if following in ("hundred", "thousand", "million", "billion", "dozen"):
            return 1.0, at + 1
        if following in _FRACTIONS:
            return _FRACTIONS[following], at + 2
    if word in _FRACTIONS and at + 1 < len(texts) and texts[at + 1].lower() == "of":
        return _FRACTIONS[word], at + 1
    tens, _, ones = word.partition("-")
    if tens in _WORDS and (not ones or ones in _WORDS):
        return float(_WORDS[tens] + _WORDS.get(ones, 0)), at + 1
    return None, at
