"""The hosts of one rented job: asked for, put in the order of the network, replaced, given back."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from gigafactory.describe.errors import JobError
from gigafactory.run.launchers.oci import MASTER_KEY, RANK_KEY
from gigafactory.run.launchers.oci_calls import Calls, GoneError, NoCapacityError

SUBNET_TAG, DRAINED_TAG, PRICE_TAG = "giga-subnet", "giga-drained", "giga-usd-per-s"
_GONE = ("TERMINATED", "TERMINATING")
_THREADS = 8
_POLL_S = 10.0
#: Bare metal boots in ten minutes or so.
_BOOT_TIMEOUT_S = 3600.0
_END_TIMEOUT_S = 1800.0
#: Hosts that are there already cost money while the last ones are waited for.
_CAPACITY_TRIES, _CAPACITY_WAIT_S = 10, 30.0
#: Oracle's agent sets up the RDMA network of a host with these.
_PLUGINS = ("Compute HPC RDMA Authentication", "Compute HPC RDMA Auto-Configuration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What every host of a job is like."""

    name: str
    compartment: str
    availability_domain: str
    subnet: str
    image: str
    shape: str
    boot: str


def hosts_of(calls: Calls, cluster: Any) -> list[Any]:
    """The instances that are there and not on their way out, by rank, then by name."""
    every = calls.every("list_instances", cluster.compartment_id, compute_cluster_id=cluster.id)
    here = [one for one in every if one.lifecycle_state not in _GONE]
    return sorted(here, key=lambda one: (rank_of(one), one.display_name))


def rank_of(instance: Any) -> int:
    """The host rank that it was told; -1 before that."""
    return int((instance.metadata or {}).get(RANK_KEY, -1))


def launch_all(calls: Calls, cluster: Any, wish: Wish, *, num_hosts: int) -> None:
    """Ask for every host; the first refusal ends it."""
    with ThreadPoolExecutor(_THREADS) as pool:
        asked = [pool.submit(launch, calls, cluster, wish, index) for index in range(num_hosts)]
        try:
            for one in asked:
                one.result()
        finally:
            pool.shutdown(cancel_futures=True)


def launch(calls: Calls, cluster: Any, wish: Wish, index: int, *, again: str = "") -> Any:
    """One host; the token makes a repeated call give the same one, never a second."""
    token = hashlib.sha256(f"{cluster.id} {index} {again}".encode()).hexdigest()
    for attempt in range(_CAPACITY_TRIES):
        try:
            details = _details(cluster, wish, index)
            return calls("launch_instance", details, opc_retry_token=token[:40])
        except NoCapacityError:
            if attempt == _CAPACITY_TRIES - 1:
                raise
            calls.sleep(_CAPACITY_WAIT_S)
    raise AssertionError


def _details(cluster: Any, wish: Wish, index: int) -> Any:
    from oci.core import models

    name = f"{label(wish.name)}-{index}"
    plugins = [
        models.InstanceAgentPluginConfigDetails(name=plugin, desired_state="ENABLED")
        for plugin in _PLUGINS
    ]
    return models.LaunchInstanceDetails(
        availability_domain=wish.availability_domain,
        compartment_id=wish.compartment,
        compute_cluster_id=cluster.id,
        display_name=name,
        shape=wish.shape,
        source_details=models.InstanceSourceViaImageDetails(image_id=wish.image),
        create_vnic_details=models.CreateVnicDetails(
            subnet_id=wish.subnet, hostname_label=name, assign_public_ip=False
        ),
        agent_config=models.LaunchInstanceAgentConfigDetails(plugins_config=plugins),
        metadata={"user_data": base64.b64encode(wish.boot.encode()).decode()},
    )


def label(name: str) -> str:
    """A job's name as the beginning of host names."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]


def await_state(calls: Calls, cluster: Any, state: str, *, num_hosts: int) -> list[Any]:
    """All hosts in ``state``; JobError where one is lost on the way or it takes too long."""
    waited_s = 0.0
    while True:
        hosts = hosts_of(calls, cluster)
        if len(hosts) < num_hosts:
            raise JobError(f"Oracle took back {num_hosts - len(hosts)} of {num_hosts} hosts")
        if all(one.lifecycle_state == state for one in hosts):
            return hosts
        if waited_s >= _BOOT_TIMEOUT_S:
            slow = [one.display_name for one in hosts if one.lifecycle_state != state]
            raise JobError(
                f"{len(slow)} of {num_hosts} hosts are not {state} within "
                f"{_BOOT_TIMEOUT_S / 60:.0f} min: {', '.join(slow[:5])}"
            )
        calls.sleep(_POLL_S)
        waited_s += _POLL_S


def in_network_order(instances: Iterable[Any], compute_hosts: Iterable[Any]) -> list[Any]:
    """By HPC island, network block and local block, as far as Oracle tells; then by name."""
    spots = {
        host.instance_id: (host.hpc_island_id, host.network_block_id, host.local_block_id)
        for host in compute_hosts
    }

    def key(instance: Any) -> tuple[str, ...]:
        spot = spots.get(instance.id, ("", "", ""))
        number = instance.display_name.rpartition("-")[2]
        return (*(part or "" for part in spot), number.rjust(8, "0"))

    return sorted(instances, key=key)


def give_ranks(calls: Calls, cluster: Any) -> list[Any]:
    """Tell every host its rank and where rank 0 is, in the order of the network."""
    try:
        seen = calls.every(
            "list_compute_hosts", cluster.compartment_id, network_resource_id=cluster.id
        )
    except GoneError:
        seen = []  # this account may not look at the hosts: then in the order of their names
    hosts = in_network_order(hosts_of(calls, cluster), seen)
    for rank, host in enumerate(hosts):
        tell(calls, host, {RANK_KEY: str(rank), MASTER_KEY: hosts[0].display_name})
    return hosts


def tell(calls: Calls, host: Any, said: Mapping[str, str]) -> None:
    """Add to the host's metadata; what it booted with must be sent again as it was."""
    from oci.core import models

    details = models.UpdateInstanceDetails(metadata={**host.metadata, **said})
    calls("update_instance", host.id, details)


def replace(calls: Calls, cluster: Any, wish: Wish, host: Any) -> Any:
    """Give ``host`` back first, so that the bill never grows, and ask for another of its rank."""
    told = {key: host.metadata[key] for key in (RANK_KEY, MASTER_KEY)}
    index = int(host.display_name.rpartition("-")[2])
    end(calls, [host])
    new = launch(calls, cluster, wish, index, again=host.id)
    tell(calls, new, told)
    return new


def release(calls: Calls, cluster: Any) -> None:
    """Give back all hosts and the network; JobError names what may still cost money."""
    try:
        for _ in range(2):  # a host that was being made while the others were listed
            end(calls, hosts_of(calls, cluster))
        calls("delete_compute_cluster", cluster.id)
    except GoneError:
        return
    except JobError as error:
        raise JobError(
            f"{error}; hosts of compute cluster {cluster.id} may still be rented: end them in "
            "Oracle's console"
        ) from None


def end(calls: Calls, hosts: Sequence[Any]) -> None:
    """Terminate, and wait until Oracle says that it is so."""
    for host in hosts:
        if host.lifecycle_state not in _GONE:
            calls("terminate_instance", host.id, preserve_boot_volume=False)
    waited_s = 0.0
    for host in hosts:
        while _state(calls, host) != "TERMINATED":
            if waited_s >= _END_TIMEOUT_S:
                raise JobError(f"{host.display_name} does not end")
            calls.sleep(_POLL_S)
            waited_s += _POLL_S


def _state(calls: Calls, host: Any) -> str:
    try:
        return str(calls("get_instance", host.id).lifecycle_state)
    except GoneError:
        return "TERMINATED"
