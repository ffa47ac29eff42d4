"""Hosts that fail together: how many, and which neighbours.

Legend
    b       share of the lost hosts that are lost in batches of 2 to n
    m       mean size of a batch;  P(size) proportional to size^-2.6
    p       share of the events that are batches: (b / m) / (b / m + 1 - b)

In the StepFun trace (400 hosts, 348 days; a batch has one time of fault) 85 of 583 lost hosts went
in 30 batches of 2 to 8: b = 14.6 %, m = 2.83, p = 5.7 %. The exponent gives 2.89, p = 5.6 %.
A rate of faults counts events, so that batches add lost hosts and no interruptions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigafactory.describe.cluster import Cluster
from gigafactory.describe.faults import Faults

Floats = NDArray[np.float64]
_EXPONENT = 2.6


@dataclass(frozen=True, slots=True)
class Batches:
    """The law of the sizes."""

    event_share: float
    """p of the legend."""
    sizes: NDArray[np.int64]
    cumulated: Floats
    """Probability that a batch is at most so large."""

    @property
    def mean_hosts(self) -> float:
        """Hosts lost in one event."""
        return 1.0 + self.event_share * (self._moment(1) - 1.0)

    @property
    def fano(self) -> float:
        """E[size^2] / E[size] of an event: variance over mean of the hosts lost in a while."""
        return (1.0 + self.event_share * (self._moment(2) - 1.0)) / self.mean_hosts

    def num_hosts(self, dice: Floats) -> NDArray[np.int64]:
        """Hosts lost in events with these dice in [0, 1)."""
        num = np.ones(len(dice), dtype=np.int64)
        batch = dice < self.event_share
        # Divided where the die says batch alone: a share near 0 would overflow for the others.
        within = np.minimum(dice[batch] / self.event_share, 1.0 - 1e-12)
        num[batch] = self.sizes[np.searchsorted(self.cumulated[:-1], within, side="right")]
        return num

    def _moment(self, order: int) -> float:
        shares = np.diff(self.cumulated, prepend=0.0)
        return float((shares * self.sizes.astype(float) ** order).sum())


def batches_of(faults: Faults) -> Batches:
    """The law that ``batch_share`` and ``batch_hosts`` state."""
    sizes = np.arange(2, max(faults.batch_hosts, 2) + 1)
    weight = sizes.astype(float) ** -_EXPONENT
    cumulated = np.cumsum(weight) / weight.sum()
    mean = float((weight * sizes).sum() / weight.sum())
    several = faults.batch_share / mean if faults.batch_hosts > 1 else 0.0
    share = several / (several + 1.0 - faults.batch_share) if several else 0.0
    return Batches(event_share=share, sizes=sizes, cumulated=cumulated)


def neighbours(host: int, *, num: int, cluster: Cluster) -> tuple[int, ...]:
    """``num`` hosts around ``host`` in its rack, or in its pod where the rack is too small."""
    if num == 1:
        return (host,)
    size = cluster.hosts_per_rack
    if num > size:
        size = max(cluster.hosts_per_pod, num)
    low = host - host % size
    high = min(low + size, cluster.num_hosts)
    first = max(low, min(host - num // 2, high - num))
    return tuple(range(first, min(first + num, high)))
