"""The worker program from end to end; every axis is in test_axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gigafactory.describe.layout import Sharding
from gigafactory.describe.rank import Task
from gigafactory.net.export import load_exported
from gigafactory.train.owners import owners

Run = Callable[[Task], list[dict[str, Any]]]


def figures(told: list[dict[str, Any]], key: str) -> list[float]:
    return [line[key] for line in told if line["kind"] == "step"]


@pytest.mark.real
def test_workers_with_shards_equal_one_and_resume_bit_for_bit(
    make_task: Callable[..., Task], run_ranks: Run
) -> None:
    alone = run_ranks(make_task(1, Sharding.NONE, micro_batch=2))
    expected = figures(alone, "loss")
    assert expected[-1] < expected[0] - 0.05
    task = make_task(2, Sharding.FSDP)
    told = run_ranks(task)
    through = figures(told, "loss")
    assert through == pytest.approx(expected, abs=1e-5)
    for key in ("held_out_loss", "held_out_bits_per_byte"):
        assert told[-1][key] == pytest.approx(alone[-1][key], abs=1e-4)
    resumed = run_ranks(make_task(2, Sharding.FSDP, generation=1, restore_step=3))
    assert figures(resumed, "loss") == through[3:]
    assert load_exported(Path(task.directory) / "model").model.model == task.model


def test_owners_share_out_evenly_and_completely() -> None:
    sizes = [100, 60, 30, 10, 1, 1]
    owner = owners(sizes, num_ranks=2)
    load = [sum(n for n, o in zip(sizes, owner, strict=True) if o == r) for r in (0, 1)]
    assert sum(load) == 202
    assert abs(load[0] - load[1]) <= 2
