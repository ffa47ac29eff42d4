"""The ranks of one gang, as meshes: which of them share what.

    dense mesh    replicate x shard x tp    everything but the experts
    expert mesh   replicate x shard x ep    the experts, folded over the same ranks

A rank is data_rank * tp + tp_rank, so that tensor-parallel peers are neighbours, and so are
expert-parallel ones. Ranks that differ in tp alone see the same sequences (each a part of every
one), ranks that differ in replicate or shard see others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from gigafactory.describe.layout import Layout, Sharding

REPLICATE, SHARD, TP, EP = "replicate", "shard", "tp", "ep"
_DATA = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """Who this rank is, and with whom it shares what."""

    layout: Layout
    device: torch.device
    rank: int
    dense: DeviceMesh
    experts: DeviceMesh
    """The dense mesh itself where nothing is folded: tp and ep both 1."""
    dense_data: DeviceMesh
    """Ranks that see other tokens and, unsharded, hold the same: replicate x shard."""
    expert_data: DeviceMesh
    """The same of the expert mesh."""

    @property
    def data_rank(self) -> int:
        """Which share of a global batch this rank sees."""
        return self.rank // self.layout.tp

    @property
    def num_data_ranks(self) -> int:
        """Shares of a global batch."""
        return self.layout.dp

    @property
    def folds_experts(self) -> bool:
        """Whether experts lie on other ranks than the rest, or see other tokens."""
        return self.experts is not self.dense


def form(layout: Layout, *, device: torch.device | None = None) -> Gang:
    """The meshes of ``layout`` over the joined ranks; a collective.

    ValueError unless there are as many ranks as the layout has.
    """
    device = device or torch.device("cpu")
    size = dist.get_world_size()
    if size != layout.num_gpus:
        raise ValueError(f"the layout is for {layout.num_gpus} ranks, {size} have joined")
    shard = num_sharing(layout)
    dense, dense_data = _mesh(device, (layout.dp // shard, shard, layout.tp), TP)
    experts, expert_data = dense, dense_data
    if layout.tp > 1 or layout.ep > 1:
        ranks = size // layout.ep
        shard = 1 if layout.sharding is Sharding.NONE else shard * layout.tp // layout.ep
        experts, expert_data = _mesh(device, (ranks // shard, shard, layout.ep), EP)
    return Gang(
        layout=layout,
        device=device,
        rank=dist.get_rank(),
        dense=dense,
        experts=experts,
        dense_data=dense_data,
        expert_data=expert_data,
    )


def num_sharing(layout: Layout) -> int:
    """Data-parallel ranks that share out one copy of what the sharding shares out."""
    if layout.sharding is Sharding.NONE:
        return 1
    return layout.shard or layout.dp


def _mesh(
    device: torch.device, shape: tuple[int, int, int], inner: str
) -> tuple[DeviceMesh, DeviceMesh]:
    mesh = init_device_mesh(device.type, shape, mesh_dim_names=(REPLICATE, SHARD, inner))
    return mesh, mesh[REPLICATE, SHARD]._flatten("data")
