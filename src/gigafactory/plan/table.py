"""Published training runs as questions to the equations: rows of a table in, predictions out.

A row is a mapping of the columns of ``training_runs.csv`` to text. What a row does not say is taken
as engines of its kind and year do it; a row that leaves too much open is skipped with the reason.
Nothing here looks at who published a row, its number, or what its model is called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from gigafactory.cost.calibration import Calibration
from gigafactory.cost.columns import columns_of
from gigafactory.cost.engine import Engine
from gigafactory.cost.step import Breakdown, step_time
from gigafactory.cost.uncertainty import interval_s
from gigafactory.describe.cluster import Cluster, Gpu, Precision
from gigafactory.describe.job import Job
from gigafactory.describe.layout import Layout
from gigafactory.describe.model import Model
from gigafactory.plan.reading import (
    UnscorableError,
    cluster_of,
    engine_of,
    gpu_name_of,
    layout_of,
    measured_step_s,
    model_of,
    number,
    precision_of,
)

Row = Mapping[str, str]
#: What rows of one sweep have in common; they differ in their layout.
_SWEEP = ("source_id", "model_id", "layers", "gpu_class", "n_gpus", "seq_len", "global_batch",
          "precision")  # fmt: skip


@dataclass(frozen=True)
class TrainingTable:
    """A table of measured training runs, and the GPUs its rows may name."""

    rows: tuple[Row, ...]
    gpus: Mapping[str, Gpu]


@dataclass(frozen=True)
class Question:
    """What one row asks."""

    model: Model
    job: Job
    cluster: Cluster
    layout: Layout
    engine: Engine


@dataclass(frozen=True)
class RowPrediction:
    """One row: measured and predicted seconds of a step, or why it was not scored."""

    row_id: str
    gpu: str
    kind: str
    """Dense or experts, and the number format."""
    source: str
    framework: str = ""
    """Without its version."""
    scale: str = ""
    """GPUs of the run, in powers of four."""
    sweep: str = ""
    """What it shares with rows that differ in their layout alone."""
    measured_s: float | None = None
    predicted_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    """Four of five measured steps are expected between the two."""
    skipped: str | None = None

    @property
    def inside(self) -> bool:
        """Whether the interval holds the measured step; False where the row was skipped."""
        if self.measured_s is None or self.low_s is None or self.high_s is None:
            return False
        return self.low_s <= self.measured_s <= self.high_s

    @property
    def error(self) -> float | None:
        """predicted / measured - 1; None where the row was skipped."""
        if self.measured_s is None or self.predicted_s is None:
            return None
        return self.predicted_s / self.measured_s - 1


def predict_rows(
    rows: Sequence[Row], gpus: Mapping[str, Gpu], *, constants: Calibration | None = None
) -> list[RowPrediction]:
    """Predict the step time of every row that says enough; in the order given."""
    return [_predict(row, gpus, constants) for row in rows]


def question(row: Row, gpus: Mapping[str, Gpu]) -> tuple[Question, float]:
    """(what the row asks, measured seconds of a step); ``UnscorableError`` says what is missing."""
    measured_s = measured_step_s(row)
    gpu = _gpu(row, gpus)
    precision = precision_of(row)
    if precision not in gpu.peak_flops_per_s:
        raise UnscorableError(f"the catalog knows no {precision} rate of a {gpu.name}")
    layout = layout_of(row, precision=precision)
    asked = Question(
        model=model_of(row),
        job=_job(row, precision),
        cluster=cluster_of(row, gpu=gpu),
        layout=layout,
        engine=engine_of(row),
    )
    if asked.job.global_batch < layout.dp * layout.micro_batch:
        raise UnscorableError("global_batch is smaller than DP x micro_batch")
    return asked, measured_s


def answer(asked: Question, *, constants: Calibration | None = None) -> Breakdown:
    """The predicted step, taken apart."""
    return step_time(
        asked.model,
        asked.job,
        asked.cluster,
        columns_of(asked.layout),
        engine=asked.engine,
        constants=constants,
    )


def answer_s(asked: Question, *, constants: Calibration | None = None) -> float:
    """Predicted seconds of a step."""
    return float(answer(asked, constants=constants).step_s[0])


def _predict(row: Row, gpus: Mapping[str, Gpu], constants: Calibration | None) -> RowPrediction:
    told = RowPrediction(
        row_id=row.get("row_id", ""),
        gpu=row.get("gpu_class", ""),
        kind=_kind(row),
        source=row.get("source_id", ""),
        framework=re.split(r"[\d(,]", row.get("framework", ""))[0].strip(" -/"),
        scale=_scale(row),
        sweep=" ".join(row.get(key, "") for key in _SWEEP),
    )
    try:
        asked, measured_s = question(row, gpus)
        parts = answer(asked, constants=constants)
    except UnscorableError as reason:
        return replace(told, skipped=str(reason))
    except ValueError as error:
        return replace(told, skipped=f"not a possible run: {_first_message(error)}")
    experts = asked.model.num_experts > 0
    low, high = interval_s(parts, has_experts=experts, constants=constants)
    return replace(
        told,
        measured_s=measured_s,
        predicted_s=float(parts.step_s[0]),
        low_s=float(low[0]),
        high_s=float(high[0]),
    )


def _scale(row: Row) -> str:
    """``64 to 255 GPUs``; empty where the number is not stated."""
    try:
        gpus = int(float(row.get("n_gpus", "")))
    except ValueError:
        return ""
    least = 1
    while 4 * least <= gpus:
        least *= 4
    return f"{least} to {4 * least - 1} GPUs"


def _first_message(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return str(error.errors(include_url=False)[0]["msg"])
    return str(error)


def _kind(row: Row) -> str:
    body = "experts" if row.get("experts", "") not in ("", "0") else "dense"
    try:
        return f"{body} {precision_of(row)}"
    except UnscorableError:
        return f"{body}, format not stated"


def _gpu(row: Row, gpus: Mapping[str, Gpu]) -> Gpu:
    name = gpu_name_of(row)
    if name not in gpus:
        raise UnscorableError(f"the catalog has no GPU {row.get('gpu_class', '')!r}")
    return gpus[name]


def _job(row: Row, precision: Precision) -> Job:
    return Job(
        tokens=1e9,
        seq_len=int(number(row, "seq_len")),
        global_batch=int(number(row, "global_batch")),
        precision=precision,
    )
