"""Why a layout wins and what limits it, in sentences; every number in them is evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gigafactory.cost.calibration import published
from gigafactory.cost.columns import columns_of
from gigafactory.cost.memory import memory
from gigafactory.cost.swings import power_share
from gigafactory.cost.watts import power_of
from gigafactory.describe.aim import Goal
from gigafactory.describe.cluster import FabricKind, Gpu, Precision
from gigafactory.describe.study import Study
from gigafactory.plan.chosen import Candidate, Plan
from gigafactory.plan.predicted import seconds_of
from gigafactory.units import show

#: How the parts of a step are called in a sentence.
_WORDS = {
    "gemm_s": "matrix multiplication", "attention_s": "attention",
    "kernels_s": "memory-bound kernels",
    "host_s": "waiting for kernel launches", "head_s": "the output projection",
    "recompute_s": "recomputing activations", "tp_comm_s": "tensor-parallel communication",
    "cp_comm_s": "context-parallel communication", "ep_comm_s": "expert all_to_all",
    "pp_comm_s": "transfers between stages", "dp_comm_s": "exposed gradient and parameter traffic",
    "imbalance_s": "waiting for the fullest stage", "bubble_s": "the pipeline bubble",
    "optimizer_s": "the optimizer", "jitter_s": "waiting for the slowest rank",
    "power_cap_s": "the limit on the power of the site",
}  # fmt: skip
_COMPUTING = {"gemm_s", "attention_s"}
_NUM_LOSSES = 4
#: By how much a rate grows for its elasticity.
_MORE = 1.1


def explain(study: Study, plan: Plan) -> tuple[str, ...]:
    """Why the best layout is the best."""
    return tuple(_reasons(study, plan))


def limits(changed: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What each change would do, in sentences."""
    return tuple(
        f"{one['change']}: {one['tokens_per_s_gain']:+.1%} tokens per second"
        f"{'' if one['fits'] else ', but it does not fit in memory'}."
        for one in changed
    )


def changes(
    study: Study, best: Candidate, *, gpus: Mapping[str, Gpu] | None = None
) -> tuple[dict[str, Any], ...]:
    """One change at a time, the same mesh evaluated again; numbers, not prose.

    Each has ``change``, ``step_s``, ``tokens_per_s_gain`` (a share), ``fits``; where a hardware
    rate grew by 10 %, also ``elasticity`` = d ln step / d ln rate. ``gpus``: parts that may replace
    the study's; those that are better in something and worse in nothing are tried.
    """
    return tuple(
        _measured(study, best, name, other, rate_factor=factor)
        for name, other, factor in _variants(study, gpus or {})
        if _may_idle(other)
    )


def _may_idle(study: Study) -> bool:
    """Whether the site could feed the changed machine at all."""
    power, cap_w = power_of(study.cluster), study.cluster.site.capacity_w
    return cap_w is None or power.site_w(power.idle_hosts_w) < cap_w


def _measured(
    study: Study, best: Candidate, name: str, other: Study, *, rate_factor: float | None
) -> dict[str, Any]:
    columns = columns_of(best.layout)
    step_s = float(seconds_of(other, columns)[0])
    held = float(memory(other.model, other.job, other.cluster, columns).total_bytes[0])
    room = other.cluster.host.gpu.memory_bytes * published().usable_memory
    more = other.job.tokens_per_step / study.job.tokens_per_step
    told: dict[str, Any] = {
        "change": name,
        "step_s": step_s,
        "tokens_per_s_gain": more * best.step_s / step_s - 1,
        "fits": held <= room,
    }
    if rate_factor is not None:
        told["elasticity"] = math.log(step_s / best.step_s) / math.log(rate_factor)
    return told


def _reasons(study: Study, plan: Plan) -> Iterator[str]:
    best = plan.best
    useful = sum(best.breakdown_s[name] for name in _COMPUTING)
    yield (
        f"{best.num_gpus:,} of {study.cluster.num_training_gpus:,} GPUs take part; "
        f"{useful / best.step_s:.0%} of the step is matrix multiplication and attention."
    )
    losses = sorted(
        (part for part in best.breakdown_s.items() if part[0] not in _COMPUTING),
        key=lambda part: -part[1],
    )
    told = [f"{_WORDS[k]} {v / best.step_s:.1%}" for k, v in losses[:_NUM_LOSSES] if v > 0]
    if told:
        yield f"The rest goes to {', '.join(told)}."
    if best.power_slowdown > 1 and study.cluster.site.capacity_w is not None:
        yield _held(study, best, cap_w=study.cluster.site.capacity_w)
    whole = study.cluster.host.gpu.memory_bytes
    largest = max(best.memory_breakdown_bytes.items(), key=lambda part: part[1])
    yield (
        f"It fills {show(best.memory_bytes_per_gpu, 'B')} of {show(whole, 'B')} a GPU, most of it "
        f"with {largest[0].removesuffix('_bytes')} ({show(largest[1], 'B')})."
    )
    if plan.alternatives:
        yield _runner_up(study, best, plan.alternatives[0])
    if plan.num_candidates > plan.num_feasible:
        left = plan.num_candidates - plan.num_feasible
        yield f"{left:,} of {plan.num_candidates:,} legal layouts do not fit into memory."


def _held(study: Study, best: Candidate, *, cap_w: float) -> str:
    hosts = -(-best.num_gpus // study.cluster.host.num_gpus)
    share = float(power_share(study.cluster, num_training_hosts=hosts))
    return (
        f"The site may draw {show(cap_w, 'W')}, which leaves its hosts {share:.0%} of what "
        f"training adds to their idle power: a step takes {best.power_slowdown - 1:.1%} longer."
    )


def _runner_up(study: Study, best: Candidate, other: Candidate) -> str:
    old, new = best.layout.model_dump(mode="json"), other.layout.model_dump(mode="json")
    changed = ", ".join(f"{k} {new[k]}" for k in new if new[k] != old[k])
    goal, ours, theirs = study.plan.goal, best.outlook, other.outlook
    if goal is Goal.CHEAPEST:
        behind = f"costs {theirs['cost_usd'] / ours['cost_usd'] - 1:.1%} more"
    elif goal is Goal.TOKENS_PER_JOULE:
        behind = f"needs {ours['tokens_per_j'] / theirs['tokens_per_j'] - 1:.1%} more energy"
    elif study.plan.gpus == "free":
        behind = f"takes {theirs['duration_s'] / ours['duration_s'] - 1:.1%} longer in all"
    else:
        behind = f"takes {other.step_s / best.step_s - 1:.1%} longer"
    # shares of the step, for the meshes may have different numbers of GPUs
    worst = max(best.breakdown_s, key=lambda k: _share(other, k) - _share(best, k))
    return (
        f"The next best mesh ({changed}) {behind}; it loses most by "
        f"{_WORDS[worst]}, {_share(other, worst):.1%} of its step "
        f"instead of {_share(best, worst):.1%}."
    )


def _share(one: Candidate, part: str) -> float:
    return one.breakdown_s[part] / one.step_s


def _variants(study: Study, gpus: Mapping[str, Gpu]) -> Iterator[tuple[str, Study, float | None]]:
    """(what is changed, the changed study, factor of the rate where it is one)."""
    if study.calibration is not None:
        # rates were measured: those of the catalog no longer say what a change of them would do
        job = study.job
        yield "Twice the global batch", _with_job(study, global_batch=2 * job.global_batch), None
        return
    host, gpu, job = study.cluster.host, study.cluster.host.gpu, study.job
    networked = study.cluster.fabric.kind is not FabricKind.LOOPBACK
    if networked:
        nic = {"nic_bandwidth_bytes_per_s": _MORE * host.nic_bandwidth_bytes_per_s}
        yield "NICs faster by 10 %", _with_host(study, nic), _MORE
        yield "One more NIC a host", _with_host(study, {"num_nics": host.num_nics + 1}), None
    up = gpu.scaleup_bandwidth_bytes_per_s
    yield "Scale-up links faster by 10 %", _with_gpu(study, scaleup=_MORE * up), _MORE
    yield "Scale-up links twice as fast", _with_gpu(study, scaleup=2 * up), None
    wide = _MORE * gpu.memory_bandwidth_bytes_per_s
    yield "Memory faster by 10 %", _with_gpu(study, memory=wide), _MORE
    yield "Arithmetic faster by 10 %", _with_faster_arithmetic(study), _MORE
    for name, newer in gpus.items():
        if _is_better(newer, gpu, precision=job.precision):
            yield f"The same mesh on {name}", _with_host(study, {"gpu": newer}), None
    if job.precision is Precision.BF16 and Precision.FP8 in gpu.peak_flops_per_s:
        yield "The same mesh in fp8", _with_job(study, precision=Precision.FP8), None
    yield "Twice the global batch", _with_job(study, global_batch=2 * job.global_batch), None


def _is_better(newer: Gpu, gpu: Gpu, *, precision: Precision) -> bool:
    if precision not in newer.peak_flops_per_s:
        return False
    gains = (
        newer.peak(precision) / gpu.peak(precision),
        newer.memory_bandwidth_bytes_per_s / gpu.memory_bandwidth_bytes_per_s,
        newer.memory_bytes / gpu.memory_bytes,
        newer.scaleup_bandwidth_bytes_per_s / gpu.scaleup_bandwidth_bytes_per_s,
    )
    return min(gains) >= 1 and max(gains) > 1


def _with_faster_arithmetic(study: Study) -> Study:
    gpu = study.cluster.host.gpu
    peaks = {precision: _MORE * rate for precision, rate in gpu.peak_flops_per_s.items()}
    # the power limit grows along, or clocks would fall
    faster = gpu.model_copy(update={"peak_flops_per_s": peaks, "tdp_w": _MORE * gpu.tdp_w})
    return _with_host(study, {"gpu": faster})


def _with_gpu(study: Study, *, scaleup: float | None = None, memory: float | None = None) -> Study:
    rates = {"scaleup_bandwidth_bytes_per_s": scaleup, "memory_bandwidth_bytes_per_s": memory}
    known = {name: rate for name, rate in rates.items() if rate is not None}
    return _with_host(study, {"gpu": study.cluster.host.gpu.model_copy(update=known)})


def _with_job(study: Study, **changed: object) -> Study:
    return study.model_copy(update={"job": study.job.model_copy(update=changed)})


def _with_host(study: Study, changes: Mapping[str, object]) -> Study:
    host = study.cluster.host.model_copy(update=dict(changes))
    return study.model_copy(update={"cluster": study.cluster.model_copy(update={"host": host})})
