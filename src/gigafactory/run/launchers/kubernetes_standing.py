"""Where a JobSet stands, read from what the API server tells: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gigafactory.run.launchers.kubernetes_objects import Object
from gigafactory.run.launchers.scheduler import JobState, JobStatus

_INDEX = "batch.kubernetes.io/job-completion-index"


def standing(jobset: Object, pods: Sequence[Object], workload: Object | None) -> JobStatus:
    """The job's state with its hosts; the reason is Kubernetes' or Kueue's own sentence."""
    ordered = pods_in_order(pods)
    hosts = tuple(pod["spec"]["nodeName"] for pod in ordered if pod["spec"].get("nodeName"))
    state, reason = _state(jobset, ordered, workload)
    status = jobset.get("status", {})
    return JobStatus(
        job_id=jobset["metadata"]["name"],
        state=state,
        hosts=hosts,
        reason=reason,
        exit_status=0 if state is JobState.DONE else _exit_status(ordered),
        facts={"restarts": str(status.get("restarts", 0)), "pods": str(len(ordered))},
    )


def pods_in_order(pods: Iterable[Object]) -> list[Object]:
    """By host rank."""
    return sorted(pods, key=lambda pod: int(pod["metadata"].get("labels", {}).get(_INDEX, 0)))


def _state(jobset: Object, pods: Sequence[Object], workload: Object | None) -> tuple[JobState, str]:
    holds = {c["type"]: c for c in jobset.get("status", {}).get("conditions", ())}
    for kind, state in (("Completed", JobState.DONE), ("Failed", JobState.FAILED)):
        if _is_true(holds.get(kind)):
            return state, _words(holds[kind]) if state is JobState.FAILED else ""
    if jobset["metadata"].get("deletionTimestamp"):
        return JobState.CANCELLED, "being deleted"
    if jobset["spec"].get("suspend"):
        return JobState.WAITING, _why_queued(workload)
    wanted = sum(
        job["replicas"] * job["template"]["spec"]["parallelism"]
        for job in jobset["spec"]["replicatedJobs"]
    )
    running = sum(pod.get("status", {}).get("phase") in ("Running", "Succeeded") for pod in pods)
    if running == wanted:
        return JobState.RUNNING, ""
    stuck = next(filter(None, map(_why_pending, pods)), "")
    return JobState.WAITING, f"{running} of {wanted} pods run" + (f"; {stuck}" if stuck else "")


def _why_queued(workload: Object | None) -> str:
    """Kueue's reason; one that it put back says so first."""
    if workload is None:
        return "suspended"
    holds = {c["type"]: c for c in workload.get("status", {}).get("conditions", ())}
    words = [_words(holds[kind]) for kind in ("Evicted", "QuotaReserved") if kind in holds]
    return "; ".join(words) or "not yet seen by Kueue"


def _why_pending(pod: Object) -> str:
    status = pod.get("status", {})
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{pod['metadata']['name']}: {_words(waiting)}"
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{pod['metadata']['name']}: {_words(condition)}"
    return ""


def _exit_status(pods: Sequence[Object]) -> int | None:
    """The first failed host's; None where none ended."""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", ()):
            ended = container.get("state", {}).get("terminated")
            if ended and ended.get("exitCode"):
                return int(ended["exitCode"])
    return None


def _is_true(condition: Object | None) -> bool:
    return condition is not None and condition["status"] == "True"


def _words(said: Object) -> str:
    return ": ".join(filter(None, (said.get("reason"), said.get("message"))))
