"""The gradients of a network as one flat vector a shard."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class Gradients:
    """Buffers for the gradients of every shard, kept for the life of the process."""

    def __init__(self, net: nn.Module, *, num_shards: int) -> None:
        self._weights = list(net.parameters())
        self._sizes = [_local(weight).numel() for weight in self._weights]
        self._buffers = torch.zeros(num_shards, sum(self._sizes))

    @property
    def num_elements(self) -> int:
        """N, of all parameters."""
        return sum(self._sizes)

    def clear(self) -> None:
        """No gradients in the parameters."""
        for weight in self._weights:
            weight.grad = None

    def take(self, shard: int) -> Tensor:
        """Move the parameters' gradients into the buffer of ``shard``, (N,); valid until the next
        such call for the same shard."""
        flat = self._buffers[shard]
        for part, weight in zip(torch.split(flat, self._sizes), self._weights, strict=True):
            if weight.grad is None:
                part.zero_()
            else:
                part.copy_(_local(weight.grad).flatten())
        self.clear()
        return flat

    def put(self, total: Tensor) -> None:
        """Make ``total``, (N,), the parameters' gradient."""
        for part, weight in zip(torch.split(total, self._sizes), self._weights, strict=True):
            weight.grad = _laid_out(part, weight)

    def regions(self) -> dict[str, tuple[int, int]]:
        """Address and bytes of the largest parameter, and of all buffers."""
        largest = max((_local(weight) for weight in self._weights), key=torch.numel)
        found = {"weights": largest, "gradients": self._buffers}
        return {
            name: (tensor.data_ptr(), tensor.numel() * tensor.element_size())
            for name, tensor in found.items()
        }


def _laid_out(part: Tensor, weight: Tensor) -> Tensor:
    """What lies here of a gradient, as the weight is laid out."""
    if not isinstance(weight, DTensor):
        return part.view_as(weight)
    local = part.view_as(weight.to_local())
    return DTensor.from_local(
        local,
        weight.device_mesh,
        weight.placements,
        run_check=False,
        shape=weight.size(),
        stride=weight.stride(),
    )


def _local(tensor: Tensor) -> Tensor:
    local = getattr(tensor.detach(), "to_local", None)
    found: Tensor = local() if local else tensor.detach()
    return found
