"""Root mean square norm (arXiv:1910.07467)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gigafactory.net.here import here


class RmsNorm(nn.Module):
    """x / rms(x) * weight, computed in float32, returned in x's dtype; (..., H) -> (..., H)."""

    def __init__(self, size: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """(..., H) -> (..., H)."""
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * scale * here(self.weight).float()).to(x.dtype)
