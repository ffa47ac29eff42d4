"""Cross entropy in slices: the logits are never held in float32, nor their softmax at all.

    nats = sum over targets of  log Z - logit of the target          Z = sum(exp(logits))
    z    = sum over targets of  (log Z)^2

What backward needs is worked out on the way forward, while a slice is still in the caches, and
kept in the logits' own number format: d nats = softmax - 1(target), d z = 2 log Z softmax.
Compiled, the passes over a slice are one kernel, and a processor takes all rows as one slice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

IGNORED = -100
"""A target that is none; torch's own convention."""
#: Numbers of a slice: what the caches of a processor hold, what keeps a GPU busy.
_CPU_SLICE, _GPU_SLICE = 1 << 18, 1 << 25


def target_nats(
    logits: Tensor,
    targets: Tensor,
    *,
    scale: float = 1.0,
    z_weight: float = 0.0,
    compiles: bool = False,
) -> tuple[Tensor, Tensor]:
    """(scale * (nats + z_weight * z), scale * nats without a gradient) of (B, T, V) and (B, T)."""
    loss, nats = _Nats.apply(  # type: ignore[no-untyped-call]
        logits.flatten(0, -2), targets.flatten(), _Terms(scale, z_weight, compiles)
    )
    return loss, nats


@dataclass(frozen=True)
class _Terms:
    scale: float
    z_weight: float
    compiles: bool


class _Nats(torch.autograd.Function):
    """Over logits (N, V) and targets (N,)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, terms: _Terms) -> tuple[Tensor, Tensor]:
        needs_grad = ctx.needs_input_grad[0]
        grad = torch.empty_like(logits) if needs_grad else None
        sums = torch.zeros(2, device=logits.device)
        of_slice = _compiled_slice() if terms.compiles and needs_grad else _slice
        num_rows = _rows_of_slice(logits, compiles=terms.compiles)
        scale = torch.tensor(terms.scale, device=logits.device)
        z_weight = terms.z_weight
        for begin in range(0, len(logits), num_rows):
            rows = slice(begin, begin + num_rows)
            part = None if grad is None else grad[rows]
            sums += of_slice(logits[rows], targets[rows], scale=scale, z_weight=z_weight, grad=part)
        ctx.save_for_backward(grad)
        loss, nats = sums[0] + z_weight * sums[1], sums[0].clone()
        ctx.mark_non_differentiable(nats)
        return loss, nats

    @staticmethod
    def backward(ctx: Any, of_loss: Tensor, _of_nats: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        if not of_loss.is_cuda and of_loss == 1:  # a GPU would have to be waited for
            return grad, None, None
        return grad * of_loss.to(grad.dtype), None, None


def _rows_of_slice(logits: Tensor, *, compiles: bool) -> int:
    if logits.is_cuda:
        return max(1, _GPU_SLICE // logits.shape[1])
    return max(1, len(logits)) if compiles else max(1, _CPU_SLICE // logits.shape[1])


@functools.cache
def _compiled_slice() -> Callable[..., Tensor]:
    return torch.compile(_slice_to_compile)


def _slice_to_compile(
    logits: Tensor, targets: Tensor, *, scale: Tensor, z_weight: float, grad: Tensor
) -> Tensor:
    """As ``_slice``, without steps in place and scatter, which would part the kernel."""
    wide = logits.float()
    log_z = torch.logsumexp(wide, dim=1)
    counts = torch.where(targets != IGNORED, scale, 0.0)
    place = targets.clamp(min=0)[:, None]
    nats = (log_z - logits.gather(1, place).squeeze(1).float()) * counts
    soft = torch.exp(wide - log_z[:, None]) * (counts * (1 + 2 * z_weight * log_z))[:, None]
    is_target = torch.arange(logits.shape[1], device=logits.device) == place
    grad.copy_(torch.where(is_target, soft - counts[:, None], soft))
    return torch.stack((nats.sum(), (log_z.square() * counts).sum()))


def _slice(
    logits: Tensor, targets: Tensor, *, scale: Tensor, z_weight: float, grad: Tensor | None
) -> Tensor:
    """(nats, z) of some rows, times ``scale``; their gradient goes into ``grad``."""
    wide = logits.to(torch.float32, copy=True)  # it becomes the softmax, in place
    log_z = torch.logsumexp(wide, dim=1)
    counts = torch.where(targets != IGNORED, scale, 0.0)
    place = targets.clamp(min=0)[:, None]
    nats = (log_z - wide.gather(1, place).squeeze(1)) * counts
    if grad is not None:
        factor = counts * (1 + 2 * z_weight * log_z)
        soft = wide.sub_(log_z[:, None]).exp_().mul_(factor[:, None])
        grad.copy_(soft.scatter_(1, place, soft.gather(1, place) - counts[:, None]))
    return torch.stack((nats.sum(), (log_z.square() * counts).sum()))
