"""A Ray cluster: which hosts it has, and a placement group of them in the order of the network.

Hosts are chosen unit by unit (a unit is what a label of the nodes names: the hosts under the same
leaves), the fullest units first, and each bundle of the group asks for its unit, so neighbouring
bundles are neighbours in the network. Source: Ray's documentation of placement groups and labels.
"""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gigafactory.describe.errors import JobError
from gigafactory.describe.launch import RayTarget

NAMESPACE = "gigafactory"
_NODE_LABEL = "ray.io/node-id"
_PLACE_S = 60.0
_CONNECT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A raylet that is alive."""

    node_id: str
    address: str
    hostname: str
    port: int
    """Of the raylet: somebody answers there as long as it lives."""
    labels: Mapping[str, str]
    resources: Mapping[str, float]


def connect(target: RayTarget) -> bool:
    """Join the cluster as a driver; JobError where there is none; False: we were in it already."""
    import ray

    if ray.is_initialized():
        return False
    head = _head_of(target)
    if head and not _answers(head):
        raise _absent(target, f"nobody answers at {head}")
    try:
        ray.init(
            address=target.address, namespace=NAMESPACE, log_to_driver=False,
            configure_logging=False,
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise _absent(target, said) from None
    return True


def _head_of(target: RayTarget) -> str:
    """HOST:PORT of the head; empty where only Ray can tell.

    Where a cluster that was killed left its address behind, Ray's own client waits for it without
    end, so somebody must be seen to answer first.
    """
    address = target.address
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "")
        note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
        if not address and note.is_file():
            address = note.read_text().strip()
    host, _, port = address.rpartition(":")
    return address if host and port.isdecimal() and "/" not in host else ""


def _answers(head: str) -> bool:
    host, _, port = head.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError:
        return False
    return True


def _absent(target: RayTarget, why: str) -> JobError:
    return JobError(
        f"no Ray cluster at {target.address} ({why}); start one with `ray start --head` here and "
        "`ray start --address=HEAD:6379` on the other hosts"
    )


def own_address() -> str:
    """Where this process is reached from the cluster's hosts."""
    import ray

    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def disconnect() -> None:
    """Leave the cluster; what is not detached ends."""
    import ray

    ray.shutdown()


def nodes() -> list[Node]:
    """Hosts that live now."""
    import ray

    return [
        Node(
            node_id=one["NodeID"],
            address=one["NodeManagerAddress"],
            hostname=one["NodeManagerHostname"],
            port=one["NodeManagerPort"],
            labels=one.get("Labels", {}),
            resources=one["Resources"],
        )
        for one in ray.nodes()  # type: ignore[no-untyped-call]
        if one["Alive"]
    ]


def bundle(target: RayTarget, *, gpus_per_host: int) -> dict[str, float]:
    """What one host of a job takes."""
    return {target.gpu_resource: float(gpus_per_host)}


def units_for(
    have: Iterable[Node],
    *,
    num_hosts: int,
    num_spares: int,
    need: Mapping[str, float],
    unit_label: str,
    without: Collection[str] = (),
) -> list[str]:
    """The unit of every bundle, spares last and as many as there are; JobError if too few hosts.

    ``need``: resources of a host; ``without``: identities of nodes that are not to be used.
    """
    fit = [
        node
        for node in have
        if node.node_id not in without
        and all(node.resources.get(name, 0.0) >= count for name, count in need.items())
    ]
    if len(fit) < num_hosts:
        words = " and ".join(f"{count:g} {name}" for name, count in need.items())
        raise JobError(f"{num_hosts} hosts with {words} are needed, and Ray has {len(fit)}")
    units: dict[str, int] = defaultdict(int)
    for node in fit:
        units[node.labels.get(unit_label, "")] += 1
    order = sorted(units, key=lambda unit: (-units[unit], unit))
    seats = [unit for unit in order for _ in range(units[unit])]
    return seats[: num_hosts + num_spares]


def ask_for(
    units: Sequence[str],
    *,
    need: Mapping[str, float],
    unit_label: str,
    without: Collection[str] = (),
) -> Any:
    """A placement group with one bundle a host; Ray places it when it can."""
    from ray.util.placement_group import placement_group

    selectors = [_selector(unit, unit_label, without) for unit in units]
    return placement_group(
        [dict(need)] * len(units), strategy="STRICT_SPREAD",
        bundle_label_selector=selectors if any(selectors) else None,
    )  # fmt: skip


def reserve(units: Sequence[str], *, need: Mapping[str, float], unit_label: str) -> Any:
    """A placement group that is placed; JobError where Ray does not do it in time."""
    group = ask_for(units, need=need, unit_label=unit_label)
    if group.wait(_PLACE_S):
        return group
    give_back(group)
    raise JobError(f"Ray does not place {len(units)} hosts within {_PLACE_S:g} s; others use them")


def give_back(group: Any) -> None:
    """The hosts are free again."""
    from ray.util.placement_group import remove_placement_group

    remove_placement_group(group)


def hosts_of(group: Any) -> list[Node]:
    """The node of every bundle, in the order of the bundles."""
    from ray.util.placement_group import placement_group_table

    places = placement_group_table(group)["bundles_to_node_id"]
    alive = {node.node_id: node for node in nodes()}
    return [alive[places[index]] for index in sorted(places)]


def in_bundle(group: Any, index: int, need: Mapping[str, float]) -> dict[str, Any]:
    """Options of an actor that takes a whole bundle."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    named = {"GPU": "num_gpus", "CPU": "num_cpus"}
    counts = {named[name]: count for name, count in need.items() if name in named}
    own = {name: count for name, count in need.items() if name not in named}
    return (
        {"num_cpus": 0}
        | counts
        | {
            "resources": own,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                placement_group=group, placement_group_bundle_index=index
            ),
        }
    )


def here() -> Any:
    """Where an actor goes that must not land on a host that just died and is not yet missed."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node_id = ray.get_runtime_context().get_node_id()
    return NodeAffinitySchedulingStrategy(node_id=node_id, soft=True)


def _selector(unit: str, unit_label: str, without: Collection[str]) -> dict[str, str]:
    chosen = {unit_label: unit} if unit_label and unit else {}
    barred = {_NODE_LABEL: f"!in({','.join(sorted(without))})"} if without else {}
    return chosen | barred
