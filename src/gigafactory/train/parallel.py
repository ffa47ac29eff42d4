"""Joining a gang, the device and number format of its products, and the rhythm of its sums."""

from __future__ import annotations

import contextlib
import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from gigafactory.describe.cluster import Precision
from gigafactory.describe.errors import InputError
from gigafactory.describe.rank import Task
from gigafactory.train.reduce import Reducer


def join(task: Task, *, rank: int, world_size: int) -> None:
    """Meet the other ranks; returns when all are there, RuntimeError when one stays away."""
    device = device_here()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # whoever is alone needs no file to meet in, which a full or a tidied disk could keep from it
    alone = {"store": dist.HashStore()}  # type: ignore[attr-defined]
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        **(alone if world_size == 1 else {"init_method": task.rendezvous}),
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=task.join_timeout_s),
    )
    dist.barrier()
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=task.collective_timeout_s))


def device_here() -> torch.device:
    """A GPU of its own where this host has one for each of its ranks, else the processor."""
    local, count = (
        int(os.environ.get(name, os.environ.get(other, default)))
        for name, other, default in (
            ("LOCAL_RANK", "RANK", "0"),
            ("LOCAL_WORLD_SIZE", "WORLD_SIZE", "1"),
        )
    )
    return torch.device("cuda", local) if torch.cuda.device_count() >= count else _CPU


_CPU = torch.device("cpu")
_EIGHT_BIT_CAPABILITY = (8, 9)


def accumulating(
    net: nn.Module, reducer: Reducer | None, *, is_last: bool
) -> contextlib.AbstractContextManager[None]:
    """Around a microbatch: gradients are summed over the ranks only in the last one."""
    if isinstance(net, FSDPModule):
        net.set_requires_gradient_sync(is_last)
    elif reducer is not None:
        return reducer.backward(is_last=is_last)
    return contextlib.nullcontext()


def autocast(precision: Precision, device: torch.device = _CPU) -> torch.autocast:
    """bf16 matrix products where the hardware has them, else float32 throughout."""
    is_fast = device.type == "cuda" or has_bf16()
    wanted = precision is not Precision.FP32 and is_fast
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def check_format(precision: Precision, device: torch.device) -> None:
    """InputError where this device does not multiply in ``precision``; a processor emulates."""
    if precision is not Precision.FP8 or device.type != "cuda":
        return
    capability = torch.cuda.get_device_capability(device)
    if capability < _EIGHT_BIT_CAPABILITY:
        raise InputError(
            f"layout.precision: {torch.cuda.get_device_name(device)} has no fp8 (compute capability"
            f" {capability[0]}.{capability[1]}, not 8.9 or above); use bf16"
        )


def has_bf16() -> bool:
    """Whether this processor multiplies bf16 in hardware."""
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16"))


def full(weight: Tensor) -> Tensor:
    """A parameter whole, wherever its shards lie; a collective if it is sharded."""
    gather = getattr(weight, "full_tensor", None)
    whole: Tensor = gather() if gather else weight
    return whole.detach()
