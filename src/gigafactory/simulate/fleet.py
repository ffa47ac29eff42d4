"""The fleet as columns: one row a host, one array a property."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class HostState(IntEnum):
    """Ground truth about a host; the controller only ever hears of it."""

    UP = 0
    DOWN = 1
    """Broken, and nobody has taken it away yet."""
    REPAIR = 2
    POOL = 3
    """It belongs to the serving pool, and is not lent."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Columns of length ``num_hosts``; the arrays change in place as the campaign goes on."""

    state: NDArray[np.uint8]
    lemon: NDArray[np.bool_]
    """Hosts that fail more often than others, before and after a repair."""
    num_faults: NDArray[np.int32]
    repaired_at_s: NDArray[np.float64]
    """When the host last came back from repair; 0 for one that never went."""

    @property
    def num_hosts(self) -> int:
        """Rows."""
        return len(self.state)

    def is_up(self, host: int) -> bool:
        """True where the host could train."""
        return bool(self.state[host] == HostState.UP)

    def hosts_not_up(self) -> list[int]:
        """Hosts that are broken, in repair, or serve people."""
        return np.flatnonzero(self.state != HostState.UP).tolist()

    def num_in(self, state: HostState) -> int:
        """Hosts in ``state``."""
        return int(np.count_nonzero(self.state == state))


def new_fleet(num_hosts: int, *, lemon_share: float, dice: np.random.Generator) -> Fleet:
    """A fleet that is up, of which exactly round(lemon_share * num_hosts) are lemons."""
    lemon = np.zeros(num_hosts, dtype=np.bool_)
    num_lemons = round(lemon_share * num_hosts)
    lemon[dice.choice(num_hosts, size=num_lemons, replace=False)] = True
    return Fleet(
        state=np.zeros(num_hosts, dtype=np.uint8),
        lemon=lemon,
        num_faults=np.zeros(num_hosts, dtype=np.int32),
        repaired_at_s=np.zeros(num_hosts, dtype=np.float64),
    )
