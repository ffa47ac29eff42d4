"""Products in eight bits: what the formulas say, close to the plain ones, and learnt through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gigafactory.describe.cluster import Precision
from gigafactory.describe.errors import InputError
from gigafactory.net.eight_bit import EightBitLinear, multiply, scaled
from gigafactory.net.here import together
from gigafactory.train.parallel import check_format

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    numbers, scale = scaled(x.bfloat16(), dtype)
    return numbers.float() * scale


@pytest.mark.parametrize("dtype", [E4M3, E5M2])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_the_largest_number_fills_the_format(dtype: torch.dtype, size: float) -> None:
    x = drawn(32, 16) * size
    numbers, scale = scaled(x, dtype)
    assert numbers.float().abs().max() == torch.finfo(dtype).max
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(numbers.float() * scale, x, rtol=step, atol=step * 1e-2 * size)


def test_nothing_but_zeros_stays_zeros() -> None:
    assert not scaled(torch.zeros(16, 16), E4M3).numbers.float().any()


@pytest.mark.parametrize("rows", [32, 7])
def test_each_product_is_that_of_the_rounded_numbers(rows: int) -> None:
    x = drawn(rows, 48).requires_grad_()
    weight = drawn(64, 48, seed=1).requires_grad_()
    slope = drawn(rows, 64, seed=2)
    y = multiply(x, weight)
    of_x, of_weight = torch.autograd.grad(y, (x, weight), slope.bfloat16())
    x_, weight_, slope_ = rounded(x, E4M3), rounded(weight, E4M3), rounded(slope, E5M2)
    for ours, formula in (
        (y, x_ @ weight_.T),
        (of_x, slope_ @ weight_),
        (of_weight, slope_.T @ x_),
    ):
        close = 2 * torch.finfo(torch.bfloat16).eps * float(formula.detach().abs().max())
        torch.testing.assert_close(ours.float(), formula, rtol=0, atol=close)
    relative = torch.linalg.norm(y.float() - x @ weight.T) / torch.linalg.norm(x @ weight.T)
    assert 0.005 < relative < 0.05  # rounded indeed, and by no more than three bits would


def test_joined_projections_have_one_scale() -> None:
    small, large = nn.Linear(32, 16, bias=False), nn.Linear(32, 48, bias=False)
    large.weight.data *= 100
    for linear in (small, large):
        linear.__class__ = EightBitLinear
    x = drawn(2, 8, 32)
    for got, linear in zip(together(x, small, large), (small, large), strict=True):
        exact = x @ linear.weight.T
        assert torch.linalg.norm(got - exact) / torch.linalg.norm(exact) < 0.1
        assert got.dtype is torch.bfloat16


def test_older_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA A100")
    with pytest.raises(InputError, match=r"A100 has no fp8 .* 8\.0, not 8\.9 or above\); use bf16"):
        check_format(Precision.FP8, torch.device("cuda"))
    check_format(Precision.BF16, torch.device("cuda"))
    check_format(Precision.FP8, torch.device("cpu"))
