"""Fits the constants of the serving equations to a table of published serving runs.

    python benchmarks/fit_serving_constants.py serving_runs.csv [--left-out] [--out values.json]

Least squares on log(predicted / measured), soft beyond 25 %; a configuration that was measured n
times weighs n^(1/4). Constants stay inside the ranges of calibration_serving.yaml. ``--left-out``
fits again without each source and without each model in turn and scores what was left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
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
from gigafactory.plan.serving_reading import ServingQuestion, serving_question
from gigafactory.plan.serving_table import Quantity, ServingTable, answer_s, measured_s

WEIGHTS = {
    Quantity.THROUGHPUT: 1.0,
    Quantity.PROMPT_THROUGHPUT: 1.0,
    Quantity.TPOT: 0.7,
    Quantity.TPOT_P99: 0.3,
    Quantity.TTFT: 0.4,
    Quantity.TTFT_P99: 0.15,
    Quantity.E2E: 0.3,
}
SOFT = 0.25
FITTED = [name for name, entry in published_serving_constants().items() if entry.source == "fit"]


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


def residuals(chosen: Iterable[Sample], constants: ServingCalibration) -> np.ndarray:
    """Weighted logarithms, of fixed length; what cannot be predicted counts as 1."""
    out: list[float] = []
    for sample in chosen:
        found = errors(sample, constants)
        for q in sample.log_s:
            if q in WEIGHTS:
                out.append(WEIGHTS[q] * sample.weight * found.get(q, 1.0))
    return np.array(out)


def fit(chosen: list[Sample], start: ServingCalibration, *, evaluations: int) -> ServingCalibration:
    """The constants that fit ``chosen`` best, from ``start``, inside their ranges."""
    entries = published_serving_constants()
    low = np.array([entries[name].low for name in FITTED])
    width = np.array([entries[name].high for name in FITTED]) - low

    def constants(x: np.ndarray) -> ServingCalibration:
        return replace(start, **dict(zip(FITTED, (low + x * width).tolist(), strict=True)))

    begin = (np.array([getattr(start, name) for name in FITTED]) - low) / width
    solved = least_squares(
        lambda x: residuals(chosen, constants(x)),
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


def left_out(
    every: list[Sample], start: ServingCalibration, group: Callable[[Sample], str], evaluations: int
) -> dict[str, str]:
    """Errors of each group under constants fitted to all others."""
    pairs: list[tuple[Sample, dict[Quantity, float]]] = []
    for name in sorted({group(sample) for sample in every}):
        rest = [sample for sample in every if group(sample) != name]
        constants = fit(rest, start, evaluations=evaluations)
        mine = [(s, errors(s, constants)) for s in every if group(s) == name]
        print("  without", name, told(mine), flush=True)
        pairs += mine
    return told(pairs)


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
    best = fit(every, published_serving(), evaluations=given.evaluations)
    values = {name: getattr(best, name) for name in FITTED}
    for name, value in values.items():
        print(f"{name:32s} {value:.4g}")
    print("all", told((s, errors(s, best)) for s in every))
    if given.out:
        given.out.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    if given.left_out:
        for name, group in (("source", lambda s: s.source), ("model", lambda s: s.model)):
            print(f"left out by {name}", left_out(every, best, group, given.evaluations // 2))


if __name__ == "__main__":
    main()
