"""The problems that the pages of docs/cost work out: each result's computation, and its unit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gigafactory.catalog.studies import load_study
from gigafactory.cost import (
    calibrated,
    energy,
    flops,
    frailty,
    kernels,
    measured,
    money,
    parameters,
    pipeline,
    recovery,
    stragglers,
    surfaces,
    swings,
    tiers,
    token_kernels,
    token_memory,
    uncertainty,
)
from gigafactory.cost import reliability as rel
from gigafactory.cost import spares as spares_at
from gigafactory.cost.bill import bill
from gigafactory.cost.calibration import published, published_constants
from gigafactory.cost.checkpoint import stall_s
from gigafactory.cost.collectives import (
    Network,
    all_gather_s,
    all_to_all_s,
    group,
    hierarchical_all_reduce_s,
    network,
)
from gigafactory.cost.columns import columns_of, num_microbatches
from gigafactory.cost.engine import MODERN
from gigafactory.cost.layer import Pass, mean_layer
from gigafactory.cost.memory import Memory, memory
from gigafactory.cost.memory_keeping import Keeping
from gigafactory.cost.offload import offload_s, offloaded_bytes
from gigafactory.cost.setting import Setting
from gigafactory.cost.sharding import own_parameters, rank_parameters
from gigafactory.cost.staffing import (
    ReplicaCapacity,
    erlang_c,
    rate_kept_per_s,
    replicas_needed,
    waiting_share,
)
from gigafactory.cost.start import communicators_s
from gigafactory.cost.step import Breakdown, mfu, step_seconds, step_time
from gigafactory.cost.token_batching import ServingPoint
from gigafactory.cost.token_constants import published_serving
from gigafactory.cost.token_slo import usd_per_million_tokens
from gigafactory.cost.watts import Power, power_of
from gigafactory.describe.cluster import Gpu, Precision
from gigafactory.describe.exposure import interruptions_per_s
from gigafactory.describe.layout import Layout
from gigafactory.describe.measured import Entry, Piece, Unit
from gigafactory.describe.model import Model
from gigafactory.describe.serving import Replica, Traffic
from gigafactory.describe.study import Study
from gigafactory.units import DAY_S, HOUR_S, KWH_J, YEAR_S

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Problem:
    """What a result is computed with, in the unit that the page prints."""

    unit: str
    compute: Callable[[], float]


PROBLEMS: dict[str, dict[str, Problem]] = {}


def problem(page: str, unit: str = "") -> Callable[[Callable[[], float]], Callable[[], float]]:
    """Registers a computation under its own name as the result's key."""

    def register(compute: Callable[[], float]) -> Callable[[], float]:
        PROBLEMS.setdefault(page, {})[compute.__name__] = Problem(unit, compute)
        return compute

    return register


# Where a page states a round figure instead of a fitted one, so does its function.


@cache
def study(name: str, *overrides: str) -> Study:
    return load_study(ROOT / f"studies/{name}.yaml", overrides=overrides)


def model(name: str) -> Model:
    return study("grok-1-512", f"model={name}").model


def h100() -> Gpu:
    return study("colossus").cluster.host.gpu


@problem("parameters", "billion")
def grok_1_total() -> float:
    return parameters.count_parameters(model("grok-1")).total / 1e9


@problem("parameters", "billion")
def grok_1_active() -> float:
    return parameters.count_parameters(model("grok-1")).active / 1e9


@problem("parameters", "million")
def llama_70b_attention() -> float:
    return parameters.attention_parameters(model("llama-3-70b")) / 1e6


@problem("parameters", "million")
def llama_70b_ffn() -> float:
    shape = model("llama-3-70b")
    return parameters.ffn_parameters(shape, shape.ffn) / 1e6


@problem("parameters", "billion")
def llama_70b_total() -> float:
    return parameters.count_parameters(model("llama-3-70b")).total / 1e9


@problem("flops", "billion")
def llama_70b_matmul() -> float:
    return flops.matmul_parameters(model("llama-3-70b")) / 1e9


@problem("flops", "GFLOP")
def llama_70b_token() -> float:
    return flops.model_flops_per_token(model("llama-3-70b"), seq_len=8192) / 1e9


@problem("flops", "GFLOP")
def grok_1_token() -> float:
    return flops.model_flops_per_token(model("grok-1"), seq_len=8192) / 1e9


@problem("flops", "keys")
def windowed_keys() -> float:
    windowed = model("grok-1").model_copy(update={"window": 4096})
    return flops.attended_keys(windowed, seq_len=8192)


@problem("flops", "days")
def llama_405b_days() -> float:
    asked = study("llama-405b-16k")
    per_token = flops.model_flops_per_token(asked.model, seq_len=asked.job.seq_len)
    rate = 0.40 * 16_384 * asked.cluster.host.gpu.peak(Precision.BF16)
    return per_token * asked.job.tokens / rate / DAY_S


#: What the page "kernels" supposes instead of the fitted constants.
ROUND = replace(
    published(), sustained=0.9, dense_power_exponent=0.4, power_reference_flops_per_j=1e12,
    expert_rows=32.0, grouped_fraction=0.8, attention_sustained=0.9, attention_backward_share=0.75,
    gemm_fraction=0.7, small_k=256.0, wave_tail=0.5, bandwidth_fraction=0.8,
)  # fmt: skip


def round_h100() -> kernels.Device:
    return kernels.device(h100(), Precision.BF16, constants=ROUND)


def unmeasured() -> kernels.Device:
    smaller = {
        "peak_flops_per_s": {Precision.BF16: 60e12},
        "memory_bandwidth_bytes_per_s": 0.6e12,
        "num_sms": 40,
        "kernels_of": "",
    }
    part = h100().model_copy(update=smaller)
    return kernels.device(part, Precision.BF16, constants=ROUND)


def multiplied_s(
    dev: kernels.Device, m: float, n: float, k: float, *, groups: float = 1.0
) -> float:
    gemm = flops.Gemm(*(np.full(1, float(size)) for size in (m, n, k, groups)))
    return float(kernels.gemm_s(gemm, dev=dev, constants=ROUND)[0])


@problem("kernels")
def h100_eta() -> float:
    return round_h100().job.sustained


@problem("kernels", "us")
def sustained_gemm() -> float:
    return multiplied_s(round_h100(), 4096, 8192, 8192) * 1e6


@problem("kernels", "us")
def grouped_gemm() -> float:
    return multiplied_s(round_h100(), 512, 8192, 4096, groups=8) * 1e6


@problem("kernels", "us")
def ungrouped_gemm() -> float:
    return multiplied_s(round_h100(), 4096, 8192, 4096) * 1e6


def llama_70b_heads() -> dict[str, Any]:
    """Of a rank of eight, for one sequence."""
    keys = flops.attended_keys(model("llama-3-70b"), seq_len=8192)
    return {"keys": np.full(1, keys), "num_heads": 8.0, "head_dim": 128.0, "queries_per_key": 8.0}


@problem("kernels", "%")
def share_of_peak() -> float:
    return (
        float(kernels.attention_share(**llama_70b_heads(), dev=round_h100(), constants=ROUND)[0])
        * 100
    )


def flash_s() -> tuple[float, float]:
    heads = llama_70b_heads()
    products = 8192 * heads["keys"] * 8 * 256
    forward, back = kernels.attention_s(products, **heads, dev=round_h100(), constants=ROUND)
    return float(forward[0]), float(back[0])


@problem("kernels", "ms")
def flash_forward() -> float:
    return flash_s()[0] * 1e3


@problem("kernels", "ms")
def flash_backward() -> float:
    return flash_s()[1] * 1e3


@problem("kernels", "ms")
def tiled_gemm() -> float:
    return multiplied_s(unmeasured(), 8192, 8192, 8192) * 1e3


@problem("kernels", "us")
def thin_gemm() -> float:
    return multiplied_s(unmeasured(), 16, 8192, 8192) * 1e6


#: What the page "collectives" supposes of the network of the study colossus.
def round_network() -> Network:
    constants = replace(
        published(), scaleup_fraction=0.8, scaleup_latency_s=4e-6, host_network_latency_s=8e-6,
        all_to_all_fraction=0.8, all_to_all_net_fraction=0.7, tree_fraction=0.8,
    )  # fmt: skip
    return network(study("colossus").cluster, constants=constants)


def all_reduce_s(whole_bytes: float, *, size: int) -> float:
    net = round_network()
    members = group(size, stride=1, net=net)
    return 2 * float(all_gather_s(whole_bytes, members=members, net=net))


@problem("collectives", "ms")
def all_reduce_8() -> float:
    return all_reduce_s(2.0**30, size=8) * 1e3


@problem("collectives", "ms")
def all_reduce_64() -> float:
    return all_reduce_s(2.0**30, size=64) * 1e3


@problem("collectives", "us")
def small_all_reduce_64() -> float:
    return all_reduce_s(2.0**13, size=64) * 1e6


def dispatched_s(*, sparse: bool, size: int = 64) -> float:
    net = round_network()
    members = group(size, stride=1, net=net)
    return float(all_to_all_s(2.0**30, members=members, net=net, copies=8, sparse=sparse))


@problem("collectives", "ms")
def plain_dispatch() -> float:
    return dispatched_s(sparse=False) * 1e3


@problem("collectives", "ms")
def sparse_dispatch() -> float:
    return dispatched_s(sparse=True) * 1e3


@problem("collectives", "ms")
def dispatch_in_a_host() -> float:
    return dispatched_s(sparse=True, size=8) * 1e3


@problem("collectives", "ms")
def all_reduce_two_levels() -> float:
    told_s = hierarchical_all_reduce_s(
        2.0**30, sizes=(8, 12_500), bytes_per_s=(450e9, 50e9), latency_s=(5e-7, 5e-7)
    )
    return float(told_s) * 1e3


def bubble_share(**layout: Any) -> float:
    """Idle over work of 64 microbatches on 16 ranks; forward and both gradients take as long."""
    columns = columns_of(Layout(pp=16, **layout))
    count = num_microbatches(columns, global_batch=64)
    third = np.full(1, 1 / 3)
    passes = pipeline.Passes(third, 2 * third, third)
    idle = pipeline.bubble_s(passes, columns=columns)
    return float(idle[0] / count[0]) * 100


@problem("pipeline", "%")
def bubble_1f1b() -> float:
    return bubble_share()


@problem("pipeline", "%")
def bubble_interleaved() -> float:
    return bubble_share(vpp=4)


@problem("pipeline", "%")
def bubble_zero() -> float:
    return bubble_share(schedule="zero_bubble")


@problem("pipeline", "%")
def bubble_dual() -> float:
    return bubble_share(schedule="dual")


def owned(layout: Layout) -> float:
    asked = study("grok-1-512", "model=llama-3-70b")
    return float(own_parameters(asked.model, columns_of(layout))[0]) / 1e6


@problem("sharding", "million")
def owned_by_all() -> float:
    return owned(Layout(tp=8, dp=64))


@problem("sharding", "million")
def owned_by_eight() -> float:
    return owned(Layout(tp=8, dp=64, sharding="hsdp", shard=8))


@problem("offload", "ms")
def step_on_the_host() -> float:
    host = study("grok-1-512").cluster.host
    return float(offload_s(np.full(1, 1e9), host=host, constants=published())[0]) * 1e3


@problem("offload", "GB")
def dram_of_the_host() -> float:
    host = study("grok-1-512").cluster.host
    return float(offloaded_bytes(np.full(1, 1e9), host=host, constants=published())[0]) / 1e9


@problem("pipeline", "microbatches")
def in_flight_interleaved() -> float:
    columns = columns_of(Layout(pp=16, vpp=4))
    return float(pipeline.microbatches_in_flight(columns, microbatches=np.full(1, 64.0))[0])


@problem("pipeline", "%")
def uneven_126() -> float:
    columns = columns_of(Layout(pp=16))
    layer, head = np.full(1, 0.01), np.full(1, 0.012)
    slowest = pipeline.slowest_stage_s(layer, head_s=head, columns=columns, num_layers=126)
    mean = (126 * layer + head) / 16
    return float(slowest[0] / mean[0] - 1) * 100


@cache
def held() -> Memory:
    asked = study("grok-1-512", "model=llama-3-70b", "job.global_batch=512", "job.seq_len=8192")
    layout = columns_of(Layout(tp=8, pp=4, dp=16))
    return memory(asked.model, asked.job, asked.cluster, layout)


@problem("memory", "GB")
def parameters_on_a_rank() -> float:
    return float(held().parameters_bytes[0]) / 1e9


@problem("memory", "GB")
def gradients_on_a_rank() -> float:
    return float(held().gradients_bytes[0]) / 1e9


@problem("memory", "GB")
def optimizer_on_a_rank() -> float:
    return float(held().optimizer_bytes[0]) / 1e9


@problem("memory", "GB")
def activations_on_a_rank() -> float:
    return float(held().activations_bytes[0]) / 1e9


@problem("memory", "GB")
def total_on_a_rank() -> float:
    return float(held().total_bytes[0]) / 1e9


@problem("memory", "GiB")
def cut_model_allocated() -> float:
    asked = study("grok-1-512", "model=llama-3-70b", "job.global_batch=16", "job.seq_len=4096")
    shallow = asked.model.model_copy(update={"num_layers": 12})
    parts = memory(
        shallow, asked.job, asked.cluster, columns_of(Layout(tp=2, dp=4)),
        keeping=Keeping(fused_weight_gradients=False),
    )  # fmt: skip
    return float(parts.allocated_bytes[0]) / 2**30


#: What the page "step" supposes beside what "kernels" does.
LAUNCHING = replace(
    ROUND, kernel_gap_s=4e-6, host_kernel_s=6e-6, layer_launches=40.0, run_ahead_exponent=4.0
)


def forward_of_a_layer(tokens: int) -> Pass:
    asked = study("grok-1-512", "model=llama-3-70b")
    setting = Setting(
        model=asked.model,
        seq_len=tokens,
        dev=kernels.device(h100(), Precision.BF16, constants=LAUNCHING),
        net=network(asked.cluster, constants=LAUNCHING),
        engine=MODERN,
        constants=LAUNCHING,
    )
    return mean_layer(setting, columns_of(Layout(tp=8))).forward


@problem("step", "us")
def device_of_a_layer() -> float:
    one = forward_of_a_layer(1024)
    return float((one.compute_s - one.host_s)[0]) * 1e6


@problem("step", "us")
def wait_ahead() -> float:
    return float(forward_of_a_layer(1024).host_s[0]) * 1e6


@problem("step", "us")
def wait_long() -> float:
    return float(forward_of_a_layer(8192).host_s[0]) * 1e6


@problem("step", "%")
def first_year() -> float:
    asked, released = study("llama-405b-16k"), h100().released
    supposed = replace(published(), ripening=0.2, ripening_years=0.8, generation_gain_per_year=0.0)

    def step_s(year: float) -> float:
        engine = replace(MODERN, year=year)
        told = step_seconds(
            asked.model, asked.job, asked.cluster, LLAMA_405B, engine=engine, constants=supposed
        )
        return float(told[0])

    return (step_s(released) / step_s(released + 1) - 1) * 100


#: Llama 3 405B on 16,384 GPUs (arXiv:2407.21783 table 4); one layer a virtual stage is our guess.
LLAMA_405B = columns_of(Layout(tp=8, pp=16, vpp=8, dp=128))


@cache
def llama_405b_step() -> Breakdown:
    asked = study("llama-405b-16k")
    return step_time(asked.model, asked.job, asked.cluster, LLAMA_405B)


@problem("step", "billion")
def parameters_a_rank() -> float:
    dense, _ = rank_parameters(study("llama-405b-16k").model, LLAMA_405B)
    return float(dense[0]) / 1e9


@problem("step", "s")
def flawless_step() -> float:
    asked = study("llama-405b-16k")
    per_token = flops.model_flops_per_token(asked.model, seq_len=asked.job.seq_len)
    peak = asked.cluster.host.gpu.peak(Precision.BF16)
    return per_token * asked.job.tokens_per_step / (16_384 * peak)


@problem("step", "s")
def predicted_step() -> float:
    return float(llama_405b_step().step_s[0])


@problem("step", "s")
def predicted_bubble() -> float:
    return float(llama_405b_step().bubble_s[0])


@problem("step", "%")
def predicted_mfu() -> float:
    asked = study("llama-405b-16k")
    share = mfu(
        llama_405b_step().step_s, model=asked.model, job=asked.job, cluster=asked.cluster,
        columns=LLAMA_405B,
    )  # fmt: skip
    return float(share[0]) * 100


def colossus_mtbf_s() -> float:
    rate = interruptions_per_s(
        study("llama-405b-16k").faults, cluster=study("colossus").cluster, num_hosts=12_160
    )
    return float(rel.job_mtbf_s(1, host_rate_per_s=0.0, job_rate_per_s=rate))


@problem("reliability", "min")
def mtbf() -> float:
    return colossus_mtbf_s() / 60


@problem("reliability", "s")
def young() -> float:
    return float(rel.young_interval_s(1.2, mtbf_s=colossus_mtbf_s()))


@problem("reliability", "s")
def daly() -> float:
    return float(rel.daly_interval_s(1.2, mtbf_s=colossus_mtbf_s()))


def goodput_percent(convention: rel.Convention) -> float:
    share = rel.expected_goodput(18 * 60.0, recovery_s=600.0, interval_s=0.0, convention=convention)
    return float(share) * 100


@problem("reliability", "%")
def goodput_wall_clock() -> float:
    return goodput_percent(rel.Convention.WALL_CLOCK)


@problem("reliability", "%")
def goodput_uptime() -> float:
    return goodput_percent(rel.Convention.UPTIME)


@problem("reliability", "%")
def goodput_spaced() -> float:
    return goodput_percent(rel.Convention.SPACED)


@problem("reliability", "hosts")
def away() -> float:
    rate, repair_s = 3.79e-3 / DAY_S, 5.54 * DAY_S
    return float(rel.hosts_away(12_160, host_rate_per_s=rate, repair_s=repair_s))


@problem("reliability", "hosts")
def spares() -> float:
    rate, repair_s = 3.79e-3 / DAY_S, 5.54 * DAY_S
    return rel.spares_needed(12_160, host_rate_per_s=rate, repair_s=repair_s, confidence=0.99)


@problem("reliability", "s")
def blocking() -> float:
    return float(stall_s(97_280))


@problem("recovery", "s")
def restart() -> float:
    return float(recovery.restart_cost_s(137.0, restore_s=84.0, lost_work_s=33.0))


@problem("recovery", "s")
def replicas() -> float:
    return float(recovery.replica_cost_s(380, num_lost=1, drop_s=12.0, join_s=60.0))


@problem("recovery", "days")
def wait_for_two() -> float:
    return float(recovery.wait_for_s(2, num_away=10, repair_s=5 * DAY_S)) / DAY_S


@problem("recovery", "min")
def shrunk() -> float:
    until_s = wait_for_two() * DAY_S
    return float(recovery.shrink_cost_s(380, num_lost=1, until_s=until_s, regrow_s=60.0)) / 60


def two_classes() -> np.ndarray:
    return np.array([0.97, 0.03]) / colossus_mtbf_s()


@problem("recovery", "%")
def up_of_two() -> float:
    return float(tiers.up_share(two_classes(), recovery_s=[30.0, 300.0])) * 100


@problem("recovery", "%")
def up_of_store() -> float:
    return float(tiers.up_share(two_classes(), recovery_s=300.0)) * 100


@problem("recovery", "min")
def store_every() -> float:
    return float(tiers.tier_intervals_s(1.2, rate_per_s=two_classes()[1])) / 60


@problem("recovery", "s")
def start() -> float:
    return float(communicators_s(100_000))


@problem("fleet", "%")
def lemons() -> float:
    return float(frailty.worst_share(0.02, shape=0.5)) * 100


@problem("fleet", "%")
def milder_lemons() -> float:
    return float(frailty.worst_share(0.02, shape=1.0)) * 100


@problem("fleet", "hosts")
def thin_spares() -> float:
    return spares_at.away_quantile(0.99, mean_away=250.0, variance=250.0)


@problem("fleet")
def fat_variance() -> float:
    return float(
        spares_at.away_variance(
            250.0, batch_share=0.15, batch_hosts=32, together=0.5, rate_variation=0.15**2
        )
    )


@problem("fleet", "hosts")
def fat_spares() -> float:
    return spares_at.away_quantile(0.99, mean_away=250.0, variance=fat_variance())


@problem("fleet", "times the usual step")
def eight_hosts() -> float:
    return float(stragglers.gang_slowdown(8, slow_share=0.005, slowdown=1.1))


@problem("fleet", "times the usual step")
def all_hosts() -> float:
    return float(stragglers.gang_slowdown(12_160, slow_share=0.005, slowdown=1.1))


@problem("fleet", "%")
def wasted() -> float:
    return stragglers.wasted_share(0.425, threshold=0.1) * 100


def colossus_power() -> Power:
    return power_of(study("colossus").cluster)


@problem("energy", "MW")
def colossus_network() -> float:
    return colossus_power().network_w / 1e6


@problem("energy", "MW")
def colossus_training() -> float:
    power = colossus_power()
    return power.site_w(power.training_hosts_w) / 1e6


@problem("energy", "GWh")
def colossus_year() -> float:
    year_j = energy.energy_j(colossus_training() * 1e6, duration_s=YEAR_S)
    return float(year_j) / KWH_J / 1e6


def figure(key: str) -> float:
    return next(f.value for f in bill(study("colossus")) if f.key == key)


def colossus_dip_w() -> float:
    host = study("colossus").cluster.host
    return 12_160 * (host.training_w - host.idle_w)


@problem("energy", "MW")
def colossus_dip() -> float:
    return colossus_dip_w() / 1e6


@problem("energy", "MWh")
def colossus_ramp() -> float:
    return float(swings.ramp_energy_j(colossus_dip_w(), ramp_w_per_s=10e6 / 60)) / KWH_J / 1e3


@problem("energy", "times as long")
def colossus_capped() -> float:
    held = study("colossus", "cluster.site.capacity=120 MW").cluster
    return float(swings.power_slowdown(held, num_training_hosts=12_160))


@problem("energy", "million $")
def colossus_bill() -> float:
    return figure("electricity_usd_per_year") / 1e6


@problem("energy", "kt")
def colossus_carbon() -> float:
    return figure("carbon_kg_per_year") / 1e6


def offered(years: float) -> float:
    return float(money.price_usd_per_s(10e9, num_gpus=100_000, duration_s=years * YEAR_S)) * HOUR_S


@problem("money", "$/GPU-h")
def offer_3_years() -> float:
    return offered(3)


@problem("money", "$/GPU-h")
def offer_4_years() -> float:
    return offered(4)


@problem("money", "G$")
def colossus_owned() -> float:
    return figure("own_usd") / 1e9


@problem("money", "$/GPU-h")
def colossus_owned_price() -> float:
    return figure("own_usd_per_gpu_h")


@problem("money", "days")
def colossus_break_even() -> float:
    return figure("break_even_s") / DAY_S


@problem("calibration", "constants")
def all_constants() -> float:
    return len(published_constants())


@problem("calibration", "constants")
def fitted_constants() -> float:
    return sum(constant.source == "fit" for constant in published_constants().values())


def square_tflops(*, sustained: float) -> float:
    form = surfaces.Format.BF16
    alone_s = float(surfaces.gemm_s(8192, n=8192, k=8192, form=form, **MEASURED))
    return 2 * 8192**3 / alone_s * sustained / 1e12


@problem("calibration", "TFLOP/s")
def h100_alone() -> float:
    return square_tflops(sustained=1.0)


@problem("calibration", "TFLOP/s")
def h100_published_rate() -> float:
    device = kernels.device(h100(), Precision.BF16, constants=published())
    return square_tflops(sustained=device.job.sustained)


@problem("calibration", "%")
def raw_software() -> float:
    return (math.exp(published().ripening) - 1) * 100


#: What the page "uncertainty" supposes.
SPREADS = replace(
    published(), spread_any=0.02, spread_compute=0.1, spread_memory=0.0, spread_host=0.4,
    spread_network=0.4, spread_experts=0.8, spread_idle=0.2, spread_with_experts=0.1,
    interval_quantile=1.0,
)  # fmt: skip


def ten_seconds(**parts: float) -> Breakdown:
    nothing = dict.fromkeys((f.name for f in fields(Breakdown)), 0.0)
    return Breakdown(**{name: np.full(1, value) for name, value in (nothing | parts).items()})


DENSE = ten_seconds(gemm_s=8.0, tp_comm_s=1.0, bubble_s=1.0)
EXPERTS = ten_seconds(gemm_s=5.0, host_s=2.0, ep_comm_s=3.0)


@problem("uncertainty", "%")
def dense_spread() -> float:
    return float(uncertainty.log_spread(DENSE, constants=SPREADS)[0]) * 100


@problem("uncertainty", "s")
def dense_high() -> float:
    return float(uncertainty.interval_s(DENSE, constants=SPREADS)[1][0])


@problem("uncertainty", "%")
def experts_spread() -> float:
    return float(uncertainty.log_spread(EXPERTS, has_experts=True, constants=SPREADS)[0]) * 100


@problem("uncertainty", "s")
def experts_high() -> float:
    return float(uncertainty.interval_s(EXPERTS, has_experts=True, constants=SPREADS)[1][0])


@problem("uncertainty", "s")
def llama_405b_low() -> float:
    return float(uncertainty.interval_s(llama_405b_step())[0][0])


@problem("uncertainty", "s")
def llama_405b_high() -> float:
    return float(uncertainty.interval_s(llama_405b_step())[1][0])


@problem("uncertainty")
def llama_405b_beyond() -> float:
    asked = study("llama-405b-16k")
    layout = Layout(tp=8, pp=16, vpp=8, dp=128)
    return len(calibrated.beyond(asked.model, asked.job, asked.cluster, layout))


@problem("token", "experts")
def touched_experts() -> float:
    return float(token_kernels.distinct_experts(64.0, num_experts=256, topk=8))


@problem("token", "kB")
def llama_70b_kept() -> float:
    one = Replica(kv_precision=Precision.FP8)
    kept = token_memory.kept_bytes(
        model("llama-3-70b"), one, tokens=1.0, constants=published_serving()
    )
    return float(kept) / 1e3


@problem("token", "tokens")
def drafted_tokens() -> float:
    return Traffic(
        input_tokens=1, output_tokens=100, num_draft_tokens=3, acceptance=0.8
    ).tokens_per_step


#: One GPU as the page "surfaces" has it.
MEASURED = {"part": "h100-sxm", "peak_flops_per_s": 989.4e12, "memory_bytes_per_s": 3.35e12}


@problem("surfaces", "us")
def roofline_without_corner() -> float:
    moved = 2 * (4096 * 8192 + 8192 * 8192 + 4096 * 8192)
    return math.hypot(2 * 4096 * 8192**2 / 989.4e12, moved / 3.35e12) * 1e6


@problem("surfaces", "us")
def measured_multiplication() -> float:
    form = surfaces.Format.BF16
    return float(surfaces.gemm_s(4096, n=8192, k=8192, form=form, **MEASURED)) * 1e6


@problem("surfaces", "us")
def half_the_gpu() -> float:
    half = {"part": "h100-sxm", "peak_flops_per_s": 494.7e12, "memory_bytes_per_s": 1.675e12}
    form = surfaces.Format.BF16
    return float(surfaces.gemm_s(4096, n=8192, k=8192, form=form, **half)) * 1e6


@problem("surfaces", "%")
def attention_share() -> float:
    time_s = surfaces.attention_s(1, seq=8192, heads=32, kv_heads=8, head_dim=128, **MEASURED)
    return float(2 * 32 * 8192**2 * 128 / time_s / 989.4e12) * 100


@problem("surfaces", "us")
def eight_rank_sum() -> float:
    return 1e6 * float(
        surfaces.nvlink_collective_s(
            2.0**28,
            op=surfaces.Collective.ALL_REDUCE,
            num_ranks=8,
            part="h100-sxm",
            link_bytes_per_s=450e9,
        )
    )


@problem("token", "us")
def rounded_corner() -> float:
    return float(token_kernels.roofline_s(30.0, 40.0, sharpness=2.0))


@problem("token", "$")
def million_tokens() -> float:
    one = np.ones(1)
    point = ServingPoint(
        num_gpus=2,
        decoding=one,
        concurrency=one,
        step_s=one,
        ttft_s=one,
        tpot_s=one,
        e2e_s=one,
        requests_per_s=one,
        input_tokens_per_s=one,
        output_tokens_per_s=4000 * one,
    )
    return float(usd_per_million_tokens(point, gpu_usd_per_s=3 / HOUR_S)[0])


@problem("measured", "GFLOP/s")
def product_rate() -> float:
    work = np.array([[1.0, 2.0 * 1024 * 256 * 256], [1.0, 2.0 * 64**3]])
    _, flop_s = measured.solve(work, np.array([640e-6, 17.44e-6]))
    return float(1e-9 / flop_s)


@problem("measured", "GFLOP/s")
def small_product_rate() -> float:
    return 2.0 * 64**3 / 17.5e-6 / 1e9


@problem("measured")
def half_depth() -> float:
    def rate(k: float) -> float:
        return k / (2e-15 * 2 * k + 1e-12)

    depths = np.arange(1, 1000)
    return float(depths[np.argmin(np.abs(rate(depths) / rate(1e12) - 0.5))])


@problem("measured", "ms")
def attention_of_a_layer() -> float:
    terms = {Unit.CALL: 0.5e-3, Unit.ELEMENT: 8e-9, Unit.SCORE_WIDTH: 50e-12}
    pieces = {Piece.ATTENTION: {u: Entry(value=v, low=0, high=1, source="", date="", meaning="")
                                for u, v in terms.items()}}  # fmt: skip
    scores = 1024.0 * 4 * 128
    work = {Unit.CALL: 1.0, Unit.ELEMENT: scores, Unit.SCORE_WIDTH: scores * 96}
    return float(measured.piece_s(pieces, Piece.ATTENTION, work)) * 1e3


H100_HOST = ReplicaCapacity(num_gpus=8, requests_per_s=2.8, concurrency=43.0)


@problem("staffing")
def waiting_of_five() -> float:
    return erlang_c(5, load=4.0)


@problem("staffing")
def waiting_of_sixty() -> float:
    return erlang_c(60, load=50.0)


@problem("staffing")
def waiting_of_sixty_approximately() -> float:
    return float(waiting_share(60, load=50.0))


@problem("staffing", "requests/s")
def one_host() -> float:
    return float(rate_kept_per_s(1, capacity=H100_HOST, wait_s=0.5, late=0.01))


@problem("staffing", "requests/s")
def thousand_hosts() -> float:
    return float(rate_kept_per_s(1000, capacity=H100_HOST, wait_s=0.5, late=0.01))


@problem("staffing", "hosts")
def hosts_by_night() -> float:
    return float(replicas_needed(1200.0, capacity=H100_HOST, wait_s=0.5, late=0.01))
