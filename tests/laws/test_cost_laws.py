"""What must hold for every legal layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_study
from gigafactory.cost.memory import memory
from gigafactory.cost.step import mfu, step_seconds, step_time
from gigafactory.describe.layout import Recompute, Schedule
from gigafactory.plan.candidates import candidates

NAMES = ("grok-1-512", "llama-405b-16k", "colossus")
STUDIES = {name: load_study(f"studies/{name}.yaml") for name in NAMES}
LEGAL = {name: candidates(study) for name, study in STUDIES.items()}
SOME = {name: legal.take(slice(None, None, 997)) for name, legal in LEGAL.items()}


def steps(study, columns):
    return step_time(study.model, study.job, study.cluster, columns)


def with_host(study, **changes):
    host = study.cluster.host.model_copy(update=changes)
    return study.model_copy(update={"cluster": study.cluster.model_copy(update={"host": host})})


def with_gpu(study, **changes):
    return with_host(study, gpu=study.cluster.host.gpu.model_copy(update=changes))


@pytest.mark.parametrize("name", NAMES)
def test_parts_add_up_and_none_is_negative(name):
    study, columns = STUDIES[name], SOME[name]
    for told, whole in (
        (steps(study, columns), steps(study, columns).step_s),
        (memory(study.model, study.job, study.cluster, columns),
         memory(study.model, study.job, study.cluster, columns).total_bytes),
    ):  # fmt: skip
        parts = told.parts()
        assert np.sum(list(parts.values()), axis=0) == pytest.approx(whole)
        for part, value in parts.items():
            assert value.shape == (len(columns),), part
            assert np.isfinite(value).all(), part
            # differences of nearly equal stages leave rounding behind
            assert (value >= -1e-9 * whole).all(), part


@pytest.mark.parametrize("name", NAMES)
def test_mfu_never_passes_one(name):
    study, columns = STUDIES[name], SOME[name]
    share = mfu(
        steps(study, columns).step_s,
        model=study.model, job=study.job, cluster=study.cluster, columns=columns,
    )  # fmt: skip
    assert (share > 0).all()
    assert (share < 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_faster_parts_never_slow_a_step_down(name):
    study, columns = STUDIES[name], SOME[name]
    before = steps(study, columns).step_s
    host, gpu = study.cluster.host, study.cluster.host.gpu
    better = (
        with_host(study, nic_bandwidth_bytes_per_s=2 * host.nic_bandwidth_bytes_per_s),
        with_gpu(study, scaleup_bandwidth_bytes_per_s=2 * gpu.scaleup_bandwidth_bytes_per_s),
        with_gpu(study, memory_bandwidth_bytes_per_s=2 * gpu.memory_bandwidth_bytes_per_s),
        with_gpu(study, tdp_w=2 * gpu.tdp_w),
    )
    for other in better:
        assert (steps(other, columns).step_s <= before * (1 + 1e-12)).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_question_gets_the_same_answer(name):
    study, columns = STUDIES[name], SOME[name]
    assert np.array_equal(steps(study, columns).step_s, steps(study, columns).step_s)


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(NAMES), index=st.integers(0, 10**9), factor=st.integers(2, 5))
def test_a_larger_batch_never_costs_tokens_per_second(name, index, factor):
    study = STUDIES[name]
    columns = LEGAL[name].take(np.array([index % len(LEGAL[name])]))
    job = study.job.model_copy(update={"global_batch": factor * study.job.global_batch})
    larger = study.model_copy(update={"job": job})
    once, more = steps(study, columns).step_s, steps(larger, columns).step_s
    assert (more <= factor * once * (1 + 1e-12)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_among_many_is_as_if_it_were_alone(name):
    study, columns = STUDIES[name], SOME[name].take(slice(None, None, 23))
    together = steps(study, columns)
    for i in range(len(columns)):
        alone = steps(study, columns.take(np.array([i])))
        for part, value in alone.parts().items():
            whole = alone.step_s[0]
            assert value[0] == pytest.approx(
                together.parts()[part][i], rel=1e-12, abs=1e-12 * whole
            )


@pytest.mark.parametrize("name", NAMES)
def test_the_seconds_are_those_of_the_parts(name):
    study, columns = STUDIES[name], SOME[name]
    told = step_seconds(study.model, study.job, study.cluster, columns)
    assert told == pytest.approx(steps(study, columns).step_s, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_filling_the_bubble_never_lengthens_it(name):
    study, columns = STUDIES[name], SOME[name]
    late = columns.take(np.flatnonzero(columns.runs(Schedule.ZERO_BUBBLE)))
    plain = replace(late, schedule=0 * late.schedule)
    before, after = steps(study, plain), steps(study, late)
    assert len(late)
    assert (after.bubble_s <= before.bubble_s).all()
    assert (after.step_s <= before.step_s).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_more_is_recomputed_the_less_is_held_and_the_longer_it_takes(name):
    study, columns = STUDIES[name], SOME[name]
    full = columns.take(np.flatnonzero(columns.recomputes(Recompute.FULL) & (columns.pp > 1)))
    one, two = (replace(full, recompute_layers=0 * full.tp + n) for n in (1, 2))
    held = [memory(study.model, study.job, study.cluster, c).activations_bytes for c in (one, two)]
    assert (held[1] <= held[0] * (1 + 1e-12)).all()
    assert (steps(study, two).step_s >= steps(study, one).step_s * (1 - 1e-12)).all()
