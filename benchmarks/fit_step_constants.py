"""Fit the constants of the training-step model on a table of measured runs.

    python benchmarks/fit_step_constants.py ../shared/data/training_runs.csv [--write] [--steps 3]

Every constant marked ``fit`` in cost/calibration.yaml moves inside its range until the absolute log
errors are least (Gauss-Newton steps on reweighted squares, bounds kept by an active set). A row
weighs n_source^-1/2 n_configuration^-0.3, so that neither a source with many rows nor a
configuration measured in many releases decides alone. Then every source, and every model, is left
out in turn: the constants are fitted on the others, from the derivatives at the full fit, and what
was left out is predicted. From these errors come the spreads behind the intervals.

Prints the errors of the fit and of both kinds of left-out rows, and the constants. ``--write`` puts
them into calibration.yaml.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gigafactory.catalog.tables import read_table
from gigafactory.cost import calibration, surfaces
from gigafactory.cost.calibration import Calibration, Constant, published, published_constants
from gigafactory.cost.uncertainty import GROUPS, log_spread
from gigafactory.plan.table import Question, answer, question

#: Step of the finite differences, in shares of a constant's range.
_STEP = 0.02
_RIDGE = 0.01
#: No constant moves by more than this share of its range at once.
_REACH = 0.3
#: Errors below this weigh as if they were so large: what a table can tell apart.
_FLOOR = 0.015
_ANYTHING = "spread_any"
_EXPERTS = "spread_with_experts"
#: What is fitted to the errors of left-out sources.
_SPREADS = (*GROUPS, _EXPERTS, _ANYTHING)


@dataclass(frozen=True)
class Rows:
    """The scorable rows: questions, log of measured seconds, and what they are grouped by."""

    asked: list[Question]
    log_measured: np.ndarray
    groups: dict[str, np.ndarray]
    weights: np.ndarray

    def mask(self, key: str, *starts: str) -> np.ndarray:
        return np.array([any(v.startswith(s) for s in starts) for v in self.groups[key]])


@dataclass(frozen=True)
class Fit:
    """A linear model of the errors around some constants."""

    constants: Calibration
    errors: np.ndarray
    slopes: np.ndarray


def main(arguments: argparse.Namespace) -> None:
    surfaces.gemm_s = _remembered(surfaces.gemm_s)  # type: ignore[assignment]
    surfaces.attention_s = _remembered(surfaces.attention_s)  # type: ignore[assignment]
    rows = _rows(arguments.table)
    names = [name for name, c in published_constants().items() if c.source == "fit"]
    _logs(rows, published())
    with multiprocessing.Pool(2) as pool:
        fit = _fitted(rows, published(), names, pool=pool, steps=arguments.steps)
    left_out = {key: _left_out(rows, fit, names, key) for key in ("source", "model")}
    _report(rows, {"fit": fit.errors, **left_out})
    constants = _with_spreads(rows, fit.constants, left_out["source"])
    _report_coverage(rows, constants, {"fit": fit.errors, **left_out})
    for name in (*names, *_SPREADS, "interval_quantile"):
        entry = published_constants()[name]
        print(f"{name}: {getattr(constants, name):.4g}  (range {entry.low:g} to {entry.high:g})")
    if arguments.write:
        _write(constants, (*names, *_SPREADS, "interval_quantile"))


def _remembered(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Measured kernels do not depend on the constants: each shape is looked up once."""
    known: dict[Any, np.ndarray] = {}

    def plain(value: Any) -> Any:
        return value if isinstance(value, str) else np.asarray(value, np.float64).tobytes()

    def found(*sizes: Any, **named: Any) -> np.ndarray:
        key = (*map(plain, sizes), *((k, plain(v)) for k, v in named.items()))
        if key not in known:
            known[key] = function(*sizes, **named)
        return known[key]

    return found


def _rows(path: Path) -> Rows:
    table = read_table(path)
    asked, measured, told = [], [], []
    for row in table.rows:
        try:
            one, seconds = question(row, table.gpus)
        except ValueError:
            continue
        asked.append(one)
        measured.append(seconds)
        told.append(row)
    groups = {
        "source": np.array([row["source_id"] for row in told]),
        "model": np.array([row["model_id"] for row in told]),
        "gpu": np.array([row["gpu_class"] for row in told]),
        "kind": np.array(["experts" if q.model.num_experts else "dense" for q in asked]),
        "trust": np.array([row["trust"] for row in told]),
    }
    configuration = np.array([row["config_group"] or row["row_id"] for row in told])
    weights = _count(groups["source"]) ** -0.5 * _count(configuration) ** -0.3
    return Rows(asked, np.log(measured), groups, weights)


def _count(labels: np.ndarray) -> np.ndarray:
    _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return counts[which].astype(float)


def _logs(rows: Rows, constants: Calibration) -> np.ndarray:
    return np.log([answer(one, constants=constants).step_s[0] for one in rows.asked])


def _span(name: str) -> float:
    return published_constants()[name].high - published_constants()[name].low


def _moved(constants: Calibration, name: str, share: float) -> Calibration:
    entry: Constant = published_constants()[name]
    value = getattr(constants, name) + share * _span(name)
    return replace(constants, **{name: float(np.clip(value, entry.low, entry.high))})


def _linearised(rows: Rows, constants: Calibration, names: list[str], pool: Any) -> Fit:
    signs = [
        1.0 if getattr(constants, n) + _STEP * _span(n) <= published_constants()[n].high else -1.0
        for n in names
    ]
    asked = [constants] + [
        _moved(constants, n, s * _STEP) for n, s in zip(names, signs, strict=True)
    ]
    logs = pool.starmap(_logs, [(rows, c) for c in asked], chunksize=1)
    slopes = [(one - logs[0]) / (s * _STEP) for one, s in zip(logs[1:], signs, strict=True)]
    return Fit(constants, logs[0] - rows.log_measured, np.array(slopes).T)


def _fitted(rows: Rows, start: Calibration, names: list[str], *, pool: Any, steps: int) -> Fit:
    fit = _linearised(rows, start, names, pool)
    for number in range(steps):
        print(f"step {number}: {_summary(fit.errors)}", file=sys.stderr)
        step = _solve(fit.errors, fit.slopes, rows.weights, _places(fit.constants, names))
        moved = fit.constants
        for name, share in zip(names, step, strict=True):
            moved = _moved(moved, name, share)
        better = _linearised(rows, moved, names, pool)
        if np.sum(rows.weights * np.abs(better.errors)) >= np.sum(
            rows.weights * np.abs(fit.errors)
        ):
            break
        fit = better
    return fit


def _places(constants: Calibration, names: list[str]) -> np.ndarray:
    """Where in its range each constant stands, 0 to 1."""
    return np.array(
        [(getattr(constants, n) - published_constants()[n].low) / _span(n) for n in names]
    )


def _solve(
    errors: np.ndarray, slopes: np.ndarray, weights: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """The step, in shares of the ranges, that lessens the weighted absolute errors most."""
    low, high = np.maximum(-places, -_REACH), np.minimum(1 - places, _REACH)
    step = np.zeros(slopes.shape[1])
    for _ in range(40):
        left = errors + slopes @ step
        share = weights / np.maximum(np.abs(left), _FLOOR)
        normal = slopes.T @ (share[:, None] * slopes) + _RIDGE * share.sum() * np.eye(len(step))
        step = _bounded(normal, -slopes.T @ (share * errors), low, high)
    return step


def _bounded(
    normal: np.ndarray, right: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """The least squares inside the bounds: what leaves them is fixed there, the rest solved."""
    free, found = np.ones(len(right), bool), np.zeros(len(right))
    while free.any():
        rest = right[free] - normal[np.ix_(free, ~free)] @ found[~free]
        found[free] = np.linalg.solve(normal[np.ix_(free, free)], rest)
        out = free & ((found < low) | (found > high))
        found = np.clip(found, low, high)
        if not out.any():
            break
        free &= ~out
    return found


def _left_out(rows: Rows, fit: Fit, names: list[str], key: str) -> np.ndarray:
    """Errors of every row when its group took no part in the fit."""
    told, places = np.array(fit.errors), _places(fit.constants, names)
    for group in np.unique(rows.groups[key]):
        out = rows.groups[key] == group
        step = _solve(fit.errors[~out], fit.slopes[~out], rows.weights[~out], places)
        told[out] = fit.errors[out] + fit.slopes[out] @ step
    return told


def _with_spreads(rows: Rows, constants: Calibration, errors: np.ndarray) -> Calibration:
    """Spreads by least squares of the squared errors of left-out sources, never negative.

    The last word on two of them has what they must hold, see ``_held``: errors have long tails.
    """
    parts = [answer(one, constants=constants) for one in rows.asked]
    shares = np.array(
        [
            [sum(p.parts()[m][0] for m in members) / p.step_s[0] for members in GROUPS.values()]
            for p in parts
        ]
    )
    experts = rows.mask("kind", "experts").astype(float)
    features = np.column_stack([shares**2, experts, np.ones(len(errors))])
    # a few wild errors must not widen every interval: what lies beyond 40 % counts as 40 %
    squares = np.minimum(errors**2, 0.16)
    variance, spread = np.full(features.shape[1], 0.01), np.full(len(errors), 0.1)
    for _ in range(50):
        share = rows.weights / spread**4
        normal = features.T @ (share[:, None] * features)
        high = np.array([published_constants()[n].high ** 2 for n in _SPREADS])
        low = np.array([*np.full(len(_SPREADS) - 1, 0.0), 0.02**2])
        variance = _bounded(
            normal + 1e-6 * np.trace(normal) * np.eye(len(low)),
            features.T @ (share * squares), low, high,
        )  # fmt: skip
        spread = np.sqrt(np.maximum(features @ variance, 1e-4))
    fitted = dict(zip(_SPREADS, np.sqrt(variance), strict=True))
    return replace(
        constants,
        **{n: float(v) for n, v in fitted.items()}
        | _held(errors, features @ variance, variance, experts > 0),
    )


def _held(
    errors: np.ndarray, squares: np.ndarray, variance: np.ndarray, experts: np.ndarray
) -> dict[str, float]:
    """What makes the interval hold four of five of the dense rows, and of those with experts."""
    quantile = float(
        np.clip(np.quantile(np.abs(errors[~experts]) / np.sqrt(squares[~experts]), 0.8), 0.8, 2.0)
    )
    # a row is inside where (e / z)^2 is at most the rest of s^2 and the square of this spread
    rest = squares[experts] - variance[_SPREADS.index(_EXPERTS)]
    needed = float(np.quantile((errors[experts] / quantile) ** 2 - rest, 0.8))
    high = published_constants()[_EXPERTS].high
    return {
        "interval_quantile": quantile,
        _EXPERTS: float(np.clip(np.sqrt(max(needed, 0.0)), 0.0, high)),
    }


def _report(rows: Rows, errors: dict[str, np.ndarray]) -> None:
    h100, dense = rows.mask("gpu", "H100"), rows.mask("kind", "dense")
    subsets = {
        "all": np.ones(len(dense), bool),
        "dense H100, trust A": h100 & dense & rows.mask("trust", "A"),
        "experts H100": h100 & ~dense,
        "A100, all": rows.mask("gpu", "A100"),
        "B200 to GB300": rows.mask("gpu", "B", "GB"),
    }
    for key in ("gpu", "source"):
        subsets |= {name: rows.groups[key] == name for name in np.unique(rows.groups[key])}
    print(
        f"{'rows':24s} {'':6s}"
        + "".join(f"{name + ' out' * (name != 'fit'):32s}" for name in errors)
    )
    for name, mask in subsets.items():
        told = "".join(f"{_summary(e[mask]):32s}" for e in errors.values())
        print(f"{name:24s} {mask.sum():5d} {told}")


def _report_coverage(rows: Rows, constants: Calibration, errors: dict[str, np.ndarray]) -> None:
    """Share of rows inside the interval, in sample and left out."""
    spreads = np.array(
        [
            log_spread(
                answer(one, constants=constants),
                has_experts=one.model.num_experts > 0,
                constants=constants,
            )[0]
            for one in rows.asked
        ]
    )
    masks = {
        "all": np.ones(len(spreads), bool),
        "dense": rows.mask("kind", "dense"),
        "experts": rows.mask("kind", "experts"),
        "B200 to GB300": rows.mask("gpu", "B", "GB"),
    }
    for name, mask in masks.items():
        inside = {
            key: np.mean(np.abs(e[mask]) <= constants.interval_quantile * spreads[mask])
            for key, e in errors.items()
        }
        told = ", ".join(f"{key} {share:.0%}" for key, share in inside.items())
        print(f"inside the interval, {name}: {told}")


def _summary(errors: np.ndarray | Sequence[float]) -> str:
    shares = np.expm1(errors)
    sizes = np.abs(shares)
    return f"{np.median(sizes):5.1%} {np.quantile(sizes, 0.9):6.1%} bias {np.median(shares):+6.1%}"


def _write(constants: Calibration, names: Sequence[str]) -> None:
    path = Path(calibration.__file__).with_name("calibration.yaml")
    text = path.read_text(encoding="utf-8")
    for name in names:
        value = f"{getattr(constants, name):.4g}"
        text = re.sub(
            rf"(^{name}:\n  value: )\S+", lambda m, v=value: m[1] + v, text, flags=re.MULTILINE
        )
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    main(parser.parse_args())
