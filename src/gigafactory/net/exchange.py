"""Tokens on their way to experts that lie on other ranks, and back (expert parallelism).

Rank r of the group holds experts r * E/R to (r + 1) * E/R. Every rank sorts its (token, expert)
pairs by expert, so that those for one rank lie together; sizes are exchanged first, then rows.
Nothing is dropped, however uneven the choice is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

#: (rows (N, H), the expert of each among those here (N,), how many there are) -> (N, H).
Serve = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True, slots=True)
class Exchange:
    """The ranks that share out the experts of a layer."""

    group: dist.ProcessGroup

    def serve(self, pairs: Tensor, chosen: Tensor, num_experts: int, serve_here: Serve) -> Tensor:
        """Each pair (N, H) by the expert (N,) it chose, wherever that lies; (N, H)."""
        size = self.group.size()
        order = chosen.sort(stable=True).indices
        counts = torch.bincount(chosen, minlength=num_experts).view(size, -1)
        arriving = torch.empty_like(counts)
        dist.all_to_all_single(arriving, counts, group=self.group)
        leave, arrive = counts.sum(1).tolist(), arriving.sum(1).tolist()
        there = self._move(pairs.index_select(0, order), leave, arrive)
        num_here = num_experts // size
        names = torch.arange(num_here, device=pairs.device).repeat(size)
        owner = names.repeat_interleave(arriving.flatten())
        back = self._move(serve_here(there, owner, num_here), arrive, leave)
        return torch.zeros_like(back).index_copy(0, order, back)

    def _move(self, rows: Tensor, leave: list[int], arrive: list[int]) -> Tensor:
        from torch.distributed._functional_collectives import all_to_all_single_autograd

        moved: Tensor = all_to_all_single_autograd(rows, arrive, leave, self.group)
        return moved
