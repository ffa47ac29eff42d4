"""Tables: a prediction depends on a row's hardware, software and layout, and on nothing else."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gigafactory.catalog.tables import catalog_gpus, read_table
from gigafactory.describe.errors import InputError
from gigafactory.plan.table import predict_rows

FILE = Path("tests/published/training_rows.csv")


@pytest.fixture
def rows():
    with FILE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_who_published_a_row_changes_nothing(rows):
    renamed = [
        row | {"source_id": "s", "row_id": "r", "source": "x", "org": "y", "model": "z",
               "locator": "", "model_id": "w"}
        for row in rows
    ]  # fmt: skip
    gpus = catalog_gpus()
    told = [(r.measured_s, r.predicted_s, r.skipped) for r in predict_rows(rows, gpus)]
    assert [(r.measured_s, r.predicted_s, r.skipped) for r in predict_rows(renamed, gpus)] == told


def test_what_was_measured_does_not_enter_the_prediction(rows):
    gpus = catalog_gpus()
    faster = [
        {k: "0.001" if v and k in ("step_time_s", "derived_step_time_s") else v
         for k, v in row.items()}
        for row in rows
    ]  # fmt: skip
    told = [r.predicted_s for r in predict_rows(rows, gpus)]
    assert [r.predicted_s for r in predict_rows(faster, gpus)] == told


def test_an_impossible_run_is_skipped_with_the_reason(rows):
    gpus = catalog_gpus()
    row = next(r for r in rows if r["experts"] and r["step_time_s"] + r["derived_step_time_s"])
    (told,) = predict_rows([row | {"EP": "7"}], gpus)
    assert told.skipped is not None
    assert "does not divide" in told.skipped
    assert told.error is None
    (unknown,) = predict_rows([row | {"gpu_class": "TPU"}], gpus)
    assert unknown.skipped == "the catalog has no GPU 'TPU'"
    (narrow,) = predict_rows([row | {"gpu_class": "A100-80GB", "precision": "fp8"}], gpus)
    assert "fp8" in str(narrow.skipped)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no such file"),
        ("", "lacks the columns"),
        ("a,b\n1,2\n", "lacks the columns"),
        (b"\xff\xfe\x00", "not a CSV table"),
    ],
)
def test_files_that_are_no_such_table(tmp_path, text, told):
    path = tmp_path / "table.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=told) as refused:
        read_table(path)
    assert str(path) in str(refused.value)


def test_a_torn_row_is_refused_with_its_line(tmp_path):
    lines = FILE.read_text(encoding="utf-8").splitlines()
    path = tmp_path / "table.csv"
    path.write_text(lines[0] + "\nx,y,z\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"table\.csv:2: "):
        read_table(path)
    path.write_text(lines[0] + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="no rows"):
        read_table(path)
