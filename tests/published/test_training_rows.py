"""Step times of published runs: one configuration in nine of each source.

``training_rows.csv`` holds them with their sources. The bounds say how good this cost model is
and keep it from getting worse unnoticed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gigafactory.catalog.tables import read_table
from gigafactory.report.score import score, score_training

FILE = Path("tests/published/training_rows.csv")


@pytest.fixture(scope="module")
def scored():
    return score(read_table(FILE))


def test_the_document_keeps_the_contract(scored):
    assert scored.keys() == {"rows", "summary", "by", "memory", "fits"}
    assert scored["by"].keys() == {"gpu", "kind", "source"}
    for row in scored["rows"]:
        assert row.keys() == {"row_id", "measured", "predicted", "error", "skipped"}
        if row["skipped"] is None:
            assert row["error"] == pytest.approx(row["predicted"] / row["measured"] - 1)
        else:
            assert row["error"] is None
    summary = scored["summary"]
    assert summary["num_rows"] == len(scored["rows"])
    assert summary["num_skipped"] == sum(row["skipped"] is not None for row in scored["rows"])
    for groups in scored["by"].values():
        assert sum(group["num_rows"] for group in groups.values()) == summary["num_rows"]


def test_half_of_the_runs_are_met_within_an_eighth(scored):
    assert scored["summary"]["median_abs_error"] < 0.125
    assert scored["summary"]["p90_abs_error"] < 0.35
    assert abs(scored["summary"]["bias"]) < 0.08


def test_runs_without_a_time_or_a_layout_are_not_scored(scored):
    reasons = {row["skipped"] for row in scored["rows"] if row["skipped"]}
    assert any("FLOP rate" in reason for reason in reasons)
    assert any("uncertain" in reason for reason in reasons)


def test_nothing_scored_gives_no_figures():
    summary = score_training([])["summary"]
    assert summary["median_abs_error"] is summary["p90_abs_error"] is summary["bias"] is None
