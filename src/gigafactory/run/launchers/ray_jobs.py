"""The scheduler interface on Ray: a detached actor a job, which holds its hosts and watches them.

It lives in the cluster, on the node that it was asked from, so whoever asked may go; it ends every
process of the job when one fails, and gives the hosts back when all are done.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gigafactory.describe.errors import InputError, JobError
from gigafactory.describe.launch import RayTarget
from gigafactory.describe.study import Study
from gigafactory.run.engines.program import FILES, HOST_RANK, MASTER, OUTPUT, START
from gigafactory.run.launchers import ray_cluster as cluster
from gigafactory.run.launchers.ray_seat import Seat
from gigafactory.run.launchers.registry import Order
from gigafactory.run.launchers.scheduler import (
    Ability,
    JobState,
    JobStatus,
    Rendered,
    Scheduler,
)

REQUEST_FILE = "request.json"
_LOOK_S = 0.5
_PATIENCE_S = 2.0
_ANSWER_S = 60.0
_BARRED = "giga-barred"


def render(order: Order) -> Rendered:
    """What each host takes and runs; pure."""
    program, target = order.program, order.study.ray
    request = {
        "name": order.study.study,
        "num_hosts": program.num_hosts,
        "need": cluster.bundle(target, gpus_per_host=program.gpus_per_host),
        "unit_label": target.unit_label,
        "output": f"runs/{order.study.study}",
    }
    files = {**program.files, START: program.start_script()}
    main = json.dumps(request, indent=2) + "\n"
    return Rendered(name=order.study.study, main=REQUEST_FILE, files={REQUEST_FILE: main, **files})


def connect(study: Study) -> Scheduler:
    """The cluster that the study names; JobError where there is none."""
    cluster.connect(study.ray)
    return RayScheduler(study.ray)


class Job:
    """Runs in the cluster: the hosts of one job, from asking for them to giving them back."""

    def __init__(
        self, name: str, request: Mapping[str, Any], files: Mapping[str, str], barred: list[str]
    ) -> None:
        self._name, self._request, self._files = name, request, files
        self._barred = barred
        self._begin()

    def _begin(self) -> None:
        self._state, self._reason = JobState.WAITING, ""
        self._status: int | None = None
        self._hosts: list[cluster.Node] = []
        self._seats: list[Any] = []
        self._lines: list[str] = []
        self._stop = threading.Event()
        self._over = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def again(self, barred: list[str]) -> bool:
        """The same once more; False where it is not over."""
        if not self._over.is_set():
            return False
        self._barred = barred
        self._begin()
        return True

    def standing(self) -> dict[str, Any]:
        """For ``JobStatus``."""
        return {
            "state": self._state.value,
            "hosts": [f"{node.hostname}-{node.node_id[:8]}" for node in self._hosts],
            "reason": self._reason,
            "exit_status": self._status,
        }

    def cancel(self) -> None:
        """End it and wait until nothing of it is left."""
        self._stop.set()
        self._over.wait()

    def lines(self) -> list[str]:
        """What the hosts printed, by rank."""
        return self._lines if self._over.is_set() else self._printed()

    def _run(self) -> None:
        group = None
        try:
            group = self._reserve()
            if not self._stop.is_set():
                self._start(group)
            self._watch()
        except Exception as error:  # whatever it is: the hosts are given back and it is told
            self._end(JobState.FAILED, str(error).splitlines()[0] or type(error).__name__)
        finally:
            self._give_back(group)
            self._over.set()

    def _reserve(self) -> Any:
        request = self._request
        units = cluster.units_for(
            cluster.nodes(), num_hosts=request["num_hosts"], num_spares=0, need=request["need"],
            unit_label=request["unit_label"], without=self._barred,
        )  # fmt: skip
        group = cluster.ask_for(
            units, need=request["need"], unit_label=request["unit_label"], without=self._barred
        )
        while not group.wait(_PATIENCE_S) and not self._stop.is_set():
            self._reason = "Ray has not enough free hosts"
        self._reason = ""
        return group

    def _start(self, group: Any) -> None:
        import ray

        self._hosts = cluster.hosts_of(group)
        common = {MASTER: self._hosts[0].address, FILES: ".", OUTPUT: self._request["output"]}
        remote: Any = ray.remote(Seat)
        for rank in range(len(self._hosts)):
            options = cluster.in_bundle(group, rank, self._request["need"])
            self._seats.append(remote.options(**options).remote())
        asked = [
            seat.start.remote(
                ["sh", START], common | {HOST_RANK: str(rank)}, files=dict(self._files)
            )
            for rank, seat in enumerate(self._seats)
        ]
        ray.get(asked, timeout=_ANSWER_S)
        self._state = JobState.RUNNING

    def _watch(self) -> None:
        """Until all hosts are done, one has failed or is lost, or it is cancelled."""
        import ray

        while not self._stop.wait(_LOOK_S):
            statuses = []
            for rank, seat in enumerate(self._seats):
                try:
                    statuses.append(ray.get(seat.status.remote(), timeout=_ANSWER_S))
                except (ray.exceptions.RayError, TimeoutError):
                    self._end(JobState.FAILED, f"host {rank} is lost")
                    return
            bad = [(rank, status) for rank, status in enumerate(statuses) if status]
            if bad:
                rank, self._status = bad[0]
                self._end(JobState.FAILED, f"host {rank} ended with status {self._status}")
                return
            if all(status == 0 for status in statuses):
                self._status = 0
                self._end(JobState.DONE, "")
                return
        self._end(JobState.CANCELLED, "cancelled")

    def _end(self, state: JobState, reason: str) -> None:
        """The reason first: whoever sees that it is over sees why."""
        self._reason, self._ending = reason, state

    def _printed(self) -> list[str]:
        import ray

        found = []
        for rank, seat in enumerate(self._seats):
            with contextlib.suppress(ray.exceptions.RayError, TimeoutError):
                lines = ray.get(seat.lines.remote(), timeout=_ANSWER_S)
                found += [f"host {rank}: {line}" for line in lines]
        return found

    def _give_back(self, group: Any) -> None:
        import ray

        with contextlib.suppress(ray.exceptions.RayError, TimeoutError):
            ray.get([seat.end.remote() for seat in self._seats], timeout=_ANSWER_S)
        self._lines = self._printed()
        for seat in self._seats:
            ray.kill(seat)
        if group is not None:
            cluster.give_back(group)
        self._state = self._ending


class Barred:
    """Runs in the cluster: the hosts on which nothing of ours is to start."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def bar(self, node_id: str, reason: str) -> None:
        """From now on."""
        self._reasons[node_id] = reason

    def barred(self) -> list[str]:
        """Identities of nodes."""
        return sorted(self._reasons)


@dataclass(slots=True)
class RayScheduler:
    """Implements ``Scheduler``; a job's identity is the name of its actor."""

    target: RayTarget
    abilities: frozenset[Ability] = frozenset(Ability)

    def submit(self, job: Rendered) -> str:
        """See ``Scheduler``; what cannot be had at once is waited for."""
        import ray

        request = json.loads(job.files[job.main])
        files = {name: text for name, text in job.files.items() if name != job.main}
        # Ray would wait for ever for hosts that it does not have
        cluster.units_for(
            cluster.nodes(), num_hosts=request["num_hosts"], num_spares=0, need=request["need"],
            unit_label=request["unit_label"], without=self._barred(),
        )  # fmt: skip
        name = f"giga-{job.name}-{uuid.uuid4().hex[:8]}"
        remote: Any = ray.remote(Job)
        made = remote.options(
            name=name, namespace=cluster.NAMESPACE, lifetime="detached", num_cpus=0,
            max_concurrency=4, runtime_env={"env_vars": _path()},
            scheduling_strategy=cluster.here(),
        )  # fmt: skip
        actor = made.remote(name, request, files, self._barred())
        _ask(actor.standing.remote())
        return name

    def watch(self, job_id: str) -> JobStatus:
        """See ``Scheduler``."""
        told = _ask(self._job(job_id).standing.remote())
        return JobStatus(
            job_id=job_id,
            state=JobState(told["state"]),
            hosts=tuple(told["hosts"]),
            reason=told["reason"],
            exit_status=told["exit_status"],
        )

    def cancel(self, job_id: str) -> None:
        """See ``Scheduler``; the actor stays, for its logs."""
        try:
            job = self._job(job_id)
        except InputError:
            return
        _ask(job.cancel.remote())

    def forget(self, job_id: str) -> None:
        """Cancel it and let its actor go, and what it printed with it."""
        import ray

        self.cancel(job_id)
        with contextlib.suppress(InputError):
            ray.kill(self._job(job_id))

    def drain(self, host: str, *, reason: str) -> None:
        """No job of ours starts on ``host`` any more; others' may."""
        for node in cluster.nodes():
            if f"{node.hostname}-{node.node_id[:8]}" == host:
                _ask(self._bar().bar.remote(node.node_id, reason))
                return
        raise InputError(f"the Ray cluster has no host {host!r} (any more)")

    def requeue(self, job_id: str) -> str:
        """See ``Scheduler``; the same identity."""
        if not _ask(self._job(job_id).again.remote(self._barred())):
            raise InputError(f"{job_id} is not over; cancel it first")
        return job_id

    def logs(self, job_id: str) -> Iterator[str]:
        """See ``Scheduler``."""
        yield from _ask(self._job(job_id).lines.remote())

    def _job(self, job_id: str) -> Any:
        import ray

        try:
            return ray.get_actor(job_id, namespace=cluster.NAMESPACE)
        except ValueError:
            raise InputError(f"the Ray cluster knows no job {job_id}") from None

    def _bar(self) -> Any:
        import ray

        return ray.remote(Barred).options(
            name=_BARRED, namespace=cluster.NAMESPACE, lifetime="detached", num_cpus=0,
            get_if_exists=True, runtime_env={"env_vars": _path()},
            scheduling_strategy=cluster.here(),
        ).remote()  # fmt: skip

    def _barred(self) -> list[str]:
        barred: list[str] = _ask(self._bar().barred.remote())
        return barred


def _ask(wanted: Any) -> Any:
    """The answer of an actor; JobError where it is gone or silent."""
    import ray

    try:
        return ray.get(wanted, timeout=_ANSWER_S)
    except (ray.exceptions.RayError, TimeoutError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise JobError(f"Ray: {said}") from None


def _path() -> dict[str, str]:
    """Actors import what this process imports."""
    return {"PYTHONPATH": ":".join(filter(None, sys.path))}
