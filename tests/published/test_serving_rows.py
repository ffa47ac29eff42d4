"""Published serving runs: one row in seven of each source, and every row of the small ones.

``serving_rows.csv`` holds them with their sources. The bounds say how good these equations are and
keep them from getting worse unnoticed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gigafactory.catalog.tables import read_table
from gigafactory.describe.errors import InputError
from gigafactory.plan.serving_table import ServingTable
from gigafactory.report.score import score

FILE = Path("tests/published/serving_rows.csv")


@pytest.fixture(scope="module")
def scored():
    return score(read_table(FILE))


def test_the_table_is_told_by_its_columns(tmp_path):
    assert isinstance(read_table(FILE), ServingTable)
    bad = tmp_path / "bad.csv"
    bad.write_text(FILE.read_text(encoding="utf-8").replace("serving_mode", "mode", 1), "utf-8")
    with pytest.raises(InputError, match=r"not a table of serving runs; .* serving_mode"):
        read_table(bad)


def test_the_document_keeps_the_contract(scored):
    assert scored["by"].keys() == {"quantity", "gpu", "kind", "source", "framework", "scale"}
    for row in scored["rows"]:
        assert row["quantity"]
        if row["skipped"] is None:
            assert row["error"] == pytest.approx(row["predicted"] / row["measured"] - 1)
            assert row["low"] < row["predicted"] < row["high"]
        else:
            assert row["error"] is None
    summary = scored["summary"]
    assert summary["num_rows"] == len(scored["rows"])
    for groups in scored["by"].values():
        assert sum(group["num_rows"] for group in groups.values()) == summary["num_rows"]


def test_intervals_hold_about_four_measured_values_in_five(scored):
    assert 0.75 <= scored["summary"]["interval_coverage"] <= 0.88
    rows = [row for row in scored["rows"] if row["skipped"] is None]
    held = sum(row["low"] <= row["measured"] <= row["high"] for row in rows)
    assert scored["summary"]["interval_coverage"] == pytest.approx(held / len(rows))


@pytest.mark.parametrize(
    ("quantity", "median"),
    [("throughput", 0.1), ("tpot", 0.08), ("tpot_p99", 0.08), ("ttft", 0.27), ("ttft_p99", 0.32)],
)
def test_half_of_what_was_measured_is_met_within(scored, quantity, median):
    assert scored["by"]["quantity"][quantity]["median_abs_error"] < median


def test_rows_that_leave_too_much_open_are_not_scored(scored):
    reasons = " ".join(row["skipped"] or "" for row in scored["rows"])
    for word in ("precision is not stated", "how many requests", "no architecture", "trust C"):
        assert word in reasons
