"""The time of a training step, taken apart: parts that add up, for any number of layouts at once.

Legend
    M     microbatches of a data-parallel rank;  p v  stages, virtual stages
    F B   time of a microbatch on a mean stage, forward and backward, exposed communication included
    N     parameters on a rank

step = M*(F+B) + imbalance + bubble (p-1)/v*(F+B) + exposed gradient and parameter traffic +
optimizer + jitter. Everything before jitter is scaled by the software generation.

Data-parallel traffic: gradients are reduce_scattered beside the last backward, parameters
all_gathered beside the first forward (ZeRO-1, arXiv:1910.02054; DDP moves as much). FSDP gathers
every layer's parameters twice and scatters its gradients once, for each microbatch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from gigafactory.cost.calibration import Calibration, published
from gigafactory.cost.collectives import all_gather_s, group, network, send_s
from gigafactory.cost.columns import Columns, Floats, num_microbatches
from gigafactory.cost.engine import MODERN, Engine
from gigafactory.cost.flops import model_flops_per_token, tokens_per_rank
from gigafactory.cost.kernels import device, streaming_s
from gigafactory.cost.layer import Layer, Setting, head_s, mean_layer
from gigafactory.cost.measured import measured_constants, measured_device, measured_network
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.pipeline import bubble_s, slowest_stage_s
from gigafactory.describe.cluster import Cluster
from gigafactory.describe.job import Job
from gigafactory.describe.layout import Recompute, Sharding
from gigafactory.describe.measured import Measured
from gigafactory.describe.model import Model

#: Software years outside these are not known to the fit.
_YEARS = (2020.0, 2027.0)


@dataclass(frozen=True)
class Breakdown:
    """Where the seconds of a step go; every field has shape (num_layouts,) and they add up."""

    gemm_s: Floats
    attention_s: Floats
    kernels_s: Floats
    """Kernels that only move bytes, and the gaps between kernels."""
    host_s: Floats
    head_s: Floats
    """Output projection and loss, shared out over the stages."""
    recompute_s: Floats
    tp_comm_s: Floats
    cp_comm_s: Floats
    ep_comm_s: Floats
    pp_comm_s: Floats
    dp_comm_s: Floats
    """Gradients and parameters, as far as nothing hides them."""
    imbalance_s: Floats
    """All stages wait for the slowest."""
    bubble_s: Floats
    optimizer_s: Floats
    jitter_s: Floats

    def parts(self) -> dict[str, Floats]:
        """Field name to seconds."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def step_s(self) -> Floats:
        """The whole step; shape (num_layouts,)."""
        return np.asarray(np.sum(list(self.parts().values()), axis=0), dtype=np.float64)


def step_time(
    model: Model,
    job: Job,
    cluster: Cluster,
    columns: Columns,
    *,
    engine: Engine = MODERN,
    constants: Calibration | None = None,
    measured: Measured | None = None,
) -> Breakdown:
    """Predict the step of every layout in ``columns``; ValueError where the GPU lacks the format.

    ``measured``: rates of the machine itself, in place of shares of the peaks in the catalog.
    Legality and memory are not asked here: see plan.candidates and cost.memory.
    """
    c = constants or published()
    dev = device(cluster.host.gpu, job.precision, constants=c)
    net = network(cluster, constants=c)
    if measured:
        dev = measured_device(dev, measured, precision=job.precision)
        net = measured_network(net, measured)
        c = measured_constants(c, measured)
    setting = Setting(
        model=model,
        seq_len=job.seq_len,
        dev=dev,
        net=net,
        engine=engine,
        constants=c,
    )
    parts = _stage_parts(setting, columns, global_batch=job.global_batch)
    slowdown = _generation(engine, c)
    parts = {name: np.broadcast_to(value, len(columns)) * slowdown for name, value in parts.items()}
    hosts = np.maximum(columns.num_gpus / cluster.host.num_gpus, 1.0)
    total = np.sum(list(parts.values()), axis=0)
    return Breakdown(**parts, jitter_s=total * c.jitter_per_doubling * np.log2(hosts))


def mfu(
    step_s: Floats,
    *,
    model: Model,
    job: Job,
    cluster: Cluster,
    columns: Columns,
    constants: Calibration | None = None,
) -> Floats:
    """Model FLOPs by the reference formula of cost.flops over the dense peak; (num_layouts,)."""
    unit = (constants or published()).multiply_add_flops
    per_token = model_flops_per_token(model, seq_len=job.seq_len, multiply_add_flops=unit)
    peak = cluster.host.gpu.peak(job.precision)
    return np.asarray(per_token * job.tokens_per_step / (step_s * columns.num_gpus * peak))


def _generation(engine: Engine, c: Calibration) -> float:
    year = min(max(engine.year, _YEARS[0]), _YEARS[1])
    return float(np.exp(-c.generation_gain_per_year * (year - c.generation_reference_year)))


def _stage_parts(x: Setting, columns: Columns, *, global_batch: int) -> dict[str, Floats]:
    """All parts but jitter."""
    layer = mean_layer(x, columns)
    count = num_microbatches(columns, global_batch=global_batch)
    on_stage = x.model.num_layers / columns.pp
    times = _microbatch_parts(x, layer, columns)
    stage = {name: value * on_stage for name, value in times.items()}
    head = head_s(x, columns)
    stage["head_s"] = head / columns.pp
    stage["pp_comm_s"] = _transfer_s(x, columns)
    mean = np.sum(list(stage.values()), axis=0)
    slowest = slowest_stage_s(
        (mean - stage["head_s"]) / on_stage,
        head_s=head,
        columns=columns,
        num_layers=x.model.num_layers,
    )
    parts = {name: value * count for name, value in stage.items()}
    parts["imbalance_s"] = (slowest - mean) * count
    parts["bubble_s"] = bubble_s(mean, columns=columns)
    parts["dp_comm_s"] = _data_parallel_s(x, columns, layer, count)
    parts["optimizer_s"] = _optimizer_s(x, columns)
    return parts


def _microbatch_parts(x: Setting, layer: Layer, columns: Columns) -> dict[str, Floats]:
    """One mean layer and microbatch, both directions, by part."""
    again = columns.recomputes(Recompute.FULL).astype(np.float64)
    some = columns.recomputes(Recompute.SELECTIVE).astype(np.float64)
    f, b = layer.forward, layer.backward
    return {
        "gemm_s": f.gemm_s + b.gemm_s,
        "attention_s": f.attention_s + b.attention_s,
        "kernels_s": f.kernels_s + b.kernels_s,
        "host_s": f.host_s + b.host_s,
        "recompute_s": again * f.compute_s + some * layer.selective_s,
        "tp_comm_s": (1 + again) * f.tp_comm_s + b.tp_comm_s,
        "cp_comm_s": (1 + again) * f.cp_comm_s + b.cp_comm_s,
        "ep_comm_s": (1 + again) * f.ep_comm_s + b.ep_comm_s,
    }


def _transfer_s(x: Setting, columns: Columns) -> Floats:
    """Exposed sends between stages of one microbatch: v forward and v backward."""
    c = x.constants
    tokens = tokens_per_rank(columns, seq_len=x.seq_len) / columns.tp
    stride = columns.tp * columns.cp * columns.dp
    one = send_s(tokens * x.model.hidden * c.sixteen_bit_bytes, stride=stride, net=x.net)
    shown = 1 - c.hidden_pp * x.engine.overlap_pp
    return np.asarray(2 * columns.vpp * one * shown * (columns.pp > 1))


def rank_parameters(model: Model, columns: Columns) -> tuple[Floats, Floats]:
    """(dense, expert) parameters on a rank of the first stage, which holds the embedding."""
    p = count_parameters(model)
    layers = p.dense_total - p.embedding - p.head - p.final_norm
    # with one stage, embedding and head share a rank
    tables = np.where(columns.pp == 1, p.embedding + p.head, p.embedding) + p.final_norm
    dense = (layers / columns.pp + tables) / columns.tp
    experts = p.expert_total / (columns.pp * columns.ep * columns.etp)
    return dense, np.asarray(experts, dtype=np.float64)


def _exposed(comm: Floats, *, beside: Floats, x: Setting) -> Floats:
    """What is left of ``comm`` when it runs beside ``beside`` seconds of computing."""
    c = x.constants
    if not x.engine.overlap_dp:
        return comm
    hidden = np.minimum(comm, c.overlap_window * beside)
    return comm - hidden * (1 - c.overlap_contention)


def _data_parallel_s(x: Setting, columns: Columns, layer: Layer, count: Floats) -> Floats:
    c, net = x.constants, x.net
    on_stage = x.model.num_layers / columns.pp
    dense, experts = rank_parameters(x.model, columns)
    replicas = columns.dp * columns.cp
    everyone = group(replicas, stride=columns.tp, net=net)
    expert_replicas = columns.tp * replicas / (columns.ep * columns.etp)
    alike = group(expert_replicas, stride=columns.ep * columns.etp, net=net)

    def moved_s(number_bytes: float) -> Floats:
        of_dense = all_gather_s(dense * number_bytes, members=everyone, net=net)
        of_experts = all_gather_s(experts * number_bytes, members=alike, net=net)
        return np.asarray(of_dense * (replicas > 1) + of_experts * (expert_replicas > 1))

    gather, scatter = moved_s(c.sixteen_bit_bytes), moved_s(c.gradient_bytes)
    forward, back = layer.forward.all_s * on_stage, layer.backward.all_s * on_stage
    once = _exposed(scatter, beside=back, x=x) + _exposed(gather, beside=forward, x=x)
    each = _exposed(gather, beside=forward, x=x)
    each = each + _exposed(gather + moved_s(c.sixteen_bit_bytes), beside=back, x=x)
    return np.where(columns.shards(Sharding.FSDP), count * each, once)


def _optimizer_s(x: Setting, columns: Columns) -> Floats:
    """Reading and writing the state, reading gradients, writing parameters."""
    c = x.constants
    dense, experts = rank_parameters(x.model, columns)
    shared = ~columns.shards(Sharding.NONE)
    replicas = columns.dp * columns.cp
    alike = np.maximum(columns.tp * replicas / (columns.ep * columns.etp), 1.0)
    own = np.where(shared, dense / replicas + experts / alike, dense + experts)
    per_number = 2 * c.optimizer_bytes + c.gradient_bytes + c.sixteen_bit_bytes
    return streaming_s(own * per_number, dev=x.dev)
