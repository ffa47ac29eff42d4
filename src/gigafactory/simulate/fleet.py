"""The fleet's ground truth: only hosts that cannot train cost anything."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import IntEnum


class HostState(IntEnum):
    """Ground truth about a host; the controller only ever hears of it."""

    UP = 0
    DOWN = 1
    """Broken, and nobody has taken it away yet."""
    REPAIR = 2
    POOL = 3
    """It belongs to the serving pool, and is not lent."""


class Fleet:
    """``num_hosts`` hosts, numbered from 0, all up at first."""

    def __init__(self, num_hosts: int) -> None:
        self.num_hosts = num_hosts
        self._away: dict[int, HostState] = {}

    def is_up(self, host: int) -> bool:
        """True where the host could train."""
        return host not in self._away

    def state_of(self, host: int) -> HostState:
        """How it is now."""
        return self._away.get(host, HostState.UP)

    def turn(self, hosts: Iterable[int], state: HostState) -> None:
        """From now on ``hosts`` are in ``state``."""
        if state is HostState.UP:
            for host in hosts:
                self._away.pop(host, None)
        else:
            self._away.update(dict.fromkeys(hosts, state))

    def hosts_not_up(self) -> Collection[int]:
        """Hosts that are broken, in repair, or serve people."""
        return self._away.keys()

    def num_in(self, state: HostState) -> int:
        """Hosts in ``state``."""
        if state is HostState.UP:
            return self.num_hosts - len(self._away)
        return sum(known is state for known in self._away.values())
