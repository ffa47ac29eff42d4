"""A figure of the description: a number, its formula, and where the inputs are from."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from gigafactory.describe.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of the factory; ``key`` ends in the unit of ``value`` (counts begin ``num_``)."""

    key: str
    value: float
    unit: str = ""
    label: str
    formula: str
    """With the numbers put in."""
    source: str
    group: str

    def to_json(self) -> dict[str, Any]:
        """All fields, for one figure's ``--why``."""
        return asdict(self)


Draw = Callable[[str, float, str, str], Figure]


def under(group: str, *, source: str, unit: str = "") -> Draw:
    """A function (key, value, label, formula) -> Figure for figures that share the rest."""

    def figure(key: str, value: float, label: str, formula: str) -> Figure:
        return Figure(
            key=key, value=value, unit=unit, label=label, formula=formula, source=source,
            group=group,
        )  # fmt: skip

    return figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """All figures of a study's factory, in the order in which a person reads them."""

    study: str
    figures: tuple[Figure, ...]

    def figure(self, key: str) -> Figure:
        """The figure with this key; InputError names the nearest ones where there is none."""
        for figure in self.figures:
            if figure.key == key:
                return figure
        keys = [figure.key for figure in self.figures]
        close = difflib.get_close_matches(key, keys, n=4, cutoff=0.4) or keys[:8]
        raise InputError(f"there is no figure {key!r} in {self.study}; nearest: {', '.join(close)}")

    def groups(self) -> dict[str, tuple[Figure, ...]]:
        """The figures under their headings."""
        found: dict[str, tuple[Figure, ...]] = {}
        for figure in self.figures:
            found[figure.group] = (*found.get(figure.group, ()), figure)
        return found

    def to_json(self) -> dict[str, float]:
        """Key to value; every key ends in its unit."""
        return {figure.key: figure.value for figure in self.figures}

    def to_rows(self) -> list[dict[str, Any]]:
        """Every figure with all its fields, for the report."""
        return [figure.to_json() for figure in self.figures]
