"""Gradients summed over the ranks, in buckets, while backward still goes on.

Sums must come out the same, bit for bit, before and after a restart, so buckets are fixed from the
start: parameters in reverse order, as backward meets them. A bucket sets out when its last
gradient is there and all buckets before it have set out, on every rank in the same order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from gigafactory.net.experts import ExpertWeights
from gigafactory.train.gang import Gang

_BUCKET_BYTES = 25 * 10**6


@dataclass(slots=True)
class _Bucket:
    group: dist.ProcessGroup
    weights: list[nn.Parameter] = field(default_factory=list)
    num_bytes: int = 0
    num_missing: int = 0
    flat: Tensor | None = None
    work: dist.Work | None = None


class Reducer:
    """Sums what backward leaves in the parameters' gradients over the ranks that hold them."""

    def __init__(self, net: nn.Module, gang: Gang) -> None:
        self._buckets = _buckets(net, gang)
        self._next = 0
        self._is_last = False
        for bucket in self._buckets:
            for weight in bucket.weights:
                weight.register_post_accumulate_grad_hook(self._hook(bucket))  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def backward(self, *, is_last: bool) -> Iterator[None]:
        """Around the backward of a microbatch; behind the last one all sums are complete."""
        self._is_last, self._next = is_last, 0
        for bucket in self._buckets:
            bucket.num_missing = len(bucket.weights)
        yield
        if is_last:
            self._finish()

    def _hook(self, bucket: _Bucket) -> Callable[[Tensor], None]:
        def arrived(_weight: Tensor) -> None:
            bucket.num_missing -= 1
            if self._is_last:
                while self._next < len(self._buckets) and not self._buckets[self._next].num_missing:
                    self._launch()

        return arrived

    @torch.no_grad()
    def _launch(self) -> None:
        bucket = self._buckets[self._next]
        self._next += 1
        bucket.flat = torch.cat([_gradient(weight).flatten() for weight in bucket.weights])
        bucket.work = dist.all_reduce(bucket.flat, group=bucket.group, async_op=True)

    @torch.no_grad()
    def _finish(self) -> None:
        while self._next < len(self._buckets):  # gradients that never came count as zero
            self._launch()
        for bucket in self._buckets:
            assert bucket.work is not None
            assert bucket.flat is not None
            bucket.work.wait()
            parts = torch.split(bucket.flat, [_part(w).numel() for w in bucket.weights])
            for weight, part in zip(bucket.weights, parts, strict=True):
                _replace(weight, part.view_as(_part(weight)))
            bucket.flat = bucket.work = None


def _buckets(net: nn.Module, gang: Gang) -> list[_Bucket]:
    folded = {
        weight
        for module in net.modules()
        if isinstance(module, ExpertWeights) and gang.folds_experts
        for weight in module.parameters()
    }
    groups = [gang.dense_data.get_group(), gang.expert_data.get_group(), dist.group.WORLD]
    open_ones: dict[int, _Bucket] = {}
    full: list[_Bucket] = []
    for weight in reversed(list(net.parameters())):
        which = 1 if weight in folded else 2 if _is_everywhere(weight) else 0
        group = groups[which]
        assert group is not None
        bucket = open_ones.setdefault(which, _Bucket(group))
        bucket.weights.append(weight)
        bucket.num_bytes += _part(weight).nbytes
        if bucket.num_bytes >= _BUCKET_BYTES:
            full.append(open_ones.pop(which))
    return [b for b in (*full, *open_ones.values()) if b.group.size() > 1]


def _is_everywhere(weight: Tensor) -> bool:
    """Whole on every tensor-parallel rank, each of which sees other positions."""
    return isinstance(weight, DTensor) and all(p.is_replicate() for p in weight.placements)


def _part(weight: Tensor) -> Tensor:
    return weight.to_local() if isinstance(weight, DTensor) else weight


def _gradient(weight: nn.Parameter) -> Tensor:
    """This rank's summand."""
    grad = weight.grad
    if grad is None:
        return torch.zeros_like(_part(weight))
    if not isinstance(grad, DTensor):
        return grad
    if not _is_everywhere(weight):
        assert isinstance(weight, DTensor)
        grad = grad.redistribute(placements=weight.placements)
    return grad.to_local()


def _replace(weight: nn.Parameter, total: Tensor) -> None:
    if isinstance(weight, DTensor):
        weight.grad = DTensor.from_local(
            total, weight.device_mesh, weight.placements, run_check=False
        )
    else:
        weight.grad = total
