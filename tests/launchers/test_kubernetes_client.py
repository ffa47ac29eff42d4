"""The Kubernetes client against an API server on the loopback, over real connections."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gigafactory.describe.errors import InputError, JobError
from gigafactory.run.launchers import kubernetes
from gigafactory.run.launchers.kubernetes_access import Access, find_access, read_kubeconfig
from gigafactory.run.launchers.kubernetes_client import KubernetesScheduler
from gigafactory.run.launchers.registry import Order
from gigafactory.run.launchers.scheduler import JobState, Rendered

PLAIN = "kubernetes={image: registry.example/giga:1}"
QUEUED = "kubernetes={image: registry.example/giga:1, queue: train}"


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def scheduler(api: Any, slept: list[float]) -> Any:
    access = Access(server=api.url, token=lambda: "letmein\n")
    made = KubernetesScheduler(access, namespace="default", sleep=slept.append)
    yield made
    made.wire.close()


@pytest.fixture(scope="module")
def job(ordered: Callable[..., Order]) -> Rendered:
    return kubernetes.render(ordered(PLAIN, num_hosts=3, tp=8, dp=3))


def test_a_job_runs_to_its_end(scheduler: KubernetesScheduler, api: Any, job: Rendered) -> None:
    name = scheduler.submit(job)
    assert name == "grok-1-512"
    standing = scheduler.watch(name)
    assert standing.state is JobState.RUNNING
    assert standing.hosts == ("node-0", "node-1", "node-2")
    assert list(scheduler.logs(name)) == [f"host {i}: hello from node-{i}" for i in range(3)]
    api.phase(name, "Succeeded")
    api.condition(name, "Completed", "AllJobsCompleted", "done")
    standing = scheduler.watch(name)
    assert (standing.state, standing.exit_status) == (JobState.DONE, 0)
    before = api.wrote()
    scheduler.cancel(name)
    assert api.wrote() == before, "a finished job keeps its logs"


def test_the_config_map_goes_with_the_set(
    scheduler: KubernetesScheduler, api: Any, job: Rendered
) -> None:
    name = scheduler.submit(job)
    config = api.objects["/api/v1/namespaces/default/configmaps/grok-1-512"]
    jobset = api.objects["/apis/jobset.x-k8s.io/v1alpha2/namespaces/default/jobsets/grok-1-512"]
    assert config["metadata"]["ownerReferences"][0]["uid"] == jobset["metadata"]["uid"]
    scheduler.cancel(name)
    assert api.objects == {}
    scheduler.cancel(name)  # no effect
    with pytest.raises(JobError, match="not found"):
        scheduler.watch(name)


def test_waiting_in_kueue_has_a_reason(
    scheduler: KubernetesScheduler, api: Any, ordered: Callable[..., Order]
) -> None:
    name = scheduler.submit(kubernetes.render(ordered(QUEUED, num_hosts=3, tp=8, dp=3)))
    assert scheduler.watch(name).reason == "suspended"
    jobset = api.objects[f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/default/jobsets/{name}"]
    quota = {"type": "QuotaReserved", "status": "False", "reason": "Pending",
             "message": "topology gpu-hosts allows to fit only 2 out of 3 pod(s)"}  # fmt: skip
    api.objects["/apis/kueue.x-k8s.io/v1beta2/namespaces/default/workloads/jobset-x"] = {
        "metadata": {"ownerReferences": [{"uid": jobset["metadata"]["uid"]}]},
        "status": {"conditions": [quota]},
    }
    standing = scheduler.watch(name)
    assert standing.state is JobState.WAITING
    assert "only 2 out of 3" in standing.reason
    api.admit(name)
    assert scheduler.watch(name).state is JobState.RUNNING
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    api.phase(name, "Pending", containerStatuses=[{"state": {"waiting": waiting}}])
    standing = scheduler.watch(name)
    assert standing.state is JobState.WAITING
    assert "0 of 3 pods run; grok-1-512-hosts-0-0-x0000: ImagePullBackOff" in standing.reason


def test_a_failed_job_is_asked_for_again(
    scheduler: KubernetesScheduler, api: Any, job: Rendered
) -> None:
    name = scheduler.submit(job)
    with pytest.raises(InputError, match="not over; cancel it first"):
        scheduler.requeue(name)
    ended = [{"state": {"terminated": {"exitCode": 1}}}]
    api.phase(name, "Failed", containerStatuses=ended)
    api.condition(name, "Failed", "ReachedMaxRestarts", "20 restarts")
    standing = scheduler.watch(name)
    assert (standing.state, standing.exit_status) == (JobState.FAILED, 1)
    assert standing.reason == "ReachedMaxRestarts: 20 restarts"
    path = f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/default/jobsets/{name}"
    first = api.objects[path]["metadata"]["uid"]
    # what Kueue wrote into the set must not come back
    api.objects[path]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"][
        "nodeSelector"
    ] = {"rack": "7"}
    assert scheduler.requeue(name) == name
    assert api.objects[path]["metadata"]["uid"] != first
    assert "nodeSelector" not in json.dumps(api.objects[path]["spec"])
    assert scheduler.watch(name).state is JobState.RUNNING
    assert f"/api/v1/namespaces/default/configmaps/{name}" in api.objects


def test_nodes_are_drained_and_pods_moved(
    scheduler: KubernetesScheduler, api: Any, job: Rendered
) -> None:
    name = scheduler.submit(job)
    api.objects["/api/v1/nodes/node-1"] = {"metadata": {"name": "node-1"}, "spec": {}}
    scheduler.drain("node-1", reason="slow")
    node = api.objects["/api/v1/nodes/node-1"]
    assert node["spec"]["unschedulable"] is True
    assert node["metadata"]["annotations"] == {"gigafactory/drained": "slow"}
    assert scheduler.watch(name).state is JobState.RUNNING, "running work goes on"
    scheduler.evict(name, host="node-1")
    assert [pod["spec"]["nodeName"] for pod in api.pods(name)] == ["node-0", "node-2"]
    scheduler.undrain("node-1")
    assert node["spec"]["unschedulable"] is False
    assert node["metadata"]["annotations"] == {}
    with pytest.raises(InputError, match="no node 'node-9'"):
        scheduler.drain("node-9", reason="slow")


def test_a_refusal_leaves_nothing(scheduler: KubernetesScheduler, api: Any, job: Rendered) -> None:
    api.refuses["POST configmaps"] = (403, "configmaps is forbidden: quota exceeded")
    with pytest.raises(JobError, match="quota exceeded"):
        scheduler.submit(job)
    assert api.objects == {}
    api.refuses.clear()
    scheduler.submit(job)
    before = api.wrote()
    with pytest.raises(JobError, match=r'"grok-1-512" already exists'):
        scheduler.submit(job)
    assert api.wrote() == before, "the trial run found it, and another's job stays"


def test_a_job_that_would_be_refused_is_not_sent(
    scheduler: KubernetesScheduler, api: Any, job: Rendered
) -> None:
    text = job.files[job.main].replace("    - name: wrongInput\n      action", "    - action")
    broken = Rendered(name=job.name, main=job.main, files={job.main: text})
    with pytest.raises(InputError, match=r"rules\[0\]\.name: ''; required"):
        scheduler.submit(broken)
    assert api.seen == []


def test_trouble_that_passes_is_waited_out(
    scheduler: KubernetesScheduler, api: Any, job: Rendered, slept: list[float]
) -> None:
    name = scheduler.submit(job)
    api.troubles.extend([(503, "etcd leader changed"), (429, "too many requests"), (0, "")])
    assert scheduler.watch(name).state is JobState.RUNNING
    assert slept == [0.5, 1.0, 2.0], "the server's own wait is kept"
    api.troubles.extend([(500, "boom")] * 4)
    with pytest.raises(JobError, match="boom"):
        scheduler.watch(name)


def test_a_write_is_not_repeated_blindly(
    scheduler: KubernetesScheduler, api: Any, job: Rendered
) -> None:
    api.troubles.extend([(0, "")])
    with pytest.raises(JobError, match="cannot be reached"):
        scheduler.submit(job)
    assert [method for method, _, _ in api.seen].count("POST") == 1


def test_a_token_that_ran_out_is_renewed(api: Any, job: Rendered) -> None:
    tokens = iter(["old", "letmein"])
    scheduler = KubernetesScheduler(
        Access(server=api.url, token=lambda: next(tokens)), namespace="default"
    )
    assert scheduler.submit(job) == "grok-1-512"
    scheduler.wire.close()
    wrong = KubernetesScheduler(Access(server=api.url, token=lambda: "no"), namespace="default")
    with pytest.raises(JobError, match="Unauthorized"):
        wrong.watch("x")
    wrong.wire.close()


def test_pages_are_followed(scheduler: KubernetesScheduler, api: Any, ordered: Any) -> None:
    many = kubernetes.render(ordered(PLAIN, num_hosts=1100, study="colossus", tp=8, dp=1100))
    name = scheduler.submit(many)
    standing = scheduler.watch(name)
    assert standing.hosts[::500] == ("node-0", "node-500", "node-1000")
    pages = [query for _, path, query in api.seen if path.endswith("/pods")]
    assert len(pages) == 3


def test_a_server_that_is_not_there(slept: list[float], job: Rendered) -> None:
    access = Access(server="http://127.0.0.1:9", token=lambda: "")
    scheduler = KubernetesScheduler(access, namespace="default", sleep=slept.append)
    with pytest.raises(JobError, match=r"http://127\.0\.0\.1:9: cannot be reached"):
        scheduler.watch("x")
    scheduler.wire.close()


def kubeconfig(
    folder: Path, *, user: str, cluster: str = "server: 'https://k.example:6443'"
) -> Path:
    path = folder / "config"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
        "contexts: [{name: here, context: {cluster: c, user: u}}]\n"
        f"clusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    )
    return path


def test_kubeconfig_files_are_read(tmp_path: Path) -> None:
    access = find_access(environment={"KUBECONFIG": str(kubeconfig(tmp_path, user="token: abc"))})
    assert (access.server, access.token()) == ("https://k.example:6443", "abc")
    program = "import json,os;print(json.dumps({'status':{'token':os.environ['T']}}))"
    user = f"exec: {{command: {sys.executable}, args: ['-c', {json.dumps(program)}], env: [{{name: T, value: t1}}]}}"  # noqa: E501
    assert read_kubeconfig(kubeconfig(tmp_path, user=user)).token() == "t1"
    (tmp_path / "secret").write_text("t2")
    assert read_kubeconfig(kubeconfig(tmp_path, user="tokenFile: secret")).token() == "t2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "is no kubeconfig file"),
        ("a: 1\n", "is no kubeconfig file"),
        ("current-context: x\ncontexts: []\n", r"contexts: there is no 'x'; it has none"),
    ],
)
def test_files_that_are_none_are_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_kubeconfig(path)


def test_other_trouble_with_access(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="set KUBECONFIG"):
        find_access(environment={"HOME": str(tmp_path)})
    missing = kubeconfig(tmp_path, user="exec: {command: no-such-command}")
    with pytest.raises(InputError, match="no-such-command: not found"):
        read_kubeconfig(missing).token()
    failing = kubeconfig(
        tmp_path, user="exec: {command: sh, args: ['-c', 'echo sorry >&2; exit 3']}"
    )
    with pytest.raises(JobError, match=r"gave no token \(status 3\): sorry"):
        read_kubeconfig(failing).token()
    junk = base64.b64encode(b"junk").decode()
    bad = kubeconfig(
        tmp_path, user="", cluster=f"server: 'https://k', certificate-authority-data: {junk}"
    )
    with pytest.raises(InputError, match="certificates cannot be used"):
        read_kubeconfig(bad)
    with pytest.raises(InputError, match=r"contexts: there is no 'other'; it has here"):
        read_kubeconfig(kubeconfig(tmp_path, user="token: x"), context="other")
