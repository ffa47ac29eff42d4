"""The directory of a run: what lies where, who may write, whether it can be gone on with."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gigafactory.describe.errors import InputError, JobError
from gigafactory.describe.layout import Layout
from gigafactory.describe.study import Study
from gigafactory.units import show

_OURS = ("checkpoints", "model", "model.tmp", "logs", "rendezvous", "corpus", "slurm")
_OUR_FILES = (
    "ledger.jsonl", "task.json", "identity.json", "result.json", "control.json", "members.json",
    "corpus.lock",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths below ``root``."""

    root: Path

    @property
    def ledger(self) -> Path:
        """The book."""
        return self.root / "ledger.jsonl"

    @property
    def checkpoints(self) -> Path:
        """One directory a checkpoint."""
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        """The exported model, when the run is done."""
        return self.root / "model"

    @property
    def logs(self) -> Path:
        """What the ranks print."""
        return self.root / "logs"

    @property
    def task(self) -> Path:
        """The newest generation's task."""
        return self.root / "task.json"

    @property
    def identity(self) -> Path:
        """What must not change when a run is resumed."""
        return self.root / "identity.json"

    @property
    def result(self) -> Path:
        """How the last driver ended."""
        return self.root / "result.json"

    @property
    def rendezvous(self) -> Path:
        """Stores where ranks meet, one a generation."""
        return self.root / "rendezvous"

    def of_scheduler(self, name: str) -> Path:
        """What passes between whoever asked a scheduler for the job and the job itself."""
        return self.root / name


@contextlib.contextmanager
def locked(root: Path) -> Iterator[RunDirectory]:
    """Own the directory; JobError where another driver does, InputError where it is unusable.

    The kernel gives the lock back however the driver ends.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / "lock").open("a+")
    except OSError as error:
        raise InputError(f"{root}: cannot be used as a run directory: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise JobError(
                f"{root} is in use by process {lock.read().strip() or 'unknown'}; "
                "wait for it, stop it, or choose another --dir"
            ) from None
        try:
            # not through the buffer, which would try again when it is closed
            os.ftruncate(lock.fileno(), 0)
            os.pwrite(lock.fileno(), f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise JobError(f"{root}: cannot be written: {error.strerror}") from None
        yield RunDirectory(root)


def clear(place: RunDirectory) -> None:
    """Remove what an earlier run left; files of others (plans, reports) stay."""
    for name in _OURS:
        shutil.rmtree(place.root / name, ignore_errors=True)
    for name in _OUR_FILES:
        (place.root / name).unlink(missing_ok=True)
    for book in place.root.glob("ledger-*.jsonl"):
        book.unlink()


_LAYOUT = "layout."


def identity_of(study: Study, layout: Layout) -> dict[str, Any]:
    """What makes two runs the same run: losses and decisions follow from it.

    The layout is among it, but may change: checkpoints and batches do not depend on it.
    """
    assert study.train is not None
    parts = {
        "model": study.model,
        "job": study.job,
        "train": study.train,
        "policy": study.policy,
        "layout": layout,
    }
    return {
        f"{part}.{key}": value
        for part, spec in parts.items()
        for key, value in spec.model_dump(mode="json").items()
        if key not in ("source", "assumption")
    }


def check_identity(place: RunDirectory, study: Study, layout: Layout) -> bool:
    """As ``compare_identity``; afterwards the directory says what this is."""
    has_moved = compare_identity(place, study, layout)
    wanted = identity_of(study, layout)
    place.identity.write_text(json.dumps(wanted, indent=2) + "\n")
    return has_moved


def compare_identity(place: RunDirectory, study: Study, layout: Layout) -> bool:
    """Whether the run that the directory holds had another layout, and goes on with this one.

    InputError where it is a run of something else.
    """
    wanted = identity_of(study, layout)
    held = _held(place) if place.identity.exists() else wanted
    differing = sorted(k for k in held.keys() | wanted.keys() if held.get(k) != wanted.get(k))
    moved = [key for key in differing if key.startswith(_LAYOUT)]
    changed = [
        f"{key}: {held.get(key)} there, {wanted.get(key)} here"
        for key in differing
        if key not in moved
    ]
    if changed:
        raise InputError(
            f"{place.root} holds a run of another study:\n  " + "\n  ".join(changed) + "\n"
            "begin anew with --fresh, or choose another --dir"
        )
    return bool(moved)


def shelve_book(place: RunDirectory) -> None:
    """Put the book aside as ledger-1.jsonl, ledger-2.jsonl, ...: one book, one allocation."""
    number = 1
    while (aside := place.root / f"ledger-{number}.jsonl").exists():
        number += 1
    if place.ledger.exists():
        place.ledger.rename(aside)


def _held(place: RunDirectory) -> dict[str, Any]:
    try:
        held = json.loads(place.identity.read_text())
    except ValueError:
        held = None
    if not isinstance(held, dict):
        raise InputError(
            f"{place.identity}: damaged, so that nobody can tell which run this is; begin anew "
            "with --fresh, or choose another --dir"
        )
    return held


def check_space(place: RunDirectory, *, needed_bytes: float) -> None:
    """JobError unless the disk has room for what a run writes beyond what is there already."""
    held = sum(f.stat().st_size for f in place.checkpoints.rglob("*") if f.is_file())
    free = shutil.disk_usage(place.root).free
    if free + held < needed_bytes:
        raise JobError(
            f"{place.root}: {show(free, 'B')} free, {show(needed_bytes - held, 'B')} needed for "
            "checkpoints and model; free space or choose another --dir"
        )
