"""Where a cause strikes: the hosts that hang on the unit that broke, or the capacity lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gigafactory.describe.cluster import Cluster
from gigafactory.describe.exposure import hosts_together, spares_a_leaf
from gigafactory.describe.faults import Cause, FaultClass, Scope
from gigafactory.simulate.network import lost_shares, step_slowdown
from gigafactory.simulate.rng import stream

#: What concerns all, so that no host is named.
_OF_ALL = {FaultClass.STORAGE, FaultClass.CONTROL, FaultClass.CAPACITY}


@dataclass(frozen=True, slots=True)
class Target:
    """One cause's units, ready to be drawn from."""

    cause: Cause
    """As the twin must take it: a leaf whose NICs have another costs capacity only."""
    num_hosts: int
    together: int
    """Hosts of one unit; 0: nobody."""
    liable: tuple[int, ...]
    """Hosts that may be struck, where not all may."""
    present: tuple[int, ...]
    """Hosts that have it from the beginning."""
    steps: tuple[float, ...]
    """Slowdowns by tier, for what costs capacity."""
    shares: tuple[float, ...]
    """Share of the units up to that tier."""

    def at(self, place: float) -> tuple[tuple[int, ...], float]:
        """(hosts, slowdown) of the unit at ``place`` in [0, 1)."""
        if self.steps:
            tier = int(np.searchsorted(self.shares[:-1], place, side="right"))
            return (), self.steps[tier]
        if self.liable:
            return (self.liable[int(place * len(self.liable))],), self.cause.slowdown
        if not self.together:
            return (), self.cause.slowdown
        num_blocks = -(-self.num_hosts // self.together)
        first = int(place * num_blocks) * self.together
        last = min(first + self.together, self.num_hosts)
        return tuple(range(first, last)), self.cause.slowdown


def target_of(cause: Cause, *, cluster: Cluster, upper_share: float, seed: int) -> Target:
    """Where ``cause`` strikes in ``cluster``; InputError for an impossible network."""
    tiers: tuple[tuple[int, float], ...] = ()
    if spares_a_leaf(cause, cluster=cluster):
        cause = cause.model_copy(update={"fault": FaultClass.CAPACITY})
        tiers = ((1, 0.5),)
    elif cause.fault is FaultClass.CAPACITY:
        tiers = lost_shares(cause.scope, cluster=cluster)
    nobody = cause.fault in _OF_ALL or cause.scope in {Scope.UPLINK, Scope.SPINE}
    counts = np.cumsum([num for num, _ in tiers])
    return Target(
        cause=cause,
        num_hosts=cluster.num_hosts,
        together=0 if nobody else hosts_together(cause.scope, cluster=cluster),
        liable=_some(cause, "liable", cause.liable_share, cluster=cluster, seed=seed),
        present=_some(cause, "present", cause.present_share, cluster=cluster, seed=seed),
        steps=tuple(step_slowdown(lost, upper_share=upper_share) for _, lost in tiers),
        shares=tuple((counts / counts[-1]).tolist()) if tiers else (),
    )


def _some(cause: Cause, what: str, share: float, *, cluster: Cluster, seed: int) -> tuple[int, ...]:
    """Hosts drawn by lot; one at least where there is a share, none where it is 0 or all."""
    if share in (0.0, 1.0):
        return ()
    num = round(share * cluster.num_hosts) or (1 if what == "liable" else 0)
    dice = stream(f"faults.{cause.name}.{what}", seed=seed)
    return tuple(sorted(dice.choice(cluster.num_hosts, size=num, replace=False).tolist()))
