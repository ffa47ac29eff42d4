"""Swings, dips, ramps and caps of power: worked values and bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_study
from gigafactory.cost import swings
from gigafactory.cost.watts import power_of
from gigafactory.describe.cluster import Battery, Cluster
from gigafactory.describe.errors import InputError

COLOSSUS = load_study(Path(__file__).parents[2] / "studies/colossus.yaml").cluster
WATTS = st.floats(0, 1e9)


def capped(capacity_w: float | None) -> Cluster:
    site = COLOSSUS.site.model_copy(update={"capacity_w": capacity_w})
    return COLOSSUS.model_copy(update={"site": site})


def test_the_shares_are_those_of_the_log():
    # kW of 64 nodes: mean 438.25, 1 % at 387.5, 99 % at 457.8, evaluation 408, steps -87.1, +117.3
    low_w, high_w = swings.step_band_w(438.25)
    assert low_w == pytest.approx(387.5, rel=2e-3)
    assert high_w == pytest.approx(457.8, rel=2e-3)
    assert pytest.approx(408, rel=2e-3) == 438.25 * swings.EVALUATION
    assert pytest.approx(87.06, rel=3e-3) == 438.25 * swings.FALL_2S
    assert pytest.approx(117.33, rel=3e-3) == 438.25 * swings.RISE_2S


def test_a_battery_worked_through():
    # 50 MW less for a minute are 50 MW min = 3 GJ: 20 MW with 1.2 GJ give 20 MW for that minute,
    # and 10 MW for two
    battery = Battery(power_w=20e6, energy_j=1.2e9)
    assert swings.dip_left_w(50e6, lasts_s=60, battery=battery) == pytest.approx(30e6)
    assert swings.dip_left_w(50e6, lasts_s=120, battery=battery) == pytest.approx(40e6)
    assert swings.dip_left_w(15e6, lasts_s=60, battery=battery) == 0
    assert swings.dip_left_w(50e6, lasts_s=60, battery=None) == 50e6


def test_a_ramp_worked_through():
    # 60 MW at 10 MW/min take 6 minutes; the triangle is 60 MW x 6 min / 2 = 3 MWh
    assert swings.ramp_energy_j(60e6, ramp_w_per_s=10e6 / 60) == pytest.approx(3e6 * 3600)


@given(
    depth_w=WATTS, lasts_s=st.floats(0, 1e6), power_w=st.floats(1, 1e9), energy_j=st.floats(1, 1e13)
)
def test_a_battery_never_deepens_a_dip_nor_gives_more_than_it_has(
    depth_w, lasts_s, power_w, energy_j
):
    battery = Battery(power_w=power_w, energy_j=energy_j)
    left_w = float(swings.dip_left_w(depth_w, lasts_s=lasts_s, battery=battery))
    assert 0 <= left_w <= depth_w
    given_w = depth_w - left_w
    assert given_w <= power_w * (1 + 1e-9) + depth_w * 1e-9
    assert given_w * lasts_s <= energy_j * (1 + 1e-9) + depth_w * lasts_s * 1e-9


def test_a_site_that_carries_training_slows_nothing():
    assert swings.power_slowdown(COLOSSUS, num_training_hosts=12_160) == 1.0
    assert swings.power_slowdown(capped(None), num_training_hosts=12_160) == 1.0


def test_a_cap_slows_by_the_root_of_the_dynamic_power():
    power, host = power_of(COLOSSUS), COLOSSUS.host
    dynamic_w = 12_160 * (host.training_w - host.idle_w) * power.pue
    idle_w = power.site_w(power.idle_hosts_w)
    slowdowns = [
        swings.power_slowdown(capped(idle_w + share * dynamic_w), num_training_hosts=12_160)
        for share in (1.0, 0.81, 0.25)
    ]
    assert slowdowns == pytest.approx([1.0, 1 / 0.9, 2.0])


def test_a_site_that_cannot_carry_idle_hosts_is_refused():
    with pytest.raises(InputError, match=r"site memphis may draw 30\.0 MW.*raise site\.capacity"):
        swings.power_slowdown(capped(30e6), num_training_hosts=12_160)
