"""How far the equations are off: the errors of a table of measured runs, in all and by group."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from gigafactory.plan.memory_table import (
    FitPrediction,
    MemoryPrediction,
    predict_fits,
    predict_memory,
)
from gigafactory.plan.serving_table import ServingPrediction, ServingTable, predict_serving
from gigafactory.plan.table import RowPrediction, TrainingTable, predict_rows
from gigafactory.report.sweeps import orders


class Scored(Protocol):
    """A prediction beside what was measured."""

    @property
    def error(self) -> float | None:
        """predicted / measured - 1; None where it was skipped."""


Told = TypeVar("Told", bound=Scored)


def score(table: TrainingTable | ServingTable) -> dict[str, Any]:
    """The document of `giga validate --json`; errors are predicted over measured, minus 1."""
    if isinstance(table, ServingTable):
        return score_serving(predict_serving(table))
    return {
        **score_training(predict_rows(table.rows, table.gpus)),
        "memory": score_memory(predict_memory(table.rows, table.gpus)),
        "fits": score_fits(predict_fits(table.rows, table.gpus)),
    }


def score_training(predictions: Sequence[RowPrediction]) -> dict[str, Any]:
    """Rows, summary, the summary by GPU, kind, source, framework and scale; order in sweeps."""
    groupings: dict[str, Callable[[RowPrediction], str]] = {
        "gpu": lambda row: row.gpu,
        "kind": lambda row: row.kind,
        "source": lambda row: row.source,
        "framework": lambda row: row.framework,
        "scale": lambda row: row.scale,
    }
    return {
        "rows": [_row_with_interval(row) for row in predictions],
        "summary": summary(predictions) | coverage(predictions),
        "by": _grouped(predictions, groupings),
        "sweeps": orders(predictions),
    }


def score_serving(predictions: Sequence[ServingPrediction]) -> dict[str, Any]:
    """The same for serving runs, one entry a measured quantity; times in seconds."""
    groupings: dict[str, Callable[[ServingPrediction], str]] = {
        "quantity": lambda row: row.quantity,
        "gpu": lambda row: row.gpu,
        "kind": lambda row: row.kind,
        "source": lambda row: row.source,
        "framework": lambda row: row.framework,
        "scale": lambda row: row.scale,
    }
    return {
        "rows": [
            {**_row_with_interval(row), "quantity": row.quantity or None} for row in predictions
        ],
        "summary": summary(predictions) | coverage(predictions),
        "by": _grouped(predictions, groupings),
    }


def score_memory(predictions: Sequence[MemoryPrediction]) -> dict[str, Any]:
    """Rows that state their memory, summary, and that by GPU, source and what was counted."""
    groupings: dict[str, Callable[[MemoryPrediction], str]] = {
        "gpu": lambda row: row.gpu,
        "source": lambda row: row.source,
        "counted": lambda row: row.counted.value,
    }
    return {
        "rows": [_memory_row(row) for row in predictions],
        "summary": summary(predictions),
        "by": _grouped(predictions, groupings),
    }


def score_fits(predictions: Sequence[FitPrediction]) -> dict[str, Any]:
    """Runs that happened, and which of them the equations call out of memory.

    ``num_called_out_of_memory`` counts the leanest reading of what a row leaves open,
    ``num_over_as_usual`` the usual one; the rows listed are those over in either.
    """
    over = [row for row in predictions if not (row.fits and row.fits_as_usual)]
    return {
        "num_rows": len(predictions),
        "num_called_out_of_memory": sum(not row.fits for row in predictions),
        "num_over_as_usual": sum(not row.fits_as_usual for row in predictions),
        "rows": [_fit_row(row) for row in over],
    }


def summary(predictions: Sequence[Scored]) -> dict[str, Any]:
    """Counts, median and 90th percentile of the absolute error, and the median error (bias).

    The three are None where no row was scored. ``num_rows`` counts the skipped ones too.
    """
    errors = [row.error for row in predictions if row.error is not None]
    sizes = sorted(abs(error) for error in errors)
    return {
        "num_rows": len(predictions),
        "num_skipped": len(predictions) - len(errors),
        "median_abs_error": statistics.median(sizes) if sizes else None,
        "p90_abs_error": sizes[min(int(0.9 * len(sizes)), len(sizes) - 1)] if sizes else None,
        "bias": statistics.median(errors) if errors else None,
    }


def coverage(
    predictions: Sequence[RowPrediction] | Sequence[ServingPrediction],
) -> dict[str, float | None]:
    """Share of the measured values that lie in their intervals; None where none was scored."""
    scored = [row for row in predictions if row.error is not None]
    held = sum(row.inside for row in scored)
    return {"interval_coverage": held / len(scored) if scored else None}


def _grouped(
    predictions: Sequence[Told], groupings: Mapping[str, Callable[[Told], str]]
) -> dict[str, dict[str, Any]]:
    return {name: by(predictions, key) for name, key in groupings.items()}


def by(
    predictions: Sequence[Told],
    key: Callable[[Told], str],
    *,
    told: Callable[[Sequence[Told]], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The summary, or another that is ``told``, of the rows of each key."""
    groups: dict[str, list[Told]] = defaultdict(list)
    for row in predictions:
        groups[key(row)].append(row)
    return {name: (told or summary)(rows) for name, rows in sorted(groups.items())}


def _row(row: RowPrediction | ServingPrediction) -> dict[str, Any]:
    return {
        "row_id": row.row_id,
        "measured": row.measured_s,
        "predicted": row.predicted_s,
        "error": row.error,
        "skipped": row.skipped,
    }


def _row_with_interval(row: RowPrediction | ServingPrediction) -> dict[str, Any]:
    return {**_row(row), "low": row.low_s, "high": row.high_s}


def _memory_row(row: MemoryPrediction) -> dict[str, Any]:
    return {
        "row_id": row.row_id,
        "counted": row.counted.value,
        "measured_bytes": row.measured_bytes,
        "predicted_bytes": row.predicted_bytes,
        "error": row.error,
        "skipped": row.skipped,
    }


def _fit_row(row: FitPrediction) -> dict[str, Any]:
    return {
        "row_id": row.row_id,
        "predicted_bytes": row.predicted_bytes,
        "usual_bytes": row.usual_bytes,
        "usable_bytes": row.usable_bytes,
        "called_out_of_memory": not row.fits,
        "assumed": list(row.assumed),
    }
