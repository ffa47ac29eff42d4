"""Distributed checkpoints, written beside training and committed by a mark and a rename.

    step-00000040.tmp/   files of all ranks, fsynced -> COMMITTED (sizes, hashes), fsynced
    step-00000040/       the same directory, renamed: the commit

Whatever carries no mark, or differs from it, does not count and is removed at the next start.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from gigafactory.describe.rank import (
    COMMIT_MARK,
    CheckpointBegun,
    CheckpointCommitted,
    CheckpointFailed,
    Commit,
    checkpoint_name,
)
from gigafactory.train.telling import Tell

State = dict[str, Any]
_TEMPORARY = ".tmp"
_CHUNK_BYTES = 1 << 20
_MAX_REASON_CHARS = 500


class NotSavedError(RuntimeError):
    """Training is done and its last state could not be kept."""


class Checkpointer:
    """Saves without stopping training; at most one checkpoint is under way."""

    def __init__(self, directory: Path, *, num_kept: int, timeout_s: float, tell: Tell) -> None:
        self._directory = directory
        self._num_kept = num_kept
        self._tell = tell
        # its collectives run in a thread: on the gang's own group they would race with training
        self._group = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_s))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._pending: Future[None] | None = None
        self._failure: str | None = None

    def begin(self, state: State, *, step: int) -> None:
        """Copy ``state`` aside and return; an earlier checkpoint under way is awaited first."""
        began_s = time.perf_counter()
        self.wait()
        self._failure = None
        beside = self._directory / (checkpoint_name(step) + _TEMPORARY)
        begun_s = time.perf_counter()
        writing = async_save(
            state,
            storage_writer=FileSystemWriter(beside, sync_files=True),
            process_group=self._group,
        )
        assert isinstance(writing, Future)
        self._tell(CheckpointBegun(step=step, blocking_s=time.perf_counter() - began_s))
        self._pending = self._thread.submit(self._end, writing, beside, step, begun_s)

    def wait(self) -> None:
        """Until nothing is under way; a failed save has been told and is no error here."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def finish(self) -> None:
        """Like ``wait``, but the last save must have been committed: NotSavedError if not."""
        self.wait()
        if self._failure is not None:
            raise NotSavedError(f"the last checkpoint could not be saved: {self._failure}")

    def restore(self, state: State, *, step: int) -> None:
        """Read the committed checkpoint of ``step`` into the tensors of ``state``."""
        load(
            state,
            checkpoint_id=self._directory / checkpoint_name(step),
            process_group=self._group,
        )

    def _end(self, writing: Future[Any], beside: Path, step: int, begun_s: float) -> None:
        """In the background: when all ranks have written, rank 0 commits."""
        try:
            writing.result()
            if dist.get_rank() != 0:
                return
            mark = commit(beside, step=step, world_size=dist.get_world_size())
            remove_old(self._directory, num_kept=self._num_kept)
        except (Exception, CheckpointException) as error:  # a full disk, or a lost peer
            self._failure = str(_root_cause(error))[:_MAX_REASON_CHARS]
            if dist.get_rank() == 0:
                shutil.rmtree(beside, ignore_errors=True)
                self._tell(CheckpointFailed(step=step, reason=self._failure))
            return
        write_s = time.perf_counter() - begun_s
        num_bytes = sum(mark.sizes_bytes.values())
        self._tell(CheckpointCommitted(step=step, write_s=write_s, num_bytes=num_bytes))


def _root_cause(error: BaseException) -> BaseException:
    """torch wraps what each rank raised; the reason a person needs is the innermost."""
    failures: Mapping[int, Any] = getattr(error, "failures", None) or {}
    for failure in failures.values():
        return _root_cause(failure[0] if isinstance(failure, tuple) else failure)
    inner = error.__cause__
    return _root_cause(inner) if inner is not None else error


def commit(beside: Path, *, step: int, world_size: int) -> Commit:
    """Write the mark into ``step-N.tmp`` and give the directory its name."""
    files = sorted(path for path in beside.iterdir() if path.is_file())
    mark = Commit(
        step=step,
        world_size=world_size,
        sizes_bytes={path.name: path.stat().st_size for path in files},
        sha256={path.name: hash_file(path) for path in files},
    )
    with (beside / COMMIT_MARK).open("w") as file:
        file.write(mark.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    _fsync_directory(beside)
    final = beside.with_name(checkpoint_name(step))
    shutil.rmtree(final, ignore_errors=True)
    beside.rename(final)
    _fsync_directory(final.parent)
    return mark


def remove_old(directory: Path, *, num_kept: int) -> None:
    """Keep the newest ``num_kept`` committed checkpoints."""
    for old in committed_directories(directory)[:-num_kept]:
        shutil.rmtree(old)


def remove_unfit(directory: Path, *, restore_step: int | None) -> None:
    """At the start of a generation: drop what was never committed, and every checkpoint that is
    younger than the one restored, for the run goes on without it."""
    last = "" if restore_step is None else checkpoint_name(restore_step)
    for path in directory.glob("step-*"):
        if path.name > last or not (path / COMMIT_MARK).is_file():
            shutil.rmtree(path)


def committed_directories(directory: Path) -> list[Path]:
    """Directories that carry a commit mark, by step."""
    found = directory.glob("step-*")
    return sorted(p for p in found if p.suffix != _TEMPORARY and (p / COMMIT_MARK).is_file())


def hash_file(path: Path) -> str:
    """SHA-256 of the content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
