"""Memory of published runs: predicted against stated, and whether runs that happened would fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gigafactory.cost.calibration import Calibration, published
from gigafactory.cost.columns import columns_of
from gigafactory.cost.memory import Memory, memory
from gigafactory.cost.memory_keeping import Keeping
from gigafactory.describe.cluster import Gpu
from gigafactory.describe.layout import Layout
from gigafactory.plan.memory_reading import Counted, counted_of, keeping_of, leanest
from gigafactory.plan.reading import UnscorableError, number
from gigafactory.plan.table import Question, question

Row = Mapping[str, str]

#: Programs divide by 2^30 and call it GB.
_GIBIBYTE = 2.0**30


@dataclass(frozen=True)
class MemoryPrediction:
    """One row that states its memory: measured and predicted bytes, or why it was not scored."""

    row_id: str
    source: str
    gpu: str
    counted: Counted
    measured_bytes: float | None = None
    predicted_bytes: float | None = None
    skipped: str | None = None

    @property
    def error(self) -> float | None:
        """predicted / measured - 1; None where the row was skipped."""
        if self.measured_bytes is None or self.predicted_bytes is None:
            return None
        return self.predicted_bytes / self.measured_bytes - 1


@dataclass(frozen=True)
class FitPrediction:
    """Whether a run that happened fits by these equations, read as lean as it can be."""

    row_id: str
    predicted_bytes: float
    """Of the leanest reading."""
    usual_bytes: float
    """Of the usual reading."""
    usable_bytes: float
    assumed: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """By the leanest reading."""
        return self.predicted_bytes <= self.usable_bytes

    @property
    def fits_as_usual(self) -> bool:
        """By the usual reading."""
        return self.usual_bytes <= self.usable_bytes


def predict_memory(
    rows: Sequence[Row], gpus: Mapping[str, Gpu], *, constants: Calibration | None = None
) -> list[MemoryPrediction]:
    """Every row with ``mem_gb``, in the order given."""
    return [_stated(row, gpus, constants) for row in rows if row.get("mem_gb", "").strip()]


def predict_fits(
    rows: Sequence[Row], gpus: Mapping[str, Gpu], *, constants: Calibration | None = None
) -> list[FitPrediction]:
    """Every row that can be read; the others are in the list of step times with their reason."""
    c = constants or published()
    found = []
    for row in rows:
        try:
            asked, _ = question(row, gpus)
        except ValueError:
            continue
        found.append(_fit(row, asked, c))
    return found


def _stated(row: Row, gpus: Mapping[str, Gpu], constants: Calibration | None) -> MemoryPrediction:
    counted = counted_of(row)
    told = MemoryPrediction(
        row_id=row.get("row_id", ""),
        source=row.get("source_id", ""),
        gpu=row.get("gpu_class", ""),
        counted=counted,
    )
    try:
        # memory needs no time, and a row may well state the one without the other
        asked, _ = question({**row, "step_time_s": "1"}, gpus)
        measured = number(row, "mem_gb") * _GIBIBYTE
        if not measured:
            raise UnscorableError("mem_gb is 0")
    except UnscorableError as reason:
        return replace(told, skipped=str(reason))
    except ValueError as error:
        return replace(told, skipped=f"not a possible run: {error}")
    held = _memory(asked, asked.layout, _keeping(row, asked), constants)
    return replace(told, measured_bytes=measured, predicted_bytes=_bytes(held, counted))


def _bytes(held: Memory, counted: Counted) -> float:
    by_meaning = {
        Counted.ALLOCATED: held.allocated_bytes,
        Counted.RESERVED: held.reserved_bytes,
        Counted.DEVICE: held.total_bytes,
    }
    return float(by_meaning[counted][0])


def _fit(row: Row, asked: Question, c: Calibration) -> FitPrediction:
    # before an allocator fails it gives back what it holds between its tensors
    keeping = replace(_keeping(row, asked), early_allocator=False)
    lean = leanest(row, layout=asked.layout, keeping=keeping)
    return FitPrediction(
        row_id=row.get("row_id", ""),
        predicted_bytes=float(_memory(asked, lean.layout, lean.keeping, c).total_bytes[0]),
        usual_bytes=float(_memory(asked, asked.layout, keeping, c).total_bytes[0]),
        usable_bytes=asked.cluster.host.gpu.memory_bytes * c.usable_memory,
        assumed=lean.assumed,
    )


def _keeping(row: Row, asked: Question) -> Keeping:
    return keeping_of(row, precision=asked.job.precision, year=asked.engine.year)


def _memory(
    asked: Question, layout: Layout, keeping: Keeping, constants: Calibration | None
) -> Memory:
    return memory(
        asked.model,
        asked.job,
        asked.cluster,
        columns_of(layout),
        engine=asked.engine,
        keeping=keeping,
        constants=constants,
    )
