"""Order inside a sweep of layouts."""

from __future__ import annotations

import numpy as np
import pytest

from gigafactory.plan.table import RowPrediction
from gigafactory.report.sweeps import orders, spearman


def row(measured, predicted, sweep="a"):
    return RowPrediction(
        row_id="", gpu="", kind="", source="", sweep=sweep,
        measured_s=measured, predicted_s=predicted,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("other", "expected"),
    [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], -1.0), ([1, 3, 2, 4], 0.8), ([5, 5, 5, 5], None)],
)
def test_spearman_by_hand(other, expected):
    found = spearman(np.array([1.0, 2, 3, 4]), np.array(other, dtype=float))
    assert found == (pytest.approx(expected) if expected is not None else None)


def test_ties_share_their_rank():
    # ranks 1, 2.5, 2.5, 4 against 1 to 4
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4])) == pytest.approx(0.9486833)


def test_the_loss_is_what_the_layout_chosen_costs_over_the_best():
    rows = [row(1.0, 1.3), row(1.1, 1.2), row(2.0, 1.9), row(3.0, 3.2)]
    told = orders(rows)
    assert told["num_sweeps"] == 1
    assert told["max_loss"] == pytest.approx(0.1)
    assert told["median_spearman"] == pytest.approx(0.8)


def test_fewer_than_four_layouts_are_no_sweep():
    assert orders([row(1, 1), row(2, 2), row(3, 3)])["num_sweeps"] == 0
    alike = orders([row(t, 1.0) for t in (1, 2, 3, 4, 5)])
    assert alike["num_sweeps"] == 0
