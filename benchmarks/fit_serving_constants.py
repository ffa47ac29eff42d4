"""Fits the constants of the serving equations to a table of published serving runs.

    python benchmarks/fit_serving_constants.py serving_runs.csv [--left-out] [--out values.json]

Least squares on log(predicted / measured), soft beyond 10 %; a configuration that was measured n
times weighs n^(1/4). Constants stay inside the ranges of calibration_serving.yaml. ``--left-out``
moves the constants to fit the rest without each source and each model in turn, and scores what
was left out. ``--evaluations 0`` takes the constants as they are.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from gigafactory.catalog.tables import read_table
from gigafactory.cost.token_constants import (
    ServingCalibration,
    published_serving,
    published_serving_constants,
)
from gigafactory.plan.reading import UnscorableError
from gigafactory.plan.serving_reading import Mode, ServingQuestion, serving_question
from gigafactory.plan.serving_table import Quantity, ServingTable, answer_s, measured_s

Weights = Mapping[Quantity, float]
#: First the constants of a step, on rates; then those of queues and tails, on latencies.
RATES: Weights = {
    Quantity.THROUGHPUT: 1.0,
    Quantity.PROMPT_THROUGHPUT: 1.0,
    Quantity.TPOT: 0.2,
    Quantity.TPOT_P99: 0.1,
    Quantity.E2E: 0.2,
    Quantity.TTFT_P99: 0.3,
}
LATENCIES: Weights = {
    Quantity.THROUGHPUT: 0.7,
    Quantity.TPOT: 1.0,
    Quantity.TPOT_P99: 0.7,
    Quantity.TTFT: 0.7,
    Quantity.TTFT_P99: 0.4,
}
#: What the constants of queues are drawn towards, distances as shares of their ranges: one server
#: whose queue joins, waiting of exponential length, steps of nearly equal length, a short way in.
EXPECTED = {
    "server_fraction": 0.95,
    "ttft_tail": 3.0,
    "tpot_tail": 1.15,
    "queue_burst": 1.0,
    "host_first_token_s": 0.02,
}
DRAW = 1.0
QUEUES = ("server_fraction", "ttft_tail", "tpot_tail", "queue_burst", "host_first_token_s")
SOFT = 0.1
FITTED = [name for name, entry in published_serving_constants().items() if entry.source == "fit"]
STEPS = [name for name in FITTED if name not in QUEUES]


@dataclass(frozen=True)
class Sample:
    """A configuration with the mean logarithm of what was measured on it."""

    asked: ServingQuestion
    source: str
    model: str
    log_s: dict[Quantity, float]
    weight: float


def samples(table: ServingTable) -> list[Sample]:
    """One for each configuration of each source; repeats weigh as their square root."""
    found: dict[tuple[str, str], list[tuple[ServingQuestion, dict[Quantity, float], str]]]
    found = defaultdict(list)
    for row in table.rows:
        try:
            asked = serving_question(row, table.gpus, table.models)
            measured = measured_s(row)
        except UnscorableError:
            continue
        rate = asked.requests_per_s and round(float(np.log(asked.requests_per_s)), 1)
        output = round(asked.traffic.output_tokens, -1)
        key = repr(replace(asked, requests_per_s=rate)).replace(
            repr(asked.traffic.output_tokens), repr(output)
        )
        found[row["source_id"], key].append((asked, measured, row["model_id"]))
    return [_sample(source, group) for (source, _), group in found.items()]


def _sample(source: str, group: list[tuple[ServingQuestion, dict[Quantity, float], str]]) -> Sample:
    asked, first, model = group[len(group) // 2]
    logs = {
        quantity: float(np.mean([np.log(m[quantity]) for _, m, _ in group if quantity in m]))
        for quantity in first
    }
    return Sample(asked, source, model, logs, len(group) ** 0.25)


def errors(sample: Sample, constants: ServingCalibration) -> dict[Quantity, float]:
    """log(predicted / measured) of every quantity."""
    try:
        found = answer_s(sample.asked, constants=constants)
    except ValueError:
        return {}
    return {q: float(np.log(found[q])) - log for q, log in sample.log_s.items() if q in found}


def residuals(
    chosen: Iterable[Sample], constants: ServingCalibration, weights: Weights
) -> np.ndarray:
    """Weighted logarithms, of fixed length; what cannot be predicted counts as 1."""
    out: list[float] = []
    for sample in chosen:
        found = errors(sample, constants)
        for q in sample.log_s:
            if q in weights:
                out.append(_weight(sample, q, weights) * sample.weight * found.get(q, 1.0))
    return np.array(out)


def _weight(sample: Sample, quantity: Quantity, weights: Weights) -> float:
    """The slowest first token of a closed loop tells of rates of prompts, others of queues."""
    loop = sample.asked.mode is Mode.CLOSED
    if quantity is Quantity.TTFT_P99 and loop is not (weights is RATES):
        return 0.0
    return weights[quantity]


def _drawn(names: Sequence[str], constants: ServingCalibration) -> np.ndarray:
    """Distances from what is expected, as shares of the ranges."""
    return np.array(
        [
            DRAW * (getattr(constants, name) - EXPECTED[name]) / _span(name)
            for name in names
            if name in EXPECTED
        ]
    )


def fit(chosen: list[Sample], start: ServingCalibration, *, evaluations: int) -> ServingCalibration:
    """The constants that fit ``chosen`` best, from ``start``, inside their ranges."""
    steps = _fit(chosen, start, STEPS, RATES, evaluations=evaluations)
    served = [sample for sample in chosen if sample.asked.mode is not Mode.SATURATED]
    if not served:
        return steps
    return _fit(served, steps, QUEUES, LATENCIES, evaluations=2 * evaluations)


def _fit(
    chosen: list[Sample],
    start: ServingCalibration,
    names: Sequence[str],
    weights: Weights,
    *,
    evaluations: int,
) -> ServingCalibration:
    entries = published_serving_constants()
    low = np.array([entries[name].low for name in names])
    width = np.array([entries[name].high for name in names]) - low

    def constants(x: np.ndarray) -> ServingCalibration:
        return replace(start, **dict(zip(names, (low + x * width).tolist(), strict=True)))

    begin = (np.array([getattr(start, name) for name in names]) - low) / width
    solved = least_squares(
        lambda x: np.concatenate(
            [residuals(chosen, constants(x), weights), _drawn(names, constants(x))]
        ),
        np.clip(begin, 0.005, 0.995),
        bounds=(0, 1),
        loss="soft_l1",
        f_scale=SOFT,
        diff_step=3e-3,
        max_nfev=evaluations,
    )
    return constants(solved.x)


def told(pairs: Iterable[tuple[Sample, dict[Quantity, float]]]) -> dict[str, str]:
    """Median and 90th percentile of the absolute error, by quantity."""
    by: dict[str, list[float]] = defaultdict(list)
    for _, found in pairs:
        for quantity, log in found.items():
            by[quantity.value].append(abs(float(np.expm1(log))))
    lines = {}
    for name, sizes in sorted(by.items()):
        high = sorted(sizes)[min(int(0.9 * len(sizes)), len(sizes) - 1)]
        lines[name] = f"{statistics.median(sizes):6.1%} {high:6.1%} ({len(sizes)})"
    return lines


def spreads(pairs: Iterable[tuple[Sample, dict[Quantity, float]]]) -> dict[str, float]:
    """|log(predicted / measured)| below which four values in five lie, by quantity."""
    by: dict[str, list[float]] = defaultdict(list)
    for _, found in pairs:
        for quantity, log in found.items():
            by[quantity.value].append(abs(log))
    return {name: round(float(np.quantile(sizes, 0.8)), 3) for name, sizes in by.items()}


def left_out(
    every: list[Sample], best: ServingCalibration, group: Callable[[Sample], str]
) -> dict[str, str]:
    """Errors of each group under constants moved to fit all others better.

    One robust Gauss-Newton step from the full solution, with the derivatives taken there, and the
    left-out group predicted again with the constants it ends at; damped towards the full fit.
    """
    pairs: list[tuple[Sample, dict[Quantity, float]]] = []
    slopes = {names: _slopes(every, best, names, weights) for names, weights in _STAGES}
    for name in sorted({group(sample) for sample in every}):
        constants = best
        for names, weights in _STAGES:
            kept = np.concatenate(
                [np.full(_num_entries(s, weights), group(s) != name) for s in every]
            )
            constants = _moved(constants, names, *(part[kept] for part in slopes[names]))
        mine = [(s, errors(s, constants)) for s in every if group(s) == name]
        print("  without", name, told(mine), flush=True)
        pairs += mine
    print("  spreads", spreads(pairs))
    return told(pairs)


_STAGES = ((tuple(STEPS), RATES), (tuple(QUEUES), LATENCIES))
_STEP, _DAMPING = 0.01, 0.3


def _num_entries(sample: Sample, weights: Weights) -> int:
    return sum(quantity in weights for quantity in sample.log_s)


def _span(name: str) -> float:
    entry = published_serving_constants()[name]
    return entry.high - entry.low


def _slopes(
    every: list[Sample], at: ServingCalibration, names: Sequence[str], weights: Weights
) -> tuple[np.ndarray, np.ndarray]:
    """(derivatives by constants as shares of their ranges, residuals), a row an entry."""
    here = residuals(every, at, weights)
    columns = []
    for name in names:
        value = getattr(at, name)
        entry = published_serving_constants()[name]
        step = _STEP if value + _STEP * _span(name) <= entry.high else -_STEP
        moved = replace(at, **{name: value + step * _span(name)})
        columns.append((residuals(every, moved, weights) - here) / step)
    return np.stack(columns, axis=1), here


def _moved(
    start: ServingCalibration, names: Sequence[str], slopes: np.ndarray, here: np.ndarray
) -> ServingCalibration:
    expected = np.array([name in EXPECTED for name in names])
    slopes = np.concatenate([slopes, DRAW * np.eye(len(names))[expected]])
    here = np.concatenate([here, _drawn(names, start)])
    trust = 1 / np.sqrt(1 + (here / SOFT) ** 2)
    normal = slopes.T @ (slopes * trust[:, None])
    normal = normal + _DAMPING * np.eye(len(names)) * np.trace(normal) / len(names)
    shift = -np.linalg.solve(normal, slopes.T @ (trust * here))
    entries = published_serving_constants()
    values = {}
    for name, part in zip(names, shift, strict=True):
        value = getattr(start, name) + float(part) * _span(name)
        values[name] = min(max(value, entries[name].low), entries[name].high)
    return replace(start, **values)


def main() -> None:
    """Fit, print errors, and write the values where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--left-out", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--evaluations", type=int, default=12)
    given = parser.parse_args()
    table = read_table(given.table)
    if not isinstance(table, ServingTable):
        raise SystemExit(f"{given.table}: is not a table of serving runs")
    every = samples(table)
    best = published_serving()
    if given.evaluations:
        best = fit(every, best, evaluations=given.evaluations)
    values = {name: getattr(best, name) for name in FITTED}
    for name, value in values.items():
        print(f"{name:32s} {value:.4g}")
    print("all", told((s, errors(s, best)) for s in every))
    if given.out:
        given.out.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    if given.left_out:
        for name, group in (("source", lambda s: s.source), ("model", lambda s: s.model)):
            print(f"left out by {name}", left_out(every, best, group))


if __name__ == "__main__":
    main()
