"""The demand: its curve, its noise, its bursts, and that each has dice of its own."""

from __future__ import annotations

import numpy as np
import pytest

from gigafactory.describe.pool import Demand
from gigafactory.simulate.traffic import curve_per_s, demand_series
from gigafactory.units import DAY_S, HOUR_S

PLAIN = Demand(
    peak_requests_per_s=1000.0, trough_share=0.3, weekend_factor=0.8, noise_share=0.0, source="test"
)


def series(demand: Demand, *, days: float = 28.0, seed: int = 0, every_s: float = 300.0):
    return demand_series(demand, duration_s=days * DAY_S, every_s=every_s, seed=seed)


def test_the_curve_has_its_peak_trough_and_weekend() -> None:
    found = series(PLAIN)
    hour = (found.at_s % DAY_S) / HOUR_S
    weekday = (found.at_s // DAY_S) % 7 < 5
    assert found.requests_per_s.max() == pytest.approx(1000.0)
    assert hour[np.argmax(found.requests_per_s)] == 20.0
    assert found.requests_per_s[weekday].min() == pytest.approx(300.0)
    assert found.requests_per_s[~weekday].max() == pytest.approx(800.0)


def test_users_give_the_mean_of_a_weekday() -> None:
    demand = Demand(
        users=1e6, requests_per_user_per_s=8.64 / DAY_S, trough_share=0.4, source="test"
    )
    monday = curve_per_s(demand, at_s=np.arange(0.0, DAY_S, 60.0))
    assert monday.mean() == pytest.approx(100.0, rel=1e-3)


def test_noise_keeps_the_mean_and_has_the_stated_spread() -> None:
    noisy = PLAIN.model_copy(update={"noise_share": 0.1})
    ratio = series(noisy, days=400).requests_per_s / series(PLAIN, days=400).requests_per_s
    assert ratio.mean() == pytest.approx(1.0, abs=0.01)
    assert ratio.std() == pytest.approx(0.1, rel=0.1)
    lag = round(noisy.noise_memory_s / 300.0)
    correlation = np.corrcoef(ratio[:-lag], ratio[lag:])[0, 1]
    assert correlation == pytest.approx(np.exp(-1), abs=0.08)


def test_bursts_come_and_fade() -> None:
    lively = PLAIN.model_copy(update={"bursts_per_s": 1 / DAY_S, "burst_factor": 2.0})
    ratio = series(lively, days=300).requests_per_s / series(PLAIN, days=300).requests_per_s
    assert ratio.min() == 1.0
    # each burst adds (factor - 1) x its fading time of the usual demand
    assert (ratio.mean() - 1) * DAY_S / HOUR_S == pytest.approx(1.0, rel=0.2)


def test_same_seed_same_series_and_each_die_is_its_own() -> None:
    noisy = PLAIN.model_copy(update={"noise_share": 0.1})
    both = noisy.model_copy(update={"bursts_per_s": 0.1 / DAY_S})
    assert np.array_equal(series(both).requests_per_s, series(both).requests_per_s)
    assert not np.array_equal(series(both).requests_per_s, series(both, seed=1).requests_per_s)
    same = series(both).requests_per_s == series(noisy).requests_per_s
    assert 0.1 < same.mean() < 1
