"""Grouping tokens by expert must not change what the experts compute, nor their gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gigafactory.net.experts import grouped_matmul, imbalance, seat, usage


def by_loop(rows: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return torch.stack([row @ weights[e] for row, e in zip(rows, owner.tolist(), strict=True)])


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any),
    width=st.sampled_from([3, 8, 16]),  # 3 takes the loop, 8 and 16 the fused kernel
)
def test_grouped_matmul_and_its_gradients(counts: list[int], width: int) -> None:
    dice = torch.Generator().manual_seed(len(counts) * 100 + width)
    num = torch.tensor(counts)
    rows = torch.randn(sum(counts), width, generator=dice, requires_grad=True)
    weights = torch.randn(len(counts), width, width, generator=dice, requires_grad=True)
    slope = torch.randn(sum(counts), width, generator=dice)
    ours = grouped_matmul(rows, weights, num)
    slow = by_loop(rows, weights, num)
    torch.testing.assert_close(ours, slow)
    for a, b in zip(
        torch.autograd.grad(ours, (rows, weights), slope),
        torch.autograd.grad(slow, (rows, weights), slope),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@given(
    chosen=st.lists(st.integers(0, 3), min_size=1, max_size=40), unit=st.sampled_from([1, 4, 32])
)
def test_every_pair_gets_a_seat_of_its_own_with_its_expert(chosen: list[int], unit: int) -> None:
    slots, room = seat(torch.tensor(chosen), 4, unit=unit)
    assert len(set(slots.tolist())) == len(chosen)
    ends = room.cumsum(0).tolist()
    for expert, slot in zip(chosen, slots.tolist(), strict=True):
        assert ends[expert] - room[expert] <= slot < ends[expert]
    for expert in range(4):
        assert 0 <= room[expert] - chosen.count(expert) < unit
        assert room[expert] % unit == 0


def test_no_rows_at_all() -> None:
    empty = grouped_matmul(torch.zeros(0, 8), torch.ones(2, 8, 8), torch.tensor([0, 0]))
    assert empty.shape == (0, 8)


def test_imbalance_is_one_when_even_and_e_over_k_when_two_do_it_all() -> None:
    even = torch.full((1, 6, 4), 0.25)
    chosen = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]])
    assert imbalance(*usage(even, chosen)).item() == pytest.approx(1.0)
    two = torch.tensor([0.5, 0.5, 0.0, 0.0]).expand(1, 6, 4)
    assert imbalance(*usage(two, torch.tensor([[0, 1] * 6]))).item() == pytest.approx(4 / 2)
