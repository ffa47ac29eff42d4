"""What the ranks do together: collectives by size and number of ranks, and summing gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gigafactory.describe.measured import Piece, Unit
from gigafactory.train.measure.timing import Case


def talks(device: torch.device, messages: tuple[int, ...]) -> Iterator[Case]:
    """Every collective over the first 2, 4, ... ranks and over all; bytes of the whole tensor."""
    world = dist.get_world_size()
    for n in _group_sizes(world):
        # every rank must take part in making a group, also of others
        group = dist.new_group(list(range(n)))
        is_member = dist.get_rank() < n
        for size in messages:
            yield from _of_group(device, group, n, size // 4 // n * n, is_member)


def _group_sizes(world: int) -> list[int]:
    sizes = [2**i for i in range(1, world.bit_length()) if 2**i < world]
    return [*sizes, world] if world > 1 else []


def _of_group(
    device: torch.device, group: dist.ProcessGroup, n: int, length: int, is_member: bool
) -> Iterator[Case]:
    whole = torch.zeros(length, device=device)
    other, part = torch.zeros_like(whole), torch.zeros(length // n, device=device)
    through = 4.0 * length * (n - 1) / n
    calls: dict[Piece, tuple[float, Callable[[], object]]] = {
        Piece.ALL_REDUCE: (2.0, lambda: dist.all_reduce(whole, group=group)),
        Piece.ALL_GATHER: (1.0, lambda: dist.all_gather_into_tensor(whole, part, group=group)),
        Piece.REDUCE_SCATTER: (1.0, lambda: dist.reduce_scatter_tensor(part, whole, group=group)),
        Piece.ALL_TO_ALL: (1.0, lambda: dist.all_to_all_single(other, whole, group=group)),
    }
    for piece, (passes, run) in calls.items():
        work = {Unit.HOP: passes * (n - 1), Unit.BYTE: passes * through}
        yield Case(piece, work, run if is_member else _nothing, num_ranks=n)


def _nothing() -> None:
    """A rank outside the group waits at the next barrier."""


class _Bag(nn.Module):
    """Parameters without a network: backward is as short as it can be."""

    def __init__(self, count: int, size: int, device: torch.device) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(torch.zeros(size, device=device)) for _ in range(count)
        )

    def forward(self) -> Tensor:
        return torch.stack([weight.sum() for weight in self.weights]).sum()


def gradients(device: torch.device, shapes: tuple[tuple[int, int], ...]) -> Iterator[Case]:
    """(tensors, elements of each) each: what DDP adds to a backward, as the program sets it up."""
    n = dist.get_world_size()
    if n == 1:
        return
    for count, size in shapes:
        bag = _Bag(count, size, device)
        spread = DistributedDataParallel(bag, find_unused_parameters=True)
        work = {Unit.CALL: float(count), Unit.WEIGHT: 2.0 * (n - 1) / n * count * size}
        yield Case(
            Piece.GRADIENTS, work, _backward(bag, spread), num_ranks=n, baseline=_backward(bag, bag)
        )


def _backward(bag: _Bag, module: nn.Module) -> Callable[[], None]:
    def run() -> None:
        module().backward()
        for weight in bag.weights:
            weight.grad = None

    return run
