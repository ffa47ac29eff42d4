"""AdamW (arXiv:1711.05101) with linear warm-up and cosine decay; all of it restorable."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gigafactory.describe.job import Train
from gigafactory.describe.layout import Sharding
from gigafactory.net.network import Network
from gigafactory.train.parallel import owners, share_updates

BETAS = (0.9, 0.95)
FINAL_SHARE = 0.1
"""The learning rate ends at this share of its peak."""


def learning_rate(train: Train, *, step: int, num_steps: int) -> float:
    """For step 1, 2, ...: up over ``warmup_steps``, then a half cosine down to a tenth."""
    if step <= train.warmup_steps:
        return train.learning_rate * step / train.warmup_steps
    done = (step - train.warmup_steps) / max(1, num_steps - train.warmup_steps)
    share = FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * min(1.0, done))) / 2
    return train.learning_rate * share


class Optimiser:
    """AdamW over the parameters that this rank updates (all of them but for ZeRO-1)."""

    def __init__(self, net: Network, *, train: Train, sharding: Sharding) -> None:
        self._weights = list(net.parameters())
        self._owner: list[int] | None = None
        if sharding is Sharding.ZERO1 and dist.get_world_size() > 1:
            self._owner = owners(self._weights, num_ranks=dist.get_world_size())
        self._own = [
            (name, weight)
            for index, (name, weight) in enumerate(net.named_parameters())
            if self._owner is None or self._owner[index] == dist.get_rank()
        ]
        matrices = [w for _, w in self._own if w.dim() > 1]
        vectors = [w for _, w in self._own if w.dim() == 1]
        groups = [(matrices, train.weight_decay), (vectors, 0.0)]
        self._adamw = torch.optim.AdamW(
            [{"params": ws, "weight_decay": decay} for ws, decay in groups if ws], betas=BETAS
        )
        for _, weight in self._own:
            self._adamw.state[weight] = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }

    def step(self, rate: float) -> None:
        """Update with the gradients at hand and forget them."""
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._adamw.step()
        for weight in self._weights:
            weight.grad = None
        if self._owner is not None:
            share_updates(self._weights, self._owner)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Moments and counts by parameter name: the live tensors, to be saved or loaded into."""
        return {name: dict(self._adamw.state[weight]) for name, weight in self._own}


def clip(net: nn.Module, *, max_norm: float) -> float:
    """Scale the gradients down to a global norm of ``max_norm``; returns the norm before."""
    norm: Any = nn.utils.clip_grad_norm_(net.parameters(), max_norm, foreach=True)
    whole = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return float(whole)
