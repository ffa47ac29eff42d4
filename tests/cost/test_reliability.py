"""Equations of failure, against worked values, simulation by hand, and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.cost import reliability as rel
from gigafactory.units import DAY_S, HOUR_S

MTBF_S = st.floats(60.0, 1e7)
SHARE = st.floats(1e-6, 0.2)


def test_young_worked_example():
    # 2 * 18 s * 3600 s = 129,600 s^2, whose root is 360 s
    assert rel.young_interval_s(18.0, mtbf_s=3600.0) == pytest.approx(360.0)


def test_daly_lies_between_young_less_the_stall_and_young():
    young = rel.young_interval_s(60.0, mtbf_s=3600.0)
    daly = rel.daly_interval_s(60.0, mtbf_s=3600.0)
    assert young - 60.0 < daly < young


def test_daly_gives_the_mtbf_when_a_checkpoint_takes_two_of_them():
    assert rel.daly_interval_s(250.0, mtbf_s=100.0) == 100.0


@given(mtbf_s=MTBF_S, share=SHARE)
def test_optimal_interval_is_not_beaten_nearby(mtbf_s, share):
    blocking_s = share * mtbf_s
    best_s = rel.optimal_interval_s(blocking_s, mtbf_s=mtbf_s)
    tries_s = best_s * np.array([0.5, 0.9, 0.99, 1.0, 1.01, 1.1, 2.0])
    goodput = rel.expected_goodput(
        mtbf_s, recovery_s=0.0, interval_s=tries_s, blocking_s=blocking_s
    )
    assert goodput.max() <= goodput[3] * (1 + 1e-12)


@given(mtbf_s=MTBF_S, share=st.floats(1e-6, 0.02))
def test_daly_approximates_the_optimum(mtbf_s, share):
    daly_s = rel.daly_interval_s(share * mtbf_s, mtbf_s=mtbf_s)
    assert daly_s == pytest.approx(rel.optimal_interval_s(share * mtbf_s, mtbf_s=mtbf_s), rel=2e-3)


@given(
    mtbf_s=MTBF_S, recovery=st.floats(0, 2), interval=st.floats(1e-3, 3), blocking=st.floats(0, 1)
)
def test_goodput_is_a_share_in_every_convention(mtbf_s, recovery, interval, blocking):
    for convention in rel.Convention:
        goodput = rel.expected_goodput(
            mtbf_s,
            recovery_s=recovery * mtbf_s,
            interval_s=interval * mtbf_s,
            blocking_s=blocking * mtbf_s,
            convention=convention,
        )
        assert 0.0 <= goodput <= 1.0


@given(mtbf_s=MTBF_S, recovery=st.floats(0.01, 1), scale=st.floats(1e-3, 1e3))
def test_goodput_does_not_depend_on_the_unit_of_time(mtbf_s, recovery, scale):
    def at(unit: float) -> float:
        return float(
            rel.expected_goodput(
                mtbf_s * unit,
                recovery_s=recovery * mtbf_s * unit,
                interval_s=0.3 * mtbf_s * unit,
                blocking_s=0.01 * mtbf_s * unit,
                commit_s=0.1 * mtbf_s * unit,
            )
        )

    assert at(scale) == pytest.approx(at(1.0), rel=1e-9)


def test_renewal_form_against_a_walk_through_exponential_runs():
    mtbf_s, recovery_s, interval_s, blocking_s, commit_s = 1800.0, 400.0, 300.0, 10.0, 60.0
    gaps_s = np.random.default_rng(1).exponential(mtbf_s, size=400_000)
    # a gap longer than the recovery leaves a run; a shorter one hits during recovery
    runs_s = np.maximum(0.0, gaps_s - recovery_s)
    kept_s = interval_s * np.floor(np.maximum(0.0, runs_s - commit_s) / (interval_s + blocking_s))
    expected = rel.expected_goodput(
        mtbf_s,
        recovery_s=recovery_s,
        interval_s=interval_s,
        blocking_s=blocking_s,
        commit_s=commit_s,
    )
    assert kept_s.sum() / gaps_s.sum() == pytest.approx(float(expected), rel=5e-3)


def test_short_formula_agrees_with_renewal_where_losses_are_small():
    short = rel.expected_ettr(
        10, host_rate_per_s=1e-8, restart_s=100.0, interval_s=600.0, blocking_s=2.0
    )
    long = rel.expected_goodput(1e7, recovery_s=100.0, interval_s=600.0, blocking_s=2.0)
    assert short == pytest.approx(float(long), rel=1e-5)


def test_job_hazard_adds_to_the_hosts():
    alone_s = rel.job_mtbf_s(128, host_rate_per_s=6.5e-3 / DAY_S)
    both_s = rel.job_mtbf_s(128, host_rate_per_s=6.5e-3 / DAY_S, job_rate_per_s=2.21 / DAY_S)
    assert alone_s == pytest.approx(28.85 * HOUR_S, rel=1e-3)
    assert both_s == pytest.approx(7.9 * HOUR_S, rel=1e-2)


def test_nothing_fails_is_an_infinite_mtbf():
    assert rel.job_mtbf_s(1000, host_rate_per_s=0.0) == math.inf


@given(trials=st.integers(1, 60), probability=st.floats(0.001, 0.999))
def test_binomial_against_the_sum_of_exact_terms(trials, probability):
    count = trials // 3
    exact = math.fsum(
        math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k)
        for k in range(count + 1)
    )
    found = rel.binomial_at_most(count, trials=trials, probability=probability)
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_spares_are_the_fewest_that_suffice():
    wanted = {"host_rate_per_s": 3.8e-3 / DAY_S, "repair_s": 5.5 * DAY_S}
    spares = rel.spares_needed(12_000, **wanted, confidence=0.99)
    away = 3.8e-3 * 5.5 / (1 + 3.8e-3 * 5.5)
    enough = rel.binomial_at_most(spares, trials=12_000 + spares, probability=away)
    short = rel.binomial_at_most(spares - 1, trials=12_000 + spares - 1, probability=away)
    assert short < 0.99 <= enough


def test_google_superpod_cubes_follow_the_binomial():
    # 130 of 144 cubes healthy with 95 % confidence: at most 14 away (Google Cloud, 2026-05-11);
    # solved for the availability of one cube the published figure lies near 0.94
    sure = [rel.binomial_at_most(14, trials=144, probability=1 - a) for a in (0.93, 0.94)]
    assert sure[0] < 0.95 < sure[1]


def test_spares_refuse_what_cannot_be():
    with pytest.raises(ValueError, match="between 0 and 1"):
        rel.spares_needed(10, host_rate_per_s=1e-6, repair_s=1e4, confidence=1.0)
    with pytest.raises(ValueError, match="lower the failure rate"):
        rel.spares_needed(10, host_rate_per_s=1.0, repair_s=1e6, confidence=0.99)


@given(median_s=st.floats(1.0, 1e6), ratio=st.floats(1.0, 50.0))
def test_lognormal_has_the_median_and_the_mean_asked_for(median_s, ratio):
    mu, sigma = rel.lognormal_shape(median_s, mean_s=ratio * median_s)
    assert math.exp(mu) == pytest.approx(median_s)
    assert math.exp(mu + sigma**2 / 2) == pytest.approx(ratio * median_s)


def test_lognormal_refuses_a_mean_below_its_median():
    with pytest.raises(ValueError, match="at least the median"):
        rel.lognormal_shape(100.0, mean_s=50.0)
