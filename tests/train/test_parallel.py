"""Two ranks must train as one process does, however the state is shared out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gigafactory.describe.layout import Sharding
from gigafactory.describe.rank import Task
from gigafactory.net.export import load_exported
from gigafactory.train.parallel import owners

Run = Callable[[Task], list[dict[str, Any]]]


def figures(told: list[dict[str, Any]], key: str) -> list[float]:
    return [line[key] for line in told if line["kind"] == "step"]


@pytest.mark.real
def test_every_sharding_equals_one_process_and_resumes_bit_for_bit(
    make_task: Callable[..., Task], run_ranks: Run
) -> None:
    alone = run_ranks(make_task(1, Sharding.NONE, micro_batch=2))
    expected = figures(alone, "loss")
    assert expected[-1] < expected[0] - 0.05
    for sharding in Sharding:
        task = make_task(2, sharding)
        told = run_ranks(task)
        through = figures(told, "loss")
        assert through == pytest.approx(expected, abs=1e-5), sharding
        norms = pytest.approx(figures(alone, "grad_norm"), abs=1e-4)
        assert figures(told, "grad_norm") == norms, sharding
        for key in ("held_out_loss", "held_out_bits_per_byte"):
            assert told[-1][key] == pytest.approx(alone[-1][key], abs=1e-4)
        if sharding is Sharding.NONE:
            continue  # tests/real kills and resumes that one
        resumed = run_ranks(make_task(2, sharding, generation=1, restore_step=3))
        assert figures(resumed, "loss") == through[3:], sharding
        assert load_exported(Path(task.directory) / "model").model.model == task.model


def test_owners_share_out_evenly_and_completely() -> None:
    weights = [nn.Parameter(torch.empty(n, device="meta")) for n in (100, 60, 30, 10, 1, 1)]
    owner = owners(weights, num_ranks=2)
    load = [sum(w.numel() for w, o in zip(weights, owner, strict=True) if o == r) for r in (0, 1)]
    assert sum(load) == 202
    assert abs(load[0] - load[1]) <= 2
