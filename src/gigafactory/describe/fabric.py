"""Count switches, links and optics of a folded Clos network.

Legend
    n       links into the hosts (NICs, times the ports one NIC needs)
    k       ports of a switch;  down, up = ports of a leaf towards hosts and towards spines
    T       tiers; the leaves are tier 1

Leaves are rail-optimised: the NICs of local rank r of all hosts of a pod meet in the same
leaf group, so a pod has a leaf group a rail, filled or not. Above the leaves, switches are filled
to the last port: ceil(links / (k/2)), at the top ceil(links / k) because all ports look down.
Source: NVIDIA DGX SuperPOD reference architecture, whose switch tables for 512 to 16,384 GPUs
this reproduces; three tiers of 128 ports and four of 64 for 100,000 GPUs as in SemiAnalysis,
100,000 H100 Clusters (2024-06-17). Breakout of a fast port to several slow NICs is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from gigafactory.describe.cluster import Cluster, Fabric, FabricKind
from gigafactory.describe.errors import InputError


@dataclass(frozen=True, slots=True)
class Wiring:
    """The counted network; tier 1 comes first. Empty for a loopback."""

    num_switches: tuple[int, ...] = ()
    num_links: tuple[int, ...] = ()
    """Links below the switches of each tier."""
    num_optics: int = 0
    """Transceivers: two to an optical link."""
    num_copper: int = 0


def wiring(cluster: Cluster) -> Wiring:
    """Everything between the NICs; InputError where ``fabric.num_tiers`` cannot reach them."""
    fabric = cluster.fabric
    if fabric.kind is FabricKind.LOOPBACK:
        return Wiring()
    links_up, tiers = num_host_links(cluster), num_tiers(cluster)
    down, up = leaf_ports(fabric)
    links = [links_up] + [-(-links_up * up // down)] * (tiers - 1)
    switches = [num_leaves(cluster) if tiers > 1 else 1]
    switches += [-(-n // (fabric.num_switch_ports // 2)) for n in links[1:-1]]
    switches += [-(-links[-1] // fabric.num_switch_ports)] if tiers > 1 else []
    copper = links[0] if fabric.host_links_are_copper else 0
    return Wiring(tuple(switches), tuple(links), 2 * (sum(links) - copper), copper)


def num_tiers(cluster: Cluster) -> int:
    """The fewest tiers that reach every NIC, or the stated number if that is enough."""
    fabric, need = cluster.fabric, num_host_links(cluster)
    tiers = 1
    while reach(fabric, num_tiers=tiers) < need:
        tiers += 1
        if fabric.num_switch_ports <= 3 or tiers > 12:
            raise InputError(
                f"fabric {fabric.name}: switches with {fabric.num_switch_ports} ports cannot "
                f"join {need} links; num_switch_ports must be larger"
            )
    if fabric.num_tiers is None:
        return tiers
    if fabric.num_tiers < tiers:
        raise InputError(
            f"fabric {fabric.name}: {fabric.num_tiers} tiers of {fabric.num_switch_ports}-port "
            f"switches reach {reach(fabric, num_tiers=fabric.num_tiers)} of {need} links; "
            f"num_tiers must be at least {tiers}"
        )
    return fabric.num_tiers


def reach(fabric: Fabric, *, num_tiers: int) -> int:
    """Host links that so many tiers can join: k, then down * (k/2)^(T-2) * k."""
    k = fabric.num_switch_ports
    if num_tiers < 2:
        return k * max(0, num_tiers)
    return int(leaf_ports(fabric)[0] * (k // 2) ** (num_tiers - 2) * k)


def leaf_ports(fabric: Fabric) -> tuple[int, int]:
    """Ports of a leaf towards hosts and towards spines, by the oversubscription."""
    k, ratio = fabric.num_switch_ports, fabric.oversubscription
    down = min(max(1, int(k * ratio / (1 + ratio))), max(1, k - 1))
    return down, max(1, k - down)


def num_host_links(cluster: Cluster) -> int:
    """Links into the hosts: a NIC faster than a port takes several."""
    return cluster.num_hosts * cluster.host.num_nics * ports_per_nic(cluster)


def num_pods(cluster: Cluster) -> int:
    """Groups of hosts that meet in the same leaves; the last may be part filled."""
    return -(-cluster.num_hosts // cluster.hosts_per_pod)


def num_leaves(cluster: Cluster) -> int:
    """Leaves of all pods; small pods let several rails share a leaf."""
    down, _ = leaf_ports(cluster.fabric)
    hosts = min(cluster.num_hosts, cluster.hosts_per_pod)
    links_per_rail, rails = hosts * ports_per_nic(cluster), cluster.host.num_nics
    rails_per_leaf = down // links_per_rail
    if rails_per_leaf:
        return num_pods(cluster) * -(-rails // rails_per_leaf)
    return num_pods(cluster) * rails * -(-links_per_rail // down)


def ports_per_nic(cluster: Cluster) -> int:
    """Switch ports that one NIC needs: two for 800 Gb/s on 400 Gb/s ports."""
    ratio = cluster.host.nic_bandwidth_bytes_per_s / cluster.fabric.port_bandwidth_bytes_per_s
    return max(1, -int(-ratio // 1))
