"""How far the equations are off: the errors of a table of measured runs, in all and by group."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gigafactory.plan.serving_table import ServingPrediction, ServingTable, predict_serving
from gigafactory.plan.table import RowPrediction, TrainingTable, predict_rows

Prediction = RowPrediction | ServingPrediction
Told = TypeVar("Told", RowPrediction, ServingPrediction)


def score(table: TrainingTable | ServingTable) -> dict[str, Any]:
    """The document of `giga validate --json`; errors are predicted over measured, minus 1."""
    if isinstance(table, ServingTable):
        return score_serving(predict_serving(table))
    return score_training(predict_rows(table.rows, table.gpus))


def score_training(predictions: Sequence[RowPrediction]) -> dict[str, Any]:
    """Rows, summary, and the summary by GPU, by kind and by source."""
    groupings: dict[str, Callable[[RowPrediction], str]] = {
        "gpu": lambda row: row.gpu,
        "kind": lambda row: row.kind,
        "source": lambda row: row.source,
    }
    return {
        "rows": [_row(row) for row in predictions],
        "summary": summary(predictions),
        "by": {name: _by(predictions, key) for name, key in groupings.items()},
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
        "rows": [{**_row(row), "quantity": row.quantity or None} for row in predictions],
        "summary": summary(predictions),
        "by": {name: _by(predictions, key) for name, key in groupings.items()},
    }


def summary(predictions: Sequence[Prediction]) -> dict[str, Any]:
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


def _by(predictions: Sequence[Told], key: Callable[[Told], str]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Told]] = defaultdict(list)
    for row in predictions:
        groups[key(row)].append(row)
    return {name: summary(rows) for name, rows in sorted(groups.items())}


def _row(row: Prediction) -> dict[str, Any]:
    return {
        "row_id": row.row_id,
        "measured": row.measured_s,
        "predicted": row.predicted_s,
        "error": row.error,
        "skipped": row.skipped,
    }
