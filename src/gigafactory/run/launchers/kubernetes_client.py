"""The scheduler interface on a Kubernetes API server with JobSet and Kueue."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gigafactory.describe.errors import InputError, JobError
from gigafactory.run.launchers.kubernetes import from_yaml
from gigafactory.run.launchers.kubernetes_access import Access
from gigafactory.run.launchers.kubernetes_checks import complaints
from gigafactory.run.launchers.kubernetes_objects import JOBSET, Object
from gigafactory.run.launchers.kubernetes_queues import KUEUE
from gigafactory.run.launchers.kubernetes_standing import pods_in_order, standing
from gigafactory.run.launchers.kubernetes_wire import RefusedError, UnreachableError, Wire, path_of
from gigafactory.run.launchers.scheduler import Ability, JobState, JobStatus, Rendered

_POLL_S = 1.0
_END_TIMEOUT_S = 300.0
_LOG_LINES = "1000"
#: Keeps what was submitted: Kueue writes into the set that runs.
_SUBMITTED = "gigafactory/submitted"
_DRAINED = "gigafactory/drained"
_SET_LABEL = "jobset.sigs.k8s.io/jobset-name"


@dataclass(slots=True)
class KubernetesScheduler:
    """Implements ``Scheduler``; a job is a JobSet, and its identity the set's name."""

    access: Access
    namespace: str
    sleep: Callable[[float], None] = time.sleep
    abilities: frozenset[Ability] = frozenset(Ability)
    wire: Wire = field(init=False)

    def __post_init__(self) -> None:
        self.wire = Wire(self.access, sleep=self.sleep)

    def submit(self, job: Rendered) -> str:
        """See ``Scheduler``: tried dry first, and taken back where the second object is refused."""
        objects = from_yaml(job.files[job.main])
        wrong = complaints(objects)
        if wrong:
            raise InputError("Kubernetes would refuse the job:\n  " + "\n  ".join(wrong))
        return self._create(objects)

    def watch(self, job_id: str) -> JobStatus:
        """See ``Scheduler``; a set that was deleted has left no record."""
        jobset = self._jobset(job_id)
        return standing(jobset, self._pods(job_id), self._workload(jobset))

    def cancel(self, job_id: str) -> None:
        """See ``Scheduler``; a finished set stays, for its logs."""
        try:
            if self.watch(job_id).state in (JobState.DONE, JobState.FAILED):
                return
        except RefusedError as error:
            if error.status == 404:
                return
            raise
        self._remove(job_id)

    def drain(self, host: str, *, reason: str) -> None:
        """Cordon the node, and say why in an annotation."""
        body = {"metadata": {"annotations": {_DRAINED: reason}}, "spec": {"unschedulable": True}}
        self._node(host, body)

    def undrain(self, host: str) -> None:
        """Let work start on ``host`` again."""
        body = {"metadata": {"annotations": {_DRAINED: None}}, "spec": {"unschedulable": False}}
        self._node(host, body)

    def evict(self, job_id: str, *, host: str) -> None:
        """End the job's pod on ``host``, which starts the set again, elsewhere if it is drained."""
        for pod in self._pods(job_id):
            if pod["spec"].get("nodeName") == host:
                name = pod["metadata"]["name"]
                path = path_of("Pod", api="v1", namespace=self.namespace, name=name)
                body = {
                    "apiVersion": "policy/v1",
                    "kind": "Eviction",
                    "metadata": {"name": name, "namespace": self.namespace},
                }
                self.wire.post(f"{path}/eviction", body)

    def requeue(self, job_id: str) -> str:
        """See ``Scheduler``: fields are immutable, so the set is deleted and made anew."""
        jobset = self._jobset(job_id)
        if not standing(jobset, self._pods(job_id), None).state.is_over:
            raise InputError(f"{job_id} is not over; cancel it first")
        objects = self._submitted(jobset)
        self._remove(job_id)
        return self._create(objects)

    def logs(self, job_id: str) -> Iterator[str]:
        """See ``Scheduler``; hosts in the order of their ranks, the last lines of each."""
        self._jobset(job_id)
        for index, pod in enumerate(pods_in_order(self._pods(job_id))):
            name = pod["metadata"]["name"]
            path = path_of("Pod", api="v1", namespace=self.namespace, name=name)
            try:
                text = self.wire.text(f"{path}/log", tailLines=_LOG_LINES)
            except RefusedError as error:
                text = f"(no log: {error})"
            yield from (f"host {index}: {line}" for line in text.splitlines())

    # -- below the interface ---------------------------------------------------------------

    def _create(self, objects: Sequence[Object]) -> str:
        """The set first, so that it owns the rest, which then goes with it."""
        jobset = next(one for one in objects if one["kind"] == "JobSet")
        name, rest = jobset["metadata"]["name"], [one for one in objects if one is not jobset]
        notes = jobset["metadata"].get("annotations", {})
        kept = notes | {_SUBMITTED: json.dumps(jobset)}
        made = jobset | {"metadata": jobset["metadata"] | {"annotations": kept}}
        for one in (made, *rest):
            self.wire.post(self._path(one), one, dryRun="All")
        try:
            uid = self.wire.post(self._path(made), made)["metadata"]["uid"]
            for one in rest:
                self.wire.post(self._path(one), _owned(one, made, uid))
        except BaseException as error:  # Ctrl-C as well
            self._take_back(name, error)
            raise
        return str(name)

    def _take_back(self, name: str, why: BaseException) -> None:
        """Nothing may stay of a job that could not be asked for whole."""
        if isinstance(why, RefusedError) and why.status == 409:
            return  # it is another's: it came between the trial and the real thing
        try:
            self._remove(name)
        except JobError:
            place = f"jobset/{name} -n {self.namespace}"
            raise UnreachableError(
                f"{why}; it may be there all the same: kubectl delete {place}"
            ) from None

    def _remove(self, name: str) -> None:
        """Delete the set, and wait until no pod of it is left."""
        path = path_of("JobSet", api=JOBSET, namespace=self.namespace, name=name)
        config = path_of("ConfigMap", api="v1", namespace=self.namespace, name=name)
        self.wire.delete(path, propagationPolicy="Foreground")
        self.wire.delete(config)
        waited_s = 0.0
        while self._is_there(path) or any(self._pods(name)):
            if waited_s >= _END_TIMEOUT_S:
                raise JobError(f"jobset {name} does not end within {_END_TIMEOUT_S:.0f} s")
            self.sleep(_POLL_S)
            waited_s += _POLL_S

    def _is_there(self, path: str) -> bool:
        try:
            self.wire.get(path)
        except RefusedError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _submitted(self, jobset: Object) -> list[Object]:
        name = jobset["metadata"]["name"]
        try:
            kept = json.loads(jobset["metadata"]["annotations"][_SUBMITTED])
        except (KeyError, ValueError):
            raise InputError(f"jobset {name} was not submitted by giga run") from None
        path = path_of("ConfigMap", api="v1", namespace=self.namespace, name=name)
        config = self.wire.get(path)
        plain = {key: config["metadata"][key] for key in ("name", "namespace", "labels")}
        return [{"apiVersion": "v1", "kind": "ConfigMap", **config, "metadata": plain}, kept]

    def _jobset(self, name: str) -> Object:
        return self.wire.get(path_of("JobSet", api=JOBSET, namespace=self.namespace, name=name))

    def _pods(self, name: str) -> list[Object]:
        path = path_of("Pod", api="v1", namespace=self.namespace)
        found = self.wire.list(path, labelSelector=f"{_SET_LABEL}={name}")
        return [pod for pod in found if pod["metadata"].get("labels", {}).get(_SET_LABEL) == name]

    def _workload(self, jobset: Object) -> Object | None:
        """Kueue's view of the set, which says why it waits; None where there is no Kueue."""
        uid = jobset["metadata"].get("uid")
        path = path_of("Workload", api=KUEUE, namespace=self.namespace)
        with contextlib.suppress(RefusedError):
            for workload in self.wire.list(path):
                owners = workload["metadata"].get("ownerReferences", ())
                if any(owner["uid"] == uid for owner in owners):
                    return workload
        return None

    def _node(self, host: str, body: Object) -> None:
        try:
            self.wire.patch(path_of("Node", api="v1", name=host), body)
        except RefusedError as error:
            if error.status == 404:
                raise InputError(f"the cluster has no node {host!r}") from None
            raise

    def _path(self, one: Object) -> str:
        return path_of(one["kind"], api=one["apiVersion"], namespace=self.namespace)


def _owned(one: Object, owner: Object, uid: str) -> Object:
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": uid,
    }
    return one | {"metadata": one["metadata"] | {"ownerReferences": [reference]}}
