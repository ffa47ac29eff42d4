"""Where ranks run: the one interface that the driver knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCommand:
    """What to start for one rank; rendered by an engine, run by a launcher."""

    rank: int
    host: int
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    """On top of the environment that the launcher has itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line that a rank told."""

    rank: int
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The process of a rank is gone."""

    rank: int
    status: int
    """Exit status; minus the number of the signal that killed it."""


class Launcher(Protocol):
    """Starts, watches and ends the processes of one gang at a time."""

    def start(self, commands: Sequence[RankCommand], *, generation: int) -> None:
        """Start one process a rank; OSError where that is impossible, and then none runs."""

    def poll(self, timeout_s: float) -> list[Line | Ended]:
        """What was told and who ended since the last call; waits ``timeout_s`` at most.

        All lines of a rank come before its end.
        """

    def signal(self, rank: int, number: int) -> None:
        """Send a signal to the process of ``rank``; no effect where it is gone."""

    def stop(self) -> None:
        """End every process of the gang; when it returns none is left."""
