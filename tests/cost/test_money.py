"""Rent, ownership, lump sums: laws, and problems worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.cost.money import (
    break_even_s,
    owned_usd,
    price_usd_per_s,
    rent_usd,
    upkeep_usd,
    written_off_usd,
)
from gigafactory.units import HOUR_S, YEAR_S

POSITIVE = st.floats(min_value=1e-3, max_value=1e9)


def test_ten_billion_dollars_over_100_000_gpus():
    years = np.array([1, 2, 3, 4, 5])
    per_h = price_usd_per_s(10e9, num_gpus=100_000, duration_s=years * YEAR_S) * HOUR_S
    assert per_h == pytest.approx([11.42, 5.71, 3.81, 2.85, 2.28], abs=0.005)


def test_a_year_of_100_000_gpus_at_ten_dollars():
    year_usd = rent_usd(10 / HOUR_S, num_gpus=100_000, duration_s=YEAR_S)
    assert float(year_usd) == pytest.approx(8.76e9)


def test_owning_worked_by_hand():
    # 100 $ over 5 years, 30 $ of building over 15, 3 $ upkeep and 2 $ electricity a year: 2 years
    total_usd = owned_usd(
        100.0, life_s=5 * YEAR_S, opex_share_per_year=0.03, energy_usd_per_s=2 / YEAR_S,
        duration_s=2 * YEAR_S, build_usd=30.0, build_life_s=15 * YEAR_S,
    )  # fmt: skip
    assert float(total_usd) == pytest.approx(40 + 4 + 6 + 4)


@given(POSITIVE, POSITIVE, POSITIVE)
def test_the_price_of_a_rent_is_the_rent(price, gpus, duration):
    total_usd = rent_usd(price, num_gpus=gpus, duration_s=duration)
    again = price_usd_per_s(total_usd, num_gpus=gpus, duration_s=duration)
    assert float(again) == pytest.approx(price)


@given(POSITIVE, st.floats(1.0, 1e6), st.floats(0.0, 0.99))
def test_at_break_even_rent_has_cost_what_buying_and_running_cost(purchase, rent, share):
    running = rent * share
    at_s = float(break_even_s(purchase, rent_usd_per_s=rent, running_usd_per_s=running))
    assert rent * at_s == pytest.approx(purchase + running * at_s)


def test_rent_below_running_cost_never_breaks_even():
    at_s = break_even_s(1.0, rent_usd_per_s=[1.0, 2.0, 3.0], running_usd_per_s=2.0)
    assert at_s.tolist() == [np.inf, np.inf, 1.0]


@given(POSITIVE, POSITIVE)
def test_money_rescales_with_the_dollar_and_the_second(dollar, second):
    """A dollar that counts ``dollar`` and a second that counts ``second`` change nothing else."""
    rent = rent_usd(3.0 * dollar / second, num_gpus=7, duration_s=11.0 * second)
    assert float(rent) == pytest.approx(3.0 * 7 * 11.0 * dollar)
    lost = written_off_usd(5.0 * dollar, life_s=8.0 * second, duration_s=2.0 * second)
    assert float(lost) == pytest.approx(5.0 / 4 * dollar)
    price = price_usd_per_s(6.0 * dollar, num_gpus=2, duration_s=3.0 * second)
    assert float(price) == pytest.approx(dollar / second)
    at_s = break_even_s(
        4.0 * dollar, rent_usd_per_s=3.0 * dollar / second, running_usd_per_s=dollar / second
    )
    assert float(at_s) == pytest.approx(2.0 * second)


@given(POSITIVE, st.floats(0.0, 1.0), st.floats(0.1, 10.0))
def test_the_parts_of_ownership_add_up(purchase, share, years):
    span_s = years * YEAR_S
    whole = owned_usd(
        purchase, life_s=5 * YEAR_S, opex_share_per_year=share, energy_usd_per_s=0.01,
        duration_s=span_s,
    )  # fmt: skip
    parts = (
        written_off_usd(purchase, life_s=5 * YEAR_S, duration_s=span_s)
        + upkeep_usd(purchase, opex_share_per_year=share, duration_s=span_s)
        + 0.01 * span_s
    )
    assert float(whole) == pytest.approx(float(parts))
    assert float(whole) >= 0.01 * span_s


def test_columns_give_columns():
    prices = np.array([1.0, 2.0])
    hours = np.array([[1.0], [2.0], [3.0]]) * HOUR_S
    assert rent_usd(prices / HOUR_S, num_gpus=8, duration_s=hours).shape == (3, 2)
