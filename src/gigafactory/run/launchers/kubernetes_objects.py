"""A job as Kubernetes objects: a ConfigMap with the program's files and a JobSet that runs them.

One indexed Job, one pod a host; the index is the host rank. Kueue's topology-aware scheduling hands
out the indices in the order of the network, puts every group of hosts that talks without pause
(tensor, context, expert parallelism) into one domain of leaves, and the whole as close together as
it can, so host ranks are neighbours as plan.placement assumes. A group is not a whole unit on
purpose: a unit with one broken host could then never be used. Sources: JobSet v1alpha2 and its
webhook; Kueue's KEP-2724; batch/v1 Job (a pod failure policy needs restartPolicy Never).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gigafactory.describe.errors import InputError
from gigafactory.describe.launch import KubernetesTarget
from gigafactory.run.engines import program as env
from gigafactory.run.engines.program import MASTER_PORT, Program

Object = dict[str, Any]

JOBSET = "jobset.x-k8s.io/v1alpha2"
FILES_PATH, OUTPUT_PATH = "/giga/files", "/giga/output"
CONTAINER = "host"
#: Exit status of ours for input that is wrong: no restart will make it right.
WRONG_INPUT = 2
_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_KUEUE = "kueue.x-k8s.io"
JOB = "hosts"


def name_of(study: str) -> str:
    """The study's name as a DNS label; InputError where pods could not be named after it."""
    name = re.sub(r"[^a-z0-9]+", "-", study).strip("-")
    name = name if name[0].isalpha() else f"giga-{name}"
    if len(name) > 40:  # with unit, indices and suffix a pod's name must stay below 64
        raise InputError(f"study: {study!r} is too long for names of pods; 40 characters at most")
    return name


def job_objects(
    program: Program, *, name: str, group_hosts: int, target: KubernetesTarget
) -> list[Object]:
    """ConfigMap and JobSet, in the order in which they are to be created.

    ``group_hosts`` hosts in a row must lie in one domain of leaves; 1: none must.
    """
    return [_files(program, name, target), _jobset(program, name, group_hosts, target)]


def _metadata(name: str, target: KubernetesTarget, **more: Any) -> Object:
    labels = {"app.kubernetes.io/managed-by": "gigafactory", "app.kubernetes.io/name": name}
    return {"name": name, "namespace": target.namespace, "labels": labels | more}


def _files(program: Program, name: str, target: KubernetesTarget) -> Object:
    before = f"{env.HOST_RANK}=$JOB_COMPLETION_INDEX\nexport {env.HOST_RANK}"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(name, target),
        "immutable": True,
        "data": {**program.files, env.START: program.start_script(before=before)},
    }


def _jobset(program: Program, name: str, group_hosts: int, target: KubernetesTarget) -> Object:
    queue = {_QUEUE_LABEL: target.queue} if target.queue else {}
    return {
        "apiVersion": JOBSET,
        "kind": "JobSet",
        "metadata": _metadata(name, target, **queue),
        "spec": {
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "coordinator": {"replicatedJob": JOB, "jobIndex": 0, "podIndex": 0},
            "successPolicy": {"operator": "All"},
            "failurePolicy": _failure_policy(target),
            "replicatedJobs": [_replicated(program, name, group_hosts, target)],
        },
    }


def _failure_policy(target: KubernetesTarget) -> Object:
    """Wrong input ends the set; anything else (a lost node above all) starts it again."""
    return {
        "maxRestarts": target.max_restarts,
        "rules": [
            {
                "name": "wrongInput",
                "action": "FailJobSet",
                "onJobFailureReasons": ["PodFailurePolicy"],
            }
        ],
    }


def _replicated(program: Program, name: str, group_hosts: int, target: KubernetesTarget) -> Object:
    template = {
        "metadata": {"annotations": _topology(group_hosts, target)} if target.queue else {},
        "spec": _pod(program, name, target),
    }
    wrong = {"containerName": CONTAINER, "operator": "In", "values": [WRONG_INPUT]}
    return {
        "name": JOB,
        "replicas": 1,
        "template": {
            "spec": {
                "parallelism": program.num_hosts,
                "completions": program.num_hosts,
                "completionMode": "Indexed",
                "backoffLimit": 0,
                "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": wrong}]},
                "template": template,
            }
        },
    }


def _topology(group_hosts: int, target: KubernetesTarget) -> dict[str, str]:
    """Everything near each other if that can be had, each group under the same leaves or not."""
    leaves = target.levels[-2]
    wider = target.levels[-3] if len(target.levels) > 2 else leaves
    together = {f"{_KUEUE}/podset-preferred-topology": wider}
    if group_hosts == 1:
        return together
    return together | {
        f"{_KUEUE}/podset-slice-required-topology": leaves,
        f"{_KUEUE}/podset-slice-size": str(group_hosts),
    }


def _pod(program: Program, name: str, target: KubernetesTarget) -> Object:
    resources = {target.gpu_resource: program.gpus_per_host}
    if target.nic_resource:
        resources[target.nic_resource] = program.gpus_per_host
    container = {
        "name": CONTAINER,
        "image": target.image,
        "command": ["/bin/sh", f"{FILES_PATH}/{env.START}"],
        "env": list(_environment(name)),
        "ports": [{"containerPort": MASTER_PORT, "name": "rendezvous"}],
        "resources": {"limits": dict(resources), "requests": dict(resources)},
        # RDMA registers memory
        "securityContext": {"capabilities": {"add": ["IPC_LOCK"]}},
        "volumeMounts": [
            {"name": "files", "mountPath": FILES_PATH, "readOnly": True},
            {"name": "output", "mountPath": OUTPUT_PATH},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }
    network = {} if target.nic_resource else {"hostNetwork": True}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 30,
        **network,
        "dnsPolicy": "ClusterFirst" if target.nic_resource else "ClusterFirstWithHostNet",
        "tolerations": [{"key": target.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}],
        "containers": [container],
        "volumes": list(_volumes(name, target)),
    }


def _environment(name: str) -> Iterator[Object]:
    # the name that JobSet gives to the first pod, under the set's own service
    yield {"name": env.MASTER, "value": f"{name}-{JOB}-0-0.{name}"}
    yield {"name": env.FILES, "value": FILES_PATH}
    yield {"name": env.OUTPUT, "value": OUTPUT_PATH}


def _volumes(name: str, target: KubernetesTarget) -> Iterator[Object]:
    yield {"name": "files", "configMap": {"name": name}}
    if target.claim:
        yield {"name": "output", "persistentVolumeClaim": {"claimName": target.claim}}
    else:
        yield {"name": "output", "emptyDir": {}}
    yield {"name": "shm", "emptyDir": {"medium": "Memory"}}
