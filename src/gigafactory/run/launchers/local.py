"""Ranks as processes of this machine, each in a process group of its own.

Reports come through inherited pipes: a pipe ends exactly when its process ends, however it ends,
so that a death is seen at once. Nothing outlives the driver: the kernel kills a worker whose
parent is gone, and a worker that finds its pipe without a reader ends itself.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from gigafactory.describe.errors import JobError
from gigafactory.describe.rank import REPORT_FD_VARIABLE
from gigafactory.run.launchers.launcher import (
    Ended,
    HostReady,
    Line,
    OfHost,
    RankCommand,
    Seats,
    Seen,
    Witnessed,
)

_READ_BYTES = 1 << 16
#: An exit is seen through the pipe; this bounds the wait should a stray child hold it open.
_REAP_EVERY_S = 0.5
_STOP_TIMEOUT_S = 20.0


@dataclass(slots=True)
class Started:
    """A rank that runs, or did until a moment ago."""

    command: RankCommand
    process: subprocess.Popen[bytes]
    pipe: int
    partial: bytes = b""
    is_open: bool = True


@dataclass(slots=True)
class LocalLauncher:
    """Implements ``Launcher``; the output of every rank goes to ``logs``/rank-N.log."""

    logs: Path
    wake_descriptor: int | None = None
    """Readable when ``poll`` must return early (a signal arrived)."""
    _ranks: dict[int, Started] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _answers: list[OfHost] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        if self.wake_descriptor is not None:
            self._selector.register(self.wake_descriptor, selectors.EVENT_READ, None)

    def seats(self, num_hosts: int) -> Seats:
        """Every host is this machine."""
        return Seats(tuple(range(num_hosts)))

    def rendezvous(self, directory: Path, *, generation: int, host: int) -> str:
        """A file of this machine."""
        return f"file://{directory / 'rendezvous' / f'generation-{generation}'}"

    def probe(self, host: int) -> None:
        """Whoever asks runs on it."""
        self._answers.append(Witnessed(host=host, alive=True))

    def set_aside(self, hosts: Sequence[int], *, reason: str) -> None:
        """Its processes are gone and it can start new ones: that is its acceptance test."""
        self._answers += [HostReady(host=host) for host in hosts]

    def start(self, commands: Sequence[RankCommand], *, generation: int) -> None:
        """One process a rank; OSError where that is impossible, and then none runs."""
        try:
            for command in commands:
                self._ranks[command.rank] = self._spawn(command, generation)
        except OSError:
            self.stop()
            raise

    def poll(self, timeout_s: float) -> list[Seen]:
        """See ``Launcher``."""
        found: list[Seen] = [*self._answers]
        self._answers.clear()
        for key, _ in self._selector.select(0.0 if found else min(timeout_s, _REAP_EVERY_S)):
            if key.data is None:
                os.read(key.fd, _READ_BYTES)
            else:
                found += self._read(self._ranks[key.data])
        for rank in list(self._ranks.values()):
            found += self._reap(rank)
        return found

    def signal(self, rank: int, number: int) -> None:
        """See ``Launcher``."""
        if rank in self._ranks:
            self._ranks[rank].process.send_signal(number)

    def stop(self) -> None:
        """SIGKILL to every group: what counts is committed, so there is nothing to say farewell to.

        JobError where a process does not end (it hangs in the kernel).
        """
        deadline_s = time.monotonic() + _STOP_TIMEOUT_S
        for rank in self._ranks.values():
            _kill_group(rank.process)
        for rank in self._ranks.values():
            try:
                rank.process.wait(max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise JobError(
                    f"process {rank.process.pid} (rank {rank.command.rank}) does not end after "
                    "SIGKILL; it probably waits for a disk that does not answer"
                ) from None
            self._close(rank)
        self._ranks.clear()

    def _spawn(self, command: RankCommand, generation: int) -> Started:
        pipe, child_end = os.pipe()
        try:
            with self._log(command.rank, generation) as log:
                process = subprocess.Popen(
                    command.argv,
                    env=os.environ | command.environment | {REPORT_FD_VARIABLE: str(child_end)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(child_end,),
                    process_group=0,
                )
        except OSError:
            os.close(pipe)
            raise
        finally:
            os.close(child_end)
        return self._watched(command, process, pipe)

    def _watched(
        self, command: RankCommand, process: subprocess.Popen[bytes], pipe: int
    ) -> Started:
        os.set_blocking(pipe, False)
        self._selector.register(pipe, selectors.EVENT_READ, command.rank)
        return Started(command, process, pipe)

    def _log(self, rank: int, generation: int) -> IO[bytes]:
        log = (self.logs / f"rank-{rank}.log").open("ab")
        log.write(f"--- generation {generation}, rank {rank}\n".encode())
        log.flush()
        return log

    def _read(self, rank: Started) -> list[Line | Ended]:
        """Whole lines at hand; the pipe is closed at its end."""
        found: list[Line | Ended] = []
        while True:
            try:
                chunk = os.read(rank.pipe, _READ_BYTES)
            except BlockingIOError:
                return found
            if not chunk:
                self._close(rank)
                return found
            *lines, rank.partial = (rank.partial + chunk).split(b"\n")
            found += [Line(rank=rank.command.rank, text=line) for line in lines]

    def _reap(self, rank: Started) -> list[Line | Ended]:
        """The end of a process, after the last of its lines."""
        try:  # a closed pipe means that the process is on its way out
            status = rank.process.wait(0.0 if rank.is_open else _REAP_EVERY_S)
        except subprocess.TimeoutExpired:
            return []
        last = self._read(rank) if rank.is_open else []
        self._close(rank)
        _kill_group(rank.process)  # children of its own, if it had any
        del self._ranks[rank.command.rank]
        return [*last, Ended(rank=rank.command.rank, status=status)]

    def _close(self, rank: Started) -> None:
        if rank.is_open:
            self._selector.unregister(rank.pipe)
            os.close(rank.pipe)
            rank.is_open = False


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # macOS says PermissionError for a group of which only zombies are left
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
