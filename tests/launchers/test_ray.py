"""Ray for real: a cluster of raylets on this machine, a job in it, and what becomes of failures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gigafactory.describe.errors import InputError, JobError
from gigafactory.describe.launch import RayTarget
from gigafactory.run.launchers import ray_cluster
from gigafactory.run.launchers.agent import Meeting
from gigafactory.run.launchers.launcher import Ended, HostLost, Line, RankCommand, Seen
from gigafactory.run.launchers.links import Links
from gigafactory.run.launchers.ray_cluster import Node
from gigafactory.run.launchers.ray_floor import RayFloor, open_floor
from gigafactory.run.launchers.ray_jobs import RayScheduler
from gigafactory.run.launchers.registry import Order, Place, render
from gigafactory.run.launchers.remote import PORTS, RemoteLauncher
from gigafactory.run.launchers.scheduler import JobState, Rendered
from gigafactory.run.progress import Stage

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'gigafactory[ray]'")
pytestmark = [pytest.mark.real, pytest.mark.timeout(300),
              # Ray's own: pipes and sockets of processes that it ends
              pytest.mark.filterwarnings("default")]  # fmt: skip

TARGET = RayTarget(unit_label="unit")
TELLER = (
    "import os,time; fd=int(os.environ['GIGA_REPORT_FD'])\n"
    "os.write(fd, (os.environ['RANK'] + ' at ' + str(os.getppid()) + '\\n').encode())\n"
    "time.sleep(60)\n"
)


@pytest.fixture(scope="module")
def raylets() -> Iterator[Any]:
    """Unit a has two hosts of 8 GPUs, unit b one; the head has none."""
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 2, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=small | {"include_dashboard": False})
    # before the others are there: who asks is to be on the head, and not on a host that is killed
    ray_cluster.connect(RayTarget(address=cluster.address, unit_label="unit"))
    for unit in ("a", "a", "b"):
        cluster.add_node(num_gpus=8, labels={"unit": unit}, wait=False, **small)
    cluster.wait_for_nodes()
    yield cluster
    ray_cluster.disconnect()
    cluster.shutdown()


def unit_of() -> dict[str, str]:
    nodes = ray_cluster.nodes()
    return {f"{n.hostname}-{n.node_id[:8]}": n.labels.get("unit", "") for n in nodes}


def host(name: str, unit: str, **resources: float) -> Node:
    return Node(node_id=name, address="x", hostname="h", port=1, labels={"unit": unit},
                resources={"GPU": 8.0} | resources)  # fmt: skip


def test_full_units_come_first_and_spares_last() -> None:
    have = [host("1", "b"), host("2", "a"), host("3", "a"), host("4", "c", GPU=4), host("5", "b"),
            host("6", "a")]  # fmt: skip
    asked = {"need": {"GPU": 8.0}, "unit_label": "unit"}
    assert ray_cluster.units_for(have, num_hosts=4, num_spares=0, **asked) == ["a"] * 3 + ["b"]
    assert ray_cluster.units_for(have, num_hosts=4, num_spares=9, **asked)[-1] == "b"
    left = ray_cluster.units_for(have, num_hosts=3, num_spares=0, without=["2", "6"], **asked)
    assert left == ["b", "b", "a"]
    with pytest.raises(JobError, match="6 hosts with 8 GPU are needed, and Ray has 5"):
        ray_cluster.units_for(have, num_hosts=6, num_spares=0, **asked)


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(JobError, match=r"no Ray cluster at auto .*ray start --head"):
        ray_cluster.connect(RayTarget())
    # one that was killed leaves its address behind, and Ray would wait for it
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    with pytest.raises(JobError, match=r"nobody answers at 127\.0\.0\.1:9"):
        ray_cluster.connect(RayTarget())


# -- the launcher -------------------------------------------------------------------------


@pytest.fixture
def launcher(raylets: Any, tmp_path: Path) -> Iterator[RemoteLauncher]:
    meet = tmp_path / "meet.json"
    floor = open_floor(TARGET, num_hosts=2, num_spares=5, gpus_per_host=8, logs=tmp_path, meet=meet)
    links = Links(b"secret", frozenset(floor.hosts))
    Meeting(links.port, b"secret", tmp_path / "logs", "127.0.0.1").write(meet)
    made = RemoteLauncher(floor=floor, links=links, first_port=PORTS[9], heartbeat_timeout_s=5.0)
    made.meet(num_needed=2, timeout_s=60, grace_s=60)
    yield made
    made.close()


def commands(num_hosts: int) -> list[RankCommand]:
    return [
        RankCommand(rank=rank, host=rank, argv=(sys.executable, "-c", TELLER),
                    environment={"RANK": str(rank)})
        for rank in range(num_hosts)
    ]  # fmt: skip


def until(launcher: RemoteLauncher, found: Callable[[list[Seen]], bool]) -> list[Seen]:
    seen: list[Seen] = []
    deadline_s = time.monotonic() + 60
    while not found(seen):
        assert time.monotonic() < deadline_s, seen
        seen += launcher.poll(0.2)
    return seen


def agents_of(seen: list[Seen]) -> dict[int, int]:
    """Process of the agent by rank, as the ranks told."""
    lines = [one.text.decode().split() for one in seen if isinstance(one, Line)]
    return {int(line[0]): int(line[2]) for line in lines}


def above(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


# -- the scheduler ------------------------------------------------------------------------


class Kept(RayScheduler):
    """Remembers its jobs, so that none outlives its test."""

    names: ClassVar[list[str]] = []

    def submit(self, job: Rendered) -> str:
        self.names.append(RayScheduler.submit(self, job))
        return self.names[-1]


@pytest.fixture
def scheduler(raylets: Any) -> Iterator[RayScheduler]:
    made = Kept(TARGET)
    yield made
    while made.names:
        made.forget(made.names.pop())


def job(command: str, *, num_hosts: int = 1, ordered: Any) -> Rendered:
    order: Order = ordered("ray.unit_label=unit", num_hosts=num_hosts, tp=8, dp=num_hosts)
    rendered = render(Place.RAY, order)
    return Rendered(
        name=rendered.name, main=rendered.main, files={**rendered.files, "start.sh": command}
    )


def over(scheduler: Any, name: str) -> Any:
    deadline_s = time.monotonic() + 90
    while not (status := scheduler.watch(name)).state.is_over:
        assert time.monotonic() < deadline_s, status
        time.sleep(0.2)
    return status


def test_the_request_is_this(ordered: Any) -> None:
    rendered = render(Place.RAY, ordered("ray.unit_label=unit"))
    request = json.loads(rendered.files[rendered.main])
    assert request == {"name": "grok-1-512", "num_hosts": 64, "need": {"GPU": 8.0},
                       "unit_label": "unit", "output": "runs/grok-1-512"}  # fmt: skip
    assert '--node-rank="$GIGA_HOST_RANK"' in rendered.files["start.sh"]
    assert rendered.files["arguments.txt"] == "--num-layers 2\n"


def test_jobs_run_fail_wait_and_are_cancelled(scheduler: Any, ordered: Any) -> None:
    say = 'echo "$GIGA_HOST_RANK of $GIGA_MASTER"; ls; '
    name = scheduler.submit(job(say, ordered=ordered))
    status = over(scheduler, name)
    assert (status.state, status.exit_status) == (JobState.DONE, 0)
    assert len(status.hosts) == 1
    lines = list(scheduler.logs(name))
    assert lines[0].startswith("host 0: 0 of ")
    assert "host 0: arguments.txt" in lines
    # a failure names the host, and a second one with its place taken waits
    failed = scheduler.submit(job("exit 3", ordered=ordered))
    status = over(scheduler, failed)
    assert (status.state, status.exit_status) == (JobState.FAILED, 3)
    assert status.reason == "host 0 ended with status 3"
    long = scheduler.submit(job("sleep 300", num_hosts=2, ordered=ordered))
    waiting = scheduler.submit(job("true", num_hosts=2, ordered=ordered))
    deadline_s = time.monotonic() + 60
    while not (held := scheduler.watch(waiting)).reason:
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
    assert held.state is JobState.WAITING
    assert held.reason == "Ray has not enough free hosts"
    with pytest.raises(InputError, match="not over; cancel it first"):
        scheduler.requeue(long)
    scheduler.cancel(long)
    assert scheduler.watch(long).state is JobState.CANCELLED
    assert over(scheduler, waiting).state is JobState.DONE
    assert scheduler.requeue(waiting) == waiting
    assert over(scheduler, waiting).state is JobState.DONE


def test_barred_hosts_are_not_used(scheduler: Any, ordered: Any) -> None:
    first = over(scheduler, scheduler.submit(job("true", ordered=ordered))).hosts[0]
    scheduler.drain(first, reason="slow")
    second = over(scheduler, scheduler.submit(job("true", ordered=ordered))).hosts[0]
    assert second != first
    with pytest.raises(InputError, match="has no host 'nobody'"):
        scheduler.drain("nobody", reason="slow")
    with pytest.raises(JobError, match=r"9 hosts with 8 GPU are needed, and Ray has \d"):
        scheduler.submit(job("true", num_hosts=9, ordered=ordered))
    with pytest.raises(InputError, match="knows no job giga-none"):
        scheduler.watch("giga-none")


# -- hosts that are killed: after the tests that need all of them ---------------------------


def test_failures_of_processes_and_hosts_are_told_apart(launcher: RemoteLauncher) -> None:
    assert isinstance(launcher.floor, RayFloor)
    units = [unit_of()[name] for name in launcher.floor.hosts]
    assert units == ["a", "a", "b"], "a unit together, the spare from the next one"
    launcher.start(commands(2), generation=1)
    seen = until(launcher, lambda seen: sum(isinstance(one, Line) for one in seen) == 2)
    agents = agents_of(seen)
    # the actor's process dies: its ranks have ended, its host lives, a new agent comes
    os.kill(agents[1], signal.SIGKILL)
    begun_s = time.monotonic()
    ended = until(launcher, lambda seen: any(isinstance(one, Ended) for one in seen))
    assert [one.rank for one in ended if isinstance(one, Ended)] == [1]
    assert not any(isinstance(one, HostLost) for one in ended)
    print(f"agent killed, told after {time.monotonic() - begun_s:.2f} s")
    launcher.stop()
    launcher.start(commands(2), generation=2)
    seen = until(launcher, lambda seen: sum(isinstance(one, Line) for one in seen) == 2)
    # the raylet dies alone: the ranks on its host are well, and nobody disturbs them
    agent = agents_of(seen)[1]
    actor, raylet = above(agent), above(above(agent))
    assert b"raylet" in Path(f"/proc/{raylet}/cmdline").read_bytes()
    os.kill(raylet, signal.SIGKILL)
    deadline_s = time.monotonic() + 3
    while time.monotonic() < deadline_s:
        assert launcher.poll(0.2) == []
    # the host dies, everything on it
    os.kill(actor, signal.SIGKILL)
    begun_s = time.monotonic()
    lost = until(launcher, lambda seen: any(isinstance(one, HostLost) for one in seen))
    (one,) = (one for one in lost if isinstance(one, HostLost))
    assert one.host == 1
    assert "no raylet answers there" in one.cause
    print(f"host killed, told after {time.monotonic() - begun_s:.2f} s")
    launcher.stop()
    # the spare takes the seat
    moved = [commands(1)[0], RankCommand(rank=1, host=2, argv=commands(2)[1].argv,
                                         environment={"RANK": "1"})]  # fmt: skip
    launcher.start(moved, generation=3)
    seen = until(launcher, lambda seen: sum(isinstance(one, Line) for one in seen) == 2)
    assert set(agents_of(seen)) == {0, 1}


# -- a whole run --------------------------------------------------------------------------

MICRO = (
    "model.hidden=64", "model.num_layers=2", "model.head_dim=16", "model.moe_ffn=128",
    "model.context=64", "train.vocab=400", "job.tokens=98304", "job.seq_len=64",
    "job.global_batch=8", "layout.micro_batch=4", "train.checkpoint_steps=5", "drill=null",
    "cluster={extends: laptop, num_hosts: 3, num_spare_hosts: 1, host: {extends: laptop, "
    "num_gpus: 1}}", "ray.gpu_resource=GPU",
)  # fmt: skip


def worker_of(place: Path, rank: int) -> int:
    """The process of a rank of the run in ``place``."""
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdecimal():
                continue
            line = (entry / "cmdline").read_bytes()
            is_worker = b"gigafactory.train.worker" in line and str(place).encode() in line
            own = (entry / "environ").read_bytes().split(b"\0") if is_worker else []
            if f"RANK={rank}".encode() in own:
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError(f"no rank {rank} in {place}")


def test_training_outlives_a_host(raylets: Any, corpus: Path, tmp_path: Path) -> None:
    from gigafactory.catalog.studies import load_study
    from gigafactory.plan.search import plan
    from gigafactory.run.on_ray import run_on_ray

    # an earlier test took one of the three
    raylets.add_node(num_cpus=1, num_gpus=1, object_store_memory=80 * 2**20)
    shutil.copytree(corpus, tmp_path / "corpus")
    study = load_study("studies/first-light.yaml", overrides=MICRO)
    killed: list[float] = []
    recovering: list[float] = []
    said: list[str] = []

    def observe(seen: Any) -> None:
        said.append(seen.message)
        if seen.step >= 12 and not killed:
            killed.append(time.monotonic())
            agent = above(worker_of(tmp_path, 1))
            actor, raylet = above(agent), above(above(agent))
            os.kill(raylet, signal.SIGKILL)
            os.kill(actor, signal.SIGKILL)
        elif seen.stage is Stage.RECOVERING:
            recovering.append(time.monotonic())
        elif len(recovering) and len(killed) == 1 and seen.stage is Stage.TRAINING:
            killed.append(time.monotonic())

    result = run_on_ray(study, plan=plan(study), run_dir=tmp_path, observer=observe)
    assert result.outcome == "done"
    assert result.steps == 192
    assert any("passed their examination; 2 of them train" in words for words in said)
    print(f"host lost to training again: {killed[1] - killed[0]:.1f} s")
    with pytest.raises(AssertionError):
        worker_of(tmp_path, 0)
