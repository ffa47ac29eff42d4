"""Why a layout wins and what limits it, in sentences; every number in them is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gigafactory.cost.columns import columns_of
from gigafactory.describe.cluster import FabricKind, Precision
from gigafactory.describe.study import Study
from gigafactory.plan.chosen import Candidate, Plan
from gigafactory.plan.predicted import composes, step_of
from gigafactory.units import show, show_time

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
}  # fmt: skip
_COMPUTING = {"gemm_s", "attention_s"}
_NUM_LOSSES = 4


def explain(study: Study, plan: Plan) -> tuple[str, ...]:
    """Why the best layout is the best."""
    return tuple(_reasons(study, plan))


def limits(study: Study, best: Candidate) -> tuple[str, ...]:
    """What one change would do to the step of the same mesh, by evaluating it again."""
    return tuple(_changes(study, best))


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
    whole = study.cluster.host.gpu.memory_bytes
    largest = max(best.memory_breakdown_bytes.items(), key=lambda part: part[1])
    yield (
        f"It fills {show(best.memory_bytes_per_gpu, 'B')} of {show(whole, 'B')} a GPU, most of it "
        f"with {largest[0].removesuffix('_bytes')} ({show(largest[1], 'B')})."
    )
    if plan.alternatives:
        yield _runner_up(best, plan.alternatives[0])
    if plan.num_candidates > plan.num_feasible:
        left = plan.num_candidates - plan.num_feasible
        yield f"{left:,} of {plan.num_candidates:,} legal layouts do not fit into memory."


def _runner_up(best: Candidate, other: Candidate) -> str:
    old, new = best.layout.model_dump(mode="json"), other.layout.model_dump(mode="json")
    changed = ", ".join(f"{k} {new[k]}" for k in new if new[k] != old[k])
    worst = max(best.breakdown_s, key=lambda k: other.breakdown_s[k] - best.breakdown_s[k])
    slower = other.step_s / best.step_s - 1
    return (
        f"The next best mesh ({changed}) takes {slower:.1%} longer; it loses most by "
        f"{_WORDS[worst]}, {show_time(other.breakdown_s[worst])} "
        f"instead of {show_time(best.breakdown_s[worst])}."
    )


def _changes(study: Study, best: Candidate) -> Iterator[str]:
    if study.cluster.fabric.kind is not FabricKind.LOOPBACK:
        share = best.step_s / _step_s(_wider_nics(study), best) - 1
        yield f"NICs faster by 10 %: {share:+.1%} tokens per second."
    if not composes(study):
        share = best.step_s / _step_s(_wider_scaleup(study), best) - 1
        yield f"Scale-up links faster by 10 %: {share:+.1%} tokens per second."
    if study.job.precision is Precision.BF16:
        narrow = study.model_copy(
            update={"job": study.job.model_copy(update={"precision": Precision.FP8})}
        )
        if Precision.FP8 in study.cluster.host.gpu.peak_flops_per_s:
            share = best.step_s / _step_s(narrow, best) - 1
            yield f"The same mesh in fp8: {share:+.1%} tokens per second."
    doubled = study.job.model_copy(update={"global_batch": 2 * study.job.global_batch})
    share = 2 * best.step_s / _step_s(study.model_copy(update={"job": doubled}), best) - 1
    yield f"Twice the global batch: {share:+.1%} tokens per second."


def _step_s(study: Study, best: Candidate) -> float:
    columns = columns_of(best.layout)
    return float(step_of(study, columns).step_s[0])


def _wider_nics(study: Study) -> Study:
    host = study.cluster.host
    wider = {"nic_bandwidth_bytes_per_s": 1.1 * host.nic_bandwidth_bytes_per_s}
    return _with_host(study, wider)


def _wider_scaleup(study: Study) -> Study:
    gpu = study.cluster.host.gpu
    wider = {"scaleup_bandwidth_bytes_per_s": 1.1 * gpu.scaleup_bandwidth_bytes_per_s}
    return _with_host(study, {"gpu": gpu.model_copy(update=wider)})


def _with_host(study: Study, changes: Mapping[str, object]) -> Study:
    host = study.cluster.host.model_copy(update=dict(changes))
    return study.model_copy(update={"cluster": study.cluster.model_copy(update={"host": host})})
