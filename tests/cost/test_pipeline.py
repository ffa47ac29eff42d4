"""Bubble, stages, microbatches in flight, against small cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gigafactory.cost.columns import columns_of
from gigafactory.cost.pipeline import (
    Passes,
    bubble_s,
    layers_of_fullest_stage,
    layers_of_last_stage,
    microbatches_in_flight,
    parameter_copies,
    recomputed_share,
    slowest_stage_s,
)
from gigafactory.describe.layout import Layout, Schedule


def passes(forward, backward, weight, count):
    return Passes(*(np.full(count, float(t)) for t in (forward, backward, weight)))


def test_the_bubble_is_p_minus_1_over_v():
    columns = columns_of(Layout(), Layout(pp=4), Layout(pp=4, vpp=3))
    told = bubble_s(passes(0.5, 1.5, 0.7, 3), columns=columns)
    assert told == pytest.approx([0.0, 6.0, 2.0])


def test_the_published_bubbles_of_other_schedules():
    columns = columns_of(
        Layout(pp=8),
        Layout(pp=8, schedule=Schedule.ZERO_BUBBLE),
        Layout(pp=8, schedule=Schedule.DUAL),
        Layout(pp=8, schedule=Schedule.DUAL_V),
    )
    # arXiv:2412.19437 table 2 with F = 1, B = 2, W = 1: 7 x 3, 7 x 1, 3 x (3 + 2 - 3)
    told = bubble_s(passes(1, 2, 1, 4), columns=columns)
    # DualPipeV on 8 ranks is DualPipe with 16 stages of half the size: 7 x (3 + 2 - 3) / 2
    assert told == pytest.approx([21, 7, 6, 7])
    assert parameter_copies(columns).tolist() == [1, 1, 2, 1]
    alive = microbatches_in_flight(columns, microbatches=np.full(4, 64.0))
    assert alive.tolist() == [8, 8, 9, 8.5]


def test_no_bubble_is_shorter_than_nothing():
    columns = columns_of(*(Layout(pp=4, schedule=s) for s in Schedule))
    assert (bubble_s(passes(0.1, 1.0, 1.0, 4), columns=columns) >= 0).all()


def test_the_input_table_loads_the_first_stage():
    columns = columns_of(
        Layout(pp=4), Layout(pp=4, schedule="dual"), Layout(pp=4, schedule="dual_v"), Layout()
    )
    slowest = slowest_stage_s(
        np.ones(4), head_s=np.full(4, 0.5), embedding_s=np.full(4, 0.7), columns=columns,
        num_layers=8,
    )  # fmt: skip
    # the first of two ends; half of both; both; both
    assert slowest == pytest.approx([2.7, 2.6, 3.2, 9.2])


def test_a_part_of_the_layers_is_recomputed():
    columns = columns_of(
        *(Layout(pp=4, vpp=2, recompute="full", recompute_layers=n) for n in (0, 1, 3, 9)),
        Layout(pp=4, schedule="dual_v", recompute="full", recompute_layers=1),
        Layout(pp=4, schedule="dual", recompute="full", recompute_layers=3),
    )
    told = recomputed_share(columns, num_layers=24)
    assert told == pytest.approx([1, 1 / 3, 1, 1, 1 / 3, 1 / 2])


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
