"""Ranks of this machine, started from processes that are warm already where there are some."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from gigafactory.run.launchers import warm
from gigafactory.run.launchers.launcher import RankCommand, Seen
from gigafactory.run.launchers.local import LocalLauncher, Started


@dataclass(frozen=True, slots=True)
class Wish:
    """Which processes to keep warm."""

    count: int
    modules: tuple[str, ...]
    """What they import beforehand."""
    environment: Mapping[str, str]


@dataclass(slots=True)
class _Warm:
    process: subprocess.Popen[bytes]
    pipe: int
    """Where it will tell."""


@dataclass(slots=True)
class WarmLauncher(LocalLauncher):
    """A ``LocalLauncher`` that can ``prepare``."""

    _warm: list[_Warm] = field(default_factory=list)
    _due: tuple[float, Wish] | None = None

    def prepare(self, wish: Wish, *, after_s: float) -> None:
        """Keep processes warm, from ``after_s`` on: not at once, so that they do not keep the ranks
        that start now from their processors."""
        self._due = (time.monotonic() + after_s, wish)

    def poll(self, timeout_s: float) -> list[Seen]:
        """See ``Launcher``."""
        if self._due is not None and time.monotonic() >= self._due[0]:
            wish, self._due = self._due[1], None
            self._forget_dead()
            while len(self._warm) < wish.count:
                self._warm.append(_warmed(wish))
        return LocalLauncher.poll(self, timeout_s)

    def close(self) -> None:
        """End the warm processes that nobody needed."""
        self._due = None
        while self._warm:
            _end(self._warm.pop())

    def _spawn(self, command: RankCommand, generation: int) -> Started:
        self._forget_dead()
        if self._warm and warm.can_become(command.argv):
            found = self._warm.pop()
            with self._log(command.rank, generation) as log:
                name = self.logs / log.name
            line = warm.order(command.argv, environment=command.environment, log=name)
            with contextlib.suppress(OSError):
                assert found.process.stdin is not None
                found.process.stdin.write(line)
                found.process.stdin.close()
                return self._watched(command, found.process, found.pipe)
            _end(found)
        return LocalLauncher._spawn(self, command, generation)

    def _forget_dead(self) -> None:
        for one in [w for w in self._warm if w.process.poll() is not None]:
            self._warm.remove(one)
            _end(one)


def _warmed(wish: Wish) -> _Warm:
    pipe, child_end = os.pipe()
    module = "gigafactory.run.launchers.warm"
    try:
        process = subprocess.Popen(
            (sys.executable, "-m", module, str(child_end), *wish.modules),
            env=os.environ | wish.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            pass_fds=(child_end,),
            process_group=0,
        )
    finally:
        os.close(child_end)
    return _Warm(process, pipe)


def _end(one: _Warm) -> None:
    one.process.kill()
    one.process.wait()
    if one.process.stdin is not None:
        one.process.stdin.close()
    os.close(one.pipe)
