"""Virtual time in whole picoseconds.

Integers add up to the same sum in every order, so that many steps taken in one jump end at the
very instant at which they would have ended one by one.
"""

from __future__ import annotations

#: Picoseconds of a second.
SECOND = 10**12


def picoseconds(value_s: float) -> int:
    """``value_s`` seconds, rounded."""
    return round(value_s * SECOND)


def seconds(value: int) -> float:
    """A time as SI float."""
    return value / SECOND
