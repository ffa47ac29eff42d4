"""What a step loses when links or switches above the leaves are gone.

Legend
    up      ports of a leaf towards the spines
    e       share of the step that is exposed traffic above the leaves
    c       capacity that the worst-hit leaf has lost

    slowdown = 1 + e c / (1 - c)

A synchronous step waits for its slowest ring, so not the fleet's mean loss counts but that of the
leaf that lost most: 1 / up for an uplink (its own leaf) and for a spine (each leaf has one link
to each spine of its group). A switch of a higher tier carries one of k/2 ways of the switches
below. Flows are taken to spread evenly over what is left (adaptive routing); static ECMP is
worse. With dual-ToR a NIC whose leaf is gone keeps half its bandwidth, for all it exchanges.
"""

from __future__ import annotations

from gigafactory.describe.cluster import Cluster
from gigafactory.describe.fabric import leaf_ports, wiring
from gigafactory.describe.faults import Scope

#: Exposed traffic above the leaves over the step, where no plan says it: what a 405B-class layout
#: leaves exposed of its data-parallel collectives (assumption).
UPPER_SHARE = 0.05


def step_slowdown(lost_share: float, *, upper_share: float) -> float:
    """Times the usual step with ``lost_share`` of the capacity gone; see the legend."""
    return 1.0 + upper_share * lost_share / max(1.0 - lost_share, 1e-3)


def lost_shares(scope: Scope, *, cluster: Cluster) -> tuple[tuple[int, float], ...]:
    """(number of such units, capacity that the worst-hit leaf loses with one), by tier.

    Empty for a scope that takes hosts, and where nothing stands above the leaves.
    """
    wires, half = wiring(cluster), max(1, cluster.fabric.num_switch_ports // 2)
    counts = {Scope.UPLINK: wires.num_links, Scope.SPINE: wires.num_switches}.get(scope, ())
    _, up = leaf_ports(cluster.fabric)
    ways = [up] + [up * half**tier for tier in range(1, len(counts))]
    return tuple((num, 1.0 / way) for num, way in zip(counts[1:], ways, strict=False))
