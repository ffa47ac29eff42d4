"""Reading tables of measured runs (CSV)."""

from __future__ import annotations

import csv
from pathlib import Path

from gigafactory.catalog.entries import body, names
from gigafactory.describe.cluster import Gpu
from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Model
from gigafactory.plan.serving_table import ServingTable
from gigafactory.plan.table import TrainingTable

#: Columns by which a table of training runs is told.
TRAINING_COLUMNS = frozenset(
    (
        *("row_id", "source_id", "trust", "gpu_class", "n_gpus", "seq_len", "precision"),
        *("TP", "PP", "global_batch", "step_time_s", "derived_step_time_s"),
        *("layers", "hidden", "vocab"),
    )
)


#: Columns by which a table of serving runs is told.
SERVING_COLUMNS = frozenset(
    (
        *("row_id", "source_id", "trust", "gpu", "n_gpus", "framework", "model_id", "precision"),
        *("TP", "serving_mode", "isl", "osl", "output_tokens_per_s_total", "ttft_mean_ms"),
        "tpot_mean_ms",
    )
)


def read_table(path: Path) -> TrainingTable | ServingTable:
    """The table at ``path``, its kind told from its columns; InputError says what is wrong."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = set(reader.fieldnames or ())
            serving = _is_serving(path, header)
            rows = tuple(_row(path, reader.line_num, found) for found in reader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is not a CSV table in UTF-8: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not rows:
        raise InputError(f"{path}: has a header and no rows")
    if serving:
        return ServingTable(rows=rows, gpus=catalog_gpus(), models=catalog_models())
    return TrainingTable(rows=rows, gpus=catalog_gpus())


def catalog_gpus() -> dict[str, Gpu]:
    """Every GPU of the catalog by its name."""
    return {name: Gpu.model_validate(body(Gpu, name)) for name in names(Gpu)}


def catalog_models() -> dict[str, Model]:
    """Every model of the catalog by its name."""
    return {name: Model.model_validate(body(Model, name)) for name in names(Model)}


def _is_serving(path: Path, header: set[str]) -> bool:
    """Whether the columns are those of serving runs; InputError where they are of neither kind."""
    training, serving = TRAINING_COLUMNS - header, SERVING_COLUMNS - header
    if training and serving:
        kind, missing = min(
            (("training", training), ("serving", serving)), key=lambda each: len(each[1])
        )
        lacking = ", ".join(sorted(missing))
        raise InputError(f"{path}: is not a table of {kind} runs; it lacks the columns {lacking}")
    return not serving and bool(training)


def _row(path: Path, line: int, found: dict[str | None, str | None]) -> dict[str, str]:
    if None in found or None in found.values():
        raise InputError(f"{path}:{line}: has another number of fields than the header")
    return {str(key): str(value) for key, value in found.items()}
