"""The memory of the fullest rank, by category, in bytes.

Legend
    t     tokens of a microbatch on a rank before tp;  h hidden;  f width of a feed-forward
    N     parameters on the rank;  R  ranks that share state (dp*cp; for experts less)
    A     microbatches in flight, see cost.pipeline

State: 16-bit parameters, fp32 gradients, 12 bytes of Adam (arXiv:1910.02054 section 3.1), each
divided by R as the sharding says. Activations: what backward reads, counted tensor by tensor
after arXiv:2205.05198 section 4, for flash attention, without dropout. The first stage holds most
microbatches, the last holds the logits; the fuller of the two is told.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from gigafactory.cost.calibration import Calibration, published
from gigafactory.cost.columns import Columns, Floats, num_microbatches
from gigafactory.cost.engine import MODERN, Engine
from gigafactory.cost.flops import tokens_per_rank
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.pipeline import (
    layers_of_fullest_stage,
    microbatches_in_flight,
    recomputed_share,
)
from gigafactory.cost.sharding import expert_sharers, rank_parameters
from gigafactory.describe.cluster import Cluster, Precision
from gigafactory.describe.job import Job
from gigafactory.describe.layout import Recompute, Sharding
from gigafactory.describe.model import Model


@dataclass(frozen=True)
class Memory:
    """Bytes on the fullest rank; every field has shape (num_layouts,) and they add up."""

    parameters_bytes: Floats
    gradients_bytes: Floats
    optimizer_bytes: Floats
    activations_bytes: Floats
    logits_bytes: Floats
    gathered_bytes: Floats
    """Whole layers that FSDP has gathered."""
    fragmentation_bytes: Floats
    runtime_bytes: Floats

    def parts(self) -> dict[str, Floats]:
        """Field name to bytes."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def total_bytes(self) -> Floats:
        """All of it; shape (num_layouts,)."""
        return np.asarray(np.sum(list(self.parts().values()), axis=0), dtype=np.float64)


def memory(
    model: Model,
    job: Job,
    cluster: Cluster,
    columns: Columns,
    *,
    engine: Engine = MODERN,
    constants: Calibration | None = None,
) -> Memory:
    """Memory of the fullest rank of every layout in ``columns``."""
    c = constants or published()
    state = _state(model, job, columns, c)
    kept, logits = _activations(model, job, columns, engine, c)
    parts = {**state, "activations_bytes": kept, "logits_bytes": logits}
    parts["fragmentation_bytes"] = c.fragmentation * (kept + logits)
    parts["runtime_bytes"] = np.full(
        len(columns), c.runtime_fraction * cluster.host.gpu.memory_bytes
    )
    return Memory(**{k: np.broadcast_to(v, len(columns)) for k, v in parts.items()})


def _state(model: Model, job: Job, columns: Columns, c: Calibration) -> dict[str, Floats]:
    dense, experts = rank_parameters(model, columns)
    whole = dense + experts
    shared = dense / columns.sharing + experts / expert_sharers(columns)
    fsdp, none = columns.shards(Sharding.FSDP, Sharding.HSDP), columns.shards(Sharding.NONE)
    held = np.where(fsdp, shared, whole)
    gradients = np.where(columns.shards(Sharding.ZERO2), shared, held)
    # an fp8 or fp4 engine keeps the quantised weights, plain and transposed, beside the 16-bit ones
    quantised = 2 * c.eight_bit_bytes if job.precision in (Precision.FP8, Precision.NVFP4) else 0.0
    # fp32 training updates the parameters themselves
    full = job.precision is Precision.FP32
    number = c.thirty_two_bit_bytes if full else c.sixteen_bit_bytes + quantised
    adam = c.optimizer_bytes - (c.thirty_two_bit_bytes if full else 0.0)
    # two layers at a time: the one that computes and the one that is being gathered
    layer = 2 * (whole - _tables(model, columns)) * columns.pp / model.num_layers
    gathered = np.where(fsdp, (layer + _tables(model, columns)) * c.sixteen_bit_bytes, 0.0)
    return {
        "parameters_bytes": held * number,
        "gradients_bytes": gradients * c.gradient_bytes,
        "optimizer_bytes": np.where(none, whole, shared) * adam * (columns.offload == 0),
        "gathered_bytes": gathered,
    }


def _tables(model: Model, columns: Columns) -> Floats:
    p = count_parameters(model)
    tables = np.where(columns.pp == 1, p.embedding + p.head, p.embedding)
    return np.asarray(tables / columns.tp, dtype=np.float64)


def _activations(
    model: Model, job: Job, columns: Columns, engine: Engine, c: Calibration
) -> tuple[Floats, Floats]:
    """(activations, logits) of the fuller of first and last stage."""
    layers = layers_of_fullest_stage(columns, num_layers=model.num_layers)
    microbatches = num_microbatches(columns, global_batch=job.global_batch)
    alive = microbatches_in_flight(columns, microbatches=microbatches)
    t = tokens_per_rank(columns, seq_len=job.seq_len)
    stored, whole = layer_activation_bytes(
        model, columns, seq_len=job.seq_len, engine=engine, constants=c
    )
    # while a recomputed layer is in backward, all its activations exist
    working = np.where(columns.recomputes(Recompute.NONE), 0.0, whole)
    first = alive * layers * stored + working
    logits = (c.sixteen_bit_bytes + c.thirty_two_bit_bytes) * t * model.vocab / columns.tp
    last = layers * stored + working
    single = columns.pp == 1
    logits_at_last = (last + logits > first) | single
    return (
        np.where(logits_at_last & ~single, last, first),
        np.where(logits_at_last, logits, 0.0),
    )


def layer_activation_bytes(
    model: Model,
    columns: Columns,
    *,
    seq_len: int,
    engine: Engine,
    constants: Calibration,
) -> tuple[Floats, Floats]:
    """(kept under the layout's recompute, all of it) of one mean layer and microbatch."""
    c = constants
    t = tokens_per_rank(columns, seq_len=seq_len)
    stream_split = columns.tp if engine.sequence_parallel else 1
    h = model.hidden * t / stream_split
    cut = t / columns.tp
    products, activated = _ffn_numbers(model, columns)
    # block inputs (2h) and normed inputs (2h); queries, keys, values and the attention's output
    everything = 4 * h + (_attention_numbers(model) + products + activated) * cut
    # scores, their softmax and the mask of dropout: 5 bytes each
    written = 0.0 if engine.flash_attention else 2.5
    scores = written * model.num_heads / columns.tp * t * seq_len
    selective = everything - 2 * h - activated * cut
    kept = np.where(columns.recomputes(Recompute.SELECTIVE), selective, everything + scores)
    share = recomputed_share(columns, num_layers=model.num_layers)
    kept = np.where(columns.recomputes(Recompute.FULL), share * h + (1 - share) * kept, kept)
    return kept * c.sixteen_bit_bytes, (everything + scores) * c.sixteen_bit_bytes


def _attention_numbers(model: Model) -> float:
    """Kept numbers per token: q, k, v, output; for MLA the latent vectors too."""
    if model.mla is None:
        return float((2 * model.num_heads + 2 * model.num_kv_heads) * model.head_dim)
    m = model.mla
    qk = m.qk_nope_head_dim + m.qk_rope_head_dim
    latent = 2 * (m.q_lora_rank + m.kv_lora_rank)
    return float(model.num_heads * (2 * qk + 2 * m.v_head_dim) + latent)


def _ffn_numbers(model: Model, columns: Columns) -> tuple[Floats, Floats]:
    """(inputs and products, activation outputs) kept per token of a mean layer, before / tp."""
    moe = model.num_moe_layers / model.num_layers
    into = 2 if model.gated_ffn else 1
    beside = model.num_shared_experts * model.moe_ffn + model.dense_residual * model.ffn
    width = (1 - moe) * model.ffn + moe * (beside + model.topk * model.moe_ffn)
    # each routed copy is kept on entering the experts, once for every rank it is cut over
    routed = moe * model.topk * model.hidden * columns.etp
    every = np.ones(len(columns))
    return into * width * every + routed, width * every
