"""A hierarchical all_reduce against what ASTRA-sim 2's analytical backend gives for it."""

from __future__ import annotations

import pytest

from gigafactory.cost.collectives import hierarchical_all_reduce_s

#: Ranks -> milliseconds of 1 GiB over switches of 8 and of the rest, halving-doubling on both,
#: 450 and 50 GB/s a rank (ASTRA-sim 2.0, arXiv:2303.14006, run with these sizes).
ASTRA_SIM_MS = {64: 9.26, 16_384: 9.86}


@pytest.mark.parametrize(("ranks", "published_ms"), ASTRA_SIM_MS.items())
def test_one_gibibyte_over_two_levels(ranks, published_ms):
    told_s = hierarchical_all_reduce_s(
        2.0**30, sizes=(8, ranks // 8), bytes_per_s=(450e9, 50e9), latency_s=(500e-9, 500e-9)
    )
    assert told_s * 1e3 == pytest.approx(published_ms, rel=0.05)


def test_one_level_is_the_closed_form():
    # 2 (n-1)/n V/B and 2 log2(n) steps
    told_s = hierarchical_all_reduce_s(8e9, sizes=(8,), bytes_per_s=(100e9,), latency_s=(1e-3,))
    assert told_s == pytest.approx(2 * 7 / 8 * 0.08 + 6e-3)


def test_a_level_of_one_costs_nothing():
    two = hierarchical_all_reduce_s(1e9, sizes=(8, 1), bytes_per_s=(1e9, 1.0), latency_s=(0, 1.0))
    one = hierarchical_all_reduce_s(1e9, sizes=(8,), bytes_per_s=(1e9,), latency_s=(0,))
    assert two == one
