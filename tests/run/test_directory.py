"""One owner, one study, enough room; and which checkpoints count."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from gigafactory.describe.errors import InputError, JobError
from gigafactory.describe.layout import Layout
from gigafactory.describe.rank import COMMIT_MARK
from gigafactory.describe.study import Study
from gigafactory.run import checkpoints
from gigafactory.run.directory import (
    RunDirectory,
    check_identity,
    check_space,
    clear,
    locked,
    shelve_book,
)
from gigafactory.train.checkpoint import commit

LAYOUT = Layout(dp=2)


def test_a_second_driver_is_refused_and_the_lock_comes_back(tmp_path: Path) -> None:
    with locked(tmp_path / "run") as place:
        assert place.root.is_dir()
        with pytest.raises(JobError, match=r"in use by process \d+"), locked(place.root):
            pass
    with locked(tmp_path / "run"):
        pass


def test_a_file_is_no_run_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used"), locked(tmp_path / "file"):
        pass


def test_another_study_is_refused_with_what_differs(tmp_path: Path, micro: Study) -> None:
    place = RunDirectory(tmp_path)
    check_identity(place, micro, LAYOUT)
    check_identity(place, micro, LAYOUT)
    assert micro.train is not None
    other = micro.model_copy(update={"train": micro.train.model_copy(update={"seed": 5})})
    with pytest.raises(InputError, match=r"train\.seed: 0 there, 5 here\n.*--fresh"):
        check_identity(place, other, LAYOUT)


def test_another_layout_is_the_same_run_in_a_new_book(tmp_path: Path, micro: Study) -> None:
    place = RunDirectory(tmp_path)
    assert not check_identity(place, micro, LAYOUT)
    assert check_identity(place, micro, Layout(dp=1, tp=2))
    assert not check_identity(place, micro, Layout(dp=1, tp=2))
    for text in ("first", "second"):
        place.ledger.write_text(text)
        shelve_book(place)
    assert not place.ledger.exists()
    assert (tmp_path / "ledger-2.jsonl").read_text() == "second"
    clear(place)
    assert not list(tmp_path.glob("ledger*"))


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_identity_is_named(tmp_path: Path, micro: Study, text: str) -> None:
    place = RunDirectory(tmp_path)
    place.identity.write_text(text)
    with pytest.raises(InputError, match=r"identity\.json: damaged.*--fresh"):
        check_identity(place, micro, LAYOUT)
    assert place.identity.read_text() == text


def test_clear_leaves_what_others_wrote(tmp_path: Path, micro: Study) -> None:
    place = RunDirectory(tmp_path)
    check_identity(place, micro, LAYOUT)
    place.model.mkdir()
    place.ledger.write_text("")
    (tmp_path / "plan.json").write_text("{}")
    clear(place)
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_a_full_disk_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = RunDirectory(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    check_space(place, needed_bytes=900_000)
    with pytest.raises(JobError, match=r"1\.00 MB free, 5\.00 MB needed"):
        check_space(place, needed_bytes=5_000_000)
    place.checkpoints.mkdir()
    (place.checkpoints / "held").write_bytes(b"x" * 4_500_000)
    check_space(place, needed_bytes=5_000_000)  # a resumed run overwrites its own


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for step in (5, 10, 15):
        beside = tmp_path / f"step-{step:08d}.tmp"
        beside.mkdir()
        (beside / "weights").write_bytes(bytes([step]) * 1000)
        commit(beside, step=step, world_size=1)
    return tmp_path


def test_the_newest_whole_checkpoint_counts(three: Path) -> None:
    assert checkpoints.newest_complete(three) == 15
    weights = three / "step-00000015" / "weights"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert checkpoints.why_damaged(three, 15) == "weights has 999 bytes of 1000"
    assert checkpoints.newest_complete(three) == 10
    (three / "step-00000010" / "weights").write_bytes(b"y" * 1000)
    assert checkpoints.why_damaged(three, 10) == "weights differs from what was committed"
    assert checkpoints.newest_complete(three) == 5
    (three / "step-00000005" / COMMIT_MARK).write_text("{")
    assert checkpoints.newest_complete(three) is None


def test_what_was_never_committed_does_not_count(three: Path) -> None:
    (three / "step-00000020.tmp").mkdir()
    shutil.copy(three / "step-00000015" / COMMIT_MARK, three / "step-00000020.tmp")
    (three / "step-00000025").mkdir()
    assert checkpoints.newest_complete(three) == 15
    assert checkpoints.newest_complete(three / "nowhere") is None
