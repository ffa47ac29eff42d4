"""The dense gated feed-forward: down(curve(gate x) * up x)."""

from __future__ import annotations

from torch import Tensor, nn

from gigafactory.net.here import together
from gigafactory.net.recipe import Gate


def curve(x: Tensor, gate: Gate) -> Tensor:
    """The gate's nonlinearity, elementwise."""
    if gate is Gate.SILU:
        return nn.functional.silu(x)
    return nn.functional.gelu(x, approximate="tanh")


class Mlp(nn.Module):
    """GeGLU or SwiGLU, without bias."""

    def __init__(self, hidden: int, width: int, *, gate: Gate) -> None:
        super().__init__()
        self.gate = gate
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) -> (B, T, H)."""
        gated, up = together(x, self.gate_proj, self.up_proj)
        out: Tensor = self.down_proj(curve(gated, self.gate) * up)
        return out
