"""Goals, bounds, the frontier, and what a change would bring."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.catalog.tables import catalog_gpus
from gigafactory.cost.step import step_seconds
from gigafactory.describe.errors import InputError
from gigafactory.plan.candidates import candidates
from gigafactory.plan.outlook import outlook
from gigafactory.plan.search import plan, total_bytes, usable_bytes

SMALL = (
    "cluster.num_hosts=9", "cluster.num_spare_hosts=1", "job.global_batch=64",
    "model=llama-3-8b", "job.seq_len=4096", "job.tokens=100 B",
)  # fmt: skip


def small(*overrides):
    return load_study("studies/grok-1-512.yaml", overrides=(*SMALL, *overrides))


@pytest.fixture(scope="module")
def everything():
    """(columns, outlook) of every layout on any number of GPUs that fits, by brute force."""
    study = small("plan.gpus=free")
    legal = candidates(study)
    fitting = legal.take(np.flatnonzero(total_bytes(study, legal) <= usable_bytes(study)))
    step_s = step_seconds(study.model, study.job, study.cluster, fitting)
    return fitting, outlook(study, num_gpus=fitting.num_gpus, step_s=step_s)


def test_the_fastest_of_any_number_is_the_shortest_campaign(everything):
    best = plan(small("plan.gpus=free")).best
    assert best.outlook["duration_s"] == pytest.approx(everything[1].duration_s.min())


def test_the_cheapest_costs_least(everything):
    best = plan(small("plan.gpus=free", "plan.goal=cheapest")).best
    assert best.outlook["cost_usd"] == pytest.approx(everything[1].cost_usd.min())
    assert best.num_gpus < 64


def test_most_tokens_a_joule(everything):
    best = plan(small("plan.gpus=free", "plan.goal=tokens-per-joule")).best
    assert best.outlook["tokens_per_j"] == pytest.approx(everything[1].tokens_per_j.max())


def test_cheapest_within_a_deadline(everything):
    _, told = everything
    deadline_s = 1.5 * told.duration_s.min()
    best = plan(small("plan.gpus=free", "plan.goal=cheapest", f"plan.deadline={deadline_s} s")).best
    assert best.outlook["duration_s"] <= deadline_s
    within = told.cost_usd[told.duration_s <= deadline_s]
    assert best.outlook["cost_usd"] == pytest.approx(within.min())


def test_the_outlook_adds_up():
    study = small()
    best = plan(study).best
    told = best.outlook
    kept = best.tokens_per_s * told["goodput"]
    assert told["duration_s"] == pytest.approx(study.job.tokens / kept)
    rent = study.money.rent.price_usd_per_s
    assert told["cost_usd"] == pytest.approx(rent * best.num_gpus * told["duration_s"])
    assert told["tokens_per_j"] * told["power_w"] * told["duration_s"] == pytest.approx(
        study.job.tokens
    )
    assert 0.9 < told["goodput"] < 1


def test_a_bound_out_of_reach_says_by_how_much(everything):
    least = everything[1].duration_s.min()
    with pytest.raises(InputError, match=r"plan.deadline: .* is out of reach; .* 100.0% more"):
        plan(small("plan.gpus=free", f"plan.deadline={least / 2} s"))


def test_bounds_that_exclude_each_other_say_what_would_do(everything):
    _, told = everything
    quick, cheap = 1.01 * told.duration_s.min(), 1.01 * told.cost_usd.min()
    with pytest.raises(InputError) as refused:
        plan(small("plan.gpus=free", f"plan.deadline={quick} s", f"plan.budget={cheap} $"))
    lines = str(refused.value).splitlines()
    assert "no layout keeps plan.deadline" in lines[0]
    assert all("would do with the other bounds kept" in line for line in lines[1:])
    assert len(lines) == 3


def test_power_bounds_the_number_of_hosts():
    told = plan(small("plan.gpus=free", "plan.power=40 kW")).best
    assert told.outlook["power_w"] <= 40e3
    assert told.num_gpus <= 32


def test_a_fixed_layout_is_held_to_the_bounds():
    with pytest.raises(InputError, match=r"plan\.budget"):
        plan(small("layout={tp: 2, dp: 32}", "plan.budget=10 $"))


def test_the_frontier_trades_days_for_dollars():
    points = plan(small("plan.gpus=free")).frontier
    days = [p["duration_s"] for p in points]
    dollars = [p["cost_usd"] for p in points]
    assert 2 <= len(points) <= 8
    assert days == sorted(days)
    assert dollars == sorted(dollars, reverse=True)


def test_changes_are_numbers():
    study = small()
    told = plan(study, gpus=catalog_gpus())
    by_name = {one["change"]: one for one in told.changes}
    for one in told.changes:
        more = 2 if one["change"] == "Twice the global batch" else 1
        assert one["tokens_per_s_gain"] == pytest.approx(
            more * told.best.step_s / one["step_s"] - 1
        )
        if "elasticity" in one:
            assert one["elasticity"] == pytest.approx(
                math.log(one["step_s"] / told.best.step_s) / math.log(1.1)
            )
            assert -1 - 1e-9 <= one["elasticity"] <= 1e-9
    assert by_name["The same mesh on b200-sxm"]["tokens_per_s_gain"] > 0.3
    assert "The same mesh on a100-80gb-sxm" not in by_name
    assert by_name["Arithmetic faster by 10 %"]["elasticity"] < -0.4
    assert by_name["One more NIC a host"]["tokens_per_s_gain"] >= 0


def test_offload_is_tried_where_nothing_fits_otherwise():
    tight = small("cluster.num_hosts=1", "cluster.num_spare_hosts=0", "model=mixtral-8x7b")
    best = plan(tight).best
    assert best.layout.offload
    assert best.memory_breakdown_bytes["optimizer_bytes"] == 0


def test_a_job_that_never_ends_on_any_layout_is_refused_in_words():
    slow = ("cluster.storage.write_bandwidth=1 kB/s", "policy.recovery=restart")
    study = load_study("studies/llama-405b-16k.yaml", overrides=slow)
    with pytest.raises(InputError, match="no layout ever ends the job"):
        plan(study)
