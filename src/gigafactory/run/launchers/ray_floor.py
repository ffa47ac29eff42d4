"""A Ray cluster as the floor of a run: one actor a host, which starts the driver's agent there.

Everything else (starting ranks, telling a dead agent from a dead host) is the remote launcher's,
which knocks at the raylet's port: a raylet that was killed answers no more, and its agent is gone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gigafactory.describe.errors import JobError
from gigafactory.describe.launch import RayTarget
from gigafactory.run.launchers import ray_cluster as cluster
from gigafactory.run.launchers.ray_seat import Seat
from gigafactory.run.launchers.remote import Door

_START_S = 60.0


@dataclass(slots=True)
class RayFloor:
    """Implements ``Floor`` with a placement group."""

    hosts: tuple[str, ...]
    """Host names with the beginning of the node's identity: several nodes may share a machine."""
    group: Any
    need: Mapping[str, float]
    doors: Mapping[str, Door]
    logs: Path
    meet: Path
    name: str = "raylet"
    _seats: dict[str, Any] = field(default_factory=dict)

    def raise_agents(self, hosts: Sequence[str]) -> None:
        """See ``Floor``; a seat whose actor died is taken again."""
        import ray

        remote: Any = ray.remote(Seat)
        asked = []
        for host in hosts:
            self._leave(host)
            options = cluster.in_bundle(self.group, self.hosts.index(host), self.need)
            seat = remote.options(**options).remote()
            self._seats[host] = seat
            agent = "gigafactory.run.launchers.agent"
            argv = [sys.executable, "-m", agent, "--meet", str(self.meet), "--host", host]
            asked.append(seat.start.remote(argv, _path(), log=str(self.logs / f"agent-{host}.log")))
        # an actor that cannot start is found out by the agent that does not come
        done, _ = ray.wait(asked, num_returns=len(asked), timeout=_START_S)
        for one in done:
            try:
                ray.get(one)
            except ray.exceptions.RayError as error:
                print(f"ray: {str(error).splitlines()[0]}", file=sys.stderr)

    def door(self, host: str) -> Door | None:
        """Where its raylet answers."""
        return self.doors.get(host)

    def set_aside(self, host: str, *, reason: str) -> None:
        """Its bundle stays taken, so Ray gives it to nobody."""
        self._leave(host)

    def close(self) -> None:
        """End all actors and give the hosts back."""
        import ray

        for host in list(self._seats):
            self._leave(host)
        if ray.is_initialized():
            cluster.give_back(self.group)

    def _leave(self, host: str) -> None:
        import ray

        seat = self._seats.pop(host, None)
        if seat is not None and ray.is_initialized():
            ray.kill(seat)


def open_floor(
    target: RayTarget,
    *,
    num_hosts: int,
    num_spares: int,
    gpus_per_host: int,
    logs: Path,
    meet: Path,
) -> RayFloor:
    """Reserve the hosts of a job and its spares; JobError in Ray's words where it has too few."""
    cluster.connect(target)
    need = cluster.bundle(target, gpus_per_host=gpus_per_host)
    units = cluster.units_for(
        cluster.nodes(), num_hosts=num_hosts, num_spares=num_spares, need=need,
        unit_label=target.unit_label,
    )  # fmt: skip
    group = cluster.reserve(units, need=need, unit_label=target.unit_label)
    nodes = cluster.hosts_of(group)
    names = [f"{node.hostname}-{node.node_id[:8]}" for node in nodes]
    if len(set(names)) < len(names):
        raise JobError("two nodes of the Ray cluster look the same")
    doors = {name: Door(node.address, node.port) for name, node in zip(names, nodes, strict=True)}
    logs.mkdir(parents=True, exist_ok=True)
    return RayFloor(hosts=tuple(names), group=group, need=need, doors=doors, logs=logs, meet=meet)


def _path() -> dict[str, str]:
    """The agent imports what the driver imports."""
    return {"PYTHONPATH": ":".join(filter(None, sys.path))}
