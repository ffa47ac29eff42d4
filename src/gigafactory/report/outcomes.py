"""The score of a table of published campaigns, as the document of `giga validate --json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gigafactory.plan.outcome_answer import Answer, Part
from gigafactory.plan.outcome_reading import Range
from gigafactory.plan.outcome_table import OutcomePrediction
from gigafactory.report.score import by, summary


def score_outcomes(predictions: Sequence[OutcomePrediction]) -> dict[str, Any]:
    """Rows, summary, and the summary by class, metric and source.

    Figures are in the unit of the table, percent as shares. A summary also counts the rows within
    and without their bands, and those of which a range holds the published value.
    """
    groupings = {
        "class": lambda row: row.kind,
        "metric": lambda row: row.metric,
        "source": lambda row: row.source,
    }
    return {
        "rows": [_row(prediction) for prediction in predictions],
        "summary": _summary(predictions),
        "by": {name: by(predictions, key, told=_summary) for name, key in groupings.items()},
    }


def _summary(predictions: Sequence[OutcomePrediction]) -> dict[str, Any]:
    scored = [row for row in predictions if row.skipped is None]
    return summary(predictions) | {
        "num_skipped": len(predictions) - len(scored),
        "num_within_band": sum(row.within_band is True for row in scored),
        "num_outside_band": sum(row.within_band is False for row in scored),
        "num_predicted_within_band": sum(row.predicted_within_band is True for row in scored),
        "num_ranges": sum(row.inside is not None for row in scored),
        "num_ranges_that_hold_it": sum(row.inside is True for row in scored),
        "num_by_construction": sum(bool(row.answer and row.answer.by_construction)
                                   for row in scored),
    }  # fmt: skip


def _row(row: OutcomePrediction) -> dict[str, Any]:
    answer = row.answer
    told: dict[str, Any] = {
        "row_id": row.row_id,
        "measured": row.measured,
        "predicted": answer.predicted if answer else None,
        "error": row.error,
        "skipped": row.skipped,
        "within_band": row.within_band,
        "class": row.kind,
        "system": row.system,
        "metric": row.metric,
    }
    return told | (_because(row, answer) if answer else {})


def _because(row: OutcomePrediction, answer: Answer) -> dict[str, Any]:
    is_range = not answer.span.is_point
    return {
        "low": answer.span.low if is_range else None,
        "high": answer.span.high if is_range else None,
        "inside": row.inside,
        "predicted_within_band": row.predicted_within_band,
        "band": _ends(row.accepted),
        "unit": answer.unit,
        "convention": answer.convention,
        "method": answer.method,
        "by_construction": answer.by_construction,
        "inputs": {name: _plain(value) for name, value in answer.inputs.items()},
        "assumed": list(answer.assumed),
        "parts": [_part(part, answer.unit) for part in answer.parts],
    }


def _part(part: Part, unit: str) -> dict[str, Any]:
    error = part.predicted / part.measured - 1.0 if part.measured else None
    return {
        "name": part.name,
        "formula": part.formula,
        "predicted": part.predicted,
        "measured": part.measured,
        "error": error,
        "within_band": part.within,
        "counts": part.counts,
        "unit": part.unit or unit,
    }


def _ends(accepted: Range | None) -> list[float] | None:
    return None if accepted is None else [accepted.low, accepted.high]


def _plain(value: float | Range) -> float | list[float]:
    if isinstance(value, Range):
        return value.low if value.is_point else [value.low, value.high]
    return value
