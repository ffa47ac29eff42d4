"""The plan: fastest of what fits, its reasons, and how wrong questions are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.describe.errors import InputError
from gigafactory.describe.layout import Layout
from gigafactory.plan.candidates import candidates
from gigafactory.plan.chosen import Plan
from gigafactory.plan.search import plan, predict, usable_bytes

SMALL = ("cluster.num_hosts=3", "job.global_batch=32", "model=llama-3-8b", "job.seq_len=4096")


@pytest.fixture(scope="module")
def small():
    return load_study("studies/grok-1-512.yaml", overrides=SMALL)


COLOSSUS = load_study("studies/colossus.yaml")


@pytest.fixture(scope="module")
def colossus():
    return plan(COLOSSUS)


def test_the_best_is_what_a_plain_loop_over_everything_finds(small):
    found = plan(small)
    everything = predict(small, candidates(small))
    fitting = [c for c in everything if c.memory_bytes_per_gpu <= usable_bytes(small)]
    assert found.num_candidates == len(everything)
    assert found.num_feasible == len(fitting)
    assert found.best.step_s == min(c.step_s for c in fitting)


def test_a_hundred_thousand_gpus(colossus):
    best = colossus.best
    assert colossus.num_candidates > 100_000
    assert best.num_gpus == best.layout.num_gpus
    assert 0.98 < best.num_gpus / COLOSSUS.cluster.num_training_gpus <= 1
    assert 0.2 < best.mfu < 0.6
    assert best.memory_bytes_per_gpu <= usable_bytes(COLOSSUS)
    assert sum(best.breakdown_s.values()) == pytest.approx(best.step_s)
    assert sum(best.memory_breakdown_bytes.values()) == pytest.approx(best.memory_bytes_per_gpu)


def test_alternatives_are_slower_and_lie_differently(colossus):
    meshes = [
        (c.layout.tp, c.layout.pp, c.layout.cp, c.layout.dp, c.layout.ep, c.layout.etp)
        for c in (colossus.best, *colossus.alternatives)
    ]
    assert len(meshes) == len(set(meshes)) == 9
    times = [c.step_s for c in (colossus.best, *colossus.alternatives)]
    assert times == sorted(times)


def test_reasons_are_given(colossus):
    assert f"{colossus.best.num_gpus:,} of " in colossus.explanation[0]
    assert any("next best mesh" in line for line in colossus.explanation)
    assert any(line.startswith("NICs faster") for line in colossus.limits)
    assert any(line.startswith("The same mesh in fp8: +") for line in colossus.limits)


def test_a_plan_survives_json(colossus):
    document = json.loads(json.dumps(colossus.to_json()))
    assert Plan.from_json(document | {"search_s": 1.0}) == colossus
    keys = {"layout", "step_s", "tokens_per_s_per_gpu", "mfu", "memory_bytes_per_gpu"}
    assert keys | {"breakdown_s"} <= document["best"].keys()


def test_a_broken_document_is_refused(colossus):
    with pytest.raises(InputError, match="num_feasible"):
        Plan.from_json({k: v for k, v in colossus.to_json().items() if k != "num_feasible"})


def test_uneven_gpu_counts_leave_some_idle(small):
    study = small.model_copy(update={"cluster": small.cluster.model_copy(update={"num_hosts": 4})})
    best = plan(study).best
    assert best.num_gpus <= 24
    assert study.job.global_batch % (best.layout.dp * best.layout.micro_batch) == 0


def test_the_studys_own_layout_is_judged_alone(small):
    layout = Layout(tp=2, dp=8)
    told = plan(small.model_copy(update={"layout": layout}))
    assert told.best.layout == layout
    assert (told.num_candidates, told.num_feasible, told.alternatives) == (1, 1, ())


def test_an_illegal_layout_is_refused(small):
    with pytest.raises(InputError, match="global_batch 32 does not divide"):
        plan(small.model_copy(update={"layout": Layout(dp=12)}))


def test_a_layout_that_does_not_fit_is_refused_with_the_largest_part():
    study = load_study("studies/llama-405b-16k.yaml")
    with pytest.raises(InputError, match=r"needs .* TB of memory .* goes to"):
        plan(study.model_copy(update={"layout": Layout(dp=16, sharding="none")}))


def test_a_model_that_fits_nowhere_is_refused_with_the_least_it_needs():
    study = load_study("studies/colossus.yaml", overrides=("cluster=h100-8",))
    with pytest.raises(InputError, match=r"fits nowhere on 8 GPUs: .* smallest needs .* GB"):
        plan(study)


def test_a_batch_that_feeds_nobody_is_refused(small):
    gone = small.model_copy(
        update={"model": small.model.model_copy(update={"num_heads": 7, "num_kv_heads": 7})}
    )
    odd = gone.model_copy(update={"job": gone.job.model_copy(update={"seq_len": 1})})
    assert plan(odd).best.layout.tp == 1


def test_first_light_is_planned_as_written():
    told = plan(load_study("studies/first-light.yaml"))
    assert told.best.layout.dp == 2
    assert told.best.num_gpus == 2
    assert not any(line.startswith("NICs") for line in told.limits)


def test_candidates_are_plain_values(colossus):
    assert replace(colossus.best, step_s=1.0).to_json()["step_s"] == 1.0


def test_a_plan_says_how_sure_it_is_and_what_nobody_measured():
    told = plan(load_study("studies/llama-405b-16k.yaml"))
    assert told.step_low_s < told.best.step_s < told.step_high_s
    assert told.warnings == ("num_gpus 16,384: no measured run had more than 12,288",)
    document = told.to_json()
    assert document["warnings"] == list(told.warnings)
    assert Plan.from_json(document) == told
