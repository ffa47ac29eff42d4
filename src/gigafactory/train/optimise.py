"""From gradients to updates: AdamW, or Muon with AdamW for the rest; all of it restorable."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gigafactory.describe.cluster import Precision
from gigafactory.describe.job import Optimizer, Train
from gigafactory.train.muon import Muon
from gigafactory.train.owners import Ownership
from gigafactory.train.parallel import has_bf16

BETAS = (0.9, 0.95)
Named = list[tuple[str, nn.Parameter]]
#: Matrices whose rows are looked up or compared one by one, not multiplied through.
_NOT_HIDDEN = ("embed_tokens.weight", "lm_head.weight", "gate.weight")


class Optimiser:
    """Over the parameters that this rank updates (all of them but for ZeRO-1)."""

    def __init__(
        self,
        net: nn.Module,
        *,
        train: Train,
        precision: Precision = Precision.FP32,
        ownership: Ownership | None = None,
    ) -> None:
        self._weights = list(net.parameters())
        self._ownership = ownership
        own = [
            (name, weight)
            for name, weight in net.named_parameters()
            if ownership is None or ownership.is_mine(weight)
        ]
        takes_muon = train.optimizer is Optimizer.MUON
        hidden = [(n, w) for n, w in own if takes_muon and is_hidden_matrix(n, w)]
        names = {name for name, _ in hidden}
        self._muon = Muon(
            hidden,
            weight_decay=train.weight_decay,
            dtype=_product_dtype(precision, self._weights[0].device),
        )
        self._rest = [(name, weight) for name, weight in own if name not in names]
        self._adamw = _adamw(self._rest, weight_decay=train.weight_decay)

    def step(self, rate: float) -> None:
        """Update with the gradients at hand and forget them."""
        if self._adamw is not None:
            for group in self._adamw.param_groups:
                group["lr"] = rate
            self._adamw.step()
        self._muon.step(rate)
        for weight in self._weights:
            weight.grad = None
        if self._ownership is not None:
            self._ownership.share()

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Moments and counts by parameter name: the live tensors, to be saved or loaded into."""
        if self._adamw is None:
            return self._muon.state()
        adamw = {name: dict(self._adamw.state[weight]) for name, weight in self._rest}
        return adamw | self._muon.state()


def is_hidden_matrix(name: str, weight: Tensor) -> bool:
    """Whether Muon is for it: a matrix, or a stack of them, between hidden states."""
    return weight.dim() > 1 and not name.endswith(_NOT_HIDDEN)


def _product_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """bf16 where the network's own products are in it, or in less."""
    is_fast = device.type == "cuda" or has_bf16()
    return torch.bfloat16 if precision is not Precision.FP32 and is_fast else torch.float32


def _adamw(named: Named, *, weight_decay: float) -> torch.optim.AdamW | None:
    """With its state in place from the start, so that it can be loaded into; None for nothing."""
    if not named:
        return None
    groups: dict[tuple[float, object], list[nn.Parameter]] = {}
    for _, weight in named:
        decay = weight_decay if weight.dim() > 1 else 0.0
        # one kernel updates many tensors, if they are spread out in the same way
        groups.setdefault((decay, getattr(weight, "device_mesh", None)), []).append(weight)
    adamw = torch.optim.AdamW(
        [{"params": weights, "weight_decay": decay} for (decay, _), weights in groups.items()],
        betas=BETAS,
        fused=True,
    )
    for _, weight in named:
        adamw.state[weight] = {
            "step": torch.zeros((), device=weight.device),
            "exp_avg": torch.zeros_like(weight),
            "exp_avg_sq": torch.zeros_like(weight),
        }
    return adamw
