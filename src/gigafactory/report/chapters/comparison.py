"""Plan, twin and reality in one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gigafactory.report.blocks import Chapter, Table, TableRow
from gigafactory.report.compare import Row, compare, ratio_of
from gigafactory.report.documents import PlanDocument
from gigafactory.report.folder import Campaign
from gigafactory.report.numbers import Quantity, ratio, write

_WHO = ("plan", "twin", "reality")
_PAIRS = (("twin", "plan"), ("reality", "plan"), ("reality", "twin"))


def comparison(plan: PlanDocument | None, campaigns: Mapping[str, Campaign]) -> Chapter | None:
    """The table over the sources that are there; no chapter where there is but one."""
    twin, reality = campaigns.get("twin"), campaigns.get("reality")
    present = {"plan": plan, "twin": twin, "reality": reality}
    who = [name for name in _WHO if present[name]]
    if len(who) < 2:
        return None
    lines = compare(plan, twin.summary if twin else None, reality.summary if reality else None)
    pairs = [(a, b) for a, b in _PAIRS if a in who and b in who]
    return Chapter(
        key="comparison",
        title=_title(who),
        intro="The same quantity, computed by the same code from each source. Goodput is kept "
        "productive time over wall time." + _step_error(plan, lines),
        blocks=(
            Table(
                heads=("quantity", *who, *(f"{a} / {b}" for a, b in pairs)),
                rows=tuple(TableRow(cells=_cells(line, who, pairs)) for line in lines),
            ),
        ),
    )


def _step_error(plan: PlanDocument | None, lines: Iterable[Row]) -> str:
    """Planned and measured step, the error, and by which constants it was planned."""
    step = next((line for line in lines if line.key == "step_s"), None)
    if plan is None or step is None or not step.plan or not step.reality:
        return ""
    by = plan.calibration or "the published constants, not measured on this machine"
    return (
        f" A step was planned to take {write(step.plan, Quantity.TIME)} and took "
        f"{write(step.reality, Quantity.TIME)}: an error of {step.plan / step.reality - 1:+.1%}. "
        f"Planned by: {by}."
    )


def _title(who: list[str]) -> str:
    return (", ".join(who[:-1]) + " and " + who[-1]).capitalize()


def _cells(line: Row, who: list[str], pairs: list[tuple[str, str]]) -> tuple[str, ...]:
    values = {"plan": line.plan, "twin": line.twin, "reality": line.reality}
    shown = [_value(values[name], line) for name in who]
    compared = [ratio_of(values[a], values[b]) for a, b in pairs]
    return (line.label, *shown, *("" if r is None else ratio(r) for r in compared))


def _value(value: float | None, line: Row) -> str:
    return "" if value is None else write(value, line.quantity)
