"""Every number with its unit; axes that hold their values."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.report.axes import Axis, plain, time_axis, value_axis
from gigafactory.report.numbers import Quantity, percent, ratio, with_unit, write

UNIT = {
    Quantity.TIME: r"(us|ms|s|min|h|days)",
    Quantity.SHARE: "%",
    Quantity.TOKENS: "tokens",
    Quantity.TOKENS_PER_S: "tokens/s",
    Quantity.ENERGY: r"[kMGTPE]?Wh",
    Quantity.MONEY: r"[kMGTPE]?\$",
    Quantity.POWER: r"[kMGTPE]?W",
    Quantity.MEMORY: r"[kMGTPE]?B",
}


@pytest.mark.parametrize("quantity", UNIT)
@given(value=st.floats(0, 1e17))
def test_a_number_ends_in_its_unit(quantity, value):
    assert re.fullmatch(rf"[\d.,e+-]+ ([kMGTPE] )?{UNIT[quantity]}", write(value, quantity))


@pytest.mark.parametrize(
    ("value", "quantity", "text"),
    [
        (8.689, Quantity.TIME, "8.69 s"),
        (0.0, Quantity.TIME, "0 s"),
        (math.nan, Quantity.MONEY, "unknown"),
        (0.50418, Quantity.SHARE, "50.42 %"),
        (0.000042, Quantity.SHARE, "0.0042 %"),
        (11.6e6, Quantity.TOKENS_PER_S, "11.6 M tokens/s"),
        (3.6e9, Quantity.ENERGY, "1.00 MWh"),
        (2.16e9, Quantity.MONEY, "2.16 G$"),
        (12288.0, Quantity.COUNT, "12,288"),
    ],
)
def test_examples(value, quantity, text):
    assert write(value, quantity) == text


@pytest.mark.parametrize(
    ("value", "unit", "key", "text"),
    [
        (100000, "", "num_gpus", "100,000"),
        (3.77e12, "", "num_parameters", "3.77 T"),
        (1.36e8, "W", "site_w", "136 MW"),
        (4.28e15, "J/year", "energy_j_per_year", "1.19 TWh/year"),
        (337294907.2, "kg/year", "carbon_kg_per_year", "337,295 t/year"),
        (2.8538, "$/GPU-h", "offer_usd_per_gpu_h", "2.85 $/GPU-h"),
        (1.1606, "", "site_rated_share", "116.06 %"),
        (2.262, "", "offer_to_own_ratio", "2.26 x"),
        (21092750.0, "s", "break_even_s", "244 days"),
    ],
)
def test_figures_of_the_description(value, unit, key, text):
    assert with_unit(value, unit, key=key) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 x"), (1.0, "1.00 x"), (0.0123, "0.0123 x"), (1234.5, "1,234 x")]
)
def test_ratios(value, text):
    assert ratio(value) == text


def test_a_share_of_nothing():
    assert percent(0.0) == "0 %"


finite = st.floats(-1e12, 1e12, allow_subnormal=False)


@given(st.lists(finite, min_size=1, max_size=20))
def test_an_axis_holds_its_values_between_its_outer_ticks(values):
    axis = value_axis(values, text=plain)
    slack = 1e-9 * max(1.0, *(abs(v) for v in values))
    assert axis.low <= min(values) + slack
    assert axis.high >= max(values) - slack
    assert axis.ticks[0].value == axis.low
    assert axis.ticks[-1].value == axis.high
    assert 2 <= len(axis.ticks) <= 12


@given(st.floats(1e-3, 1e9))
def test_a_time_axis_has_few_ticks_inside(end_s):
    axis = time_axis(end_s)
    assert 1 <= len(axis.ticks) <= 9
    assert all(0 <= tick.value <= end_s * (1 + 1e-9) for tick in axis.ticks)
    assert re.fullmatch(r"time since the start \((s|min|h|days)\)", axis.label)


@given(finite, finite, finite)
def test_a_share_of_an_axis_is_one(low, high, value):
    assert 0 <= Axis(low=min(low, high), high=max(low, high), ticks=()).share(value) <= 1
