"""Where ranks run: the one interface that the driver knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLost:
    """Explicit evidence that the host is gone, and its ranks with it."""

    host: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSilent:
    """Nothing is heard from the host any more; it may be well."""

    host: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostHeard:
    """A silent host speaks again."""

    host: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReady:
    """A host that was set aside passed its examination and stands by."""

    host: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """What others say about a host that was asked about."""

    host: int
    alive: bool


OfHost = HostLost | HostSilent | HostHeard | HostReady | Witnessed
Seen = Line | Ended | OfHost


@dataclass(frozen=True, slots=True)
class Seats:
    """Hosts by number: those that train, in the order of their ranks, and those that stand by."""

    hosts: tuple[int, ...]
    spares: tuple[int, ...] = ()


class Launcher(Protocol):
    """Starts, watches and ends the processes of one gang at a time, on the hosts that it has."""

    def seats(self, num_hosts: int) -> Seats:
        """The hosts for a gang of so many; JobError where there are fewer."""

    def rendezvous(self, directory: Path, *, generation: int, host: int) -> str:
        """Address of the store where the ranks of ``generation`` meet (torch's init_method).

        ``host`` has rank 0; ``directory`` is one that all hosts see.
        """

    def start(self, commands: Sequence[RankCommand], *, generation: int) -> None:
        """Start one process a rank; OSError where that is impossible, and then none runs."""

    def poll(self, timeout_s: float) -> list[Seen]:
        """What was told, who ended, what became of hosts since the last call.

        It waits ``timeout_s`` at most.
        All lines of a rank come before its end.
        """

    def signal(self, rank: int, number: int) -> None:
        """Send a signal to the process of ``rank``; no effect where it is gone."""

    def stop(self) -> None:
        """End every process of the gang; when it returns none is left."""

    def probe(self, host: int) -> None:
        """Ask whoever can tell whether ``host`` lives; Witnessed answers."""

    def set_aside(self, hosts: Sequence[int], *, reason: str) -> None:
        """Use these hosts no more, and see to it that nobody else is given them unawares.

        HostReady tells when one of them may be used again.
        """
