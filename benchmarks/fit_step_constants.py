"""Fit the constants of the training-step model on a table of measured runs.

    python benchmarks/fit_step_constants.py ../shared/data/training_runs.csv

Every constant marked ``fit`` in cost/calibration.yaml moves inside its range until the absolute
log errors, weighted so that no source counts more than the square root of its rows, are least
(iteratively reweighted Gauss-Newton steps). Then every source is left out in turn: the constants
are fitted on the others, and the left-out source is predicted, with the derivatives taken at the
full fit. Prints both tables and the values; writes nothing.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from gigafactory.catalog.tables import read_table
from gigafactory.cost.calibration import Calibration, published, published_constants
from gigafactory.plan.table import Question, answer_s, question

_NUM_STEPS = 4
_STEP = 0.02
_RIDGE = 0.02


def main(path: str) -> None:
    asked, measured_s, sources = _scorable(path)
    target, weights = np.log(measured_s), _weights(sources)
    names = [name for name, c in published_constants().items() if c.source == "fit"]
    constants = published()
    for step in range(_NUM_STEPS):
        logs, slopes = _linearised(asked, constants, names)
        print(f"step {step}: {_summary(logs - target)}", file=sys.stderr)
        constants = _stepped(constants, names, _solve(logs - target, slopes, weights))
    logs, slopes = _linearised(asked, constants, names)
    _report(logs - target, slopes, weights, sources)
    for name in names:
        entry = published_constants()[name]
        print(f"{name}: {getattr(constants, name):.4g}  (range {entry.low:g} to {entry.high:g})")


def _scorable(path: str) -> tuple[list[Question], np.ndarray, list[str]]:
    table = read_table(Path(path))
    found = []
    for row in table.rows:
        try:
            asked, measured_s = question(row, table.gpus)
        except ValueError:
            continue
        found.append((asked, measured_s, row["source_id"]))
    return [f[0] for f in found], np.array([f[1] for f in found]), [f[2] for f in found]


def _weights(sources: list[str]) -> np.ndarray:
    counts = {source: sources.count(source) for source in set(sources)}
    return np.array([counts[source] ** -0.5 for source in sources])


def _logs(asked: list[Question], constants: Calibration) -> np.ndarray:
    return np.log([answer_s(one, constants=constants) for one in asked])


def _linearised(
    asked: list[Question], constants: Calibration, names: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and their derivatives by each constant, in shares of its range."""
    base = _logs(asked, constants)
    slopes = []
    for name in names:
        span = _span(name)
        value = getattr(constants, name)
        sign = 1.0 if value + _STEP * span <= published_constants()[name].high else -1.0
        moved = replace(constants, **{name: value + sign * _STEP * span})
        slopes.append((_logs(asked, moved) - base) / (sign * _STEP))
    return base, np.array(slopes).T


def _span(name: str) -> float:
    entry = published_constants()[name]
    return entry.high - entry.low


def _solve(errors: np.ndarray, slopes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The step that lessens the weighted absolute errors of the linear model."""
    step = np.zeros(slopes.shape[1])
    for _ in range(20):
        left = errors + slopes @ step
        share = weights / np.maximum(np.abs(left), 0.02)
        normal = slopes.T @ (share[:, None] * slopes) + _RIDGE * share.sum() * np.eye(len(step))
        step = np.linalg.solve(normal, -slopes.T @ (share * errors))
    return step


def _stepped(constants: Calibration, names: list[str], step: np.ndarray) -> Calibration:
    moved = {}
    for name, share in zip(names, np.clip(step, -0.25, 0.25), strict=True):
        entry = published_constants()[name]
        value = getattr(constants, name) + share * _span(name)
        moved[name] = float(np.clip(value, entry.low, entry.high))
    return replace(constants, **moved)


def _report(
    errors: np.ndarray, slopes: np.ndarray, weights: np.ndarray, sources: list[str]
) -> None:
    at = defaultdict(list)
    for i, source in enumerate(sources):
        at[source].append(i)
    left_out = np.array(errors)
    for rows in at.values():
        kept = np.setdiff1d(np.arange(len(sources)), rows)
        step = _solve(errors[kept], slopes[kept], weights[kept])
        left_out[rows] = errors[rows] + slopes[rows] @ np.clip(step, -0.25, 0.25)
    print(f"{'source':28s} {'rows':>5s}  {'fitted':34s} left out")
    for source, rows in sorted(at.items()):
        fitted, out = _summary(errors[rows]), _summary(left_out[rows])
        print(f"{source:28s} {len(rows):5d}  {fitted:34s} {out}")
    print(f"{'all':28s} {len(sources):5d}  {_summary(errors):34s} {_summary(left_out)}")


def _summary(errors: np.ndarray) -> str:
    shares = np.abs(np.expm1(errors))
    bias = np.median(np.expm1(errors))
    return f"median {np.median(shares):.1%} p90 {np.quantile(shares, 0.9):.1%} bias {bias:+.1%}"


if __name__ == "__main__":
    main(*sys.argv[1:])
