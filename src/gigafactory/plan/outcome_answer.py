"""What the equations say to one row of a table of campaigns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gigafactory.cost.reliability import Convention
from gigafactory.describe.faults import Faults
from gigafactory.plan.outcome_reading import Range, Row, Stated, point
from gigafactory.plan.outcome_value import Band, Value


class Walk(Protocol):
    """Kept work over wall time by following failures one after the other, instead of a formula."""

    def __call__(
        self, mtbf_s: float, *, recovery_s: float, interval_s: float, convention: Convention
    ) -> float:
        """Share of the wall time that is kept work."""


@dataclass(frozen=True)
class Ask:
    """One row with everything read from it."""

    row: Row
    stated: Stated
    values: list[Value]
    band: Band
    faults: Faults
    """The fault model of the catalog that start curves are taken from."""
    walk: Walk | None = None

    @property
    def published(self) -> float | None:
        """The first published figure."""
        return self.values[0].number if self.values else None


@dataclass(frozen=True)
class Part:
    """One further figure: another convention, method or quantity of the same row."""

    name: str
    formula: str
    predicted: float
    measured: float | None = None
    accepted: Range | None = None
    counts: bool = True
    """Whether the row is within its band only if this part is."""
    unit: str | None = None
    """Where it is not that of the row."""

    @property
    def within(self) -> bool | None:
        """Whether the prediction is accepted; None where nothing says."""
        return None if self.accepted is None else self.accepted.holds(self.predicted)


@dataclass(frozen=True)
class Answer:
    """A prediction in the unit of the table (shares for percent)."""

    predicted: float
    span: Range
    """Over what the row leaves open; a point where its inputs are complete."""
    unit: str
    method: str
    convention: str
    measured: float | None = None
    """Where it is not the first published figure."""
    accepted: Range | None = None
    """Where it is not the row's band around ``measured``."""
    inputs: Mapping[str, float | Range] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    by_construction: bool = False
    """The published value itself gave the inputs."""
    parts: tuple[Part, ...] = ()


def exactly(predicted: float, **said: object) -> Answer:
    """An answer without anything left open."""
    return Answer(predicted=float(predicted), span=point(float(predicted)), **said)  # type: ignore[arg-type]
