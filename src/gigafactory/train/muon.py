"""Muon: momentum, then the nearest matrix with equal singular values.

    m = b m + (1 - b) g                      momentum, b = 0.95
    u = (1 - b) g + b m                      (Nesterov)
    o = orthogonal(u)                        five Newton-Schulz steps
    w = (1 - rate * decay) w - rate * 0.2 sqrt(max(rows, columns)) o

The method and the coefficients are Keller Jordan's (kellerjordan.github.io/posts/muon), the scale
that makes an update as large as AdamW's is of arXiv:2502.16982, section 2.2. ``torch.optim.Muon``
does the same for single matrices; here every matrix of a stack, as experts are kept, is one of its
own, and all matrices of one shape are taken together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate, Shard

MOMENTUM = 0.95
_NUM_ITERATIONS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315
_LEAST_NORM = 1e-7
_RMS_OF_ADAMW = 0.2


class Muon:
    """Over weights of two or more dims, (..., rows, columns) each."""

    def __init__(
        self, named: Iterable[tuple[str, nn.Parameter]], *, weight_decay: float, dtype: torch.dtype
    ) -> None:
        """``dtype`` is that of the Newton-Schulz products: bf16 does where it is fast."""
        self._named = dict(named)
        self._weight_decay = weight_decay
        self._dtype = dtype
        self._momenta = {name: torch.zeros_like(w) for name, w in self._named.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every weight that has a gradient."""
        moved = [(w, self._momenta[n]) for n, w in self._named.items() if w.grad is not None]
        updates = [self._direction(weight, momentum) for weight, momentum in moved]
        turned = orthogonal(updates, dtype=self._dtype)
        for (weight, _), update in zip(moved, turned, strict=True):
            scale = _RMS_OF_ADAMW * math.sqrt(max(weight.shape[-2:]))
            weight.mul_(1 - rate * self._weight_decay)
            weight.add_(update.to(weight.dtype), alpha=-rate * scale)

    @staticmethod
    def _direction(weight: nn.Parameter, momentum: Tensor) -> Tensor:
        """Nesterov's, in place of the gradient."""
        assert weight.grad is not None
        momentum.lerp_(weight.grad, 1 - MOMENTUM)
        return weight.grad.lerp_(momentum, MOMENTUM)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """The momenta by parameter name, live."""
        return {name: {"momentum": momentum} for name, momentum in self._momenta.items()}


def orthogonal(matrices: Sequence[Tensor], *, dtype: torch.dtype) -> list[Tensor]:
    """The nearest matrices with equal singular values, roughly; shapes (..., rows, columns).

    Those of one shape are multiplied together. Sharded ones are gathered first, but for shards
    that hold whole matrices of a stack; the results are laid out as what came in.
    """
    whole = [_whole(matrix) for matrix in matrices]
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, matrix in enumerate(whole):
        by_shape.setdefault(tuple(matrix.shape[-2:]), []).append(index)
    results = list(whole)
    for shape, indices in by_shape.items():
        stacks = [whole[i].reshape(-1, *shape) for i in indices]
        done = _newton_schulz(torch.cat(stacks).to(dtype))
        for i, part in zip(indices, torch.split(done, [len(s) for s in stacks]), strict=True):
            results[i] = _as_laid_out(part.view(whole[i].shape), like=matrices[i])
    return results


def _newton_schulz(stack: Tensor) -> Tensor:
    """(N, rows, columns) -> the same, singular values of every matrix near 1."""
    is_tall = stack.shape[1] > stack.shape[2]
    x = stack.mT if is_tall else stack
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp_min(_LEAST_NORM)
    for _ in range(_NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.mT if is_tall else x


def _whole(matrix: Tensor) -> Tensor:
    if not isinstance(matrix, DTensor):
        return matrix
    return matrix.to_local() if _holds_whole_matrices(matrix) else matrix.full_tensor()


def _as_laid_out(result: Tensor, *, like: Tensor) -> Tensor:
    if not isinstance(like, DTensor):
        return result
    mesh = like.device_mesh
    if _holds_whole_matrices(like):
        return DTensor.from_local(
            result, mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
        )
    everywhere = DTensor.from_local(result, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return everywhere.redistribute(placements=like.placements)


def _holds_whole_matrices(matrix: DTensor) -> bool:
    """Whether every shard is a stack of whole matrices."""
    last_stacked = matrix.dim() - 3
    return all(
        p.is_replicate() or (isinstance(p, Shard) and p.dim <= last_stacked)
        for p in matrix.placements
    )
