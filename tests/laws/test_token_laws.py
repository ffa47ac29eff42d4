"""Serving: units, monotonicity, limits, conservation, for every kind of architecture."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_any_study
from gigafactory.catalog.tables import catalog_gpus, catalog_models
from gigafactory.cost.calibration import published
from gigafactory.cost.collectives import network
from gigafactory.cost.token import (
    best_point,
    cost_usd_per_million_tokens,
    disaggregated,
    serve_point,
)
from gigafactory.cost.token_batching import most_decoding, serving_points
from gigafactory.cost.token_constants import published_serving
from gigafactory.cost.token_kernels import distinct_experts, roofline_s
from gigafactory.cost.token_memory import kept_bytes, kv_room_bytes, weight_bytes
from gigafactory.cost.token_step import Work, deployment, token_step
from gigafactory.describe.cluster import Precision
from gigafactory.describe.serving import Replica, Runtime, Slo, Traffic

GPUS, MODELS = catalog_gpus(), catalog_models()
CASES = {
    "dense": ("llama-3-70b", "h200-sxm", Replica(tp=2)),
    "experts": ("qwen3-235b-a22b", "h200-sxm", Replica(dp=8, ep=8)),
    "latent": ("deepseek-v3", "b200-sxm", Replica(dp=8, ep=8, precision=Precision.NVFP4)),
    "stages": ("llama-3-405b", "h200-sxm", Replica(tp=4, pp=2, runtime=Runtime.NATIVE)),
}
TRAFFIC = Traffic(input_tokens=1000, output_tokens=500)
SUFFIXES = {"_bytes_per_s": (-1, 1, 0), "_flops_per_s": (-1, 0, 1), "_bytes": (0, 1, 0),
            "_flops": (0, 0, 1), "_w": (-1, 0, 0), "_s": (1, 0, 0)}  # fmt: skip


def place(case, constants=None, **changes):
    model, gpu, replica = CASES[case]
    gpu = GPUS[gpu].model_copy(update=changes)
    return deployment(MODELS[model], gpu, replica, constants=constants or published_serving())


def steps(at, requests=64.0, prompt=0.0):
    work = Work(np.array([requests]), np.array([1200.0]), np.array([prompt]), np.array([500.0]))
    return token_step(at, work)


def factor(name, units):
    for suffix, powers in SUFFIXES.items():
        if name.endswith(suffix):
            return float(np.prod([u**p for u, p in zip(units, powers, strict=True)]))
    return 1.0


@settings(max_examples=20, deadline=None)
@given(case=st.sampled_from(list(CASES)), units=st.tuples(*[st.sampled_from([0.5, 1.0, 1e3])] * 3))
def test_a_step_scales_with_the_second_the_byte_and_the_flop(case, units):
    c = published_serving()
    constants = replace(
        c, **{f.name: getattr(c, f.name) * factor(f.name, units) for f in fields(c)}
    )
    gpu = GPUS[CASES[case][1]]
    peaks = {k: v * factor("_flops_per_s", units) for k, v in gpu.peak_flops_per_s.items()}
    changes = {"peak_flops_per_s": peaks}
    for name in ("memory_bandwidth_bytes_per_s", "scaleup_bandwidth_bytes_per_s"):
        changes[name] = getattr(gpu, name) * factor(name, units)
    there, here = (
        steps(place(case, constants, **changes), prompt=900),
        steps(place(case), prompt=900),
    )
    for name, value in there.parts().items():
        assert value == pytest.approx(here.parts()[name] * units[0], rel=1e-9), name


@pytest.mark.parametrize("case", CASES)
def test_parts_add_up_and_none_is_negative(case):
    told = steps(place(case), prompt=2000)
    assert sum(told.parts().values()) == pytest.approx(told.step_s)
    assert all((part >= 0).all() for part in told.parts().values())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["memory_bandwidth_bytes_per_s", "scaleup_bandwidth_bytes_per_s"])
def test_more_bandwidth_never_slows_a_step_down(case, name):
    gpu = GPUS[CASES[case][1]]
    faster = place(case, **{name: 2 * getattr(gpu, name)})
    assert steps(faster, prompt=500).step_s <= steps(place(case), prompt=500).step_s


@pytest.mark.parametrize("case", CASES)
def test_a_fuller_step_takes_longer_and_gives_more_tokens_a_second(case):
    at = place(case)
    b = np.geomspace(1, most_decoding(at, TRAFFIC), 40)
    points = serving_points(at, TRAFFIC, decoding=b)
    assert (np.diff(points.tpot_s) > 0).all()
    assert (np.diff(points.output_tokens_per_s) > 0).all()
    assert (np.diff(points.concurrency) > 0).all()


@pytest.mark.parametrize("case", CASES)
def test_littles_law_and_token_counts_hold(case):
    at = place(case)
    p = serving_points(at, TRAFFIC, decoding=np.array([1.0, 20.0]))
    assert p.concurrency == pytest.approx(p.requests_per_s * p.e2e_s)
    assert p.output_tokens_per_s == pytest.approx(p.requests_per_s * TRAFFIC.output_tokens)
    assert p.e2e_s == pytest.approx(p.ttft_s + p.tpot_s * (TRAFFIC.output_tokens - 1))


@pytest.mark.parametrize("case", CASES)
def test_closed_loop_and_open_arrivals_meet_in_the_same_point(case):
    model, gpu, replica = CASES[case]
    put = {"gpu": GPUS[gpu], "replica": replica, "traffic": TRAFFIC}
    loop = serve_point(MODELS[model], concurrency=16, **put)
    assert float(loop.concurrency[0]) == pytest.approx(16, rel=0.02)
    rate = float(loop.requests_per_s[0])
    open_ = serve_point(MODELS[model], requests_per_s=rate, **put)
    assert open_.tpot_s == pytest.approx(loop.tpot_s, rel=0.02)
    with pytest.raises(ValueError, match="not both"):
        serve_point(MODELS[model], concurrency=1, requests_per_s=1, **put)


@pytest.mark.parametrize("case", CASES)
def test_limits_are_kept_and_tighter_ones_cost_more(case):
    model, gpu, replica = CASES[case]
    put = {"gpu": GPUS[gpu], "replica": replica, "traffic": TRAFFIC}
    at = place(case)
    costs = []
    for limit in (10.0, 0.2, 0.1, 0.05):
        best = best_point(MODELS[model], slo=Slo(tpot_s=limit), **put)
        if best is not None:
            assert best.tpot_s * at.constants.tpot_tail <= limit
        costs.append(
            cost_usd_per_million_tokens(
                MODELS[model], slo=Slo(tpot_s=limit), gpu_usd_per_s=1e-3, **put
            )
        )
    assert costs == sorted(costs)
    assert best_point(MODELS[model], slo=Slo(tpot_s=1e-9), **put) is None
    never = cost_usd_per_million_tokens(
        MODELS[model], slo=Slo(tpot_s=1e-9), gpu_usd_per_s=1e-3, **put
    )
    assert never == float("inf")


def test_a_cached_prompt_saves_time_and_a_good_draft_too():
    at = place("dense")
    b = np.array([32.0])
    plain = serving_points(at, TRAFFIC, decoding=b)
    cached = serving_points(at, TRAFFIC.model_copy(update={"cached_share": 0.6}), decoding=b)
    assert cached.ttft_s < plain.ttft_s
    assert cached.output_tokens_per_s > plain.output_tokens_per_s
    few = np.array([2.0])
    draft = Traffic(input_tokens=1000, output_tokens=500, num_draft_tokens=3, acceptance=0.8)
    useless = draft.model_copy(update={"acceptance": 0.0, "draft_share": 0.1})
    base = serving_points(at, TRAFFIC, decoding=few)
    assert serving_points(at, draft, decoding=few).tpot_s < base.tpot_s
    assert serving_points(at, useless, decoding=few).tpot_s > base.tpot_s


def test_stages_on_several_hosts_send_over_their_nics():
    at = place("stages")
    hosts = network(load_any_study("studies/grok-on-x.yaml").cluster, constants=published())
    apart = replace(at, network=replace(hosts, domain_gpus=4))
    own, sent = steps(at).comm_s, steps(apart).comm_s
    rows = 64 / 2 * MODELS["llama-3-405b"].hidden * at.on.half_bytes / 4
    hop = rows / hosts.nic_bytes_per_s + hosts.network_latency_s + hosts.hop_latency_s
    assert float(sent[0] - own[0]) == pytest.approx(2 * hop, rel=1e-6)


def test_experts_on_several_hosts_wait_for_the_network_and_those_on_one_do_not():
    at = place("experts")
    hosts = network(load_any_study("studies/grok-on-x.yaml").cluster, constants=published())
    assert steps(replace(at, network=hosts)).step_s == steps(at).step_s
    apart = replace(at, network=replace(hosts, domain_gpus=4))
    slower = replace(apart, network=replace(apart.network, nic_bytes_per_s=1e9))
    times = [float(steps(a, requests=2048.0).comm_s[0]) for a in (apart, slower)]
    assert times[1] > 10 * times[0]


def test_infinite_bandwidth_leaves_computing_and_the_host():
    fast = place("dense", memory_bandwidth_bytes_per_s=1e30, scaleup_bandwidth_bytes_per_s=1e30)
    told = steps(fast, requests=1.0)
    c, layers = fast.constants, fast.model.num_layers
    assert told.comm_s == pytest.approx(2 * layers * c.all_reduce_latency_s)
    alone = deployment(
        MODELS["llama-3-70b"], GPUS["h200-sxm"], Replica(tp=1), constants=published_serving()
    )
    assert steps(alone).comm_s == 0


@given(m=st.floats(1, 1e6), topk=st.integers(1, 8))
def test_a_batch_touches_between_topk_and_all_experts(m, topk):
    touched = float(distinct_experts(m, num_experts=64, topk=topk))
    assert topk * (1 - 1e-9) <= touched <= 64


@given(a=st.floats(1e-9, 1e3), b=st.floats(1e-9, 1e3), p=st.floats(1.0, 9.0))
def test_a_roofline_lies_between_the_longer_part_and_the_sum(a, b, p):
    both = float(roofline_s(a, b, sharpness=p))
    assert max(a, b) * (1 - 1e-9) <= both <= (a + b) * (1 + 1e-9)


@pytest.mark.parametrize("case", CASES)
def test_cache_and_weights_fill_no_more_than_there_is(case):
    model, gpu, replica = CASES[case]
    c = published_serving()
    held = weight_bytes(MODELS[model], replica, constants=c)
    room = kv_room_bytes(MODELS[model], GPUS[gpu], replica, constants=c)
    assert held + room < replica.num_gpus * GPUS[gpu].memory_bytes
    one, two = kept_bytes(MODELS[model], replica, tokens=np.array([100.0, 200.0]), constants=c)
    assert two == pytest.approx(2 * one)


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        kv_room_bytes(
            MODELS["llama-3-405b"], GPUS["h100-sxm"], Replica(), constants=published_serving()
        )


def test_both_sides_of_a_disaggregated_pair_keep_up():
    model, gpu, replica = CASES["latent"]
    put = {"gpu": GPUS[gpu], "prefill": replica, "decode": replica, "traffic": TRAFFIC}
    near = disaggregated(MODELS[model], transfer_bytes_per_s=1e15, **put)
    far = disaggregated(MODELS[model], transfer_bytes_per_s=1e9, **put)
    assert 0 < near.prefill_share < 1
    assert far.ttft_s > near.ttft_s
    assert far.tpot_s == near.tpot_s
    long = TRAFFIC.model_copy(update={"input_tokens": 8000})
    more = disaggregated(MODELS[model], transfer_bytes_per_s=1e15, **put | {"traffic": long})
    assert more.prefill_share > near.prefill_share
