"""A network over the ranks of a gang, with PyTorch's own means.

Tensor parallel: column- and row-wise DTensors, the sequence split in between (parallelize_module).
Expert parallel: each rank has some experts, tokens travel. Fully sharded (FSDP2, one or two data
axes) or, for plain and ZeRO-1 data parallelism, whole parameters whose gradients are summed in
buckets. Gradients are sums over the ranks everywhere, never means: whoever computes a share of a
global batch weights its loss by that share, and shares may be unequal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    parallelize_module,
)

from gigafactory.describe.cluster import Precision
from gigafactory.describe.layout import Sharding
from gigafactory.net.attention import Attention
from gigafactory.net.eight_bit import EightBitLinear
from gigafactory.net.exchange import Exchange
from gigafactory.net.experts import Experts, ExpertWeights
from gigafactory.net.mlp import Mlp
from gigafactory.net.network import Layer, Network
from gigafactory.train.gang import EP, REPLICATE, SHARD, TP, Gang
from gigafactory.train.reduce import Reducer

_SHARDED = (Sharding.ZERO2, Sharding.FSDP, Sharding.HSDP)


def spread(net: Network, gang: Gang, *, compiles: bool = False) -> Reducer | None:
    """Lay ``net`` out over the gang, in place; every rank must hold the same weights.

    ``compiles``: each layer is compiled by itself, when it first runs.

    Returns what sums the gradients, None where the network does that itself (FSDP2) or nobody
    needs to (a single rank).
    """
    layout = gang.layout
    if layout.precision is Precision.FP8:
        narrow(net)
    if layout.tp > 1:
        split_tensors(net, gang.dense[TP])
    if gang.folds_experts:
        _split_experts(net, gang)
    if compiles:
        for layer in net.layers:
            layer.compile()
    if layout.sharding in _SHARDED:
        _shard(net, gang)
        return None
    return Reducer(net, gang) if layout.num_gpus > 1 else None


# -- number format


def narrow(net: Network) -> None:
    """Let the projections of attention and of dense feed-forwards multiply in eight bits.

    Weights, their names and the optimizer stay as they are. Router and head, which decide between
    close numbers, and experts, whose grouped kernel is in bf16 here, are left.
    """
    for module in net.modules():
        if isinstance(module, Attention | Mlp):
            for child in module.children():
                if isinstance(child, nn.Linear):
                    child.__class__ = EightBitLinear


# -- tensor parallel


def split_tensors(net: Network, mesh: DeviceMesh) -> None:
    """Heads, the dense feed-forward and the vocabulary over the ranks of ``mesh`` (1-D).

    Between the layers every rank holds its part of each sequence; norms and routers, which each
    rank applies to its part, are whole on all of them.
    """
    plan: dict[str, Any] = {
        "embed_tokens": RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(1)),
    }
    for index, layer in enumerate(net.layers):
        assert isinstance(layer, Layer)
        plan |= {f"layers.{index}.{name}": style for name, style in _layer_plan(layer).items()}
    parallelize_module(net, mesh, plan, src_data_rank=None)
    if net.lm_head is not None:
        _lay_out(net.lm_head, "weight", mesh, Shard(0))
    for module in net.modules():
        if isinstance(module, Experts):
            module.sequence_mesh = mesh
        for name, weight in list(module.named_parameters(recurse=False)):
            if not isinstance(weight, DTensor) and not isinstance(module, ExpertWeights):
                _lay_out(module, name, mesh, Replicate())


def _layer_plan(layer: Layer) -> dict[str, Any]:
    def gathered() -> PrepareModuleInput:
        return PrepareModuleInput(input_layouts=(Shard(1),), desired_input_layouts=(Replicate(),))

    plan: dict[str, Any] = {
        "self_attn": gathered(),
        "self_attn.q_proj": ColwiseParallel(),
        "self_attn.k_proj": ColwiseParallel(),
        "self_attn.v_proj": ColwiseParallel(),
        "self_attn.o_proj": RowwiseParallel(output_layouts=Shard(1)),
    }
    if layer.mlp is not None:
        plan |= {
            "mlp": gathered(),
            "mlp.gate_proj": ColwiseParallel(),
            "mlp.up_proj": ColwiseParallel(),
            "mlp.down_proj": RowwiseParallel(output_layouts=Shard(1)),
        }
    return plan


def _lay_out(module: nn.Module, name: str, mesh: DeviceMesh, how: Shard | Replicate) -> None:
    """Make a parameter that all ranks hold equally a DTensor over ``mesh``."""
    whole = getattr(module, name).detach()
    part = whole
    if isinstance(how, Shard):
        part = whole.chunk(mesh.size(), how.dim)[mesh.get_local_rank()].contiguous().clone()
    laid = DTensor.from_local(part, mesh, [how], run_check=False)
    module.register_parameter(name, nn.Parameter(laid))


# -- expert parallel


def _split_experts(net: Network, gang: Gang) -> None:
    mesh = gang.experts[EP]
    for module in net.modules():
        if isinstance(module, Experts) and mesh.size() > 1:
            module.exchange = Exchange(mesh.get_group())
            for name, _ in list(module.experts.named_parameters()):
                _lay_out(module.experts, name, mesh, Shard(0))


# -- fully sharded


def _shard(net: Network, gang: Gang) -> None:
    keeps = gang.layout.sharding is Sharding.ZERO2
    more: dict[str, Any] = {"reshard_after_forward": not keeps, "mp_policy": _policy(gang)}
    for layer in net.layers:
        for module in layer.modules():
            if isinstance(module, ExpertWeights) and gang.folds_experts:
                fully_shard(
                    module, mesh=_data_mesh(gang.experts), shard_placement_fn=_across, **more
                )
        fully_shard(layer, mesh=_data_mesh(gang.dense), shard_placement_fn=_across, **more)
    fully_shard(net, mesh=_data_mesh(gang.dense), shard_placement_fn=_across, **more)
    for module in net.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sums


def _data_mesh(mesh: DeviceMesh) -> DeviceMesh:
    """Two axes where copies are sharded (HSDP), else one."""
    return mesh[REPLICATE, SHARD] if mesh[REPLICATE].size() > 1 else mesh[SHARD]


def _across(weight: nn.Parameter) -> Shard | None:
    """Another dim than the one that is split already: so shards stay plain blocks."""
    if isinstance(weight, DTensor) and weight.placements[0].is_shard(0):
        return Shard(1)
    return None


def _policy(gang: Gang) -> MixedPrecisionPolicy:
    """On a GPU parameters travel in bf16 where products are in it; sums are always in float32."""
    is_narrow = gang.device.type == "cuda" and gang.layout.precision is not Precision.FP32
    return MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if is_narrow else None, reduce_dtype=torch.float32
    )
