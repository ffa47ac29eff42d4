"""How long ranks talk: rings, trees and all_to_all over a scale-up domain and a rail fabric.

Legend
    n        ranks of a group;  l  of them inside one scale-up domain;  g = n/l domains
    stride   distance of neighbours in the rank order (tp fastest, then cp, dp, pp)
    B_up     bandwidth of a rank inside the domain;  B_nic  its share of the host's NICs
    a_up a_net   latency of one step inside, between hosts

An all_gather or reduce_scatter of V bytes (the whole tensor) moves (n-1)/n * V through every
rank; across domains the l NICs of the members share the load, so the rate is min(B_up, l*B_nic).
A ring takes n-1 steps, the logarithmic algorithms (halving-doubling, PAT; inside a domain a tree)
about log2: the faster is taken, as NCCL does. An all_reduce is the two one after the other.
Sources: Thakur, Rabenseifner and Gropp 2005 (collectives in MPICH); NCCL's tuning model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gigafactory.cost.calibration import Calibration
from gigafactory.cost.columns import Floats
from gigafactory.describe.cluster import Cluster, FabricKind


@dataclass(frozen=True)
class Network:
    """The two tiers as one rank sees them."""

    domain_gpus: int
    pod_gpus: int
    """GPUs whose rails meet in the same leaves."""
    scaleup_bytes_per_s: float
    nic_bytes_per_s: float
    """Share of one GPU of its host's NICs, as large messages reach it."""
    oversubscription: float
    scaleup_latency_s: float
    network_latency_s: float
    hop_latency_s: float
    all_to_all_fraction: float
    all_to_all_net_fraction: float
    tree_fraction: float
    link_bytes_per_s: float


def network(cluster: Cluster, *, constants: Calibration) -> Network:
    """What the collectives need to know of ``cluster``."""
    host, fabric, c = cluster.host, cluster.fabric, constants
    nics = host.num_nics * host.nic_bandwidth_bytes_per_s / host.num_gpus
    loopback = fabric.kind is FabricKind.LOOPBACK
    return Network(
        domain_gpus=host.scaleup_domain_gpus,
        pod_gpus=max(cluster.hosts_per_pod * host.num_gpus, host.scaleup_domain_gpus),
        scaleup_bytes_per_s=host.gpu.scaleup_bandwidth_bytes_per_s * c.scaleup_fraction,
        nic_bytes_per_s=nics * fabric.bandwidth_efficiency,
        oversubscription=fabric.oversubscription,
        scaleup_latency_s=fabric.hop_latency_s if loopback else c.scaleup_latency_s,
        network_latency_s=c.host_network_latency_s,
        hop_latency_s=fabric.hop_latency_s,
        all_to_all_fraction=c.all_to_all_fraction,
        all_to_all_net_fraction=c.all_to_all_net_fraction,
        link_bytes_per_s=host.gpu.scaleup_bandwidth_bytes_per_s,
        tree_fraction=c.tree_fraction,
    )


@dataclass(frozen=True)
class Group:
    """Ranks that talk, ``stride`` apart; shapes (num_layouts,)."""

    size: Floats
    local: Floats
    """Members inside one scale-up domain."""
    across_pods: Floats
    """1 where the group leaves its pod, else 0."""


def group(size: ArrayLike, *, stride: ArrayLike, net: Network) -> Group:
    """The group of ``size`` ranks ``stride`` apart, as it lies on the machine."""
    n, step = np.broadcast_arrays(np.asarray(size, np.float64), np.asarray(stride, np.float64))
    fitting = np.maximum(np.floor(net.domain_gpus / step), 1.0)
    return Group(
        size=n,
        local=np.minimum(fitting, n),
        across_pods=(n * step > net.pod_gpus).astype(np.float64),
    )


def _nic_bytes_per_s(members: Group, net: Network) -> Floats:
    return net.nic_bytes_per_s / (1 + (net.oversubscription - 1) * members.across_pods)


def _step_s(members: Group, net: Network) -> Floats:
    """One step between hosts: NIC, software, and one switch or five on the way."""
    return net.network_latency_s + net.hop_latency_s * (1 + 4 * members.across_pods)


def all_gather_s(whole_bytes: ArrayLike, *, members: Group, net: Network) -> Floats:
    """all_gather (or reduce_scatter) of a tensor of ``whole_bytes``; shape (num_layouts,)."""
    n, local = members.size, members.local
    domains = np.ceil(n / local)
    inter = domains > 1
    wire = np.minimum(net.scaleup_bytes_per_s, local * _nic_bytes_per_s(members, net))
    rate = np.where(inter, wire, net.scaleup_bytes_per_s)
    moved = (n - 1) / n * np.asarray(whole_bytes, np.float64)
    outside = np.where(inter, _step_s(members, net), 0.0)
    ring = moved / rate + (n - domains) * net.scaleup_latency_s + domains * outside
    steps = np.log2(local) * net.scaleup_latency_s + np.log2(domains) * outside
    return np.asarray(np.minimum(ring, moved / (rate * net.tree_fraction) + steps))


def all_to_all_s(
    sent_bytes: ArrayLike, *, members: Group, net: Network, copies: float, sparse: bool
) -> Floats:
    """all_to_all where each rank sends ``sent_bytes`` in total, own part included.

    ``copies``: how many of the sent copies belong to one token (top-k). ``sparse``: a token
    crosses to a domain once, however many of its experts live there (DeepEP), and is
    spread there over the scale-up links.
    """
    n, local = members.size, members.local
    domains = np.ceil(n / local)
    inter = domains > 1
    sent = np.asarray(sent_bytes, np.float64)
    spread = 1 - (1 - 1 / domains) ** copies
    outside_share = (domains - 1) * (spread / copies if sparse else 1 / domains)
    outside = sent * outside_share / (_nic_bytes_per_s(members, net) * net.all_to_all_net_fraction)
    # a dispatch kernel sends a token once to a rank, however many of its experts live there
    others = (1 - (1 - 1 / n) ** copies) * n / copies if sparse else 1.0
    inside = sent * others * (1 - 1 / n) / (net.link_bytes_per_s * net.all_to_all_fraction)
    latency = np.log2(np.maximum(n, 1)) * net.scaleup_latency_s
    latency = latency + np.where(inter, _step_s(members, net), 0.0)
    return np.asarray(np.maximum(inside, outside) + latency)


def send_s(sent_bytes: ArrayLike, *, stride: ArrayLike, net: Network) -> Floats:
    """One message to the rank ``stride`` further on, over a NIC or inside the domain."""
    away = group(2.0, stride=stride, net=net)
    far = away.local < 2
    sent = np.asarray(sent_bytes, np.float64)
    return np.where(
        far,
        sent / _nic_bytes_per_s(away, net) + _step_s(away, net),
        sent / net.scaleup_bytes_per_s + net.scaleup_latency_s,
    )
