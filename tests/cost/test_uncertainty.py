"""Intervals: wide where the step is made of what is known badly."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from gigafactory.cost.calibration import published
from gigafactory.cost.step import Breakdown
from gigafactory.cost.uncertainty import GROUPS, interval_s, log_spread

C = published()


def step(**seconds):
    return Breakdown(
        **{f.name: np.array([float(seconds.get(f.name, 0.0))]) for f in fields(Breakdown)}
    )


def test_every_part_of_a_step_has_a_spread():
    members = [name for group in GROUPS.values() for name in group]
    assert sorted(members) == sorted(f.name for f in fields(Breakdown))


def test_a_step_of_one_part_is_as_uncertain_as_the_part():
    spread = log_spread(step(ep_comm_s=3.0))
    assert spread[0] == pytest.approx(np.hypot(C.spread_experts, C.spread_any))


def test_expert_traffic_is_known_less_well_than_products():
    assert log_spread(step(gemm_s=1.0)) < log_spread(step(gemm_s=0.5, ep_comm_s=0.5))


def test_the_interval_holds_the_prediction_and_is_even_in_the_logarithm():
    parts = step(gemm_s=4.0, host_s=1.0, dp_comm_s=0.5)
    low, high = interval_s(parts)
    assert low < parts.step_s < high
    assert np.sqrt(low * high) == pytest.approx(parts.step_s)


def test_the_interval_has_no_unit():
    parts = step(gemm_s=4.0, host_s=1.0)
    longer = Breakdown(**{name: 60 * value for name, value in parts.parts().items()})
    assert interval_s(longer)[1] == pytest.approx(60 * interval_s(parts)[1])


def test_without_spread_there_is_no_interval():
    none = dict.fromkeys((*GROUPS, "spread_any", "spread_with_experts"), 0.0)
    low, high = interval_s(step(gemm_s=1.0), constants=replace(C, **none))
    assert low[0] == high[0] == 1.0


def test_experts_add_a_spread_of_their_own():
    parts = step(gemm_s=1.0)
    plain, experts = log_spread(parts)[0], log_spread(parts, has_experts=True)[0]
    assert experts**2 - plain**2 == pytest.approx(C.spread_with_experts**2)
    assert interval_s(parts, has_experts=True)[0] < interval_s(parts)[0]
