"""Commit marks: what counts, what is removed, and that a save is a snapshot."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from gigafactory.describe.rank import (
    COMMIT_MARK,
    CheckpointCommitted,
    CheckpointFailed,
    Told,
    checkpoint_name,
)
from gigafactory.train import checkpoint as cp


@pytest.fixture
def gang(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def written(directory: Path, step: int) -> Path:
    beside = directory / f"{checkpoint_name(step)}.tmp"
    beside.mkdir(parents=True)
    (beside / "weights").write_bytes(bytes([step]) * 100)
    return beside


def test_commit_renames_only_what_is_marked(tmp_path: Path) -> None:
    mark = cp.commit(written(tmp_path, 4), step=4, world_size=2)
    assert mark.sizes_bytes == {"weights": 100}
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000004"]
    assert (tmp_path / "step-00000004" / COMMIT_MARK).is_file()


def test_unfit_ones_are_removed_and_old_ones_too(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        cp.commit(written(tmp_path, step), step=step, world_size=1)
    written(tmp_path, 5)
    (tmp_path / "step-00000003" / COMMIT_MARK).unlink()
    cp.remove_unfit(tmp_path, restore_step=2)  # 4 is younger than what is gone on with
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]
    cp.remove_old(tmp_path, num_kept=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000002"]
    cp.remove_unfit(tmp_path, restore_step=None)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("gang")
def test_a_save_is_a_snapshot_though_training_goes_on(tmp_path: Path) -> None:
    told: list[Told] = []
    saver = cp.Checkpointer(tmp_path, num_kept=2, timeout_s=30, tell=told.append)
    weight = torch.arange(2_000_000, dtype=torch.float32)
    expected = weight.clone()
    saver.begin({"model": {"w": weight}}, step=7)
    weight.zero_()
    saver.wait()
    assert [type(t).__name__ for t in told] == ["CheckpointBegun", "CheckpointCommitted"]
    committed = told[1]
    assert isinstance(committed, CheckpointCommitted)
    assert committed.num_bytes > weight.numel() * 4
    restored = {"model": {"w": torch.zeros_like(weight)}}
    saver.restore(restored, step=7)
    assert torch.equal(restored["model"]["w"], expected)


@pytest.mark.usefixtures("gang")
def test_a_full_disk_is_told_and_older_checkpoints_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Told] = []
    saver = cp.Checkpointer(tmp_path, num_kept=2, timeout_s=30, tell=told.append)
    state = {"model": {"w": torch.ones(10)}}
    saver.begin(state, step=1)
    saver.wait()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    saver.begin(state, step=2)
    saver.wait()
    failed = told[-1]
    assert isinstance(failed, CheckpointFailed)
    assert "No space left on device" in failed.reason
    assert [p.name for p in tmp_path.glob("step-*")] == ["step-00000001"]
