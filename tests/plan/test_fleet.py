"""The plan of a serving fleet."""

from __future__ import annotations

import pytest

from gigafactory.catalog.studies import load_any_study
from gigafactory.describe.errors import InputError
from gigafactory.describe.serve import FleetStudy
from gigafactory.plan.fleet import FleetPlan, plan_fleet
from gigafactory.plan.fleet_replicas import fresh_tokens
from gigafactory.simulate.serving.people import demand_of, requests_of


def service(*overrides: str) -> FleetStudy:
    study = load_any_study("studies/grok-on-x.yaml", overrides=overrides)
    assert isinstance(study, FleetStudy)
    return study


def planned(*overrides: str) -> FleetPlan:
    return plan_fleet(service(*overrides))


BASE = planned()


def test_the_plan_of_grok_on_x_is_a_few_thousand_gpus_and_keeps_its_limits() -> None:
    best = BASE.best
    assert 1_000 < best.peak_gpus < 20_000
    assert best.mean_gpus < best.peak_gpus
    for role in best.roles:
        assert role.ttft_p99_s is None or role.ttft_p99_s <= 0.45 + 1e-9
        assert role.tpot_p99_s is None or role.tpot_p99_s <= 0.04 + 1e-9
    assert BASE.to_json() == planned().to_json()


def test_the_better_of_two_ways_is_chosen_and_the_other_told() -> None:
    assert BASE.other is not None
    assert BASE.best.peak_gpus <= BASE.other.peak_gpus
    assert BASE.best.is_split is not BASE.other.is_split
    forced = planned(f"serve.disaggregation={'never' if BASE.best.is_split else 'always'}")
    assert forced.best == BASE.other


def test_twice_the_people_take_twice_the_gpus() -> None:
    twice = planned("serve.demand.users=234 M")
    assert twice.best.peak_gpus == pytest.approx(2 * BASE.best.peak_gpus, rel=0.01)
    assert twice.best.bill.rent_usd_per_answer == pytest.approx(
        BASE.best.bill.rent_usd_per_answer, rel=0.01
    )


@pytest.mark.parametrize(
    "harder",
    ["serve.slo.ttft=300 ms", "serve.slo.tpot=30 ms", "serve.conversation.answer.mean_tokens=500",
     "serve.scaling.headroom=30 %", "serve.conversation.question.spread=1.0"],
)  # fmt: skip
def test_a_harder_promise_takes_more_gpus(harder: str) -> None:
    assert planned(harder).best.peak_gpus > BASE.best.peak_gpus


def test_costs_of_tokens_add_up_to_the_rent() -> None:
    bill, answers = BASE.best.bill, BASE.mean_requests_per_s * 86_400
    tokens = (
        bill.rent_usd_per_million_input_tokens * BASE.input_tokens
        + bill.rent_usd_per_million_output_tokens * BASE.output_tokens
    )
    assert tokens / 1e6 * answers == pytest.approx(bill.rent_usd_per_day)
    assert bill.rent_usd_per_answer * answers == pytest.approx(bill.rent_usd_per_day)
    assert bill.rent_fixed_usd_per_day > bill.rent_usd_per_day


def test_a_promise_that_cannot_be_kept_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match=r"too slow for TTFT 20 ms"):
        planned("serve.slo.ttft=20 ms")
    with pytest.raises(InputError, match=r"do not fit 8 x h100-sxm"):
        planned("model=grok-next", "cluster.num_hosts=4", "cluster.num_spare_hosts=0")


#: A model of 3.8 TB in eight bits.
GROK_NEXT = ("model=grok-next", "serve.slo.ttft=2 s", "serve.slo.tpot=100 ms")


def test_a_model_that_fills_several_hosts_is_spread_over_them() -> None:
    wide = planned(*GROK_NEXT)
    for role in wide.best.roles:
        assert role.replica.dp > 1
        assert role.num_gpus * 80e9 > 3.774e12
        assert role.replica.tp * role.replica.dp % role.replica.ep == 0
    assert wide.best.peak_gpus < 2_048 * 8
    # what one host holds stays on it
    assert all(role.num_gpus <= 8 for role in BASE.best.roles)
    assert wide.num_candidates > BASE.num_candidates


def test_stages_are_tried_where_a_model_has_no_experts() -> None:
    dense = planned("model=llama-3-405b", "serve.precision=bf16", "serve.slo.ttft=5 s",
                    "serve.slo.tpot=200 ms")  # fmt: skip
    assert all(role.replica.pp > 1 and role.replica.dp == 1 for role in dense.best.roles)


def test_a_slower_network_makes_wide_replicas_bear_less() -> None:
    told = tuple(
        f"serve.replica.{axis}={n}"
        for axis, n in {"tp": 8, "dp": 8, "ep": 32, "max_num_tokens": 1024}.items()
    )
    wide, slow = (
        planned(*GROK_NEXT, *told, "serve.disaggregation=never",
                f"cluster.host.nic_bandwidth={rate} Gb/s")
        for rate in (400, 40)
    )  # fmt: skip
    (one,), (other,) = wide.best.roles, slow.best.roles
    assert other.requests_per_s < 0.8 * one.requests_per_s


def test_a_promise_that_only_one_way_keeps_says_why_not_the_other() -> None:
    found = planned("serve.slo.tpot=23 ms", "serve.slo.ttft=1 s")
    assert found.best.is_split or found.other or found.why_no_other


def test_the_mean_request_is_that_of_the_people() -> None:
    study = service("serve.cut.duration=2 h")
    people = requests_of(
        study.serve, demand_of(study.serve, seed=0), share=0.002, context=131072, seed=0
    )
    traffic = study.serve.traffic()
    prompt = sum(people.prompt_tokens) / len(people)
    answer = sum(people.answer_tokens) / len(people)
    assert prompt == pytest.approx(traffic.input_tokens, rel=0.03)
    assert answer == pytest.approx(traffic.output_tokens, rel=0.03)
    fresh = float(fresh_tokens(study.serve, 1.0).mean())
    assert fresh == pytest.approx(traffic.input_tokens * (1 - traffic.cached_share), rel=0.03)
    assert list(people.at) == sorted(people.at)


def test_people_ask_as_often_as_the_study_says() -> None:
    study = service("serve.cut.begin=19 h", "serve.cut.duration=2 h")
    demand = demand_of(study.serve, seed=3)
    people = requests_of(study.serve, demand, share=0.002, context=131072, seed=3)
    expected = float(demand.requests_per_s.sum()) * demand.every_s * 0.002
    # conversations come whole, so that numbers vary more than those of single questions
    assert len(people) == pytest.approx(expected, rel=0.05)
