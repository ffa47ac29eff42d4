"""Tiers, frailty, spares with a tail, waiting, stragglers, starts, and what never ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.cost import frailty, never, recovery, spares, tiers
from gigafactory.cost.reliability import expected_goodput, kept_share, young_interval_s
from gigafactory.cost.start import communicators_s
from gigafactory.cost.stragglers import gang_slowdown, wasted_share


def test_one_class_and_one_tier_are_the_single_renewal_form():
    up = float(tiers.up_share([1 / 1800], recovery_s=[400]))
    kept = float(kept_share(1800, interval_s=300, blocking_s=10, commit_s=60))
    form = expected_goodput(1800, recovery_s=400, interval_s=300, blocking_s=10, commit_s=60)
    assert up * kept == pytest.approx(float(form))
    assert tiers.tier_intervals_s([10], rate_per_s=[1 / 1800]) == pytest.approx(
        young_interval_s(10, mtbf_s=1800)
    )


def test_a_short_recovery_for_most_failures_beats_a_long_one_for_all():
    rate = 1 / 1800
    both = tiers.up_share([0.95 * rate, 0.05 * rate], recovery_s=[60.0, 600.0])
    assert both > tiers.up_share([rate], recovery_s=[600.0]) + 0.2


def test_up_share_against_a_walk():
    rates, recovery_s = np.array([1e-3, 2e-4]), np.array([100.0, 1500.0])
    dice = np.random.default_rng(1)
    gaps_s = dice.exponential(1 / rates.sum(), 300_000)
    kinds = dice.random(300_000) < rates[1] / rates.sum()
    up_s = np.maximum(0.0, gaps_s - recovery_s[kinds.astype(int)])
    found = tiers.up_share(rates, recovery_s=recovery_s)
    assert up_s.sum() / gaps_s.sum() == pytest.approx(float(found), rel=0.01)


@given(shape=st.floats(0.1, 5), mean=st.floats(0.1, 20))
def test_counts_of_frail_hosts_add_up(shape, mean):
    n = np.arange(3000)
    p = frailty.negative_binomial(n, mean=mean, shape=shape)
    assert p.sum() == pytest.approx(1.0, abs=1e-6)
    assert (n * p).sum() == pytest.approx(mean, rel=1e-3)


def test_worst_hosts_against_drawn_rates():
    drawn = np.sort(np.random.default_rng(2).gamma(0.93, size=400_000))[::-1]
    for q in (0.02, 0.1, 0.3):
        share = drawn[: int(q * len(drawn))].sum() / drawn.sum()
        assert frailty.worst_share(q, shape=0.93) == pytest.approx(share, rel=0.02)
    # shape 1 is the exponential law, whose Lorenz curve is q (1 - ln q)
    assert frailty.worst_share(0.1, shape=1.0) == pytest.approx(0.1 * (1 - math.log(0.1)))


def test_spares_with_a_tail_are_more_than_independent_ones():
    mean = 9.26
    variance = float(spares.away_variance(mean, batch_share=0.146, batch_hosts=4,
                                          together=0.19, rate_variation=0.3))  # fmt: skip
    fat = spares.away_quantile(0.99, mean_away=mean, variance=variance)
    assert spares.away_quantile(0.99, mean_away=mean, variance=mean) < fat
    assert 25 <= fat <= 37  # 31 of 400 in the trace of StepFun
    assert spares.away_variance(mean) == pytest.approx(mean)
    with pytest.raises(ValueError, match="between 0 and 1"):
        spares.away_quantile(1.0, mean_away=1.0, variance=1.0)


@pytest.mark.parametrize(("missing", "away"), [(1, 1), (2, 10), (5, 40)])
def test_waiting_for_repairs_against_drawn_ones(missing, away):
    drawn = np.sort(np.random.default_rng(3).exponential(100.0, (20_000, away)))
    found = recovery.wait_for_s(missing, num_away=away, repair_s=100.0)
    assert drawn[:, missing - 1].mean() == pytest.approx(float(found), rel=0.03)


def test_the_last_of_two_repairs_takes_one_and_a_half():
    assert recovery.wait_for_s(2, num_away=2, repair_s=1.0) == pytest.approx(1.5, rel=1e-12)
    assert recovery.wait_for_s(30, num_away=30, repair_s=1.0) == pytest.approx(
        sum(1 / n for n in range(1, 31)), rel=1e-6
    )


def test_more_missing_than_away_never_come():
    assert recovery.wait_for_s(3, num_away=2, repair_s=1.0) == math.inf


def test_stragglers_and_starts():
    assert gang_slowdown(1, slow_share=0.5, slowdown=1.2) == pytest.approx(1.1)
    assert gang_slowdown(10**5, slow_share=0.005, slowdown=1.1) == pytest.approx(1.1)
    assert wasted_share(0.425, threshold=0.1) == pytest.approx(0.0962, abs=2e-4)
    assert communicators_s(98_000) == pytest.approx(200.0, rel=0.01)


FINE = {
    "mtbf_s": 1800.0, "recovery_s": 600.0, "interval_s": 120.0, "blocking_s": 1.0,
    "commit_s": 60.0, "num_hosts": 12_000, "num_spares": 300,
    "host_rate_per_s": 3.8e-3 / 86400, "repair_s": 5.5 * 86400, "shrink": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"num_spares": 50}, "r MTTR/(1 + r MTTR) > S"),
        ({"num_spares": 50, "shrink": True}, None),
        ({"num_spares": 50, "shrink": True, "least_hosts": 6_000}, None),
        ({"num_spares": 50, "shrink": True, "least_hosts": 11_950}, "on no fewer than 11,950"),
        ({"host_rate_per_s": 1.0 / 86400, "shrink": True, "least_hosts": 6_000}, "min_replicas"),
        ({"commit_s": 2000.0}, "write + blocking >= MTBF"),
        ({"commit_s": 2000.0, "copies_in_memory": True}, None),
        ({"recovery_s": 20_000.0}, "(R + tau + delta + c)/M"),
        ({"interval_s": 1e9}, "less than 0.001"),
    ],
)
def test_why_a_campaign_never_ends(change, said):
    asked = FINE | change
    told = never.why_never(asked.pop("mtbf_s"), **asked)
    assert (told is None) if said is None else (told is not None and said in told)


def test_nothing_fails_and_all_is_well():
    asked = FINE | {"mtbf_s": math.inf, "host_rate_per_s": 0.0, "num_spares": 0}
    assert never.why_never(asked.pop("mtbf_s"), **asked) is None
