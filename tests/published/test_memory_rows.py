"""Memory of published runs, and runs that happened must fit.

``memory_rows.csv`` has one row of every configuration that states its memory, with its source.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gigafactory.catalog.tables import read_table
from gigafactory.plan.memory_table import predict_fits, predict_memory
from gigafactory.report.score import score_fits, score_memory

STATED = Path("tests/published/memory_rows.csv")
ANY = Path("tests/published/training_rows.csv")


@pytest.fixture(scope="module")
def scored():
    table = read_table(STATED)
    return score_memory(predict_memory(table.rows, table.gpus))


def test_stated_memory_is_met_within_three_per_cent(scored):
    assert scored["summary"]["median_abs_error"] < 0.03
    assert scored["summary"]["p90_abs_error"] < 0.095
    assert abs(scored["summary"]["bias"]) < 0.015


def test_a_megatron_engine_is_met_within_one_per_cent_dense_and_with_experts(scored):
    allocated = scored["by"]["gpu"]["B200"]
    assert allocated["median_abs_error"] < 0.012
    assert allocated["p90_abs_error"] < 0.06


def test_rows_keep_the_contract_and_skipped_ones_say_why(scored):
    assert {row["counted"] for row in scored["rows"]} == {"allocated", "reserved", "device"}
    skipped = [row for row in scored["rows"] if row["skipped"]]
    assert skipped
    for row in scored["rows"]:
        assert row.keys() == {
            *("row_id", "counted", "measured_bytes", "predicted_bytes", "error", "skipped")
        }
        if row["skipped"] is None:
            assert row["error"] == pytest.approx(row["predicted_bytes"] / row["measured_bytes"] - 1)


@pytest.mark.parametrize("file", [STATED, ANY], ids=lambda file: file.stem)
def test_no_run_that_happened_is_called_out_of_memory(file):
    table = read_table(file)
    fits = score_fits(predict_fits(table.rows, table.gpus))
    assert fits["num_rows"] > 60
    assert fits["num_called_out_of_memory"] == 0


def test_a_run_that_cannot_have_happened_is_called_out_of_memory():
    table = read_table(ANY)
    huge = [{**row, "layers": str(50 * int(row["layers"]))} for row in table.rows if row["layers"]]
    fits = score_fits(predict_fits(huge, table.gpus))
    assert fits["num_called_out_of_memory"] > 0.5 * fits["num_rows"]
