"""Muon equals torch's on single matrices and takes every matrix of a stack as one of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gigafactory.describe.cluster import Precision
from gigafactory.describe.job import Optimizer, Schedule, Train
from gigafactory.describe.layout import Sharding
from gigafactory.describe.rank import Task
from gigafactory.train.copies import clip
from gigafactory.train.muon import Muon, orthogonal
from gigafactory.train.optimise import Optimiser, is_hidden_matrix
from gigafactory.train.schedule import learning_rate

NUM_STEPS = 100


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(24, 16), (16, 24)])
def test_muon_is_the_one_of_torch(shape: tuple[int, int]) -> None:
    ours, theirs = nn.Parameter(drawn(*shape)), nn.Parameter(drawn(*shape))
    muon = Muon([("w", ours)], weight_decay=0.1, dtype=torch.bfloat16)
    reference = torch.optim.Muon(
        [theirs], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(4):
        ours.grad, theirs.grad = drawn(*shape, seed=step + 1), drawn(*shape, seed=step + 1)
        muon.step(0.01)
        reference.step()
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)  # bf16 products


def test_a_stack_is_its_matrices_and_singular_values_come_near_one() -> None:
    stack, single = drawn(3, 20, 12), drawn(20, 12, seed=1)
    together = orthogonal([stack, single, drawn(8, 8)], dtype=torch.float32)
    for index, matrix in enumerate(stack):
        alone = orthogonal([matrix], dtype=torch.float32)[0]
        torch.testing.assert_close(together[0][index], alone, atol=1e-5, rtol=1e-5)
    for result in (*together[0], together[1]):
        values = torch.linalg.svdvals(result)
        assert (values > 0.6).all()
        assert (values < 1.3).all()


def test_who_is_updated_by_muon() -> None:
    muon = {"layers.0.self_attn.q_proj.weight": (4, 4), "layers.0.block_sparse_moe.w1": (2, 4, 4)}
    adamw = {
        "embed_tokens.weight": (9, 4),
        "lm_head.weight": (9, 4),
        "layers.0.block_sparse_moe.gate.weight": (2, 4),
        "norm.weight": (4,),
    }
    for name, shape in (muon | adamw).items():
        assert is_hidden_matrix(name, torch.empty(shape)) == (name in muon)


@pytest.mark.parametrize("optimizer", Optimizer)
def test_an_optimiser_learns_a_product_and_forgets_gradients(optimizer: Optimizer) -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    for layer in net:
        nn.init.normal_(layer.weight, std=0.3, generator=torch.Generator().manual_seed(1))
        nn.init.zeros_(layer.bias)
    train = Train(optimizer=optimizer, learning_rate=0.03, weight_decay=0.0)
    optimiser = Optimiser(net, train=train, precision=Precision.FP32)
    x = drawn(64, 8)
    y = x @ drawn(8, 4, seed=2) / 3

    def loss() -> Tensor:
        return nn.functional.mse_loss(net(x), y)

    first = loss().item()
    for _ in range(60):
        loss().backward()
        clip(net.parameters(), max_norm=1.0)
        optimiser.step(train.learning_rate)
    assert loss().item() < first / 4
    assert all(weight.grad is None for weight in net.parameters())
    kept = optimiser.state()
    assert kept.keys() == dict(net.named_parameters()).keys()
    has_momentum = {name for name, state in kept.items() if "momentum" in state}
    expected = {"0.weight", "1.weight"} if optimizer is Optimizer.MUON else set()
    assert has_momentum == expected


def test_clip_returns_the_norm_and_leaves_small_gradients_alone() -> None:
    weight = nn.Parameter(torch.zeros(4))
    weight.grad = torch.full((4,), 3.0)
    assert clip([weight], max_norm=1.0) == pytest.approx(6.0)
    assert weight.grad.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert clip([weight], max_norm=2.0) == pytest.approx(1.0, abs=1e-5)
    assert weight.grad.norm().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("schedule", Schedule)
def test_schedules_rise_to_the_peak_and_come_down_to_the_end(schedule: Schedule) -> None:
    train = Train(
        schedule=schedule, learning_rate=2.0, warmup_steps=10, final_share=0.25, decay_share=0.3
    )
    rates = [learning_rate(train, step=s, num_steps=NUM_STEPS) for s in range(1, NUM_STEPS + 1)]
    assert rates[:10] == pytest.approx([0.2 * s for s in range(1, 11)])
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))
    assert rates[-1] == pytest.approx(2.0 if schedule is Schedule.CONSTANT else 0.5)
    halfway = {
        Schedule.COSINE: 1.25, Schedule.LINEAR: 1.25, Schedule.WSD: 2.0, Schedule.CONSTANT: 2.0,
    }  # fmt: skip
    assert rates[54] == pytest.approx(halfway[schedule])  # step 55 of 10 to 100
    if schedule is Schedule.WSD:
        assert rates[69] == pytest.approx(2.0)
        assert rates[84] == pytest.approx(1.25)


@pytest.mark.real
def test_muon_with_sharded_parameters_equals_one_process(
    make_task: Callable[..., Task], run_ranks: Callable[[Task], list[dict[str, Any]]]
) -> None:
    def losses(num_ranks: int, sharding: Sharding, **changes: Any) -> list[float]:
        task = make_task(num_ranks, sharding, micro_batch=4, **changes)
        train = task.train.model_copy(update={"optimizer": Optimizer.MUON, "learning_rate": 0.01})
        told = run_ranks(task.model_copy(update={"train": train}))
        return [line["loss"] for line in told if line["kind"] == "step"]

    expected = losses(1, Sharding.NONE)
    assert expected[-1] < expected[0] - 0.05
    through = losses(2, Sharding.FSDP)
    assert through == pytest.approx(expected, abs=1e-5)
    assert losses(2, Sharding.FSDP, generation=1, restore_step=3) == through[3:]
