"""Who else holds what this rank holds: for norms over all ranks, and for finding damage."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

_DIGEST_BYTES = 32


def part(tensor: Tensor) -> Tensor:
    """What lies on this rank, without history."""
    held = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return held.detach()


def num_copies(tensor: Tensor) -> int:
    """Ranks that hold the same part as this one."""
    return (dist.get_world_size() if dist.is_initialized() else 1) // num_parts(tensor)


def num_parts(tensor: Tensor) -> int:
    """Into how many parts the tensor is split."""
    if not isinstance(tensor, DTensor):
        return 1
    mesh = tensor.device_mesh
    return math.prod(mesh.size(i) for i, p in enumerate(tensor.placements) if p.is_shard())


@torch.no_grad()
def clip(weights: Iterable[nn.Parameter], *, max_norm: float) -> float:
    """Scale the gradients down to a global norm of ``max_norm``; returns the norm before.

    Of the whole network, however it is spread over the ranks, and equal on all of them; a
    collective. What is not finite on one rank is not finite on any.
    """
    grads = [weight.grad for weight in weights if weight.grad is not None]
    parts = [part(grad) for grad in grads]
    norms = torch._foreach_norm(parts)
    shares = [
        norm.double().square() / num_copies(grad) for norm, grad in zip(norms, grads, strict=True)
    ]
    total = torch.stack(shares).sum()
    if dist.is_initialized():
        dist.all_reduce(total)
    norm = float(total.sqrt())
    scale = max_norm / (norm + 1e-6)
    if scale < 1:
        torch._foreach_mul_(parts, scale)
    return norm


def agree(state: Mapping[str, Tensor]) -> bool:
    """Whether all ranks that should hold equal parts of ``state`` do; a collective.

    Compared by SHA-256. Parts of which there is only one are not looked at.
    """
    names: dict[str, list[str]] = {}
    for name, tensor in state.items():
        names.setdefault(_kind(tensor), []).append(name)
    mine = []
    for kind, held in names.items():
        digest = hashlib.sha256()
        for name in held:
            digest.update(_bytes_of(state[name]))
        # where ranks share out whole tensors, only those with the same ones are compared
        mine.append((f"{kind} {' '.join(held)}", digest.hexdigest()))
    everyone: list[list[tuple[str, str]]] = [[]] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    seen: dict[str, str] = {}
    return all(seen.setdefault(kind, found) == found for one in everyone for kind, found in one)


def _kind(tensor: Tensor) -> str:
    """Equal exactly where ranks must hold equal parts: how it is split, and which part is here."""
    if not isinstance(tensor, DTensor):
        return "whole"
    mesh = tensor.device_mesh
    place = mesh.get_coordinate()
    assert place is not None
    split = [
        f"{name}{place[i]}/{mesh.size(i)}:{placement}"
        for i, (name, placement) in enumerate(
            zip(mesh.mesh_dim_names or (), tensor.placements, strict=True)
        )
        if placement.is_shard()
    ]
    return " ".join(split) or "whole"


def _bytes_of(tensor: Tensor) -> memoryview:
    return part(tensor).cpu().contiguous().view(-1).view(torch.uint8).numpy().data
