"""A described cluster as Slurm's configuration: nodes, partition, GPUs, and the network above them.

Hosts stand in the order of their pods. To Slurm a node hangs on one switch, while a host of a
rail-optimised pod hangs on one leaf a rail, all hosts of the pod on the same ones: so the pod is
the lowest "switch". Above it come the blocks that each further tier of real switches joins, and
one root.

slurmctld refuses unknown keys, doubled nodes, missing children; it says nothing about a node in two
leaves, two roots, a node without a leaf (tried with 22.05). ``complaints`` does.

Source for the files: the manual pages slurm.conf, topology.conf and gres.conf of Slurm 22.05 and
24.11.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gigafactory.describe.cluster import Cluster, FabricKind
from gigafactory.describe.errors import InputError
from gigafactory.describe.fabric import leaf_ports, num_pods, num_tiers, ports_per_nic
from gigafactory.describe.slurm import Slurm
from gigafactory.run.launchers.hostlist import compress
from gigafactory.run.launchers.slurm_text import Switch

_MIB_BYTES = 1 << 20
#: Part of a host's memory that the system keeps for itself.
_SYSTEM_SHARE = 0.03
_NO_CPUS = "# the study does not say slurm.cpus_per_host: add CPUs as `slurmd -C` prints them"


class TopologyKind(StrEnum):
    """How Slurm is told of the network."""

    TREE = "tree"
    """Switches above switches; every version."""
    BLOCK = "block"
    """Blocks of nodes that are filled one after the other; from 23.11 on."""


@dataclass(frozen=True, slots=True)
class Controller:
    """Where slurmctld runs, and what depends on it."""

    host: str = "controller"
    state: str = "/var/spool/slurmctld"
    node_words: str = "State=UNKNOWN"
    """Behind every node."""
    more: tuple[str, ...] = ()
    """Further lines."""


def host_names(num_hosts: int) -> list[str]:
    """host00001 and so on, wide enough for all."""
    width = len(str(num_hosts))
    return [f"host{number:0{width}d}" for number in range(1, num_hosts + 1)]


def render_cluster(
    cluster: Cluster,
    *,
    slurm: Slurm,
    kind: TopologyKind = TopologyKind.TREE,
    controller: Controller | None = None,
) -> Mapping[str, str]:
    """Files by name; InputError where the network cannot be said in this kind of topology."""
    names = host_names(cluster.num_hosts)
    switches = tree(cluster)
    wrong = complaints(switches, hosts=names)
    if wrong:
        raise InputError("the topology contradicts itself:\n  " + "\n  ".join(wrong))
    text = tree_text(switches) if kind is TopologyKind.TREE else block_text(cluster)
    files = {
        "slurm.conf": _conf(cluster, slurm, kind, controller or Controller()),
        "topology.conf": text,
    }
    if _has_gpus(cluster):
        files["gres.conf"] = _gres(cluster)
    return files


def _has_gpus(cluster: Cluster) -> bool:
    return cluster.fabric.kind is not FabricKind.LOOPBACK


def _conf(cluster: Cluster, slurm: Slurm, kind: TopologyKind, controller: Controller) -> str:
    host = cluster.host
    names = compress(host_names(cluster.num_hosts))
    memory_mib = math.floor(host.dram_bytes * (1 - _SYSTEM_SHARE) / _MIB_BYTES)
    cpus = f"CPUs={slurm.cpus_per_host} " if slurm.cpus_per_host else ""
    gres = f"Gres=gpu:{_gpu_type(cluster)}:{host.num_gpus} " if _has_gpus(cluster) else ""
    spares = cluster.num_spare_hosts
    lines = [
        f"# {cluster.name}: {cluster.num_hosts:,} hosts ({host.name}), {spares:,} of them spares",
        f"ClusterName={_word(cluster.name)}",
        f"SlurmctldHost={controller.host}",
        f"StateSaveLocation={controller.state}",
        "SlurmUser=slurm",
        "AuthType=auth/munge",
        "SelectType=select/cons_tres",
        "ProctrackType=proctrack/cgroup",
        "TaskPlugin=task/cgroup,task/affinity",
        f"TopologyPlugin=topology/{kind}",
        # messages to all hosts fan out: three levels reach them
        f"TreeWidth={max(2, math.ceil(cluster.num_hosts ** (1 / 3)))}",
        f"MaxNodeCount={cluster.num_hosts}",
        "ReturnToService=1",
        "SlurmdTimeout=60",
        "BatchStartTimeout=60",
        "KillWait=10",
        "JobRequeue=1",
        "JobCompType=jobcomp/filetxt",
        "JobCompLoc=/var/log/slurm_jobcomp.log",
        *(["GresTypes=gpu"] if gres else []),
        *controller.more,
        *([] if cpus else [_NO_CPUS]),
        f"NodeName={names} {cpus}RealMemory={memory_mib} {gres}{controller.node_words}",
        f"PartitionName={slurm.partition or 'train'} Nodes={names} Default=YES "
        "MaxTime=INFINITE OverSubscribe=EXCLUSIVE State=UP",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _gres(cluster: Cluster) -> str:
    last = cluster.host.num_gpus - 1
    names = compress(host_names(cluster.num_hosts))
    files = f"/dev/nvidia[0-{last}]" if last else "/dev/nvidia0"
    return f"NodeName={names} Name=gpu Type={_gpu_type(cluster)} File={files}\n"


def _gpu_type(cluster: Cluster) -> str:
    return _word(cluster.host.gpu.name)


def _word(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


# -- the network --------------------------------------------------------------------------


def tree(cluster: Cluster) -> list[Switch]:
    """Pods, the blocks of every further tier, one root; leaves come first."""
    names, per_pod = host_names(cluster.num_hosts), cluster.hosts_per_pod
    pods = [names[first : first + per_pod] for first in range(0, len(names), per_pod)]
    kinds = _names("pod", len(pods))
    level = [Switch(name, tuple(pod)) for name, pod in zip(kinds, pods, strict=True)]
    found = list(level)
    for tier, per_block in _blocks(cluster):
        children = [
            tuple(s.name for s in level[first : first + per_block])
            for first in range(0, len(level), per_block)
        ]
        kinds = _names(f"tier{tier}_", len(children))
        level = [Switch(name, (), below) for name, below in zip(kinds, children, strict=True)]
        found += level
    if len(level) > 1:
        found.append(Switch("core", (), tuple(switch.name for switch in level)))
    return found


def _names(kind: str, count: int) -> list[str]:
    width = len(str(count))
    return [f"{kind}{number:0{width}d}" for number in range(1, count + 1)]


def _blocks(cluster: Cluster) -> Iterator[tuple[int, int]]:
    """(tier, how many of the blocks below one block of it joins); the top tier is the root.

    Half the ports of a switch look down, so tier t joins down * (k/2)^(t-1) host links.
    """
    if cluster.fabric.kind is FabricKind.LOOPBACK:
        return
    pod_links = cluster.hosts_per_pod * cluster.host.num_nics * ports_per_nic(cluster)
    joined, left = 1, num_pods(cluster)
    for tier in range(2, num_tiers(cluster)):
        links = leaf_ports(cluster.fabric)[0] * (cluster.fabric.num_switch_ports // 2) ** (tier - 1)
        per_block = max(1, links // pod_links) // joined
        if per_block > 1 and left > per_block:
            yield tier, per_block
            joined, left = joined * per_block, -(-left // per_block)


def tree_text(switches: Sequence[Switch]) -> str:
    """topology.conf of topology/tree, a switch a line."""
    lines = [
        f"SwitchName={s.name} "
        + (f"Nodes={compress(s.nodes)}" if s.nodes else f"Switches={compress(s.switches)}")
        for s in switches
    ]
    return "\n".join(lines) + "\n"


def block_text(cluster: Cluster) -> str:
    """topology.conf of topology/block: pods of full blocks, and sizes that double up to a pod.

    Every block must be full. Where the last pod is not, blocks are the largest part that divides it
    and, doubled often enough, makes a pod.
    """
    names, pod = host_names(cluster.num_hosts), min(cluster.hosts_per_pod, cluster.num_hosts)
    size = _block_size(cluster.num_hosts, pod)
    blocks = [names[first : first + size] for first in range(0, len(names), size)]
    lines = [
        f"BlockName={name} Nodes={compress(block)}"
        for name, block in zip(_names("block", len(blocks)), blocks, strict=True)
    ]
    sizes = [size]
    while sizes[-1] < pod:
        sizes.append(2 * sizes[-1])
    lines.append(f"BlockSizes={','.join(map(str, sizes))}")
    return "\n".join(lines) + "\n"


def _block_size(num_hosts: int, pod: int) -> int:
    size = pod
    while num_hosts % size:
        if size % 2:
            raise InputError(
                f"cluster.num_hosts: {num_hosts} hosts are not a multiple of {size}, the smallest "
                f"part into which pods of {pod} can be halved, and topology/block wants full "
                "blocks; take topology tree"
            )
        size //= 2
    return size


# -- what slurmctld does not say ----------------------------------------------------------


def complaints(switches: Sequence[Switch], *, hosts: Sequence[str]) -> list[str]:
    """Everything in a tree that contradicts itself or the hosts; empty where all is well."""
    return [
        *_of_nodes(switches, frozenset(hosts)),
        *_of_names(switches),
        *_of_shape(switches),
    ]


def _of_nodes(switches: Sequence[Switch], hosts: frozenset[str]) -> Iterator[str]:
    count = Counter(node for switch in switches for node in switch.nodes)
    double = [node for node, times in count.items() if times > 1]
    missing, unknown = hosts - count.keys(), count.keys() - hosts
    if double:
        yield f"in two leaves: {compress(double)}; every node hangs on one"
    if missing:
        yield f"in no leaf: {compress(missing)}; jobs would never be placed there with others"
    if unknown:
        yield f"no node of the cluster: {compress(unknown)}"


def _of_names(switches: Sequence[Switch]) -> Iterator[str]:
    names = Counter(switch.name for switch in switches)
    below = Counter(child for switch in switches for child in switch.switches)
    for name, times in names.items():
        if times > 1:
            yield f"two switches are called {name}"
    for child in below.keys() - names.keys():
        yield f"switch {child} is named below another and described nowhere"
    for child, times in below.items():
        if times > 1:
            yield f"switch {child} hangs below {times} switches; a tree has one way up"
    for switch in switches:
        if not switch.nodes and not switch.switches:
            yield f"switch {switch.name} has nothing below it"


def _of_shape(switches: Sequence[Switch]) -> Iterator[str]:
    below = {child for switch in switches for child in switch.switches}
    roots = [switch.name for switch in switches if switch.name not in below]
    if len(roots) > 1:
        yield f"{len(roots)} roots ({compress(roots)}); jobs would never span two of them"
    if not roots:
        yield "no root: the switches hang below each other in a circle"
        return
    of, reached, ahead = {s.name: s for s in switches}, set(roots), list(roots)
    while ahead:
        switch = of.get(ahead.pop())
        more = set(switch.switches if switch else ()) - reached
        reached |= more
        ahead += more
    lost = of.keys() - reached
    if lost:
        yield f"below no root, in a circle: {compress(lost)}"
