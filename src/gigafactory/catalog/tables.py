"""Reading tables of measured runs (CSV)."""

from __future__ import annotations

import csv
from pathlib import Path

from gigafactory.catalog.entries import body, names
from gigafactory.describe.cluster import Gpu
from gigafactory.describe.errors import InputError
from gigafactory.plan.table import TrainingTable

#: Columns by which a table of training runs is told.
TRAINING_COLUMNS = frozenset(
    (
        *("row_id", "source_id", "trust", "gpu_class", "n_gpus", "seq_len", "precision"),
        *("TP", "PP", "global_batch", "step_time_s", "derived_step_time_s"),
        *("layers", "hidden", "vocab"),
    )
)


def read_table(path: Path) -> TrainingTable:
    """The table at ``path``, its kind told from its columns; InputError says what is wrong."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = set(reader.fieldnames or ())
            _check_header(path, header)
            rows = tuple(_row(path, reader.line_num, found) for found in reader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is not a CSV table in UTF-8: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not rows:
        raise InputError(f"{path}: has a header and no rows")
    return TrainingTable(rows=rows, gpus=catalog_gpus())


def catalog_gpus() -> dict[str, Gpu]:
    """Every GPU of the catalog by its name."""
    return {name: Gpu.model_validate(body(Gpu, name)) for name in names(Gpu)}


def _check_header(path: Path, header: set[str]) -> None:
    missing = sorted(TRAINING_COLUMNS - header)
    if missing:
        raise InputError(
            f"{path}: is not a table of training runs; it lacks the columns {', '.join(missing)}"
        )


def _row(path: Path, line: int, found: dict[str | None, str | None]) -> dict[str, str]:
    if None in found or None in found.values():
        raise InputError(f"{path}:{line}: has another number of fields than the header")
    return {str(key): str(value) for key, value in found.items()}
