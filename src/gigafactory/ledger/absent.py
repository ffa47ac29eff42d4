"""Replicas that the others go on without: which cause took each of them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gigafactory.control.actions import JoinReplica, StartGang


@dataclass(slots=True)
class Absent:
    """Follows the actions of one campaign; ``cause`` is the name that a fault has in the book."""

    replica_hosts: int = 0
    """Hosts of one replica; 0: all."""
    causes: dict[int, str] = field(default_factory=dict)
    """Replica that is out -> what took it out."""
    leaving: dict[int, str] = field(default_factory=dict)
    """Host that is to be exchanged -> why."""
    _joining: dict[int, None] = field(default_factory=dict)
    """Replicas that were asked to come back, in this order."""
    _hosts: Sequence[int] = ()
    _seated: dict[int, int] = field(default_factory=dict)
    """Seat -> host, where that changed since the gang began."""

    def start(self, action: StartGang) -> None:
        """A new generation: nobody is out."""
        self.causes.clear()
        self._joining.clear()
        self._seated.clear()
        self._hosts = action.hosts

    def drop(self, replicas: Sequence[int], *, cause: str) -> None:
        """They leave; one whose return failed is still out for the old reason."""
        for replica in replicas:
            self.causes.setdefault(replica, cause)
            self._joining.pop(replica, None)

    def join(self, action: JoinReplica) -> None:
        """The processes of a replica are started."""
        self._joining[action.replica] = None
        self._seated.update(action.seated)

    def ready(self, replica: int) -> str | None:
        """It computes again; what had taken it out, None where nobody knows."""
        self._joining.pop(replica, None)
        return self.causes.pop(replica, None)

    def next_to_join(self) -> str | None:
        """What had taken out the replica that is expected next."""
        return next((self.causes[r] for r in self._joining if r in self.causes), None)

    def why(self, replicas: Sequence[int]) -> str | None:
        """Why replicas that computed are dropped: a host of theirs is to leave."""
        return next(
            (self.leaving[h] for r in replicas for h in self._hosts_of(r) if h in self.leaving),
            None,
        )

    def _hosts_of(self, replica: int) -> list[int]:
        size = self.replica_hosts or len(self._hosts)
        seats = range(replica * size, min((replica + 1) * size, len(self._hosts)))
        return [self._seated.get(seat, self._hosts[seat]) for seat in seats]
