"""Which layouts our own training program can compute, and what to do about the others."""

from __future__ import annotations

from gigafactory.describe.cluster import Precision
from gigafactory.describe.job import Job
from gigafactory.describe.layout import EIGHT_BIT_UNIT, Layout, Recompute, Sharding
from gigafactory.describe.model import Model

_ELSEWHERE = (
    "`giga plan STUDY --emit torchtitan` and `--emit megatron` write it for programs that do"
)
_PRECISIONS = (Precision.FP32, Precision.BF16, Precision.FP8)
_SHARDED = (Sharding.ZERO2, Sharding.FSDP, Sharding.HSDP)


def wrong_axes(layout: Layout) -> list[str]:
    """Axes and options that there is no code for, each with what would be right."""
    axes = (
        (layout.pp > 1 or layout.vpp > 1, f"layout.pp: {layout.pp}", "pipeline parallelism", "1"),
        (layout.cp > 1, f"layout.cp: {layout.cp}", "context parallelism", "1"),
        (layout.etp > 1, f"layout.etp: {layout.etp}", "splitting of single experts", "1"),
    )
    wrong = [
        f"{what} is not possible, there is no {name} here; use {right}, or another program: "
        + _ELSEWHERE
        for is_wrong, what, name, right in axes
        if is_wrong
    ]
    if layout.recompute is not Recompute.NONE:
        wrong.append(f"layout.recompute: {layout.recompute} is not possible; use none")
    if layout.offload:
        wrong.append("layout.offload: true is not possible; use false")
    if layout.precision not in _PRECISIONS:
        allowed = ", ".join(_PRECISIONS[:-1]) + f" or {_PRECISIONS[-1]}"
        wrong.append(f"layout.precision: {layout.precision} is not possible; use {allowed}")
    if layout.precision is Precision.FP8 and layout.tp > 1:
        wrong.append(f"layout.tp: {layout.tp} is not possible with precision fp8; use 1, or bf16")
    return wrong


def wrong_shapes(model: Model, job: Job, layout: Layout) -> list[str]:
    """What does not divide by the ranks that it is to be split over."""
    return [
        f"{path}: {size} is not a multiple of {what} = {ranks}"
        for path, size, what, ranks in (
            *_of_tensors(model, job, layout),
            *_of_experts(model, layout),
            *_of_shards(model, layout),
            *_of_eight_bits(model, layout),
        )
        if size % ranks
    ]


_Rule = tuple[str, int, str, int]


def _of_tensors(model: Model, job: Job, layout: Layout) -> list[_Rule]:
    """Heads, widths, vocabulary and the sequence over tp."""
    parts = [
        ("model.num_heads", model.num_heads),
        ("model.num_kv_heads", model.num_kv_heads),
        ("model.vocab", model.vocab),
        ("model.ffn", model.ffn),
        ("job.seq_len", job.seq_len),
    ]
    return [(path, size, "layout.tp", layout.tp) for path, size in parts]


def _of_experts(model: Model, layout: Layout) -> list[_Rule]:
    """Experts over ep; and a copy of what the sharding shares out holds whole sets of experts."""
    rules = [("model.num_experts", model.num_experts, "layout.ep", layout.ep)]
    if layout.ep > 1 and layout.sharding is not Sharding.NONE:
        copy = (layout.shard or layout.dp) * layout.tp
        rules.append(("ranks of a copy (shard x tp)", copy, "layout.ep", layout.ep))
    return rules


def _of_shards(model: Model, layout: Layout) -> list[_Rule]:
    """Where one dim of a matrix is split already, FSDP takes the other, in equal parts."""
    if layout.sharding not in _SHARDED:
        return []
    shard = layout.shard or layout.dp
    rules = []
    if layout.tp > 1:
        rules.append(("model.hidden", model.hidden, "the ranks of a shard", shard))
    if layout.ep > 1:
        ranks = max(1, shard * layout.tp // layout.ep)
        rules += [
            (path, size, "shard x tp / ep", ranks)
            for path, size in (("model.hidden", model.hidden), ("model.moe_ffn", model.moe_ffn))
        ]
    return rules


def _of_eight_bits(model: Model, layout: Layout) -> list[_Rule]:
    """Widths of the projections, in and out."""
    if layout.precision is not Precision.FP8:
        return []
    widths = [
        ("model.hidden", model.hidden),
        ("model.num_heads x head_dim", model.num_heads * model.head_dim),
        ("model.num_kv_heads x head_dim", model.num_kv_heads * model.head_dim),
        ("model.ffn", model.ffn),
    ]
    return [(path, size, "what fp8 multiplies in", EIGHT_BIT_UNIT) for path, size in widths]
