"""What this rank holds of a parameter that lies on several.

A parameter of a spread network may be a DTensor. The network computes with plain tensors and asks
here for its own part; the way back says how the gradient is to be understood.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gigafactory.net.eight_bit import EightBitLinear, multiply


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


def compute_dtype(x: Tensor) -> torch.dtype:
    """What autocast multiplies in here; x's own dtype where it is off."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def together(x: Tensor, *linears: torch.nn.Linear) -> tuple[Tensor, ...]:
    """Several products of one input as a single, wider one, in training.

    Where nothing is learnt, joining the weights would cost more than it brings; where they lie on
    several ranks, each linear knows itself how to be computed.
    """
    weights = [linear.weight for linear in linears]
    is_spread = any(hasattr(weight, "to_local") for weight in weights)
    if is_spread or not torch.is_grad_enabled():
        return tuple(linear(x) for linear in linears)
    is_narrow = isinstance(linears[0], EightBitLinear)
    product = multiply if is_narrow else torch.nn.functional.linear
    joined = product(x, torch.cat(weights))
    return tuple(torch.split(joined, [len(weight) for weight in weights], dim=-1))
