"""Memory errors with the fitted constants refitted without the group that is predicted.

    python benchmarks/memory_left_out.py training_runs.csv

Two constants of memory are fitted, ``weight_gradient_copies`` and ``fragmentation_early``; the rest
is counted. Each source, and each model, is left out in turn; the two are chosen on a grid by the
mean absolute error of the others, each row weighing as one over the rows of its configuration.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gigafactory.catalog.tables import read_table
from gigafactory.cost.calibration import published
from gigafactory.plan.memory_table import predict_memory

COPIES = np.arange(0.0, 4.1, 0.5)
EARLY = np.arange(0.0, 0.61, 0.1)


def main(path: Path) -> None:
    """Print median and 90th percentile of the absolute error, as shipped and left out."""
    table = read_table(path)
    rows = [row for row in table.rows if row["mem_gb"]]
    grid = [
        replace(published(), weight_gradient_copies=float(a), fragmentation_early=float(b))
        for a, b in product(COPIES, EARLY)
    ]
    shipped = predict_memory(rows, table.gpus)
    scored = [i for i, row in enumerate(shipped) if row.error is not None]
    rows = [rows[i] for i in scored]
    errors = np.array(
        [[row.error for row in predict_memory(rows, table.gpus, constants=c)] for c in grid]
    )
    sizes = Counter(row["config_group"] for row in rows)
    weights = np.array([1 / sizes[row["config_group"]] for row in rows])
    _print("as shipped", np.array([shipped[i].error for i in scored]))
    for key in ("source_id", "model_id"):
        names = np.array([row[key] for row in rows])
        held = np.zeros(len(rows))
        for name in sorted(set(names)):
            out = names == name
            best = np.argmin((np.abs(errors) * weights * ~out).sum(axis=1))
            held[out] = errors[best, out]
            c = grid[int(best)]
            told = f"  without {name}: {c.weight_gradient_copies:.1f} {c.fragmentation_early:.1f}"
            _print(told, held[out])
        _print(f"each {key} left out", held)


def _print(name: str, errors: NDArray[np.float64]) -> None:
    sizes = np.sort(np.abs(errors))
    tenth = sizes[min(int(0.9 * len(sizes)), len(sizes) - 1)]
    print(
        f"{name:60} rows {len(sizes):4} median {np.median(sizes):6.1%} "
        f"p90 {tenth:6.1%} bias {np.median(errors):+6.1%}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
