"""The loss in slices equals torch's, and parts of a batch add up to the whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gigafactory.describe.job import Train
from gigafactory.net.experts import Routing
from gigafactory.train import nats as nats_module
from gigafactory.train.nats import IGNORED, target_nats
from gigafactory.train.objective import objective


def drawn(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    dice = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(3, 7, 50, generator=dice)).to(dtype).requires_grad_()
    targets = torch.randint(0, 50, (3, 7), generator=dice)
    targets[torch.rand(3, 7, generator=dice) < 0.3] = IGNORED
    return logits, targets


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("z_weight", [0.0, 0.1])
@pytest.mark.parametrize("compiles", [False, True])
def test_slices_equal_torch(
    dtype: torch.dtype, z_weight: float, compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = torch.compile(nats_module._slice_to_compile, backend="aot_eager")
    monkeypatch.setattr(nats_module, "_compiled_slice", lambda: traced)
    monkeypatch.setattr(nats_module, "_CPU_SLICE", 4 * 50)  # 21 rows: five slices and a rest
    logits, targets = drawn(dtype)
    loss, nats = target_nats(logits, targets, z_weight=z_weight, compiles=compiles)
    wide = logits.detach().float().requires_grad_()
    expected = nn.functional.cross_entropy(
        wide.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    log_z = torch.logsumexp(wide, -1).square() * (targets != IGNORED)
    whole = expected + z_weight * log_z.sum()
    torch.testing.assert_close(nats, expected.detach())
    torch.testing.assert_close(loss, whole)
    (ours,) = torch.autograd.grad(loss * 0.5, logits)
    (theirs,) = torch.autograd.grad(whole * 0.5, wide)
    assert ours.dtype is dtype
    torch.testing.assert_close(ours, theirs.to(dtype))


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    logits, targets = drawn()
    routing = Routing(torch.tensor([1.0, 1.5, 2.0]), torch.tensor([3.0, 4.0, 5.0]))
    train = Train(balance_weight=0.1, router_z_weight=0.01, output_z_weight=0.001)
    share = 1 / int((targets != IGNORED).sum())

    def of(rows: slice, sequence_share: float) -> Tensor:
        part = Routing(routing.imbalance[rows], routing.z[rows])
        return objective(
            logits[rows], targets[rows], part, train=train, target_share=share,
            sequence_share=sequence_share,
        )[0]  # fmt: skip

    parts = of(slice(0, 1), 1 / 3) + of(slice(1, 3), 2 / 3)
    torch.testing.assert_close(parts, of(slice(0, 3), 1.0))
    alone = objective(
        logits, targets, routing, train=Train(balance_weight=0), target_share=share,
        sequence_share=1.0,
    )  # fmt: skip
    assert alone[0].item() == pytest.approx(alone[1].item())
    assert (of(slice(0, 3), 1.0) - alone[0]).item() > 0.1 * 1.5 + 0.01 * 4
