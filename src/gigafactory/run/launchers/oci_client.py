"""The scheduler interface on hosts rented from Oracle; a job is a compute cluster and its hosts."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gigafactory.describe.errors import InputError, JobError
from gigafactory.run.launchers import oci_fleet as fleet
from gigafactory.run.launchers.oci import ENDED, quote_in
from gigafactory.run.launchers.oci_calls import Calls, GoneError
from gigafactory.run.launchers.oci_fleet import DRAINED_TAG, PRICE_TAG, SUBNET_TAG, Wish
from gigafactory.run.launchers.rental import Quote, check_consent
from gigafactory.run.launchers.scheduler import Ability, JobState, JobStatus, Rendered
from gigafactory.units import HOUR_S

_CONSOLE_BYTES = 1_000_000
_CONSOLE_TRIES, _CONSOLE_WAIT_S = 30, 2.0
_ENDED = re.compile(re.escape(ENDED) + r" (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """Work on a host that Oracle announces."""

    host: str
    reason: str
    action: str
    """What happens to the host (REBOOT_MIGRATION, TERMINATE, ...)."""
    starts: str
    """ISO 8601; empty where no window is set yet."""


@dataclass(slots=True)
class OciScheduler:
    """Implements ``Scheduler`` and ``Rental``."""

    config: Mapping[str, Any]
    compartment: str
    sleep: Callable[[float], None] = time.sleep
    abilities: frozenset[Ability] = frozenset(Ability)
    calls: Calls = field(init=False)
    _allowed_usd_per_h: float | None = None

    def __post_init__(self) -> None:
        self.calls = Calls(self.config, sleep=self.sleep)

    def quote(self, job: Rendered) -> Quote:
        """See ``Rental``."""
        return quote_in(job)

    def allow(self, usd_per_h: float) -> None:
        """See ``Rental``; good for one job."""
        self._allowed_usd_per_h = usd_per_h

    def submit(self, job: Rendered) -> str:
        """See ``Scheduler``: rent the hosts, all or none, and tell them their ranks."""
        quote = quote_in(job)
        check_consent(quote, allowed_usd_per_h=self._allowed_usd_per_h)
        self._allowed_usd_per_h = None
        request = json.loads(job.files[job.main])
        wish = _wish(request, job.files[request["boot_file"]])
        self._check_capacity(wish, num_hosts=quote.num_hosts)
        cluster = self._network(wish, quote)
        try:
            fleet.launch_all(self.calls, cluster, wish, num_hosts=quote.num_hosts)
            fleet.await_state(self.calls, cluster, "RUNNING", num_hosts=quote.num_hosts)
            fleet.give_ranks(self.calls, cluster)
        except BaseException as error:
            self._give_back(cluster, error)
            raise
        return str(cluster.id)

    def watch(self, job_id: str) -> JobStatus:
        """See ``Scheduler``; ended hosts say on their console how the job went."""
        cluster = self._cluster(job_id)
        hosts = fleet.hosts_of(self.calls, cluster) if cluster else []
        state, reason, status = self._state(hosts)
        price = float((cluster.freeform_tags if cluster else {}).get(PRICE_TAG, 0.0))
        return JobStatus(
            job_id=job_id,
            state=state,
            hosts=tuple(host.display_name for host in hosts),
            reason=reason,
            exit_status=status,
            facts={"usd_per_h": f"{price * HOUR_S:.2f}"} if hosts else {},
        )

    def cancel(self, job_id: str) -> None:
        """Give everything back and wait until it is; over or not, rented hosts cost money."""
        cluster = self._cluster(job_id)
        if cluster is not None:
            fleet.release(self.calls, cluster)

    def drain(self, host: str, *, reason: str) -> None:
        """Mark the host: the next requeue replaces it."""
        from oci.core import models

        here = self.calls.every("list_instances", self.compartment, display_name=host)
        live = [one for one in here if not one.lifecycle_state.startswith("TERMINAT")]
        if not live:
            raise InputError(f"no host {host!r} is rented in this compartment")
        for one in live:
            tags = {**(one.freeform_tags or {}), DRAINED_TAG: reason}
            details = models.UpdateInstanceDetails(freeform_tags=tags)
            self.calls("update_instance", one.id, details)

    def replace(self, job_id: str, *, host: str) -> None:
        """Give ``host`` back and rent another in its place: same network, same rank."""
        cluster = self._living(job_id)
        for one in fleet.hosts_of(self.calls, cluster):
            if one.display_name == host:
                fleet.replace(self.calls, cluster, _wish_again(one, cluster), one)
                return
        raise InputError(f"job {job_id} has no host {host!r}")

    def requeue(self, job_id: str) -> str:
        """Replace drained hosts, start the others again; the same job."""
        cluster = self._living(job_id)
        hosts = fleet.hosts_of(self.calls, cluster)
        if not self._state(hosts)[0].is_over:
            raise InputError(f"{job_id} is not over; its hosts still run")
        bad = [host for host in hosts if DRAINED_TAG in (host.freeform_tags or {})]
        for host in bad:
            fleet.replace(self.calls, cluster, _wish_again(host, cluster), host)
        for host in hosts:
            if host not in bad:
                self.calls("instance_action", host.id, "START")
        fleet.await_state(self.calls, cluster, "RUNNING", num_hosts=len(hosts))
        return job_id

    def logs(self, job_id: str) -> Iterator[str]:
        """The hosts' serial consoles, in the order of ranks."""
        for rank, host in enumerate(fleet.hosts_of(self.calls, self._living(job_id))):
            yield from (f"host {rank}: {line}" for line in self._console(host).splitlines())

    def maintenance(self, job_id: str) -> list[Maintenance]:
        """What Oracle has announced for the job's hosts, soonest first."""
        names = {
            host.id: host.display_name for host in fleet.hosts_of(self.calls, self._living(job_id))
        }
        events = self.calls.every("list_instance_maintenance_events", self.compartment)
        found = [
            Maintenance(
                host=names[event.instance_id],
                reason=event.maintenance_reason or "",
                action=event.instance_action or "",
                starts=event.time_window_start.isoformat() if event.time_window_start else "",
            )
            for event in events
            if event.instance_id in names and event.lifecycle_state in ("SCHEDULED", "STARTED")
        ]
        return sorted(found, key=lambda one: one.starts or "~")

    # -- below the interface ---------------------------------------------------------------

    def _give_back(self, cluster: Any, why: BaseException) -> None:
        """Whatever went wrong, nothing may go on costing money."""
        try:
            fleet.release(self.calls, cluster)
        except JobError as worse:
            raise JobError(f"{why or type(why).__name__}; and then: {worse}") from why

    def _check_capacity(self, wish: Wish, *, num_hosts: int) -> None:
        """JobError where Oracle says beforehand that it has not so many."""
        from oci.core import models

        asked = models.CreateComputeCapacityReportDetails(
            compartment_id=self.config["tenancy"],  # the report exists for the root only
            availability_domain=wish.availability_domain,
            shape_availabilities=[
                models.CreateCapacityReportShapeAvailabilityDetails(instance_shape=wish.shape)
            ],
        )
        try:
            report = self.calls("create_compute_capacity_report", asked)
        except GoneError:
            return  # this account may not ask; the launches will tell
        for one in report.shape_availabilities:
            count = one.available_count
            too_few = count is not None and count < num_hosts
            if one.availability_status != "AVAILABLE" or too_few:
                said = one.availability_status if count is None else f"{count} available"
                raise JobError(
                    f"{num_hosts} x {wish.shape} in {wish.availability_domain}: {said}; "
                    "nothing was asked for"
                )

    def _network(self, wish: Wish, quote: Quote) -> Any:
        from oci.core import models

        tags = {SUBNET_TAG: wish.subnet, PRICE_TAG: repr(quote.usd_per_s)}
        details = models.CreateComputeClusterDetails(
            availability_domain=wish.availability_domain,
            compartment_id=wish.compartment,
            display_name=wish.name,
            freeform_tags=tags,
        )
        token = uuid.uuid4().hex
        return self.calls("create_compute_cluster", details, opc_retry_token=token)

    def _cluster(self, job_id: str) -> Any | None:
        try:
            cluster = self.calls("get_compute_cluster", job_id)
        except GoneError:
            return None
        return None if cluster.lifecycle_state == "DELETED" else cluster

    def _living(self, job_id: str) -> Any:
        cluster = self._cluster(job_id)
        if cluster is None:
            raise InputError(f"there is no job {job_id}: its hosts were given back")
        return cluster

    def _state(self, hosts: list[Any]) -> tuple[JobState, str, int | None]:
        if not hosts:
            return JobState.CANCELLED, "all hosts were given back", None
        states = [host.lifecycle_state for host in hosts]
        stopped = states.count("STOPPED")
        if stopped == len(hosts):
            return self._ending(hosts[0])
        starting = sum(state in ("PROVISIONING", "STARTING", "MOVING") for state in states)
        if starting:
            return JobState.WAITING, f"{starting} of {len(hosts)} hosts start", None
        words = f"{stopped} of {len(hosts)} hosts have stopped" if stopped else ""
        return JobState.RUNNING, words, None

    def _ending(self, first: Any) -> tuple[JobState, str, int | None]:
        """What rank 0 said last before it switched itself off."""
        said = _ENDED.findall(self._console(first))
        if not said:
            return JobState.FAILED, f"{first.display_name} stopped without a word", None
        status = int(said[-1])
        if status == 0:
            return JobState.DONE, "", 0
        return JobState.FAILED, f"the job ended with status {status}", status

    def _console(self, host: Any) -> str:
        from oci.core import models

        details = models.CaptureConsoleHistoryDetails(instance_id=host.id)
        history = self.calls("capture_console_history", details)
        for _ in range(_CONSOLE_TRIES):
            if history.lifecycle_state in ("SUCCEEDED", "FAILED"):
                break
            self.sleep(_CONSOLE_WAIT_S)
            history = self.calls("get_console_history", history.id)
        content = self.calls("get_console_history_content", history.id, length=_CONSOLE_BYTES)
        self.calls("delete_console_history", history.id)
        return content if isinstance(content, str) else content.decode(errors="replace")


def _wish(request: Mapping[str, Any], boot: str) -> Wish:
    return Wish(
        name=request["name"],
        compartment=request["compartment"],
        availability_domain=request["availability_domain"],
        subnet=request["subnet"],
        image=request["image"],
        shape=request["shape"],
        boot=boot,
    )


def _wish_again(host: Any, cluster: Any) -> Wish:
    """What ``host`` was like when it was asked for."""
    return Wish(
        name=host.display_name.rpartition("-")[0],
        compartment=host.compartment_id,
        availability_domain=host.availability_domain,
        subnet=cluster.freeform_tags[SUBNET_TAG],
        image=host.image_id or host.source_details.image_id,
        shape=host.shape,
        boot=base64.b64decode(host.metadata["user_data"]).decode(),
    )
