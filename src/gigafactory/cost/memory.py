"""The memory of the fullest rank, by category, in bytes.

Legend
    N     parameters on the rank;  R  ranks that share state (dp*cp; for experts less)
    A     microbatches in flight, see cost.pipeline;  V vocabulary;  t tokens of a microbatch

State: 16-bit parameters, fp32 gradients, 12 bytes of Adam (arXiv:1910.02054 section 3.1), each
divided by R as the sharding says. Activations: cost.memory_layer. The first stage holds most
microbatches, the last holds the logits; the fuller of the two is told. What an engine does beyond
the layout (width of gradients, weights in 8 bits, offloading) is a ``Keeping``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from gigafactory.cost.calibration import Calibration, published
from gigafactory.cost.columns import Columns, Floats, num_microbatches
from gigafactory.cost.engine import MODERN, Engine
from gigafactory.cost.flops import tokens_per_rank
from gigafactory.cost.memory_keeping import USUAL, Keeping
from gigafactory.cost.memory_layer import kept_bytes, layer_bytes, left_bytes
from gigafactory.cost.memory_stage import Stage, first_stage, last_stage, second_stage
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.sharding import expert_sharers
from gigafactory.describe.cluster import Cluster, Precision
from gigafactory.describe.job import Job
from gigafactory.describe.layout import Sharding
from gigafactory.describe.model import Model

#: Two that a reduction fills and sends in turn, one to gather parameters.
_NUM_BUCKETS = 3
#: Formats whose weights can be kept in 8 bits or fewer.
_NARROW = (Precision.FP8, Precision.NVFP4)


@dataclass(frozen=True)
class Memory:
    """Bytes on the fullest rank; every field has shape (num_layouts,) and they add up."""

    parameters_bytes: Floats
    gradients_bytes: Floats
    optimizer_bytes: Floats
    activations_bytes: Floats
    logits_bytes: Floats
    buckets_bytes: Floats
    """Flat buffers of collectives, where the engine copies into such."""
    working_bytes: Floats
    """What exists for a moment only: a recomputed layer, a weight's gradient before it is added."""
    gathered_bytes: Floats
    """Whole layers that FSDP has gathered."""
    fragmentation_bytes: Floats
    runtime_bytes: Floats

    def parts(self) -> dict[str, Floats]:
        """Field name to bytes."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def total_bytes(self) -> Floats:
        """All of it, as the driver counts it; shape (num_layouts,)."""
        return np.asarray(np.sum(list(self.parts().values()), axis=0), dtype=np.float64)

    @property
    def allocated_bytes(self) -> Floats:
        """What the program's tensors take at their peak: no fragmentation, no runtime."""
        return self.total_bytes - self.fragmentation_bytes - self.runtime_bytes

    @property
    def reserved_bytes(self) -> Floats:
        """What the program's allocator holds."""
        return self.total_bytes - self.runtime_bytes


def memory(
    model: Model,
    job: Job,
    cluster: Cluster,
    columns: Columns,
    *,
    engine: Engine = MODERN,
    keeping: Keeping = USUAL,
    constants: Calibration | None = None,
) -> Memory:
    """Memory of the fullest rank of every layout in ``columns``."""
    c = constants or published()
    count = num_microbatches(columns, global_batch=job.global_batch)
    by_cost = keeping.stages_by_cost
    first = first_stage(model, columns, microbatches=count, by_cost=by_cost)
    last = last_stage(model, columns, microbatches=count, by_cost=by_cost)
    stages = [first, last]
    if not by_cost and np.any(model.num_layers % (columns.pp * columns.vpp)):
        # where the first rank has fewer layers than the second, that one may be fuller
        stages.append(second_stage(model, columns, microbatches=count))
    layers = _layers(model, job, columns, engine=engine, keeping=keeping, c=c)
    lost = c.fragmentation_early if keeping.early_allocator else c.fragmentation
    parts: dict[str, Floats] = {}
    for stage in stages:
        rank = _rank(model, job, columns, stage, layers, keeping=keeping, c=c)
        moving = rank["activations_bytes"] + rank["logits_bytes"] + rank["working_bytes"]
        rank["fragmentation_bytes"] = lost * moving
        fuller = sum(rank.values()) > sum(parts.values())
        parts = {name: np.where(fuller, rank[name], parts.get(name, 0.0)) for name in rank}
    runtime = min(c.runtime_fraction * cluster.host.gpu.memory_bytes, c.runtime_most_bytes)
    parts["runtime_bytes"] = np.full(len(columns), runtime)
    return Memory(**{k: np.broadcast_to(v, len(columns)) for k, v in parts.items()})


def _rank(
    model: Model,
    job: Job,
    columns: Columns,
    stage: Stage,
    layers: tuple[_Layer, _Layer],
    *,
    keeping: Keeping,
    c: Calibration,
) -> dict[str, Floats]:
    state = _state(model, job, columns, stage, keeping=keeping, c=c)
    kept, working = _activations(stage, layers, keeping=keeping)
    kept_logits, moment = _logits(model, job, columns, stage, keeping=keeping, c=c)
    if not keeping.fused_weight_gradients:
        copies = c.weight_gradient_copies * c.sixteen_bit_bytes
        working = working + copies * _largest_matrix(model, columns)
        head = copies * _has_head(columns, stage) * model.vocab * model.hidden / columns.tp
        # in backward of the projection, only the 16-bit gradient of the logits is left
        moment = np.maximum(moment, head - kept_logits / 2)
    working = np.maximum(working, moment)
    if not keeping.gradient_buffer:
        # with one microbatch, gradients come as activations go
        single = num_microbatches(columns, global_batch=job.global_batch) <= 1
        free = np.where(single, kept + kept_logits + working, 0.0)
        state["gradients_bytes"] = np.maximum(state["gradients_bytes"] - free, 0.0)
    return {
        **state,
        "activations_bytes": kept,
        "logits_bytes": kept_logits,
        "buckets_bytes": np.where(
            keeping.flat_buckets, _NUM_BUCKETS * c.bucket_numbers * c.sixteen_bit_bytes, 0.0
        ),
        "working_bytes": working,
    }


def _has_head(columns: Columns, stage: Stage) -> Floats:
    return np.where(stage.has_head, 1.0, 0.0)


def _logits(
    model: Model, job: Job, columns: Columns, stage: Stage, *, keeping: Keeping, c: Calibration
) -> tuple[Floats, Floats]:
    """(kept until backward, there for a moment) of the loss of one microbatch."""
    t = tokens_per_rank(columns, seq_len=job.seq_len)
    logits = _has_head(columns, stage) * t * model.vocab / columns.tp
    if keeping.fused_loss:
        return 0 * logits, 0 * logits
    # probabilities in fp32 stay until backward; their 16-bit logits are there when they are made
    if not keeping.loose_pointwise:
        return logits * c.thirty_two_bit_bytes, logits * c.sixteen_bit_bytes
    # logits, their exponentials and the probabilities are tensors of their own
    return logits * c.thirty_two_bit_bytes, 2 * logits * c.thirty_two_bit_bytes


def _state(
    model: Model, job: Job, columns: Columns, stage: Stage, *, keeping: Keeping, c: Calibration
) -> dict[str, Floats]:
    dense, experts = stage_parameters(model, columns, stage)
    whole, shared = dense + experts, dense / columns.sharing + experts / expert_sharers(columns)
    fsdp, none = columns.shards(Sharding.FSDP, Sharding.HSDP), columns.shards(Sharding.NONE)
    held = np.where(fsdp, shared, whole)
    summed = np.where(columns.shards(Sharding.ZERO2), shared, held)
    gradient = c.sixteen_bit_bytes if keeping.gradients_in_16_bits else c.gradient_bytes
    gradient = gradient * (1 + keeping.gradient_buckets)
    layers = np.maximum(stage.layers, 1.0)
    tables = stage.table_parameters / columns.tp
    # two layers at a time: the one that computes and the one that is being gathered
    narrow = keeping.eight_bit_weights_only and job.precision in _NARROW
    moved = c.eight_bit_bytes if narrow else c.sixteen_bit_bytes
    gathered = 2 * (whole - tables) / layers * moved + tables * c.sixteen_bit_bytes
    gathered = np.where(fsdp, gathered, 0.0)
    copies = np.where(fsdp & keeping.sharded_master, 0.0, held)
    owned, adam = np.where(none, whole, shared), _adam_bytes(job.precision, keeping, c)
    return {
        "parameters_bytes": copies * _parameter_bytes(job.precision, keeping, c),
        "gradients_bytes": summed * gradient,
        "optimizer_bytes": np.where(columns.offload, 0.0, owned * adam),
        "gathered_bytes": gathered,
    }


def stage_parameters(model: Model, columns: Columns, stage: Stage) -> tuple[Floats, Floats]:
    """(dense, expert) parameters on a rank of ``stage``."""
    p = count_parameters(model)
    each = p.attention + p.norms
    body = stage.dense_layers * (each + p.dense_ffn)
    body = body + stage.moe_layers * (each + p.residual_ffn + p.router)
    dense = (body + stage.table_parameters) / columns.tp
    return dense, np.asarray(stage.moe_layers * p.experts / (columns.ep * columns.etp))


def _parameter_bytes(precision: Precision, keeping: Keeping, c: Calibration) -> float:
    if precision is Precision.FP32:
        # fp32 training updates the parameters themselves
        return c.thirty_two_bit_bytes
    if precision not in _NARROW:
        return c.sixteen_bit_bytes
    # an fp8 or fp4 engine keeps the quantised weights plain and transposed
    narrow = c.eight_bit_bytes / (2 if precision is Precision.NVFP4 else 1)
    quantised = 2 * narrow
    return quantised if keeping.eight_bit_weights_only else c.sixteen_bit_bytes + quantised


def _adam_bytes(precision: Precision, keeping: Keeping, c: Calibration) -> float:
    if keeping.optimizer_on_host:
        return 0.0
    saved = 2 * c.sixteen_bit_bytes if keeping.moments_in_16_bits else 0.0
    master = c.thirty_two_bit_bytes if precision is Precision.FP32 else 0.0
    step = c.thirty_two_bit_bytes if keeping.step_gradient else 0.0
    return c.optimizer_bytes - saved - master + step


def _largest_matrix(model: Model, columns: Columns) -> Floats:
    """Parameters of the rank's largest weight in a layer, whose gradient is the largest."""
    into = 2 if model.gated_ffn else 1
    ffn = into * model.ffn / columns.tp
    expert = into * model.moe_ffn / columns.etp
    attention = model.num_heads * model.head_dim / columns.tp
    return np.asarray(np.maximum(np.maximum(ffn, expert), attention) * model.hidden)


@dataclass(frozen=True)
class _Layer:
    """Bytes of one layer and microbatch; shapes (num_layouts,)."""

    kept: Floats
    """From forward to backward, of a mean layer."""
    again: Floats
    """While the layer is in backward: what is computed again, and gradients of its products."""


def _layers(
    model: Model, job: Job, columns: Columns, *, engine: Engine, keeping: Keeping, c: Calibration
) -> tuple[_Layer, _Layer]:
    """A dense layer and one with experts; nothing of a kind that the model lacks."""

    def layer(*, has_experts: bool) -> _Layer:
        whole = layer_bytes(
            model, columns, seq_len=job.seq_len, precision=job.precision, engine=engine,
            keeping=keeping, has_experts=has_experts, constants=c,
        )  # fmt: skip
        left = left_bytes(whole, columns, keeping=keeping, has_experts=has_experts)
        kept = kept_bytes(whole, left, columns, num_layers=model.num_layers)
        return _Layer(kept=kept, again=whole.all_bytes - left + whole.products)

    nothing = _Layer(kept=np.zeros(1), again=np.zeros(1))
    moe = model.num_moe_layers
    dense = layer(has_experts=False) if moe < model.num_layers else nothing
    return dense, layer(has_experts=True) if moe else nothing


def _activations(
    stage: Stage, layers: tuple[_Layer, _Layer], *, keeping: Keeping
) -> tuple[Floats, Floats]:
    """(kept from forward to backward, there while one layer is in backward) of a rank."""
    dense, experts = layers
    kept = stage.dense_layers * dense.kept + stage.moe_layers * experts.kept
    working = np.where(stage.dense_layers > 0, dense.again, 0.0)
    working = np.maximum(working, np.where(stage.moe_layers > 0, experts.again, 0.0))
    return kept * stage.in_flight * (1 - keeping.activations_on_host), working
