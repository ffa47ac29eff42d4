"""Rotary positions (arXiv:2104.09864), pairs being (i, i + d/2), with YaRN's scaling.

angle of pair i at position p = p * f_i,   f_i = theta^(-2i/d)
scaled: f_i * (m_i + (1 - m_i) / factor),  m_i from 1 (fast pairs) down to 0 (slow ones)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gigafactory.net.recipe import RopeScaling

Rope = tuple[Tensor, Tensor]


def rope_table(
    positions: Tensor, head_dim: int, *, theta: float = 1e4, scaling: RopeScaling | None = None
) -> Rope:
    """Cosine and sine, each (..., d), of positions (...)."""
    half = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    turns = theta**-half
    if scaling is not None:
        kept = _kept(head_dim, theta, scaling).to(positions.device)
        turns = turns * (kept + (1 - kept) / scaling.factor)
    angle = positions.float()[..., None] * turns
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def _kept(head_dim: int, theta: float, scaling: RopeScaling) -> Tensor:
    """m of each pair, (d/2)."""

    def pair(turns: float) -> float:
        """The pair that makes so many turns within the original context."""
        share = scaling.original_context / (turns * 2 * math.pi)
        return head_dim * math.log(share) / (2 * math.log(theta))

    low = max(math.floor(pair(scaling.beta_fast)), 0)
    high = min(math.ceil(pair(scaling.beta_slow)), head_dim - 1)
    index = torch.arange(head_dim // 2, dtype=torch.float32)
    return 1 - ((index - low) / max(high - low, 1e-3)).clamp(0, 1)


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """Rotary embedding over the full head; (B, heads, T, d)."""
    cos, sin = rope
    low, high = x.float().chunk(2, dim=-1)
    return (x.float() * cos + torch.cat((-high, low), dim=-1) * sin).to(x.dtype)
