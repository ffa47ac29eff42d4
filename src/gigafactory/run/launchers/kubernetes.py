"""Kubernetes with JobSet and Kueue: what a job looks like there, and the way in."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from gigafactory.describe.errors import InputError
from gigafactory.describe.launch import KubernetesTarget
from gigafactory.describe.layout import Layout
from gigafactory.describe.study import Study
from gigafactory.run.launchers.kubernetes_checks import complaints
from gigafactory.run.launchers.kubernetes_objects import Object, job_objects, name_of
from gigafactory.run.launchers.kubernetes_queues import queue_objects
from gigafactory.run.launchers.registry import Order
from gigafactory.run.launchers.scheduler import Rendered, Scheduler

JOB_FILE, QUEUES_FILE = "job.yaml", "queues.yaml"


def render(order: Order) -> Rendered:
    """The job, and the queues that an administrator sets up once; InputError where impossible."""
    study, program = order.study, order.program
    target = target_of(study)
    _check_size(program.num_hosts, target)
    name = name_of(study.study)
    group = group_hosts(order.layout, study.cluster.host.num_gpus, study.cluster.hosts_per_pod)
    job = job_objects(program, name=name, group_hosts=group, target=target)
    queues = queue_objects(study.cluster, target=target) if target.queue else []
    wrong = complaints([*job, *queues])
    if wrong:
        raise InputError("Kubernetes would refuse the job:\n  " + "\n  ".join(wrong))
    files = {JOB_FILE: to_yaml(job)} | ({QUEUES_FILE: to_yaml(queues)} if queues else {})
    return Rendered(name=name, main=JOB_FILE, files=files)


def connect(study: Study) -> Scheduler:
    """The cluster that the kubeconfig file names, or the one that this process runs in."""
    from gigafactory.run.launchers.kubernetes_access import find_access
    from gigafactory.run.launchers.kubernetes_client import KubernetesScheduler

    target = target_of(study)
    access = find_access(context=target.context)
    return KubernetesScheduler(access, namespace=target.namespace)


def target_of(study: Study) -> KubernetesTarget:
    """What the study says about the cluster; InputError where it says nothing."""
    if study.kubernetes is None:
        raise InputError(
            "kubernetes: missing; add `kubernetes: {image: REGISTRY/IMAGE:TAG, "
            "queue: LOCAL-QUEUE, claim: VOLUME-CLAIM}`, or --set kubernetes.image=..."
        )
    return study.kubernetes


def group_hosts(layout: Layout, gpus_per_host: int, hosts_per_pod: int) -> int:
    """Hosts in a row that belong under the same leaves; 1 where no such group fits or is needed."""
    ranks = math.lcm(layout.tp * layout.cp, layout.ep * layout.etp)
    hosts = ranks // gpus_per_host
    return hosts if hosts * gpus_per_host == ranks and hosts <= hosts_per_pod else 1


def to_yaml(objects: Sequence[Object]) -> str:
    """The objects as documents of one file, keys in their order, texts as blocks."""
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import walk_tree

    writer, stream = YAML(), io.StringIO()
    writer.explicit_start = True
    writer.width = 1000
    for one in objects:
        copy = _copied(one)
        walk_tree(copy)
        writer.dump(copy, stream)
    return stream.getvalue()


def from_yaml(text: str) -> list[Object]:
    """The inverse of ``to_yaml``."""
    from ruamel.yaml import YAML

    return list(YAML(typ="safe").load_all(text))


def _copied(value: object) -> object:
    """Plain containers, no two the same object: YAML would write anchors."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _check_size(num_hosts: int, target: KubernetesTarget) -> None:
    if num_hosts > target.max_nodes:
        raise InputError(
            f"the plan fills {num_hosts} hosts, and kubernetes.max_nodes is "
            f"{target.max_nodes}: upstream Kubernetes is tested with 5,000 nodes. MultiKueue "
            "shares jobs out over several clusters, but one JobSet stays in one of them; so take a "
            "control plane that is good for more nodes and set max_nodes to what it promises, or "
            "plan for fewer GPUs (--set plan.gpus=NUMBER), or use --on slurm"
        )
