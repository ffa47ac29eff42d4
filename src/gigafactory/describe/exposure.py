"""What of a cluster a rate counts, and which hosts a broken unit takes with it.

Links and switches are those of describe/fabric.py. A leaf joins one rail of the hosts of a pod,
so that without a second leaf for the same NICs (dual-ToR, Alibaba HPN, SIGCOMM 2024) all hosts of
the pod fall silent with it.
"""

from __future__ import annotations

from gigafactory.describe.cluster import Cluster
from gigafactory.describe.fabric import num_pods, wiring
from gigafactory.describe.faults import Cause, FaultClass, Faults, Scope


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


def interruptions_per_s(faults: Faults, *, cluster: Cluster, num_hosts: int) -> float:
    """Unplanned interruptions a second of a job on ``num_hosts`` of ``cluster``.

    Links, leaves, racks and pods are counted with their share under the job's hosts, and the
    hazard of the job itself once.
    """
    share = num_hosts / cluster.num_hosts
    rates = (cause_rate_per_s(c, cluster=cluster) for c in faults.causes if _stops(c, cluster))
    return share * sum(rates) + faults.job_rate_per_s


def spares_a_leaf(cause: Cause, *, cluster: Cluster) -> bool:
    """True where a second leaf carries on for the NICs that lost theirs."""
    return (
        cluster.fabric.dual_tor
        and cause.scope in {Scope.LINK, Scope.LEAF}
        and cause.fault is FaultClass.NETWORK
    )


def _stops(cause: Cause, cluster: Cluster) -> bool:
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
