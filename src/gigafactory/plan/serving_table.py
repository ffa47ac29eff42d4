"""Published serving runs as questions to the equations: rows of a table in, predictions out.

A row gives up to six measured quantities (throughput of answers or of prompts, TTFT and TPOT as
mean and 99th percentile, latency); each is predicted as a time: tokens a second are inverted.
Rates are totals or per GPU by the column that is filled, never by who published them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from pydantic import ValidationError

from gigafactory.cost.token_batching import (
    ServingPoint,
    at_concurrency,
    prompts_only,
    saturated,
)
from gigafactory.cost.token_constants import ServingCalibration, published_serving
from gigafactory.cost.token_slo import (
    best_under,
    loaded_under,
    tail_tpot_s,
    tail_ttft_of_loop_s,
    tail_ttft_s,
)
from gigafactory.cost.token_step import Deployment, deployment
from gigafactory.describe.cluster import Gpu
from gigafactory.describe.model import Model
from gigafactory.plan.reading import UnscorableError, number, optional
from gigafactory.plan.serving_reading import Mode, ServingQuestion, serving_question

Row = Mapping[str, str]
_MS = 1e-3


class Quantity(StrEnum):
    """What was measured; all are compared as times."""

    THROUGHPUT = "throughput"
    """Seconds per output token and GPU."""
    PROMPT_THROUGHPUT = "prompt_throughput"
    """Seconds per prompt token and GPU, where prompts are all that is served."""
    TTFT = "ttft"
    TTFT_P99 = "ttft_p99"
    TPOT = "tpot"
    TPOT_P99 = "tpot_p99"
    E2E = "e2e_latency"


@dataclass(frozen=True)
class ServingTable:
    """A table of measured serving runs, and the GPUs and models its rows may name."""

    rows: tuple[Row, ...]
    gpus: Mapping[str, Gpu]
    models: Mapping[str, Model]


@dataclass(frozen=True)
class ServingPrediction:
    """One measured quantity of a row, in seconds, or why it was not scored."""

    row_id: str
    quantity: str
    gpu: str
    kind: str
    """Dense, experts or latent attention, and the number format."""
    source: str
    framework: str
    scale: str
    """GPUs of the run, in powers of two."""
    model: str
    measured_s: float | None = None
    predicted_s: float | None = None
    low_s: float | None = None
    """Four measured values in five lie between this and ``high_s``."""
    high_s: float | None = None
    skipped: str | None = None

    @property
    def error(self) -> float | None:
        """predicted / measured - 1; None where it was skipped."""
        if self.measured_s is None or self.predicted_s is None:
            return None
        return self.predicted_s / self.measured_s - 1

    @property
    def inside(self) -> bool:
        """Whether the measured value lies in the interval; False where it was skipped."""
        if self.measured_s is None or self.low_s is None or self.high_s is None:
            return False
        return self.low_s <= self.measured_s <= self.high_s


def predict_serving(
    table: ServingTable, *, constants: ServingCalibration | None = None
) -> list[ServingPrediction]:
    """Predict every measured quantity of every row; rows in the order given."""
    answers: dict[str, dict[Quantity, float]] = {}
    return [
        told
        for row in table.rows
        for told in _predict(row, table, constants or published_serving(), answers)
    ]


def _predict(
    row: Row,
    table: ServingTable,
    constants: ServingCalibration,
    answers: dict[str, dict[Quantity, float]],
) -> list[ServingPrediction]:
    told = _identity(row)
    try:
        measured = measured_s(row)
    except UnscorableError as reason:
        return [replace(told, skipped=str(reason))]
    try:
        asked = serving_question(row, table.gpus, table.models)
        key = repr(asked)
        if key not in answers:
            answers[key] = answer_s(asked, constants=constants)
    except UnscorableError as reason:
        return [_skipped(told, quantity, str(reason)) for quantity in measured]
    except ValueError as error:
        why = f"not a possible run: {_first_message(error)}"
        return [_skipped(told, quantity, why) for quantity in measured]
    return [
        _entry(told, asked, name, value, answers[key], constants=constants)
        for name, value in measured.items()
    ]


def _skipped(told: ServingPrediction, quantity: Quantity, reason: str) -> ServingPrediction:
    return replace(told, quantity=quantity.value, skipped=reason)


def _entry(
    told: ServingPrediction,
    asked: ServingQuestion,
    quantity: Quantity,
    measured: float,
    found: Mapping[Quantity, float],
    *,
    constants: ServingCalibration,
) -> ServingPrediction:
    told = replace(told, quantity=quantity.value, kind=_kind(asked))
    if quantity not in found:
        return replace(told, skipped=f"{quantity.value} is not predicted in this serving mode")
    factor = math.exp(spread(quantity, constants=constants))
    mean = found[quantity]
    return replace(
        told, measured_s=measured, predicted_s=mean, low_s=mean / factor, high_s=mean * factor
    )


def spread(quantity: Quantity, *, constants: ServingCalibration) -> float:
    """Logarithm of the factor within which four measured values in five lie."""
    c = constants
    return {
        Quantity.THROUGHPUT: c.throughput_spread,
        # too few measured values of prompts alone
        Quantity.PROMPT_THROUGHPUT: c.throughput_spread,
        Quantity.TTFT: c.ttft_spread,
        Quantity.TTFT_P99: c.ttft_tail_spread,
        Quantity.TPOT: c.tpot_spread,
        Quantity.TPOT_P99: c.tpot_tail_spread,
        Quantity.E2E: c.latency_spread,
    }[quantity]


def _first_message(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return str(error.errors()[0]["msg"])
    return str(error)


def _identity(row: Row) -> ServingPrediction:
    text = row.get("framework", "")
    gpus = row.get("n_gpus", "").strip()
    return ServingPrediction(
        row_id=row.get("row_id", ""),
        quantity="",
        gpu=row.get("gpu", ""),
        kind="",
        source=row.get("source_id", ""),
        framework=text.replace(",", " ").split()[0] if text.strip() else "",
        scale=f"{gpus} GPUs" if gpus else "",
        model=row.get("model_id", ""),
    )


def _kind(asked: ServingQuestion) -> str:
    model = asked.model
    shape = "mla" if model.mla else "moe" if model.num_moe_layers else "dense"
    return f"{shape} {asked.replica.precision.value} {asked.mode.value}"


def measured_s(row: Row) -> dict[Quantity, float]:
    """What the row measured, as seconds; UnscorableError where it measured nothing."""
    found: dict[Quantity, float] = {}
    output = _per_gpu(row, "output_tokens_per_s")
    if output:
        found[Quantity.THROUGHPUT] = 1 / output
    elif "prefill" in row.get("serving_mode", "").lower():
        prompt = _per_gpu(row, "input_tokens_per_s")
        if prompt:
            found[Quantity.PROMPT_THROUGHPUT] = 1 / prompt
    for quantity, column in (
        (Quantity.TTFT, "ttft_mean_ms"),
        (Quantity.TTFT_P99, "ttft_p99_ms"),
        (Quantity.TPOT, "tpot_mean_ms"),
        (Quantity.TPOT_P99, "tpot_p99_ms"),
        (Quantity.E2E, "e2e_latency_ms"),
    ):
        value = optional(row, column)
        if value:
            found[quantity] = value * _MS
    if not found:
        raise UnscorableError("no rate and no latency was measured")
    return found


def _per_gpu(row: Row, stem: str) -> float | None:
    """The rate per GPU: as stated, else the total over the GPUs."""
    stated = optional(row, f"{stem}_per_gpu")
    if stated:
        return stated
    total = optional(row, f"{stem}_total")
    return total / number(row, "n_gpus") if total else None


def answer_s(asked: ServingQuestion, *, constants: ServingCalibration) -> dict[Quantity, float]:
    """Predicted seconds of every quantity that the row's mode has."""
    at = deployment(asked.model, asked.gpu, asked.replica, constants=constants)
    if asked.mode is Mode.PREFILL:
        point = prompts_only(at, asked.traffic)
        return {Quantity.PROMPT_THROUGHPUT: _per_token(point, point.input_tokens_per_s)}
    if asked.mode is Mode.SATURATED:
        point = saturated(at, asked.traffic)
        return {Quantity.THROUGHPUT: _per_token(point, point.output_tokens_per_s)}
    if asked.mode is Mode.CLOSED:
        assert asked.concurrency is not None
        point = at_concurrency(at, asked.traffic, concurrency=asked.concurrency)
        slowest = float(tail_ttft_of_loop_s(at, asked.traffic, point)[0])
        return _latencies(at, point) | {Quantity.TTFT_P99: slowest}
    return _served(at, asked)


def _served(at: Deployment, asked: ServingQuestion) -> dict[Quantity, float]:
    """The best rate under the limits; latencies at the rate that was served, where it is stated.

    The rate is the load under which latencies were measured, and no throughput is taken from it.
    """
    best = best_under(at, asked.traffic, asked.slo)
    if best is None:
        raise UnscorableError("no load keeps the limits on latency, by these equations")
    found = _latencies(at, best)
    if asked.requests_per_s is None:
        return found
    rate = asked.requests_per_s
    loaded = _latencies(at, loaded_under(at, asked.traffic, asked.slo, requests_per_s=rate))
    return loaded | {Quantity.THROUGHPUT: found[Quantity.THROUGHPUT]}


def _latencies(at: Deployment, point: ServingPoint) -> dict[Quantity, float]:
    return {
        Quantity.THROUGHPUT: _per_token(point, point.output_tokens_per_s),
        Quantity.TTFT: float(point.ttft_s[0]),
        Quantity.TTFT_P99: float(tail_ttft_s(at, point)[0]),
        Quantity.TPOT: float(point.tpot_s[0]),
        Quantity.TPOT_P99: float(tail_tpot_s(at, point)[0]),
        Quantity.E2E: float(point.e2e_s[0]),
    }


def _per_token(point: ServingPoint, tokens_per_s: np.ndarray) -> float:
    return float(point.num_gpus / tokens_per_s[0])
