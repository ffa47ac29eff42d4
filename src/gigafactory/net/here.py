"""What this rank holds of a parameter that lies on several.

A parameter of a spread network may be a DTensor. The network computes with plain tensors and asks
here for its own part; the way back says how the gradient is to be understood.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def here(weight: Tensor) -> Tensor:
    """The part of ``weight`` on this rank; what every rank holds whole, each uses for its own
    tokens, so that its gradient is the sum over them."""
    if not hasattr(weight, "to_local"):
        return weight
    from torch.distributed.tensor import Partial

    spread: Any = weight
    grads = [Partial() if p.is_replicate() else p for p in spread.placements]
    part: Tensor = spread.to_local(grad_placements=grads)
    return part


def averaged(x: Tensor, mesh: Any) -> Tensor:
    """Mean of ``x`` over the ranks of ``mesh``, the same on all of them; None: ``x`` itself."""
    if mesh is None:
        return x
    from torch.distributed.tensor import DTensor, Partial, Replicate

    share = DTensor.from_local(x / mesh.size(), mesh, [Partial()], run_check=False)
    mean: Tensor = share.redistribute(placements=[Replicate()]).to_local()
    return mean


def logits_of(x: Tensor, table: Tensor) -> Tensor:
    """(B, T, H) times a table (V, H) -> (B, T, V), whole on every rank.

    Where the rows of the table lie on several ranks, each brings its own positions.
    """
    if not hasattr(table, "to_local"):
        return torch.nn.functional.linear(x, table)
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

    spread: Any = table
    mesh, everywhere = spread.device_mesh, [Replicate()]
    whole: Any = DTensor.from_local(x, mesh, [Shard(1)], run_check=False)
    whole = whole.redistribute(placements=everywhere).to_local(grad_placements=[Partial()])
    columns = torch.nn.functional.linear(whole, spread.to_local())
    logits: Any = DTensor.from_local(columns, mesh, [Shard(2)], run_check=False)
    out: Tensor = logits.redistribute(placements=everywhere).to_local()
    return out
