"""The ranks of one data-parallel gang, over gloo: DDP, ZeRO-1 or FSDP2.

Sums must come out the same, bit for bit, before and after a restart. DDP by default regroups its
gradient buckets after the first step, which changes the order of summation among three or more
ranks; it does not when it looks for unused parameters, so that is switched on.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from gigafactory.describe.cluster import Precision
from gigafactory.describe.layout import Sharding
from gigafactory.describe.rank import Task
from gigafactory.net.network import Network


def join(task: Task, *, rank: int, world_size: int) -> None:
    """Meet the other ranks; returns when all are there, RuntimeError when one stays away."""
    dist.init_process_group(
        "gloo",
        init_method=task.rendezvous,
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=task.join_timeout_s),
    )
    dist.barrier()
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=task.collective_timeout_s))


def spread(net: Network, sharding: Sharding) -> nn.Module:
    """``net`` as the gang computes it; the sharded form changes ``net`` in place."""
    if sharding is Sharding.FSDP:
        for layer in net.layers:
            fully_shard(layer)
        fully_shard(net)
        return net
    if dist.get_world_size() == 1:
        return net
    return DistributedDataParallel(net, find_unused_parameters=True)


def accumulating(model: nn.Module, *, is_last: bool) -> contextlib.AbstractContextManager[None]:
    """Within it, gradients are summed over the ranks only in the last microbatch."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(is_last)
    elif isinstance(model, DistributedDataParallel) and not is_last:
        return model.no_sync()
    return contextlib.nullcontext()


def autocast(precision: Precision) -> torch.autocast:
    """bf16 matrix products where the processor has them, else float32 throughout."""
    wanted = precision is Precision.BF16 and has_bf16()
    return torch.autocast("cpu", torch.bfloat16, enabled=wanted)


def has_bf16() -> bool:
    """Whether this processor multiplies bf16 in hardware."""
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16"))


def owners(weights: list[nn.Parameter], *, num_ranks: int) -> list[int]:
    """ZeRO-1: which rank updates each parameter; largest first to the least loaded rank."""
    load = [0] * num_ranks
    owner = [0] * len(weights)
    for index in sorted(range(len(weights)), key=lambda i: (-weights[i].numel(), i)):
        rank = min(range(num_ranks), key=lambda r: (load[r], r))
        owner[index] = rank
        load[rank] += weights[index].numel()
    return owner


@torch.no_grad()
def share_updates(weights: list[nn.Parameter], owner: list[int]) -> None:
    """ZeRO-1: every rank sends the parameters it updated to all others."""
    for rank in range(dist.get_world_size()):
        owned = [w for w, o in zip(weights, owner, strict=True) if o == rank]
        if not owned:
            continue
        flat = torch.cat([w.detach().flatten() for w in owned])
        dist.broadcast(flat, src=rank)
        if rank != dist.get_rank():
            parts = torch.split(flat, [w.numel() for w in owned])
            for weight, part in zip(owned, parts, strict=True):
                weight.copy_(part.view_as(weight))


def full(weight: Tensor) -> Tensor:
    """A parameter whole, wherever its shards lie; a collective if it is sharded."""
    gather = getattr(weight, "full_tensor", None)
    whole: Tensor = gather() if gather else weight
    return whole.detach()
