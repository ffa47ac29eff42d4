"""Jobs for Kubernetes: byte for byte, by schema, by typed models, and by what servers refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gigafactory.describe.errors import InputError
from gigafactory.run.launchers import kubernetes
from gigafactory.run.launchers.kubernetes_checks import changed_immutable, complaints
from gigafactory.run.launchers.registry import Order, Place, render

HERE = Path(__file__).parent
KUBERNETES = (
    "kubernetes={image: registry.example/giga:1, queue: train, claim: checkpoints,"
    " nic_resource: rdma/hca}"
)
PLAIN = "kubernetes={image: registry.example/giga:1}"
Ordered = Callable[..., Order]


@pytest.fixture
def objects(ordered: Ordered) -> list[dict[str, Any]]:
    rendered = kubernetes.render(ordered(KUBERNETES))
    texts = [rendered.files[name] for name in (kubernetes.JOB_FILE, kubernetes.QUEUES_FILE)]
    return [one for text in texts for one in kubernetes.from_yaml(text)]


@pytest.mark.parametrize("name", ["kueue", "plain"])
def test_the_objects_are_these(name: str, ordered: Ordered) -> None:
    rendered = render(Place.KUBERNETES, ordered(KUBERNETES if name == "kueue" else PLAIN))
    for file, text in rendered.files.items():
        assert text == (HERE / "golden" / f"kubernetes-{name}-{file}").read_text(encoding="utf-8")
    assert rendered.main in rendered.files


def test_schemas_hold(objects: list[dict[str, Any]]) -> None:
    import kubernetes_validate

    config, jobset = objects[0], objects[1]
    kubernetes_validate.validate(config, "1.33", strict=True)
    template = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": template}
    kubernetes_validate.validate(job, "1.33", strict=True)
    pod = {**template["template"], "apiVersion": "v1", "kind": "Pod"}
    pod["metadata"] = {**pod["metadata"], "name": "x"}
    kubernetes_validate.validate(pod, "1.33", strict=True)
    pod["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, "1.33", strict=True)


def test_the_typed_model_reads_every_field(objects: list[dict[str, Any]]) -> None:
    from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

    read = JobsetV1alpha2JobSet.from_dict(objects[1])
    assert read is not None
    told = read.to_dict()
    assert _within(objects[1], told), "a field is lost, so the model does not know it"
    assert read.spec is not None
    assert read.spec.replicated_jobs is not None
    assert read.spec.replicated_jobs[0].template.spec.completions == 64


def _within(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(_within(v, whole.get(k)) for k, v in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(_within, part, whole))
    return bool(part == whole or str(part) == str(whole))


def test_hosts_that_talk_all_the_time_lie_under_the_same_leaves(ordered: Ordered) -> None:
    def notes(**mesh: int) -> dict[str, str]:
        text = kubernetes.render(ordered(KUBERNETES, **mesh)).files[kubernetes.JOB_FILE]
        jobset = kubernetes.from_yaml(text)[1]
        job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
        return dict(job["template"]["metadata"]["annotations"])

    size = "kueue.x-k8s.io/podset-slice-size"
    assert notes(tp=8, pp=2, dp=32, ep=16)[size] == "2"
    assert notes(tp=8, cp=4, pp=2, dp=8, ep=4)[size] == "4"
    assert size not in notes(tp=8, pp=8, dp=8, ep=8)  # a group fills one host
    assert size not in notes(tp=8, dp=64, ep=512)  # a group fills more than a unit


BREAKAGES: list[tuple[str, tuple[Any, ...], Any, str]] = [
    ("JobSet", ("failurePolicy", "rules", 0, "name"), None, r"rules\[0\]\.name: ''; required"),
    ("JobSet", ("failurePolicy", "rules", 0, "name"), "wrong-input", "'wrong-input'; required"),
    ("JobSet", ("failurePolicy", "rules", 0, "action"), "RestartAll", "one of FailJobSet"),
    ("JobSet", ("failurePolicy", "rules", 0, "onJobFailureReasons"), ["Bad"], "Bad; one of"),
    ("JobSet", ("failurePolicy", "rules", 0, "targetReplicatedJobs"), ["w"], "there is no w"),
    ("JobSet", ("coordinator", "podIndex"), 64, "no such pod"),
    ("JobSet", ("coordinator", "jobIndex"), 1, "must be below 1"),
    ("JobSet", ("coordinator", "replicatedJob"), "w", "there is no w"),
    ("JobSet", ("replicatedJobs", 0, "name"), "x" * 50, "63 at most"),
    ("JobSet", ("replicatedJobs", 0, "template", "spec", "parallelism"), 63, "differ"),
    ("JobSet", ("replicatedJobs", 0, "template", "spec", "podFailurePolicy", "rules", 0,
                "onExitCodes", "values"), [0, 2], "exit status 0"),
    ("JobSet", ("replicatedJobs", 0, "template", "spec", "podFailurePolicy", "rules", 0,
                "onExitCodes", "containerName"), "main", "no container main"),
    ("JobSet", ("replicatedJobs", 0, "template", "spec", "template", "spec", "restartPolicy"),
     "OnFailure", "must be Never"),
    ("JobSet", ("replicatedJobs", 0, "template", "spec", "template", "spec", "volumes", 0,
                "name"), "stuff", "mounts files"),
    ("JobSet", ("replicatedJobs", 0, "template", "spec", "template", "spec", "containers", 0,
                "resources", "requests", "nvidia.com/gpu"), 4, "equal their limits"),
    ("JobSet", ("replicatedJobs", 0, "template", "spec", "template", "metadata", "annotations",
                "kueue.x-k8s.io/podset-slice-size"), "3", "do not fill 64"),
    ("JobSet", ("replicatedJobs", 0, "template", "spec", "template", "metadata", "annotations",
                "kueue.x-k8s.io/podset-slice-size"), None, "both its level and its size"),
    ("JobSet", ("replicatedJobs", 0, "template", "spec", "template", "metadata", "annotations",
                "kueue.x-k8s.io/podset-preferred-topology"), "rack", "rack is no level"),
    ("JobSet", ("replicatedJobs", 0, "template", "spec", "template", "metadata", "annotations",
                "kueue.x-k8s.io/podset-preferred-topology"), "kubernetes.io/hostname", "is wider"),
    ("JobSet", ("replicatedJobs", 0, "template", "spec", "template", "metadata", "annotations",
                "kueue.x-k8s.io/podset-required-topology"), "fabric.topograph.run/tier-1",
     "exclude each other"),
    ("Topology", ("levels", 1, "nodeLabel"), "fabric.topograph.run/tier-2", "the same label"),
    ("Topology", ("levels", 0, "nodeLabel"), "kubernetes.io/hostname", "only be the last"),
    ("ResourceFlavor", ("nodeLabels",), {}, "at least one"),
    ("ResourceFlavor", ("topologyName",), "racks", "no Topology racks"),
    ("ClusterQueue", ("resourceGroups", 0, "coveredResources"), ["cpu"], "coveredResources"),
    ("ClusterQueue", ("resourceGroups", 0, "flavors", 0, "name"), "f", "no ResourceFlavor f"),
    ("LocalQueue", ("clusterQueue",), "q", "no ClusterQueue q"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "path", "value", "says"), BREAKAGES)
def test_what_servers_refuse_is_found_before(
    objects: list[dict[str, Any]], kind: str, path: tuple[Any, ...], value: Any, says: str
) -> None:
    import re

    assert not complaints(objects)
    broken = copy.deepcopy(objects)
    spot: Any = next(one for one in broken if one["kind"] == kind)["spec"]
    for step in path[:-1]:
        spot = spot[step]
    if value is None:
        del spot[path[-1]]
    else:
        spot[path[-1]] = value
    told = complaints(broken)
    assert any(re.search(says, text) for text in told), told


def test_a_config_map_has_a_size_and_keys(objects: list[dict[str, Any]]) -> None:
    objects[0]["data"] = {"a/b": "", "big": "x" * (1 << 20) + "x"}
    told = complaints(objects)
    assert any("1 MiB" in text for text in told)
    assert any("'a/b'" in text for text in told)


def test_immutable_fields_are_known(objects: list[dict[str, Any]]) -> None:
    changed = copy.deepcopy(objects[1])
    assert changed_immutable(objects[1], changed) == []
    changed["spec"]["suspend"] = True
    changed["spec"]["replicatedJobs"][0]["replicas"] = 2
    assert changed_immutable(objects[1], changed) == ["spec.replicatedJobs"]


def test_a_cluster_beyond_one_control_plane_is_told_of_multikueue(ordered: Ordered) -> None:
    many = ordered(KUBERNETES, study="colossus", num_hosts=12_000, tp=8, dp=12_000)
    with pytest.raises(InputError, match=r"12000 hosts.*5000.*\n?.*MultiKueue.*max_nodes"):
        kubernetes.render(many)
    good = ordered(KUBERNETES, "kubernetes.max_nodes=15000", study="colossus",
                   num_hosts=12_000, tp=8, dp=12_000)  # fmt: skip
    assert "completions: 12000" in kubernetes.render(good).files[kubernetes.JOB_FILE]


def test_what_is_missing_is_named(ordered: Ordered) -> None:
    with pytest.raises(InputError, match=r"kubernetes: missing; add"):
        kubernetes.render(ordered())
    with pytest.raises(InputError, match=r"kubernetes\.image"):
        ordered("kubernetes={queue: train}")
    with pytest.raises(InputError, match="another label of the nodes"):
        ordered(KUBERNETES, "kubernetes.levels=[a, a]")
    with pytest.raises(InputError, match="40 characters at most"):
        kubernetes.render(ordered(KUBERNETES, f"study={'long-' * 10}name"))


def test_the_start_script_runs_as_written(ordered: Ordered, tmp_path: Path) -> None:
    import os
    import subprocess

    text = kubernetes.render(ordered(KUBERNETES)).files[kubernetes.JOB_FILE]
    script = kubernetes.from_yaml(text)[0]["data"]["start.sh"]
    (tmp_path / "torchrun").write_text('#!/bin/sh\necho "$NCCL_DEBUG" "$@"\n')
    (tmp_path / "torchrun").chmod(0o755)
    given = {
        "JOB_COMPLETION_INDEX": "37",
        "GIGA_MASTER": "m",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["sh", "-c", script], env=given, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("WARN --nnodes=64 --nproc-per-node=8 --node-rank=37 ")
    bare = {"GIGA_MASTER": "m", "PATH": given["PATH"]}
    assert (
        subprocess.run(["sh", "-c", script], env=bare, capture_output=True, check=False).returncode
        != 0
    )
