"""Order inside a sweep: are layouts of one job on one cluster ranked as they were measured?

A sweep is a set of at least four rows that differ in their layout alone: same source, model, GPUs,
sequence length, batch and number format. Spearman's coefficient compares the two orders; the loss
is what choosing the layout predicted fastest costs over the measured fastest.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from gigafactory.plan.table import RowPrediction

_FEWEST = 4


def orders(predictions: Sequence[RowPrediction]) -> dict[str, Any]:
    """Number of sweeps, median and least Spearman, median and largest loss, and each sweep."""
    groups: dict[str, list[RowPrediction]] = defaultdict(list)
    for row in predictions:
        if row.error is not None:
            groups[row.sweep].append(row)
    told = [
        _order(name, rows) for name, rows in sorted(groups.items()) if _distinct(rows) >= _FEWEST
    ]
    ranks = [sweep["spearman"] for sweep in told if sweep["spearman"] is not None]
    losses = [sweep["loss"] for sweep in told]
    return {
        "num_sweeps": len(told),
        "median_spearman": statistics.median(ranks) if ranks else None,
        "median_loss": statistics.median(losses) if losses else None,
        "max_loss": max(losses) if losses else None,
        "sweeps": told,
    }


def _distinct(rows: Sequence[RowPrediction]) -> int:
    return len({row.predicted_s for row in rows})


def _order(name: str, rows: Sequence[RowPrediction]) -> dict[str, Any]:
    measured = np.array([row.measured_s for row in rows], dtype=np.float64)
    predicted = np.array([row.predicted_s for row in rows], dtype=np.float64)
    chosen = measured[int(np.argmin(predicted))]
    return {
        "sweep": name,
        "num_rows": len(rows),
        "spearman": spearman(measured, predicted),
        "loss": float(chosen / measured.min() - 1),
    }


def spearman(one: np.ndarray, other: np.ndarray) -> float | None:
    """Correlation of ranks, ties sharing their mean rank; None where all are equal."""
    a, b = _ranks(one), _ranks(other)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[which], dtype=np.float64)
