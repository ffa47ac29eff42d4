"""The same question with other values: a grid of studies that share their dice.

Every point of a sweep is followed with the same seeds, and a stream of dice depends on its seed
and name alone (`simulate.rng`). So what differs between two points is the value, not luck
(common random numbers), and a few campaigns a point show what would take hundreds otherwise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gigafactory.describe.errors import InputError
from gigafactory.simulate.ensemble import Ensemble

MAX_POINTS = 64
_SWEEP = "--sweep"
_OPENING, _CLOSING = "[{(", "]})"


@dataclass(frozen=True, slots=True)
class Axis:
    """A place in the study and the values it takes, as a person writes them."""

    path: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One study of the sweep: ``path=value`` of every axis, and what its campaigns came to."""

    settings: tuple[tuple[str, str], ...]
    num_training_gpus: int
    """In the mesh; what the planner leaves over stands by as spares."""
    num_spare_hosts: int
    step_s: float
    ensemble: Ensemble

    @property
    def overrides(self) -> tuple[str, ...]:
        """As ``--set`` takes them."""
        return overrides_of(self.settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Impossible:
    """Values that make no study, fit no layout, or let no campaign end; and why."""

    settings: tuple[tuple[str, str], ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The points in the order of the axes, the last axis fastest; one at least is possible."""

    study: str
    axes: tuple[Axis, ...]
    points: tuple[Point | Impossible, ...]

    def possible(self) -> list[Point]:
        """The points that were followed."""
        return [point for point in self.points if isinstance(point, Point)]

    def best(self) -> Point:
        """The point whose median campaign buys the whole job for the least rent."""
        return min(self.possible(), key=_median_job_usd)

    def to_json(self) -> dict[str, Any]:
        """One document; a point's quantiles, not its single campaigns."""
        return {
            "study": self.study,
            "axes": [{"path": axis.path, "values": list(axis.values)} for axis in self.axes],
            "num_campaigns": len(self.best().ensemble.campaigns),
            "first_seed": self.best().ensemble.first_seed,
            "points": [_point_json(point) for point in self.points],
            "best": list(self.best().overrides),
        }


def _median_job_usd(point: Point) -> float:
    spread = point.ensemble.quantiles().get("job_usd")
    return spread["p50"] if spread else math.inf


#: What is null of a point that is impossible.
_FIGURES = (
    "num_training_gpus", "num_spare_hosts", "step_s", "quantiles", "lost_shares", "outcomes",
)  # fmt: skip


def _point_json(point: Point | Impossible) -> dict[str, Any]:
    settings = {"settings": dict(point.settings)}
    if isinstance(point, Impossible):
        return settings | dict.fromkeys(_FIGURES) | {"impossible": point.reason}
    return settings | _figures_json(point) | {"impossible": None}


def _figures_json(point: Point) -> dict[str, Any]:
    return {
        "num_training_gpus": point.num_training_gpus,
        "num_spare_hosts": point.num_spare_hosts,
        "step_s": point.step_s,
        "quantiles": point.ensemble.quantiles(),
        "lost_shares": point.ensemble.lost_shares(),
        "outcomes": point.ensemble.outcomes(),
    }


def overrides_of(settings: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """``path=value`` texts."""
    return tuple(f"{path}={value}" for path, value in settings)


def axes_of(texts: Sequence[str]) -> tuple[Axis, ...]:
    """``path=a,b,c`` read; InputError where one says nothing or the grid is too large."""
    axes = tuple(_axis(text) for text in texts)
    paths = [axis.path for axis in axes]
    for path in paths:
        if paths.count(path) > 1:
            raise InputError(f"{_SWEEP}: {path} is swept twice; write all its values in one list")
    num_points = math.prod(len(axis.values) for axis in axes)
    if num_points > MAX_POINTS:
        raise InputError(f"{_SWEEP}: {num_points} points are too many; at most {MAX_POINTS} can be")
    return axes


def grid(axes: Sequence[Axis]) -> list[tuple[tuple[str, str], ...]]:
    """(path, value) pairs of every point."""
    columns = [[(axis.path, value) for value in axis.values] for axis in axes]
    return list(itertools.product(*columns))


def _axis(text: str) -> Axis:
    path, equals, listed = text.partition("=")
    values = tuple(_split(listed))
    if not equals or not path.strip() or not all(values):
        raise InputError(
            f"{_SWEEP} {text}: write PATH=VALUE,VALUE,..., for example "
            "cluster.num_spare_hosts=100,200,340"
        )
    if len(set(values)) < len(values):
        raise InputError(f"{_SWEEP} {text}: a value stands there twice")
    return Axis(path.strip(), values)


def _split(listed: str) -> Iterable[str]:
    """Parts between commas that lie in no brackets."""
    depth, part = 0, ""
    for character in listed:
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += character
    yield part.strip()
