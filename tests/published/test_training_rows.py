"""Step times of published runs: one configuration in four of each source.

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
    assert scored.keys() == {"rows", "summary", "by", "sweeps", "memory", "fits"}
    assert scored["by"].keys() == {"gpu", "kind", "source", "framework", "scale"}
    for row in scored["rows"]:
        assert row.keys() == {
            "row_id", "measured", "predicted", "error", "skipped", "low", "high"
        }  # fmt: skip
        if row["skipped"] is None:
            assert row["error"] == pytest.approx(row["predicted"] / row["measured"] - 1)
        else:
            assert row["error"] is None
    summary = scored["summary"]
    assert summary["num_rows"] == len(scored["rows"])
    assert summary["num_skipped"] == sum(row["skipped"] is not None for row in scored["rows"])
    for groups in scored["by"].values():
        assert sum(group["num_rows"] for group in groups.values()) == summary["num_rows"]


def test_half_of_the_runs_are_met_within_a_sixteenth(scored):
    assert scored["summary"]["median_abs_error"] < 0.0625
    assert scored["summary"]["p90_abs_error"] < 0.20
    assert abs(scored["summary"]["bias"]) < 0.03


@pytest.mark.parametrize(
    ("group", "name", "median", "p90"),
    [
        ("gpu", "H100-80GB-SXM", 0.055, 0.18),
        ("gpu", "A100-80GB", 0.06, 0.20),
        ("gpu", "B200", 0.07, 0.15),
        ("gpu", "GB300", 0.07, 0.15),
        ("kind", "dense fp8", 0.04, 0.17),
        ("kind", "dense bf16", 0.055, 0.18),
        ("kind", "experts fp8", 0.085, 0.26),
    ],
)
def test_groups_of_runs_are_met_as_well_as_they_were(scored, group, name, median, p90):
    found = scored["by"][group][name]
    assert found["median_abs_error"] < median
    assert found["p90_abs_error"] < p90


def test_four_of_five_runs_lie_in_their_interval(scored):
    assert 0.75 < scored["summary"]["interval_coverage"] < 0.87


def test_what_is_predicted_fastest_is_near_the_fastest(scored):
    assert scored["sweeps"]["num_sweeps"] >= 4
    assert scored["sweeps"]["median_loss"] < 0.03


def test_runs_without_a_time_or_a_layout_are_not_scored(scored):
    reasons = {row["skipped"] for row in scored["rows"] if row["skipped"]}
    assert any("FLOP rate" in reason for reason in reasons)
    assert any("uncertain" in reason for reason in reasons)


def test_nothing_scored_gives_no_figures():
    summary = score_training([])["summary"]
    assert summary["median_abs_error"] is summary["p90_abs_error"] is summary["bias"] is None
