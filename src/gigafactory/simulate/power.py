"""What the whole cluster draws, by what its gang is doing."""

from __future__ import annotations

from dataclasses import dataclass

from gigafactory.cost.energy import hosts_power_w
from gigafactory.cost.watts import power_of
from gigafactory.describe.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Draw:
    """IT power of everything together, before PUE."""

    working_w: float
    """The gang computes (or stalls for a second at a checkpoint)."""
    waiting_w: float
    """The gang does not compute: its hosts idle like spares."""


def draw_of(cluster: Cluster, *, num_training_hosts: int) -> Draw:
    """Draw of ``cluster`` while ``num_training_hosts`` train and the others stand by.

    Hosts in repair are counted as standing by; network and storage draw the same all the time.
    A site of less capacity holds the hosts to it; `cost.swings.power_slowdown` is the price.
    """
    parts = power_of(cluster)
    always_w = parts.network_w + parts.storage_w
    idle_w = float(
        hosts_power_w(cluster.num_hosts, host_w=cluster.host.idle_w, other_it_w=always_w)
    )
    more_w = float(
        hosts_power_w(num_training_hosts, host_w=cluster.host.training_w - cluster.host.idle_w)
    )
    working_w = idle_w + more_w
    if cluster.site.capacity_w is not None:
        working_w = max(idle_w, min(working_w, cluster.site.capacity_w / cluster.site.pue))
    return Draw(working_w=working_w, waiting_w=idle_w)
