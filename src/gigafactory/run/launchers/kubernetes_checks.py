"""What the servers refuse although every schema is met; each rule was learnt from their webhooks.

Sources: JobSet's validating webhook; Kueue's webhooks for Topology, ClusterQueue and pod set
annotations; validation of batch/v1 and core/v1 (object names, ConfigMap size, pod failure policy).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from gigafactory.run.launchers.kubernetes_objects import Object

_LABEL = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
_RULE = re.compile(r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")
_ACTIONS = {
    "FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts",
    "RestartJob", "RestartJobAndIgnoreMaxRestarts",
}  # fmt: skip
_REASONS = {
    "BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "MaxFailedIndexesExceeded",
    "PodFailurePolicy",
}  # fmt: skip
_MOST_LABEL = 63
_MOST_CONFIG_BYTES = 1 << 20
_MOST_LEVELS = 16
_SUFFIX = "-abcde"
_TOPOLOGY = "kueue.x-k8s.io/podset-{}-topology"
_SLICE, _SLICE_SIZE = _TOPOLOGY.format("slice-required"), "kueue.x-k8s.io/podset-slice-size"
#: Parts of a spec that a server does not let change once the object exists.
_IMMUTABLE = {
    "JobSet": ("replicatedJobs", "failurePolicy", "successPolicy", "managedBy"),
    "Topology": ("levels",),
    "LocalQueue": ("clusterQueue",),
}


def complaints(objects: Sequence[Object]) -> list[str]:
    """Everything that would be refused, each with kind, name and path; empty: nothing."""
    checks = {
        "JobSet": _jobset, "ConfigMap": _config, "Topology": _topology,
        "ResourceFlavor": _flavor, "ClusterQueue": _cluster_queue, "LocalQueue": _local_queue,
    }  # fmt: skip
    wrong = []
    for one in objects:
        where = f"{one.get('kind', '?')} {one.get('metadata', {}).get('name', '?')}"
        check = checks.get(one.get("kind", ""))
        wrong += [f"{where}: {text}" for text in (check(one, objects) if check else ())]
    return wrong


def changed_immutable(old: Object, new: Object) -> list[str]:
    """Paths that differ and may not; the object must be deleted and made anew instead."""
    return [
        f"spec.{part}"
        for part in _IMMUTABLE.get(new["kind"], ())
        if old["spec"].get(part) != new["spec"].get(part)
    ]


def _jobset(jobset: Object, objects: Sequence[Object]) -> Iterator[str]:
    spec, name = jobset["spec"], jobset["metadata"]["name"]
    jobs = {job["name"]: job for job in spec["replicatedJobs"]}
    if len(jobs) < len(spec["replicatedJobs"]):
        yield "spec.replicatedJobs: two have the same name"
    for job in jobs.values():
        yield from _names(name, job)
        yield from _job(job, objects)
    yield from _rules(spec.get("failurePolicy", {}).get("rules", ()), set(jobs))
    yield from _coordinator(spec.get("coordinator"), jobs)


def _names(jobset: str, job: Object) -> Iterator[str]:
    last = job["template"]["spec"]["completions"] - 1
    pod = f"{jobset}-{job['name']}-{job['replicas'] - 1}-{last}{_SUFFIX}"
    if len(pod) > _MOST_LABEL:
        yield f"metadata.name: pods would be named {pod}, {len(pod)} characters; 63 at most"
    if not _LABEL.match(pod):
        yield f"metadata.name: {pod} is no DNS label"


def _job(job: Object, objects: Sequence[Object]) -> Iterator[str]:
    where, spec = f"spec.replicatedJobs[{job['name']}].template.spec", job["template"]["spec"]
    pod = spec["template"]["spec"]
    if spec["parallelism"] != spec["completions"]:
        yield f"{where}: parallelism and completions differ, so hosts would wait for each other"
    if "podFailurePolicy" in spec and pod.get("restartPolicy") != "Never":
        yield f"{where}.template.spec.restartPolicy: must be Never beside podFailurePolicy"
    containers = {c["name"] for c in pod["containers"]}
    for rule in spec.get("podFailurePolicy", {}).get("rules", ()):
        codes = rule.get("onExitCodes", {})
        if codes.get("containerName", next(iter(containers))) not in containers:
            yield f"{where}.podFailurePolicy: there is no container {codes['containerName']}"
        if codes.get("operator") == "In" and 0 in codes["values"]:
            yield f"{where}.podFailurePolicy: exit status 0 is no failure"
    yield from _mounts(f"{where}.template.spec", pod, objects)
    notes = spec["template"].get("metadata", {}).get("annotations", {})
    count = job["replicas"] * spec["parallelism"]
    yield from _placing(f"{where}.template.metadata.annotations", notes, count, objects)


def _mounts(where: str, pod: Object, objects: Sequence[Object]) -> Iterator[str]:
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    for container in pod["containers"]:
        for mount in container.get("volumeMounts", ()):
            if mount["name"] not in volumes:
                yield f"{where}.containers: mounts {mount['name']}, which is no volume of the pod"
        if container["resources"]["limits"] != container["resources"]["requests"]:
            yield f"{where}.containers: requests of GPUs must equal their limits"
    made = {o["metadata"]["name"] for o in objects if o["kind"] == "ConfigMap"}
    for volume in pod.get("volumes", ()):
        wanted = volume.get("configMap", {}).get("name")
        if wanted and wanted not in made:
            yield f"{where}.volumes: there is no ConfigMap {wanted}"


def _placing(
    where: str, notes: dict[str, str], count: int, objects: Sequence[Object]
) -> Iterator[str]:
    asked = [k for k in map(_TOPOLOGY.format, ("required", "preferred")) if k in notes]
    if len(asked) > 1:
        yield f"{where}: required and preferred topology exclude each other"
    if (_SLICE in notes) != (_SLICE_SIZE in notes):
        yield f"{where}: a slice needs both its level and its size"
    size = int(notes.get(_SLICE_SIZE, 1))
    if size > count or count % size:
        yield f"{where}: slices of {size} do not fill {count} pods"
    for topology in (o for o in objects if o["kind"] == "Topology"):
        levels = [level["nodeLabel"] for level in topology["spec"]["levels"]]
        for key in (*asked, *([_SLICE] if _SLICE in notes else [])):
            if notes[key] not in levels:
                yield f"{where}.{key}: {notes[key]} is no level of {topology['metadata']['name']}"
        both = [notes[key] for key in (*asked, _SLICE) if notes.get(key) in levels]
        if len(both) == 2 and levels.index(both[1]) < levels.index(both[0]):
            yield f"{where}: the level of a slice is wider than that of all pods"


def _rules(rules: Sequence[Object], jobs: set[str]) -> Iterator[str]:
    names = [rule.get("name", "") for rule in rules]
    if len(set(names)) < len(names):
        yield "spec.failurePolicy.rules: two have the same name"
    for index, rule in enumerate(rules):
        where = f"spec.failurePolicy.rules[{index}]"
        name = rule.get("name", "")
        if not _RULE.match(name):
            yield f"{where}.name: {name!r}; required: letters, digits, _ , : from a letter on"
        if rule.get("action") not in _ACTIONS:
            yield f"{where}.action: {rule.get('action')!r}; one of {', '.join(sorted(_ACTIONS))}"
        for reason in set(rule.get("onJobFailureReasons", ())) - _REASONS:
            yield f"{where}.onJobFailureReasons: {reason}; one of {', '.join(sorted(_REASONS))}"
        for job in set(rule.get("targetReplicatedJobs", ())) - jobs:
            yield f"{where}.targetReplicatedJobs: there is no {job}"


def _coordinator(coordinator: Object | None, jobs: dict[str, Object]) -> Iterator[str]:
    if coordinator is None:
        return
    job = jobs.get(coordinator["replicatedJob"])
    if job is None:
        yield f"spec.coordinator.replicatedJob: there is no {coordinator['replicatedJob']}"
        return
    if coordinator.get("jobIndex", 0) >= job["replicas"]:
        yield f"spec.coordinator.jobIndex: must be below {job['replicas']}"
    if coordinator.get("podIndex", 0) >= job["template"]["spec"]["completions"]:
        yield "spec.coordinator.podIndex: there is no such pod"


def _config(config: Object, objects: Sequence[Object]) -> Iterator[str]:
    size = sum(len(text.encode()) for text in config["data"].values())
    if size > _MOST_CONFIG_BYTES:
        yield f"data: {size} bytes; 1 MiB at most"
    for key in config["data"]:
        if not _KEY.match(key):
            yield f"data: {key!r}; letters, digits, - . _ only"


def _topology(topology: Object, objects: Sequence[Object]) -> Iterator[str]:
    levels = [level["nodeLabel"] for level in topology["spec"]["levels"]]
    if len(set(levels)) < len(levels):
        yield "spec.levels: two are the same label"
    if not 1 <= len(levels) <= _MOST_LEVELS:
        yield f"spec.levels: {len(levels)}; from 1 to {_MOST_LEVELS}"
    if "kubernetes.io/hostname" in levels[:-1]:
        yield "spec.levels: kubernetes.io/hostname can only be the last"


def _flavor(flavor: Object, objects: Sequence[Object]) -> Iterator[str]:
    spec = flavor["spec"]
    if "topologyName" not in spec:
        return
    if not spec.get("nodeLabels"):
        yield "spec.nodeLabels: at least one beside topologyName"
    yield from _there("spec.topologyName", "Topology", spec["topologyName"], objects)


def _cluster_queue(queue: Object, objects: Sequence[Object]) -> Iterator[str]:
    for group in queue["spec"]["resourceGroups"]:
        for flavor in group["flavors"]:
            told = [resource["name"] for resource in flavor["resources"]]
            if told != group["coveredResources"]:
                yield f"spec.resourceGroups: flavor {flavor['name']} must list coveredResources"
            yield from _there("spec.resourceGroups", "ResourceFlavor", flavor["name"], objects)


def _local_queue(queue: Object, objects: Sequence[Object]) -> Iterator[str]:
    yield from _there("spec.clusterQueue", "ClusterQueue", queue["spec"]["clusterQueue"], objects)


def _there(where: str, kind: str, name: Any, objects: Sequence[Object]) -> Iterator[str]:
    if not any(o["kind"] == kind and o["metadata"]["name"] == name for o in objects):
        yield f"{where}: there is no {kind} {name}"
