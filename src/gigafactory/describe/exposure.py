"""What of a cluster a rate counts, and which hosts a broken unit takes with it.

Links and switches are those of describe/fabric.py. A leaf joins one rail of the hosts of a pod,
so that without a second leaf for the same NICs (dual-ToR, Alibaba HPN, SIGCOMM 2024) all hosts of
the pod fall silent with it.
"""

from __future__ import annotations

import math
import operator
from functools import reduce
from typing import Any

from gigafactory.describe.cluster import Cluster
from gigafactory.describe.fabric import num_pods, wiring
from gigafactory.describe.faults import Cause, FaultClass, Faults, Scope

#: What sends the host to repair.
_LOSING = frozenset(
    {
        FaultClass.HOST,
        FaultClass.NETWORK,
        FaultClass.CONTAINED,
        FaultClass.FAILING,
        FaultClass.CORRUPTION,
    }
)


def num_units(scope: Scope, *, cluster: Cluster) -> int:
    """So many units of ``scope`` stand in ``cluster``; InputError for an impossible network."""
    match scope:
        case Scope.HOST:
            return cluster.num_hosts
        case Scope.RACK:
            return -(-cluster.num_hosts // cluster.hosts_per_rack)
        case Scope.POD:
            return num_pods(cluster)
        case Scope.SITE:
            return 1
        case Scope.LINK | Scope.UPLINK | Scope.LEAF | Scope.SPINE:
            return _num_in_network(scope, cluster)


def hosts_together(scope: Scope, *, cluster: Cluster) -> int:
    """Hosts that one unit takes with it, all neighbours; 0 for capacity above the leaves."""
    match scope:
        case Scope.HOST | Scope.LINK:
            return 1
        case Scope.RACK:
            return cluster.hosts_per_rack
        case Scope.POD | Scope.LEAF:
            return cluster.hosts_per_pod
        case Scope.SITE:
            return cluster.num_hosts
        case Scope.UPLINK | Scope.SPINE:
            return 0


def cause_rate_per_s(cause: Cause, *, cluster: Cluster) -> float:
    """Times a second that ``cause`` strikes somewhere in ``cluster``."""
    return cause.rate_per_s * num_units(cause.scope, cluster=cluster)


def strikes_per_s(cause: Cause, *, cluster: Cluster, num_hosts: Any) -> Any:
    """Times a second that ``cause`` hits the first ``num_hosts`` (a number or a column) of them.

    Of links and switches so many as hang on those hosts; 0 for capacity above the leaves, which
    hits no host. InputError for an impossible network.
    """
    together = hosts_together(cause.scope, cluster=cluster)
    if not together or not cause.rate_per_s:
        return 0.0 * num_hosts
    share = -(-num_hosts // together) / -(-cluster.num_hosts // together)
    return share * cause_rate_per_s(cause, cluster=cluster)


def interruptions_per_s(faults: Faults, *, cluster: Cluster, num_hosts: Any) -> Any:
    """Unplanned interruptions a second of a job on ``num_hosts`` (a number or a column).

    Links, leaves, racks and pods count as far as the job's hosts hang on them, and the hazard of
    the job itself once. A rate counts interruptions, so batches add none.
    """
    hits = (
        strikes_per_s(c, cluster=cluster, num_hosts=num_hosts)
        for c in faults.causes
        if stops_job(c, cluster=cluster)
    )
    return reduce(operator.add, hits, 0.0 * num_hosts) + faults.job_rate_per_s


def losses_per_host_s(faults: Faults, *, cluster: Cluster) -> float:
    """Times a second that one host of ``cluster`` goes to repair, whatever took it there."""
    lost = (
        cause_rate_per_s(c, cluster=cluster) * hosts_together(c.scope, cluster=cluster)
        for c in faults.causes
        if c.fault in _LOSING and not spares_a_leaf(c, cluster=cluster)
    )
    return math.fsum(lost) / cluster.num_hosts


def spares_a_leaf(cause: Cause, *, cluster: Cluster) -> bool:
    """True where a second leaf carries on for the NICs that lost theirs."""
    return (
        cluster.fabric.dual_tor
        and cause.scope in {Scope.LINK, Scope.LEAF}
        and cause.fault is FaultClass.NETWORK
    )


def stops_job(cause: Cause, *, cluster: Cluster) -> bool:
    """Whether ``cause`` stops, unannounced, the job whose hosts it hits."""
    return cause.interrupts and not spares_a_leaf(cause, cluster=cluster)


def _num_in_network(scope: Scope, cluster: Cluster) -> int:
    wires = wiring(cluster)
    match scope:
        case Scope.LINK:
            return sum(wires.num_links[:1])
        case Scope.UPLINK:
            return sum(wires.num_links[1:])
        case Scope.LEAF:
            return sum(wires.num_switches[:1])
        case _:
            return sum(wires.num_switches[1:])
