"""Which checkpoints of a run directory can be restored."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from pydantic import ValidationError

from gigafactory.describe.rank import COMMIT_MARK, Commit, checkpoint_name


def newest_complete(directory: Path) -> int | None:
    """Step of the newest checkpoint that passes its verification; None where there is none."""
    marked = sorted(directory.glob(f"step-*/{COMMIT_MARK}"), reverse=True)
    steps = (int(mark.parent.name.removeprefix("step-")) for mark in marked if _has_name(mark))
    return next((step for step in steps if why_damaged(directory, step) is None), None)


def _has_name(mark: Path) -> bool:
    return mark.parent.name.removeprefix("step-").isdecimal()


def why_damaged(directory: Path, step: int) -> str | None:
    """What is wrong with the checkpoint of ``step``; None where all is as committed."""
    path = directory / checkpoint_name(step)
    try:
        mark = Commit.model_validate_json((path / COMMIT_MARK).read_text())
    except (OSError, ValidationError):
        return "its commit mark is missing or unreadable"
    for name, size in mark.sizes_bytes.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes of {size}"
        with file.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != mark.sha256[name]:
                return f"{name} differs from what was committed"
    return None


def remove_unfit(directory: Path, *, restore_step: int | None) -> None:
    """Before a start: drop what was never committed, and every checkpoint that is younger than
    the one restored, for the run goes on without it."""
    last = "" if restore_step is None else checkpoint_name(restore_step)
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob("step-*"):
        if path.name > last or not (path / COMMIT_MARK).is_file():
            shutil.rmtree(path, ignore_errors=True)
