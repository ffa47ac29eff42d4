"""The time of a training step, taken apart: parts that add up, for any number of layouts at once.

Legend
    M     microbatches of a data-parallel rank;  p v  stages, virtual stages
    F B   time of a microbatch on a mean stage, forward and backward, exposed communication included
    N     parameters on a rank

step = M*(F+B) + imbalance + bubble + exposed gradient and parameter traffic + optimizer + jitter.
The bubble is that of the schedule, see cost.pipeline. Everything before jitter is scaled by the
software generation.

Data-parallel traffic is in cost.sharding. A layer depends on few columns, the traffic on a few
others: both are priced once for each distinct combination, then gathered, and the rest runs over
chunks that stay in the processor's cache. The result is that of evaluating every row by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from gigafactory.cost.calibration import Calibration, published
from gigafactory.cost.collectives import network, send_s
from gigafactory.cost.columns import Columns, Floats, Ints, distinct, num_microbatches
from gigafactory.cost.engine import MODERN, Engine
from gigafactory.cost.flops import model_flops_per_token, tokens_per_rank
from gigafactory.cost.kernels import device, streaming_s
from gigafactory.cost.layer import Layer, Pass, head_s, mean_layer, weight_gradients_s
from gigafactory.cost.measured import measured_constants, measured_device, measured_network
from gigafactory.cost.offload import offload_s
from gigafactory.cost.pipeline import (
    Passes,
    bubble_s,
    chunks_a_rank,
    recomputed_share,
    slowest_stage_s,
)
from gigafactory.cost.setting import Setting
from gigafactory.cost.sharding import Traffic, dp_exposed_s, rank_parameters, traffic
from gigafactory.describe.cluster import Cluster, Gpu
from gigafactory.describe.job import Job
from gigafactory.describe.layout import Recompute, Schedule
from gigafactory.describe.measured import Measured
from gigafactory.describe.model import Model

__all__ = ["Breakdown", "mfu", "rank_parameters", "step_seconds", "step_time"]

#: Software years outside these are not known to the fit.
_YEARS = (2020.0, 2027.0)
#: What a layer and the output projection depend on.
_LAYER_AXES = ("tp", "cp", "ep", "etp", "micro_batch")
#: What the traffic between data-parallel ranks depends on.
_MESH_AXES = ("tp", "pp", "cp", "dp", "ep", "etp", "shard", "sharding")
#: Layouts evaluated at a time; their columns stay in the processor's cache.
_CHUNK = 8192


@dataclass(frozen=True)
class Breakdown:
    """Where the seconds of a step go; every field has shape (num_layouts,) and they add up."""

    gemm_s: Floats
    attention_s: Floats
    kernels_s: Floats
    """Kernels that only move bytes, and the gaps between kernels."""
    host_s: Floats
    head_s: Floats
    """Output projection, loss and input table, shared out over the stages."""
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


@dataclass(frozen=True)
class _Prices:
    """What was evaluated on distinct rows only, and which of them each layout is."""

    layer: Layer
    head_s: Floats
    embedding_s: Floats
    weight_s: Floats
    """Gradients of the weights of a layer."""
    of_layer: Ints
    traffic: Traffic
    of_mesh: Ints


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
    x = _setting(model, job, cluster, engine, constants=constants, measured=measured)
    told = np.empty((len(fields(Breakdown)), len(columns)))
    for place, parts in _in_chunks(x, job, cluster, columns):
        for row, name in zip(told, (f.name for f in fields(Breakdown)), strict=True):
            row[place] = parts[name]
    return Breakdown(*told)


def step_seconds(
    model: Model,
    job: Job,
    cluster: Cluster,
    columns: Columns,
    *,
    engine: Engine = MODERN,
    constants: Calibration | None = None,
    measured: Measured | None = None,
) -> Floats:
    """``step_time(...).step_s`` without keeping the parts; shape (num_layouts,)."""
    x = _setting(model, job, cluster, engine, constants=constants, measured=measured)
    told = np.empty(len(columns))
    for place, parts in _in_chunks(x, job, cluster, columns):
        told[place] = sum(parts.values())
    return told


def _setting(
    model: Model,
    job: Job,
    cluster: Cluster,
    engine: Engine,
    *,
    constants: Calibration | None,
    measured: Measured | None,
) -> Setting:
    c = constants or published()
    dev = device(cluster.host.gpu, job.precision, constants=c, engine=engine)
    net = network(cluster, constants=c)
    if measured:
        dev = measured_device(dev, measured, precision=job.precision)
        net = measured_network(net, measured)
        c = measured_constants(c, measured)
    return Setting(model=model, seq_len=job.seq_len, dev=dev, net=net, engine=engine, constants=c)


def _in_chunks(
    x: Setting, job: Job, cluster: Cluster, columns: Columns
) -> Iterator[tuple[slice, dict[str, Floats]]]:
    """(which layouts, their parts with jitter), a chunk at a time."""
    prices = _priced(x, columns)
    slowdown = _generation(x.engine, cluster.host.gpu, x.constants)
    for begin in range(0, len(columns), _CHUNK):
        place = slice(begin, begin + _CHUNK)
        chunk = columns.take(place)
        here = replace(prices, of_layer=prices.of_layer[place], of_mesh=prices.of_mesh[place])
        parts = _stage_parts(x, chunk, here, cluster=cluster, global_batch=job.global_batch)
        parts = {name: value * slowdown for name, value in parts.items()}
        hosts = np.maximum(chunk.num_gpus / cluster.host.num_gpus, 1.0)
        total = sum(parts.values())
        yield place, parts | {"jitter_s": total * x.constants.jitter_per_doubling * np.log2(hosts)}


def _priced(x: Setting, columns: Columns) -> _Prices:
    rows, of_layer = distinct(columns, names=_LAYER_AXES)
    # dual schedules alone change what a rank of one mesh holds
    held = ("schedule",) if columns.runs(Schedule.DUAL, Schedule.DUAL_V).any() else ()
    meshes, of_mesh = distinct(columns, names=(*_MESH_AXES, *held))
    return _Prices(
        layer=_whole(mean_layer(x, rows), len(rows)),
        head_s=np.broadcast_to(head_s(x, rows), len(rows)),
        embedding_s=_embedding_s(x, rows),
        weight_s=np.broadcast_to(weight_gradients_s(x, rows), len(rows)),
        of_layer=of_layer,
        traffic=traffic(x.model, meshes, net=x.net, constants=x.constants),
        of_mesh=of_mesh,
    )


def _whole(layer: Layer, rows: int) -> Layer:
    """Every part with one number a row, also where it is the same for all."""
    return _each_part(layer, lambda part: np.broadcast_to(np.asarray(part, np.float64), rows))


def _taken(layer: Layer, which: Ints) -> Layer:
    return _each_part(layer, lambda part: part[which])


def _each_part(layer: Layer, change: Callable[[Floats], Floats]) -> Layer:
    def changed(one: Pass) -> Pass:
        return Pass(**{f.name: change(getattr(one, f.name)) for f in fields(Pass)})

    return Layer(
        forward=changed(layer.forward),
        backward=changed(layer.backward),
        selective_s=change(layer.selective_s),
    )


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


def _generation(engine: Engine, gpu: Gpu, c: Calibration) -> float:
    """Time over that of ripe software of the reference year."""
    year = min(max(engine.year, _YEARS[0]), _YEARS[1])
    drift = c.generation_gain_per_year * (year - c.generation_reference_year)
    age = max(year - gpu.released, 0.0)
    return float(np.exp(c.ripening * np.exp(-age / c.ripening_years) - drift))


def _stage_parts(
    x: Setting, columns: Columns, prices: _Prices, *, cluster: Cluster, global_batch: int
) -> dict[str, Floats]:
    """All parts but jitter."""
    layer, model = _taken(prices.layer, prices.of_layer), x.model
    count = num_microbatches(columns, global_batch=global_batch)
    on_stage = model.num_layers / columns.pp
    share = recomputed_share(columns, num_layers=model.num_layers)
    share = share * columns.recomputes(Recompute.FULL)
    stage = {
        k: value * on_stage for k, value in _microbatch_parts(layer, columns, share, x).items()
    }
    head, embedding = prices.head_s[prices.of_layer], prices.embedding_s[prices.of_layer]
    layers_s = sum(stage.values())
    stage["head_s"] = (head + embedding) / columns.pp
    stage["pp_comm_s"] = _transfer_s(x, columns)
    mean = layers_s + stage["head_s"] + stage["pp_comm_s"]
    slowest = slowest_stage_s(
        (layers_s + stage["pp_comm_s"]) / on_stage,
        head_s=head,
        embedding_s=embedding,
        columns=columns,
        num_layers=model.num_layers,
    )
    # what a dual schedule hides leaves no time to hide something else beside it
    unseen = 1 - _shown_by_schedule(x, columns)
    passes = Passes(
        forward_s=(forward_s := _forward_s(layer, stage, on_stage)),
        backward_s=mean - forward_s,
        weight_s=prices.weight_s[prices.of_layer] * on_stage,
    )
    moved = prices.traffic.take(prices.of_mesh)
    parts = {name: value * count for name, value in stage.items()}
    parts["pp_comm_s"] = parts["pp_comm_s"] + moved.tied_s
    parts["imbalance_s"] = (slowest - mean) * count
    parts["bubble_s"] = bubble_s(passes, columns=columns)
    parts["dp_comm_s"] = dp_exposed_s(
        moved,
        columns=columns,
        count=count,
        forward_s=(layer.forward.all_s - unseen * layer.forward.ep_comm_s) * on_stage,
        backward_s=(layer.backward.all_s - unseen * layer.backward.ep_comm_s) * on_stage,
        engine=x.engine,
        constants=x.constants,
    )
    parts["optimizer_s"] = _optimizer_s(x, columns, moved.own_parameters, cluster=cluster)
    return parts


def _forward_s(layer: Layer, stage: dict[str, Floats], on_stage: Floats) -> Floats:
    """Forward of a microbatch on a mean stage; of the head and the sends its share."""
    return layer.forward.all_s * on_stage + stage["pp_comm_s"] / 2 + stage["head_s"] / 3


def _microbatch_parts(
    layer: Layer, columns: Columns, again: Floats, x: Setting
) -> dict[str, Floats]:
    """One mean layer and microbatch, both directions, by part; ``again``: share recomputed."""
    some = columns.recomputes(Recompute.SELECTIVE)
    f, b = layer.forward, layer.backward
    return {
        "gemm_s": f.gemm_s + b.gemm_s,
        "attention_s": f.attention_s + b.attention_s,
        "kernels_s": f.kernels_s + b.kernels_s,
        "host_s": f.host_s + b.host_s,
        "recompute_s": again * f.compute_s + some * layer.selective_s,
        "tp_comm_s": (1 + again) * f.tp_comm_s + b.tp_comm_s,
        "cp_comm_s": (1 + again) * f.cp_comm_s + b.cp_comm_s,
        "ep_comm_s": ((1 + again) * f.ep_comm_s + b.ep_comm_s) * _shown_by_schedule(x, columns),
    }


def _shown_by_schedule(x: Setting, columns: Columns) -> Floats:
    """Share of expert traffic that stays visible: a dual schedule hides it as overlap_ep does."""
    dual = columns.runs(Schedule.DUAL, Schedule.DUAL_V)
    return np.where(dual & (not x.engine.overlap_ep), 1 - x.constants.hidden_ep, 1.0)


def _transfer_s(x: Setting, columns: Columns) -> Floats:
    """Exposed sends between stages of one microbatch: one forward and one backward a piece."""
    c = x.constants
    tokens = tokens_per_rank(columns, seq_len=x.seq_len) / columns.tp
    stride = columns.tp * columns.cp * columns.dp
    one = send_s(tokens * x.model.hidden * c.sixteen_bit_bytes, stride=stride, net=x.net)
    shown = 1 - c.hidden_pp * x.engine.overlap_pp
    pieces = np.where(columns.runs(Schedule.DUAL), 1.0, chunks_a_rank(columns))
    return np.asarray(2 * pieces * one * shown * (columns.pp > 1))


def _embedding_s(x: Setting, columns: Columns) -> Floats:
    """Input table of one microbatch: rows read and written, gradients read and added."""
    numbers = 4 * tokens_per_rank(columns, seq_len=x.seq_len) * x.model.hidden
    return streaming_s(numbers * x.constants.sixteen_bit_bytes, dev=x.dev)


def _optimizer_s(x: Setting, columns: Columns, own: Floats, *, cluster: Cluster) -> Floats:
    """Reading and writing the state, reading gradients, writing parameters."""
    c = x.constants
    per_number = 2 * c.optimizer_bytes + c.gradient_bytes + c.sixteen_bit_bytes
    here = streaming_s(own * per_number, dev=x.dev)
    if not columns.offload.any():
        return here
    return np.where(columns.offload > 0, offload_s(own, host=cluster.host, constants=c), here)
