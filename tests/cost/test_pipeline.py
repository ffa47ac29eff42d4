"""Bubble, stages, microbatches in flight, against small cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gigafactory.cost.columns import columns_of
from gigafactory.cost.pipeline import (
    bubble_s,
    layers_of_fullest_stage,
    layers_of_last_stage,
    microbatches_in_flight,
    slowest_stage_s,
)
from gigafactory.describe.layout import Layout


def test_the_bubble_is_p_minus_1_over_v():
    columns = columns_of(Layout(), Layout(pp=4), Layout(pp=4, vpp=3))
    assert bubble_s(np.full(3, 2.0), columns=columns) == pytest.approx([0.0, 6.0, 2.0])


def test_uneven_layers_leave_the_last_stage_one_less():
    # 126 layers and two tables on 16 stages of 8 (Llama 3 405B, arXiv:2407.21783 section 3.3.2)
    columns = columns_of(Layout(pp=16), Layout(pp=18))
    assert layers_of_fullest_stage(columns, num_layers=126).tolist() == [8, 7]
    assert layers_of_last_stage(columns, num_layers=126).tolist() == [7, 7]


def test_the_last_stage_is_slowest_when_the_projection_outweighs_a_layer():
    columns = columns_of(Layout(pp=16), Layout(pp=18))
    slowest = slowest_stage_s(
        np.array([1.0, 1.0]), head_s=np.array([0.5, 0.5]), columns=columns, num_layers=126
    )
    assert slowest.tolist() == [8.0, 7.5]


@pytest.mark.parametrize(
    ("layout", "microbatches", "alive"),
    [
        (Layout(pp=4), 32.0, 4.0),
        (Layout(pp=4), 2.0, 2.0),
        (Layout(), 32.0, 1.0),
        # 2*(p-1) + (v-1)*p + 1 = 11 chunks of half a stage
        (Layout(pp=4, vpp=2), 32.0, 5.5),
    ],
)
def test_microbatches_in_flight(layout, microbatches, alive):
    columns = columns_of(layout)
    assert microbatches_in_flight(columns, microbatches=np.array([microbatches]))[0] == alive
