"""ZeRO-1: every parameter is updated by one of the ranks that hold it, who tells the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

from gigafactory.describe.layout import Sharding
from gigafactory.net.experts import ExpertWeights
from gigafactory.train.copies import part
from gigafactory.train.gang import SHARD, Gang


def owners(sizes: Sequence[int], *, num_ranks: int) -> list[int]:
    """Which rank updates each parameter; largest first to the least loaded rank."""
    load = [0] * num_ranks
    owner = [0] * len(sizes)
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        rank = min(range(num_ranks), key=lambda r: (load[r], r))
        owner[index] = rank
        load[rank] += sizes[index]
    return owner


class Ownership:
    """Who updates what, and how the others learn of it; without ZeRO-1 everybody everything."""

    def __init__(self, net: nn.Module, gang: Gang) -> None:
        self._circles: list[_Circle] = []
        if gang.layout.sharding is not Sharding.ZERO1:
            return
        folded = {
            id(weight)
            for module in net.modules()
            if isinstance(module, ExpertWeights) and gang.folds_experts
            for weight in module.parameters()
        }
        for is_folded, mesh in ((False, gang.dense), (True, gang.experts)):
            weights = [w for w in net.parameters() if (id(w) in folded) is is_folded]
            group = mesh[SHARD].get_group()
            if weights and group.size() > 1:
                self._circles.append(_Circle(weights, group))

    def is_mine(self, weight: nn.Parameter) -> bool:
        """Whether this rank is to update ``weight``."""
        return not any(circle.is_anothers(weight) for circle in self._circles)

    @torch.no_grad()
    def share(self) -> None:
        """Every rank sends the parameters it updated to the others."""
        for circle in self._circles:
            circle.share()


class _Circle:
    """Ranks that hold the same parameters."""

    def __init__(self, weights: list[nn.Parameter], group: dist.ProcessGroup) -> None:
        self._weights, self._group = weights, group
        self._owner = owners([part(w).numel() for w in weights], num_ranks=group.size())
        me = group.rank()
        self._others = {id(w) for w, owner in zip(weights, self._owner, strict=True) if owner != me}

    def is_anothers(self, weight: nn.Parameter) -> bool:
        return id(weight) in self._others

    def share(self) -> None:
        for rank in range(self._group.size()):
            owned = [w for w, o in zip(self._weights, self._owner, strict=True) if o == rank]
            if not owned:
                continue
            held = [part(weight) for weight in owned]
            flat = torch.cat([tensor.flatten() for tensor in held])
            dist.broadcast(flat, group=self._group, group_src=rank)
            if rank != self._group.rank():
                pieces = torch.split(flat, [tensor.numel() for tensor in held])
                for tensor, piece in zip(held, pieces, strict=True):
                    tensor.copy_(piece.view_as(tensor))
