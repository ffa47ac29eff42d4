"""Where the ranks of a layout lie, and what each of its axes sends over which tier.

Rank order: tp fastest, then cp, dp, pp; experts on the same ranks of a stage, etp fastest, then
ep. Ranks fill hosts in order, local rank r sits on rail r, hosts fill pods in order: TP stays in a
host, CP and EP in a pod where they fit, data-parallel neighbours are neighbouring hosts, stages
lie furthest apart.

Tiers: ``scaleup`` inside the NVLink domain; ``leaf`` between hosts of a pod on the same rail;
``spine`` everything else. Collectives send round a ring of the group's ranks, all_to_all to all
others alike, stages to the next one. Bytes are those of one step, summed over all ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gigafactory.cost.calibration import Calibration, published
from gigafactory.cost.columns import Columns, Ints, columns_of, num_microbatches
from gigafactory.cost.flops import attention_width, routed_tokens, tokens_per_rank
from gigafactory.cost.pipeline import chunks_a_rank, recomputed_share
from gigafactory.cost.sharding import expert_sharers, rank_parameters
from gigafactory.describe.cluster import Cluster, FabricKind
from gigafactory.describe.layout import Layout, Recompute, Schedule, Sharding
from gigafactory.describe.model import Model
from gigafactory.describe.study import Study

TIERS = ("scaleup", "leaf", "spine")


@dataclass(frozen=True)
class Spots:
    """Where each rank lies; every field has shape (num_gpus,)."""

    host: Ints
    domain: Ints
    """NVLink domain."""
    rail: Ints
    pod: Ints


@dataclass(frozen=True)
class Talk:
    """One kind of traffic: who sends to whom, and how much a rank sends in a step."""

    axis: str
    size: int
    stride: int
    span: int
    """Ranks that a block of interleaved groups covers: size * stride."""
    sent_bytes: float
    to_all: bool = False
    """Every other rank of the group gets an equal part; else the next one gets everything."""
    is_ring: bool = True
    """The last rank sends to the first."""


def spots(cluster: Cluster, num_gpus: int) -> Spots:
    """Every rank's place, hosts and pods filled in order."""
    rank, host = np.arange(num_gpus, dtype=np.int64), cluster.host
    on = rank // host.num_gpus
    return Spots(
        host=on,
        domain=rank // host.scaleup_domain_gpus,
        rail=rank % host.num_gpus * host.num_nics // host.num_gpus,
        pod=on // cluster.hosts_per_pod,
    )


def placement(study: Study, layout: Layout) -> dict[str, Any]:
    """The placement as plain values: hosts, pods, and by axis what crosses and what is sent."""
    cluster = study.cluster
    where = spots(cluster, layout.num_gpus)
    talks = list(talks_of(study, layout))
    loopback = cluster.fabric.kind is FabricKind.LOOPBACK
    return {
        "order": ["tp", "cp", "dp", "pp"],
        "expert_order": ["etp", "ep", "replicas"],
        "num_hosts": int(where.host[-1]) + 1,
        "num_pods": int(where.pod[-1]) + 1,
        "groups": [_group(talk, where, loopback=loopback) for talk in talks],
    }


def _group(talk: Talk, where: Spots, *, loopback: bool) -> dict[str, Any]:
    of_tier = tier_bytes(talk, where)
    if loopback:
        of_tier = np.array([of_tier.sum(), 0.0, 0.0])
    first, last = _ends(talk, len(where.host))
    return {
        "axis": talk.axis,
        "size": talk.size,
        "stride": talk.stride,
        "num_groups": len(first),
        "num_across_domains": int(np.sum(where.domain[first] != where.domain[last])),
        "num_across_pods": int(np.sum(where.pod[first] != where.pod[last])),
    } | {f"{tier}_bytes": float(b) for tier, b in zip(TIERS, of_tier, strict=True)}


def _ends(talk: Talk, num_ranks: int) -> tuple[Ints, Ints]:
    """First and last rank of every group."""
    rank = np.arange(num_ranks, dtype=np.int64)
    first = rank[rank % talk.span < talk.stride]
    return first, first + (talk.size - 1) * talk.stride


def tier_bytes(talk: Talk, where: Spots) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Bytes over each tier in a step, all ranks together; shape (3,)."""
    total = np.zeros(len(TIERS))
    shifts = range(1, talk.size) if talk.to_all else range(1, 2)
    for shift in shifts:
        total += np.bincount(_tiers(talk, where, shift), minlength=len(TIERS))
    each = talk.sent_bytes / len(shifts)
    return np.asarray(total * each)


def _tiers(talk: Talk, where: Spots, shift: int) -> Ints:
    """Tier of the way from every sending rank to the rank ``shift`` places on in its group."""
    rank = np.arange(len(where.host), dtype=np.int64)
    place = rank // talk.stride % talk.size
    to = rank + ((place + shift) % talk.size - place) * talk.stride
    if not talk.is_ring:
        inside = place + shift < talk.size
        rank, to = rank[inside], to[inside]
    near = where.domain[rank] == where.domain[to]
    same = (where.pod[rank] == where.pod[to]) & (where.rail[rank] == where.rail[to])
    return np.where(near, 0, np.where(same, 1, 2))


def talks_of(study: Study, layout: Layout) -> Iterator[Talk]:
    """The traffic of a layout, an axis each; axes of one rank are silent."""
    model, c = study.model, published()
    columns = columns_of(layout)
    count = float(num_microbatches(columns, global_batch=study.job.global_batch)[0])
    again = float(recomputed_share(columns, num_layers=model.num_layers)[0])
    passes = 2 + again * (layout.recompute is Recompute.FULL)
    layers = count * model.num_layers / layout.pp
    seq_len, tp, cp, dp = study.job.seq_len, layout.tp, layout.cp, layout.dp
    stage = tp * cp * dp
    each = _layer_bytes(model, columns, seq_len=seq_len, c=c)

    def talk(axis: str, size: int, stride: int, sent: float, **more: bool) -> Talk:
        return Talk(axis, size, stride, size * stride, sent, **more)

    if tp > 1:
        yield talk("tp", tp, 1, each["tp"] * layers * passes)
    if layout.etp > 1:
        yield talk("etp", layout.etp, 1, each["etp"] * layers * passes)
    if cp > 1:
        yield talk("cp", cp, tp, each["cp"] * layers * (passes + 1))
    if layout.ep > 1:
        yield talk("ep", layout.ep, layout.etp, each["ep"] * layers * passes, to_all=True)
    yield from _sharing(study, layout, columns, count, c)
    if layout.pp > 1:
        tokens = float(tokens_per_rank(columns, seq_len=seq_len)[0]) / tp
        one_way = tokens * model.hidden * c.sixteen_bit_bytes * count
        yield from _stages(layout, columns, one_way, stage)


def _stages(layout: Layout, columns: Columns, one_way: float, stage: int) -> Iterator[Talk]:
    """Activations to the next stage and gradients back: the same edges, both directions."""
    pieces = float(chunks_a_rank(columns)[0])
    wraps = layout.vpp > 1
    sent = 2 * one_way * (1 if layout.schedule is Schedule.DUAL else pieces)
    yield Talk("pp", layout.pp, stage, layout.pp * stage, sent, is_ring=wraps)


def _layer_bytes(
    model: Model, columns: Columns, *, seq_len: int, c: Calibration
) -> dict[str, float]:
    """What a rank sends for one mean layer, microbatch and direction, by axis."""
    moe = model.num_moe_layers / model.num_layers
    beside = bool(model.num_shared_experts or model.dense_residual)
    tp, cp, etp = (int(getattr(columns, axis)[0]) for axis in ("tp", "cp", "etp"))
    tokens = float(tokens_per_rank(columns, seq_len=seq_len)[0])
    copies = float(routed_tokens(model, columns, seq_len=seq_len)[0]) * bool(moe)
    width = model.hidden * c.sixteen_bit_bytes
    kv = 2.0 * model.head_dim if model.mla is None else attention_width(model) / model.num_heads
    heads = max(model.num_kv_heads / tp, 1.0)
    blocks = 1 + (1 - moe) + moe * beside
    return {
        "tp": 2 * tokens * width * blocks * (tp - 1) / tp,
        "etp": moe * 2 * copies * etp * width * (etp - 1) / etp,
        "cp": (cp - 1) * tokens * heads * kv * c.sixteen_bit_bytes,
        "ep": moe * 2 * copies * width * c.expert_imbalance * _others(columns),
    }


def _others(columns: Columns) -> float:
    ep = int(columns.ep[0])
    return (ep - 1) / ep


def _sharing(
    study: Study, layout: Layout, columns: Columns, count: float, c: Calibration
) -> Iterator[Talk]:
    """Gradients and parameters: dense ones, experts, and between the copies of HSDP."""
    dense, experts = (float(n[0]) for n in rank_parameters(study.model, columns))
    sharing = int(columns.sharing[0])
    alike = int(expert_sharers(columns)[0])
    own = layout.ep * layout.etp
    every = layout.sharding in (Sharding.FSDP, Sharding.HSDP)
    two, four = c.sixteen_bit_bytes, c.gradient_bytes
    moved = 3 * two * count if every else two + four
    if layout.sharding is Sharding.ZERO2:
        moved = two + four * count
    for axis, number, size, stride in (
        ("dp", dense, sharing, layout.tp),
        ("expert dp", experts, alike, own),
    ):
        if size > 1 and number:
            yield Talk(axis, size, stride, size * stride, number * moved * (size - 1) / size)
    copies = layout.dp * layout.cp // sharing
    if copies > 1:
        part = (dense / sharing + experts / alike) * two * count * 2 * (copies - 1) / copies
        stride = layout.tp * sharing
        yield Talk("copies", copies, stride, copies * stride, part)
