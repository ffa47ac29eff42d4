"""Matrix products of eight-bit floats, one scale a tensor, worked out as they are needed.

    y  = (x / s_x) (W / s_W)' s_x s_W          e4m3, e4m3      s_t = max|t| / largest number
    dx = (dy / s_dy) (W / s_W) s_dy s_W        e5m2, e4m3
    dW = (dy / s_dy)' (x / s_x) s_dy s_x       e5m2, e4m3

(Micikevicius and others, arXiv:2209.05433: weights and activations in e4m3, gradients in e5m2.)
Sums are float32 and results bf16. The kernels want the first factor by rows and the second by
columns, so that two of the three products turn an eight-bit copy round before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gigafactory.describe.layout import EIGHT_BIT_UNIT

_NARROW, _WIDE = torch.float8_e4m3fn, torch.float8_e5m2


class Scaled(NamedTuple):
    """``numbers * scale`` is the tensor meant."""

    numbers: Tensor
    scale: Tensor


def scaled(x: Tensor, dtype: torch.dtype) -> Scaled:
    """``x`` (rows, columns) in eight bits, its largest number at the format's largest."""
    largest = torch.finfo(dtype).max
    scale = (x.abs().amax().float() / largest).clamp(min=torch.finfo(torch.float32).tiny)
    return Scaled((x.float() / scale).clamp(-largest, largest).to(dtype), scale)


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    """x (..., K) times weight (N, K) transposed -> (..., N) in bf16; N and K whole multiples of 16.

    Rows that are no whole multiple of 16 are filled up, for the sake of dW.
    """
    rows = x.flatten(0, -2)
    missing = -len(rows) % EIGHT_BIT_UNIT
    if missing:
        rows = nn.functional.pad(rows, (0, 0, 0, missing))
    out: Tensor = _Product.apply(  # type: ignore[no-untyped-call]
        rows.bfloat16(), weight.bfloat16()
    )
    return out[: len(out) - missing].view(*x.shape[:-1], -1)


class _Product(torch.autograd.Function):
    """Of x (M, K) and weight (N, K)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        of_x, of_weight = scaled(x, _NARROW), scaled(weight, _NARROW)
        ctx.save_for_backward(*of_x, *of_weight)
        return _mm(of_x, Scaled(of_weight.numbers.t(), of_weight.scale), is_fast=True)

    @staticmethod
    def backward(ctx: Any, out: Tensor) -> tuple[Tensor, Tensor]:
        x, scale_of_x, weight, scale_of_weight = ctx.saved_tensors
        of_out = scaled(out.contiguous(), _WIDE)
        by_columns = weight.t().contiguous().t()
        of_x = _mm(of_out, Scaled(by_columns, scale_of_weight))
        turned = Scaled(of_out.numbers.t().contiguous(), of_out.scale)
        of_weight = _mm(turned, Scaled(x.t().contiguous().t(), scale_of_x))
        return of_x, of_weight


def _mm(a: Scaled, b: Scaled, *, is_fast: bool = False) -> Tensor:
    """``is_fast``: partial sums may stay in the multiplier's own registers (Hopper)."""
    whole = nn.functional.ScalingType.TensorWise
    product: Tensor = nn.functional.scaled_mm(
        a.numbers, b.numbers, a.scale, whole, b.scale, whole,
        output_dtype=torch.bfloat16, use_fast_accum=is_fast,
    )  # fmt: skip
    return product


class EightBitLinear(nn.Linear):
    """A linear without bias that multiplies in eight bits, forward and backward."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N) in bf16."""
        return multiply(x, self.weight)
