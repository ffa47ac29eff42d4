"""Streams of dice: independent by name, the same in every process."""

from __future__ import annotations

import numpy as np

from gigafactory.simulate.rng import stream


def test_a_stream_is_fixed_by_seed_and_name():
    # frozen: a change here changes every recorded campaign
    assert stream("repair", seed=7).integers(0, 1000, size=4).tolist() == [265, 122, 39, 332]


def test_seeds_and_names_give_different_dice():
    draws = {
        tuple(stream(name, seed=seed).integers(0, 2**32, size=4).tolist())
        for name in ("faults.time", "faults.host", "repair")
        for seed in range(20)
    }
    assert len(draws) == 60


def test_streams_do_not_disturb_each_other():
    alone = stream("faults.time", seed=1).random(5)
    other = stream("repair", seed=1)
    beside = stream("faults.time", seed=1)
    mixed = [(other.random(), beside.random())[1] for _ in range(5)]
    assert np.array_equal(alone, mixed)


def test_neighbouring_streams_are_uncorrelated():
    a = stream("faults.time", seed=1).standard_normal(20_000)
    b = stream("faults.time", seed=2).standard_normal(20_000)
    c = stream("faults.host", seed=1).standard_normal(20_000)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03
    assert abs(np.corrcoef(a, c)[0, 1]) < 0.03
