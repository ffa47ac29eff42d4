"""Plan, twin and reality line by line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from gigafactory.ledger.summary import Summary
from gigafactory.report.documents import PlanDocument
from gigafactory.report.numbers import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity (SI) as promised, as simulated, as it came; None where a source is silent."""

    key: str
    label: str
    quantity: Quantity
    plan: float | None
    twin: float | None
    reality: float | None


Promise = Callable[[PlanDocument], float | None]
Outcome = Callable[[Summary], float | None]


def compare(
    plan: PlanDocument | None, twin_summary: Summary | None, real_summary: Summary | None
) -> list[Row]:
    """The quantities that at least one of the sources knows."""
    rows = [
        Row(
            key=key,
            label=label,
            quantity=quantity,
            plan=promise(plan) if plan else None,
            twin=outcome(twin_summary) if twin_summary else None,
            reality=outcome(real_summary) if real_summary else None,
        )
        for key, label, quantity, promise, outcome in _LINES
    ]
    return [row for row in rows if _says_something(row)]


def _says_something(row: Row) -> bool:
    """Known to somebody; money only where something is paid."""
    known = [v for v in (row.plan, row.twin, row.reality) if v is not None]
    return any(known) if row.quantity is Quantity.MONEY else bool(known)


def ratio_of(value: float | None, reference: float | None) -> float | None:
    """``value`` over ``reference``; None where one is unknown or the reference is zero."""
    return value / reference if value is not None and reference else None


def _silent(_: PlanDocument) -> None:
    """The plan knows one undisturbed step, not the campaign."""


def _median_step_s(summary: Summary) -> float | None:
    return median(step_s for _, step_s in summary.step_times) if summary.step_times else None


def _tokens_per_s(summary: Summary) -> float | None:
    return summary.tokens / summary.wall_s if summary.wall_s else None


#: key, label, quantity, where the plan says it, where the ledger says it
_LINES: tuple[tuple[str, str, Quantity, Promise, Outcome], ...] = (
    ("step_s", "time of a step (median)", Quantity.TIME,
     lambda p: p.best.step_s, _median_step_s),
    ("mfu", "MFU while computing", Quantity.SHARE, lambda p: p.best.mfu, lambda s: s.mfu),
    ("tokens_per_s", "kept tokens over all time", Quantity.TOKENS_PER_S,
     lambda p: p.best.tokens_per_s, _tokens_per_s),
    ("goodput", "goodput", Quantity.SHARE, _silent, lambda s: s.goodput),
    ("ettr", "ETTR", Quantity.SHARE, _silent, lambda s: s.ettr),
    ("wall_s", "wall time", Quantity.TIME, _silent, lambda s: s.wall_s),
    ("num_steps", "kept steps", Quantity.COUNT, _silent, lambda s: float(s.num_steps)),
    ("num_lost_steps", "steps lost and done again", Quantity.COUNT, _silent,
     lambda s: float(s.num_lost_steps)),
    ("num_interruptions", "interruptions", Quantity.COUNT, _silent,
     lambda s: float(s.num_interruptions)),
    ("mtbf_s", "wall time between interruptions", Quantity.TIME, _silent, lambda s: s.mtbf_s),
    ("mttr_s", "time to recover (mean)", Quantity.TIME, _silent, lambda s: s.mttr_s),
    ("energy_j", "energy at the meter", Quantity.ENERGY, _silent, lambda s: s.energy_j),
    ("electricity_usd", "electricity", Quantity.MONEY, _silent, lambda s: s.electricity_usd),
    ("cost_usd", "rent of the allocation", Quantity.MONEY, _silent, lambda s: s.cost_usd),
)  # fmt: skip
