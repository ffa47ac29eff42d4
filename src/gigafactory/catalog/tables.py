"""Reading tables of measured runs and published campaigns (CSV)."""

from __future__ import annotations

import csv
from enum import Enum
from pathlib import Path

from gigafactory.catalog.entries import body, names
from gigafactory.describe.cluster import Gpu
from gigafactory.describe.errors import InputError
from gigafactory.describe.faults import Faults
from gigafactory.describe.model import Model
from gigafactory.plan.outcome_table import OutcomeTable
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


#: Columns by which a table of published campaigns is told.
OUTCOME_COLUMNS = frozenset(
    (
        *("row_id", "system", "scale_gpus", "period", "published_inputs", "metric"),
        *("published_value", "accept_band", "repro_method", "validation_class", "source"),
    )
)

#: Whose start curves a table of campaigns is compared with.
_START_CURVES = "llama3-16k"


class _Kind(Enum):
    """What a table is about, told from its columns."""

    TRAINING = ("training runs", TRAINING_COLUMNS)
    SERVING = ("serving runs", SERVING_COLUMNS)
    OUTCOMES = ("published campaigns", OUTCOME_COLUMNS)


def read_table(path: Path) -> TrainingTable | ServingTable | OutcomeTable:
    """The table at ``path``, its kind told from its columns; InputError says what is wrong."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = set(reader.fieldnames or ())
            kind = _kind(path, header)
            rows = tuple(_row(path, reader.line_num, found) for found in reader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is not a CSV table in UTF-8: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not rows:
        raise InputError(f"{path}: has a header and no rows")
    if kind is _Kind.OUTCOMES:
        _refuse_doubles(path, [row["row_id"] for row in rows])
        faults = Faults.model_validate(body(Faults, _START_CURVES))
        return OutcomeTable(rows=rows, faults=faults)
    if kind is _Kind.SERVING:
        return ServingTable(rows=rows, gpus=catalog_gpus(), models=catalog_models())
    return TrainingTable(rows=rows, gpus=catalog_gpus())


def catalog_gpus() -> dict[str, Gpu]:
    """Every GPU of the catalog by its name."""
    return {name: Gpu.model_validate(body(Gpu, name)) for name in names(Gpu)}


def catalog_models() -> dict[str, Model]:
    """Every model of the catalog by its name."""
    return {name: Model.model_validate(body(Model, name)) for name in names(Model)}


def _kind(path: Path, header: set[str]) -> _Kind:
    """Told from the columns; InputError names what the likeliest kind lacks."""
    lacking = {kind: kind.value[1] - header for kind in _Kind}
    whole = [kind for kind in _Kind if not lacking[kind]]
    if whole:
        return whole[0]
    kind = min(_Kind, key=lambda each: len(lacking[each]))
    missing = ", ".join(sorted(lacking[kind]))
    raise InputError(f"{path}: is not a table of {kind.value[0]}; it lacks the columns {missing}")


def _refuse_doubles(path: Path, ids: list[str]) -> None:
    doubles = sorted({name for name in ids if ids.count(name) > 1})
    if doubles:
        raise InputError(f"{path}: row_id must be unique; more than once: {', '.join(doubles)}")


def _row(path: Path, line: int, found: dict[str | None, str | None]) -> dict[str, str]:
    if None in found or None in found.values():
        raise InputError(f"{path}:{line}: has another number of fields than the header")
    return {str(key): str(value) for key, value in found.items()}
