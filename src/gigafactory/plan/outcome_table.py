"""Published campaigns as questions to the equations: rows of a table in, predictions out.

Each kind of metric has its method; a row is answered from what it says. What a row leaves open is
taken as a range (see `outcome_assumed`), or from another row of the table: one that its inputs
name, or, for the failure rate, one about the same system. Rows that only give inputs, claims of
vendors and recordings of others' programs are skipped with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gigafactory.describe.faults import Faults
from gigafactory.plan import outcome_failures as failures
from gigafactory.plan import outcome_fleet as fleet
from gigafactory.plan.outcome_answer import Answer, Ask, Walk
from gigafactory.plan.outcome_reading import Range, Row, Stated, references, stated
from gigafactory.plan.outcome_value import band, values
from gigafactory.plan.reading import UnscorableError

Method = Callable[[Ask], Answer]

#: The first whose words stand in the metric answers the row.
METHODS: tuple[tuple[str, Method], ...] = (
    (r"over-?provision|spares", fleet.over_provisioning),
    (r"availability", fleet.availability),
    (r"healthy|whole", fleet.healthy_units),
    (r"completion time|JCT", fleet.completion_time),
    (r"slower", fleet.stragglers),
    (r"failure rate", fleet.lemons_removed),
    (r"cold recovery|cold start|NCCL init", fleet.start_curve),
    (r"stall|checkpoint downtime", fleet.checkpoint_stall),
    (r"needed checkpoint|needed.*interval", failures.needed_interval),
    (r"MTTF|MTBF|time (?:to|between) failures?|stable time", failures.job_mttf),
    (r"interruptions|number of failures", failures.interruptions),
    (r"overhead", failures.before_and_after),
    (r"ETTR|effective|goodput|time in .*compute", failures.effective_time),
)
_REASONS = {
    "C": "a claim of its vendor, with inputs missing",
    "R": "what another program did: no equation, but a scenario that the controller must stand",
    "input": "an input of the fault model, not an outcome",
}


@dataclass(frozen=True)
class OutcomeTable:
    """A table of published campaigns, and the fault model that start curves are taken from."""

    rows: tuple[Row, ...]
    faults: Faults


@dataclass(frozen=True)
class OutcomePrediction:
    """One row beside what the equations say, or why it was not scored."""

    row_id: str
    kind: str
    """The class of validation: A, B, C, R or input."""
    system: str
    metric: str
    source: str
    answer: Answer | None = None
    measured: float | None = None
    accepted: Range | None = None
    at_least: bool = False
    """The published value is a lower bound."""
    skipped: str | None = None

    @property
    def error(self) -> float | None:
        """predicted / measured - 1; None where it was skipped."""
        if self.answer is None or not self.measured:
            return None
        return self.answer.predicted / self.measured - 1.0

    @property
    def inside(self) -> bool | None:
        """Whether the published value lies in a range; None where the inputs are complete."""
        if self.answer is None or self.measured is None or self.answer.span.is_point:
            return None
        top = self.answer.span.high
        return top >= self.measured if self.at_least else self.answer.span.holds(self.measured)

    @property
    def within_band(self) -> bool | None:
        """Whether prediction or range, and every part that counts, meets what is accepted."""
        if self.answer is None or self.accepted is None:
            return None
        parts = [p.within for p in self.answer.parts if p.counts and p.within is not None]
        return self.answer.span.meets(self.accepted) and all(parts)

    @property
    def predicted_within_band(self) -> bool | None:
        """The same of the single prediction, which a wide range does not help."""
        if self.answer is None or self.accepted is None:
            return None
        return self.accepted.holds(self.answer.predicted)


def predict_outcomes(
    table: OutcomeTable, *, walk: Walk | None = None
) -> tuple[OutcomePrediction, ...]:
    """A prediction, or the reason why there is none, for every row."""
    said = {row["row_id"]: stated(row) for row in table.rows}
    return tuple(_predict(row, table, said, walk) for row in table.rows)


def kind_of(row: Row) -> str:
    """Class of validation by the first word: A, B, C, input, or R for recordings."""
    word = row["validation_class"].strip()
    if re.match(r"input\b", word):
        return "input"
    letter = re.match(r"[ABC]\b", word)
    return letter[0] if letter else "R"


def _predict(
    row: Row, table: OutcomeTable, said: Mapping[str, Stated], walk: Walk | None
) -> OutcomePrediction:
    kind = kind_of(row)
    blank = OutcomePrediction(
        row_id=row["row_id"], kind=kind, system=row["system"], metric=row["metric"],
        source=row["source"],
    )  # fmt: skip
    try:
        answer, ask = _answer(row, table, said, walk, kind)
    except UnscorableError as error:
        return replace(blank, skipped=str(error))
    measured = answer.measured if answer.measured is not None else ask.published
    accepted = answer.accepted
    if accepted is None and measured is not None:
        accepted = ask.band.around(measured)
    return replace(
        blank, answer=answer, measured=measured, accepted=accepted,
        at_least=bool(ask.values and ask.values[0].at_least),
    )  # fmt: skip


def _answer(
    row: Row,
    table: OutcomeTable,
    said: Mapping[str, Stated],
    walk: Walk | None,
    kind: str,
) -> tuple[Answer, Ask]:
    """The method for its metric and what it says; UnscorableError tells why there is none."""
    method = next((m for words, m in METHODS if re.search(words, row["metric"], re.I)), None)
    if kind in ("C", "R"):
        raise UnscorableError(_REASONS[kind])
    if method is None or (kind == "input" and method not in _CURVES):
        reason = _REASONS["input"] if kind == "input" else (
            f"no equation here predicts {row['metric']!r} from what the row states"
        )  # fmt: skip
        raise UnscorableError(reason)
    found = values(row["published_value"])
    if not found:
        raise UnscorableError(f"no figure in the published value {row['published_value']!r}")
    if method is failures.effective_time and "->" in row["published_value"]:
        method = failures.before_and_after
    ask = Ask(
        row=row, stated=_completed(row, table.rows, said), values=found, faults=table.faults,
        band=band(row, percent=found[0].percent), walk=walk,
    )  # fmt: skip
    try:
        return method(ask), ask
    except UnscorableError as error:
        if kind == "input":
            raise UnscorableError(f"{_REASONS['input']}; {error}") from None
        raise


_CURVES = (fleet.start_curve, fleet.checkpoint_stall)


def _completed(row: Row, rows: Sequence[Row], said: Mapping[str, Stated]) -> Stated:
    """With what the rows say that it names, and the failure rate of the same system."""
    own = said[row["row_id"]]
    for name in references(row["published_inputs"], said):
        if name != row["row_id"]:
            own = own.filled_from(said[name])
    if failures.host_rate(own) is None:
        same = (said[other["row_id"]] for other in rows if other["system"] == row["system"])
        rate = next((s.host_rate_per_s for s in same if s.host_rate_per_s is not None), None)
        own = own.filled_from(Stated(host_rate_per_s=rate))
    return own
