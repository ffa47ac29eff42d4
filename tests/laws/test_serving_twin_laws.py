"""What holds for the twin of a serving fleet whatever people ask and whatever breaks."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_any_study
from gigafactory.control.batching import ServingLimits
from gigafactory.control.scaling import RoleRule, ScalingRules, ServeController
from gigafactory.cost.token_step import Work, token_step
from gigafactory.describe.serve import FleetStudy, Role
from gigafactory.plan.fleet import plan_fleet
from gigafactory.plan.fleet_replicas import deployed
from gigafactory.simulate.serving.clock import picoseconds
from gigafactory.simulate.serving.engine import Engine, Groups
from gigafactory.simulate.serving.fleet import WholeFleet, perils_of
from gigafactory.simulate.serving.step_times import MeasuredTimes, equation_times
from gigafactory.simulate.serving.twin import follow

TIMES = MeasuredTimes((1_050_024, 1_010_010, 1_020_017), held=101, prompt=2_003)
BLOCK = 4
SHORT = ("serve.cut.duration=6 min", "serve.cut.warm=2 min", "serve.cut.begin=20 h")


#: Hosts are soon mended, lest none be left.
MENDED = ("faults.repair.median=2 min", "faults.repair.mean=3 min")


def service(*overrides: str) -> FleetStudy:
    study = load_any_study("studies/grok-on-x.yaml", overrides=(*SHORT, *overrides))
    assert isinstance(study, FleetStudy)
    return study


# (wait before asking, prompt tokens, answer tokens, topic, tokens that come ready)
ASKED = st.lists(
    st.tuples(
        st.integers(0, 20_000_000),
        st.integers(1, 40),
        st.integers(1, 30),
        st.integers(0, 2),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
)


def said(engine: Engine, asked: list[tuple[int, int, int, int, bool]]) -> tuple[object, ...]:
    """Who spoke first and ended when, and who was refused."""
    first, ended, refused, at = {}, {}, {}, 0
    waiting = []
    for ident, (wait, *rest) in enumerate(asked):
        at += wait
        waiting.append((at, ident, *rest))
    while waiting or engine.end is not None:
        if engine.end is not None and (not waiting or engine.end <= waiting[0][0]):
            now = engine.end
            heard = engine.finish(now)
            first |= dict.fromkeys(heard.first, now) | first
            ended |= dict.fromkeys(heard.ended, now)
        else:
            now, ident, prompt, answer, topic, is_ready = waiting.pop(0)
            keys = tuple(1000 * topic + n for n in range(prompt // BLOCK))
            ready = prompt - 1 if is_ready else 0
            engine.arrive(ident, at=now, prompt_tokens=prompt, answer_tokens=answer, keys=keys,
                          ready_tokens=ready)  # fmt: skip
            engine.hold_up(10_000 * topic, at=now)
            heard = engine.heard
        refused |= dict.fromkeys(heard.refused, now)
        heard.refused = []
    return first, ended, refused, engine.busy, engine.num_cached_tokens


@settings(max_examples=300, deadline=None)
@given(ASKED, st.integers(8, 40), st.integers(2, 12))
def test_a_leap_ends_where_step_after_step_would_have_ended(
    asked: list[tuple[int, int, int, int, bool]], num_blocks: int, step_tokens: int
) -> None:
    limits = ServingLimits(max_running=2, max_waiting=6, num_blocks=num_blocks, block_tokens=BLOCK,
                           max_step_tokens=step_tokens)  # fmt: skip
    leaping = said(Engine(limits, times=TIMES), asked)
    stepping = said(Engine(limits, times=TIMES, leaps=False), asked)
    assert leaping == stepping
    first, ended, refused, busy, _ = leaping
    assert set(ended) | set(refused) == set(range(len(asked)))
    # whose cache came whole had its first token elsewhere
    came_whole = {i for i, (_, prompt, *_, is_ready) in enumerate(asked) if is_ready and prompt > 1}
    assert set(ended) - came_whole <= set(first) <= set(ended)
    assert all(ended[n] >= first[n] for n in first)
    assert busy <= max([*ended.values(), 0])


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
def test_step_times_are_those_of_the_equations(role: Role) -> None:
    study = service()
    plan = next(r for r in plan_fleet(study).best.roles if r.role is role)
    at = deployed(study, plan.replica)
    times = equation_times(at, max_running=200, max_step_tokens=8192)
    for requests, held, prompt, keys in (
        (1, 300, 0, 0), (37, 2000, 0, 0), (200, 3500, 0, 0), (0, 0, 700, 900), (0, 0, 8000, 100),
        (3, 1000, 77, 1500), (90, 2200, 1, 2200), (150, 1200, 3000, 400),
    ):  # fmt: skip
        work = Work(*(np.array([float(x)]) for x in (requests, held, prompt, keys)))
        exact = float(token_step(at, work).step_s[0]) * 1e12
        first, slope = times.decode(requests)
        told = first + slope * requests * held
        if prompt:
            told = times.mixed(
                requests, requests * held, prompt_tokens=prompt, double_keys=2 * prompt * keys
            )
        assert told == pytest.approx(exact, rel=0.02)


def test_a_step_waits_in_part_for_the_group_with_the_longest_prompt() -> None:
    groups = Groups(num=4, stall=0.25)
    assert groups.felt_tokens(100, longest=100) == 100 + (400 - 100) // 4
    assert groups.felt_tokens(400, longest=100) == 400
    assert groups.felt_tokens(500, longest=120) == 500


def test_replicas_of_several_hosts_are_followed_too() -> None:
    """As a plan with as many GPUs says: limits kept, and the deaths of all their hosts."""
    wide = ("model=grok-next", "serve.slo.ttft=2 s", "serve.slo.tpot=100 ms",
            "faults.repair.median=2 min", "faults.repair.mean=3 min")  # fmt: skip
    study = service(*wide)
    plan = plan_fleet(study).best
    outcome = follow(study, plan=plan)
    assert plan.most_gpus > 8
    assert outcome.met.goodput > 0.99
    role = plan.roles[-1]
    tpot = outcome.met.tpot_s["p50"]
    assert tpot == pytest.approx(role.step_s, rel=0.15)


def test_a_replica_of_eight_hosts_dies_eight_times_as_often() -> None:
    study = service(*MENDED)
    perils = replace(perils_of(study.faults, cluster=study.cluster), deaths_per_s=1e-4)

    def num_deaths(num_gpus: int) -> int:
        alarms: list[tuple[int, int, Callable[[int], None]]] = []
        role = Role.WHOLE
        rule = RoleRule(role=role, num_gpus=num_gpus, requests_per_s=1.0, min_replicas=1,
                        fixed_replicas=16)  # fmt: skip
        rules = ScalingRules(roles=(rule,), headroom=0.0, lead_s=60.0, cooldown_s=600.0,
                             late_share=0.01)  # fmt: skip
        fleet = WholeFleet(
            controller=ServeController(rules),
            alarm=lambda at, call: heapq.heappush(alarms, (at, len(alarms) + 1, call)),
            perils=perils, cold_start=0, drain=0, detect=0, seed=3, num_gpus=16 * num_gpus,
            gpus={role: num_gpus}, host_gpus=8,
        )  # fmt: skip
        fleet.open(1.0)
        while alarms[0][0] < picoseconds(20_000):
            at, _, call = heapq.heappop(alarms)
            call(at)
        return fleet.num_deaths

    assert num_deaths(64) == pytest.approx(8 * num_deaths(8), rel=0.4)


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others() -> None:
    study = service()
    plan = plan_fleet(study).best
    once, again, other = (follow(study, plan=plan, seed=seed) for seed in (1, 1, 2))
    assert once.to_json() == again.to_json()
    assert once.met.outcome_hash != other.met.outcome_hash


@pytest.mark.parametrize("kind", ["never", "always"])
def test_every_gpu_second_is_in_one_bucket(kind: str) -> None:
    study = service(f"serve.disaggregation={kind}", "faults.causes.0.rate=5 /d", *MENDED)
    outcome = follow(study, plan=plan_fleet(study).best)
    spent, met = outcome.spent, outcome.met
    assert spent.num_deaths > 0
    assert math.fsum(spent.gpu_h.values()) == pytest.approx(spent.total_gpu_h)
    on_the_mean = spent.total_gpu_h * 3600 / outcome.duration_s
    told = [moment.num_gpus for moment in outcome.moments]
    # moments are taken every minute, between which replicas come and go
    assert min(told) * 0.9 <= on_the_mean <= spent.most_gpus
    assert 0 < spent.busy_share <= 1
    assert met.num_answers <= met.num_requests
    assert met.goodput <= min(1.0, met.ttft_kept_share + 1e-9)


def test_replicas_that_die_break_answers_and_are_replaced() -> None:
    study = service("faults.causes.0.rate=100 /d", "serve.disaggregation=never", *MENDED)
    outcome = follow(study, plan=plan_fleet(study).best)
    calm = follow(service("serve.disaggregation=never"), plan=plan_fleet(study).best)
    assert outcome.spent.num_deaths > 100
    assert outcome.spent.num_starts >= outcome.spent.num_deaths - 100
    assert outcome.spent.broken_answers > 100
    assert outcome.met.num_broken > 0
    assert outcome.met.goodput < calm.met.goodput
    assert outcome.spent.gpu_h["dead"] > 0


def test_one_who_waits_at_a_dead_replica_is_sent_elsewhere() -> None:
    study = service("faults.causes.0.rate=600 /d", "serve.disaggregation=always", *MENDED)
    outcome = follow(study, plan=plan_fleet(study).best)
    assert outcome.met.num_broken > 0
    assert outcome.met.num_resent > 0
    assert outcome.met.num_refused < outcome.met.num_requests
