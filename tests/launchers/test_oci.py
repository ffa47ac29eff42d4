"""Renting from Oracle: the official SDK against a service on the loopback."""

from __future__ import annotations

import json
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gigafactory.describe.errors import InputError, JobError
from gigafactory.run.launchers import oci
from gigafactory.run.launchers.oci_calls import ENDPOINT, read_config
from gigafactory.run.launchers.oci_client import OciScheduler
from gigafactory.run.launchers.registry import Order, Place, render
from gigafactory.run.launchers.rental import Rental
from gigafactory.run.launchers.scheduler import JobState, Rendered

TARGET = (
    "oci={compartment: ocid1.compartment.x, availability_domain: 'AD-1',"
    " subnet: ocid1.subnet.x, image: ocid1.image.x, mount: '10.0.0.9:/giga'}"
)
RENT = "money.rent=oci-h100"
Ordered = Callable[..., Order]


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def config(key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("oci")
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "key.pem").write_bytes(pem)
    (folder / "key.pem").chmod(0o600)
    (folder / "config").write_text(
        "[DEFAULT]\nuser=ocid1.user.oc1..u\ntenancy=ocid1.tenancy.oc1..root\n"
        "fingerprint=11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00\n"
        f"region=us-chicago-1\nkey_file={folder / 'key.pem'}\n"
    )
    (folder / "config").chmod(0o600)
    return read_config(folder / "config", profile="DEFAULT")


@pytest.fixture
def oracle(oci_api: Any, key: rsa.RSAPrivateKey) -> Iterator[Any]:
    with oci_api.serving(key) as service:
        yield service


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def scheduler(oracle: Any, config: dict[str, Any], slept: list[float]) -> OciScheduler:
    reach = {**config, ENDPOINT: oracle.url}
    return OciScheduler(config=reach, compartment="ocid1.compartment.x", sleep=slept.append)


@pytest.fixture(scope="module")
def job(ordered: Ordered) -> Rendered:
    return render(Place.OCI, ordered(TARGET, RENT, num_hosts=4, tp=8, dp=4))


def submit(scheduler: OciScheduler, job: Rendered) -> str:
    scheduler.allow(320)
    return scheduler.submit(job)


def test_the_request_is_this(ordered: Ordered) -> None:
    rendered = render(Place.OCI, ordered(TARGET, RENT))
    for name, text in rendered.files.items():
        golden = Path(__file__).parent / "golden" / f"oci-{name}"
        assert text == golden.read_text(encoding="utf-8")
    request = json.loads(rendered.files[rendered.main])
    assert request["usd_per_s"] * 3600 == pytest.approx(64 * 80)


def test_the_boot_file_is_cloud_config(job: Rendered) -> None:
    from ruamel.yaml import YAML

    text = job.files[oci.BOOT_FILE]
    assert text.startswith("#cloud-config\n")
    read = YAML(typ="safe").load(text)
    written = {file["path"]: file["content"] for file in read["write_files"]}
    assert "--nnodes=4" in written["/opt/giga/start.sh"]
    assert ["mount", "-a"] in read["runcmd"]


def test_nothing_is_called_without_a_yes(
    scheduler: OciScheduler, oracle: Any, job: Rendered
) -> None:
    with pytest.raises(InputError, match=r"4 x BM.GPU.H100.8 cost 320\.00 \$/h .*Nothing was asked "
                                         r"for; say yes with --yes-rent 320$"):  # fmt: skip
        scheduler.submit(job)
    scheduler.allow(319.99)
    with pytest.raises(InputError, match=r"the yes was for 319\.99"):
        scheduler.submit(job)
    assert oracle.seen == []
    assert isinstance(scheduler, Rental)
    assert scheduler.quote(job).usd_per_h == pytest.approx(320)


def test_a_yes_is_for_one_job(scheduler: OciScheduler, oracle: Any, job: Rendered) -> None:
    submit(scheduler, job)
    before = len(oracle.seen)
    with pytest.raises(InputError, match="Nothing was asked for"):
        scheduler.submit(job)
    assert len(oracle.seen) == before


def test_a_job_is_rented_ranked_run_and_given_back(
    scheduler: OciScheduler, oracle: Any, job: Rendered
) -> None:
    name = submit(scheduler, job)
    assert oracle.rented() == [f"grok-1-512-{i}" for i in range(4)]
    standing = scheduler.watch(name)
    assert standing.state is JobState.RUNNING
    assert standing.hosts == tuple(f"grok-1-512-{i}" for i in (3, 2, 1, 0)), "the network's order"
    assert standing.facts == {"usd_per_h": "320.00"}
    assert oracle.named("grok-1-512-3")["metadata"]["giga_host_rank"] == "0"
    assert oracle.named("grok-1-512-0")["metadata"]["giga_master"] == "grok-1-512-3"
    oracle.stop_all("giga: the job ended with status 0")
    standing = scheduler.watch(name)
    assert (standing.state, standing.exit_status) == (JobState.DONE, 0)
    logs = list(scheduler.logs(name))
    assert logs[:2] == ["host 0: boot", "host 0: grok-1-512-3"]
    scheduler.cancel(name)
    assert oracle.rented() == []
    assert oracle.clusters[name]["lifecycleState"] == "DELETED"
    assert scheduler.watch(name).state is JobState.CANCELLED
    scheduler.cancel(name)  # no effect


def test_too_few_hosts_are_told_before(scheduler: OciScheduler, oracle: Any, job: Rendered) -> None:
    oracle.capacity = 3
    with pytest.raises(JobError, match=r"4 x BM.GPU.H100.8 in AD-1: 3 available; nothing was"):
        submit(scheduler, job)
    oracle.capacity = 0
    with pytest.raises(JobError, match=r"0 available|OUT_OF_HOST_CAPACITY"):
        submit(scheduler, job)
    assert oracle.num_made == 0
    assert oracle.clusters == {}


def test_capacity_that_comes_is_waited_for(
    scheduler: OciScheduler, oracle: Any, job: Rendered, oci_api: Any, slept: list[float]
) -> None:
    oracle.troubles["POST instances"] = deque([oci_api.NO_CAPACITY] * 3)
    submit(scheduler, job)
    assert slept.count(30.0) == 3
    assert len(oracle.rented()) == 4


def test_capacity_that_does_not_come_gives_everything_back(
    scheduler: OciScheduler, oracle: Any, job: Rendered, slept: list[float]
) -> None:
    oracle.capacity, oracle.says_capacity = 3, False
    with pytest.raises(JobError, match="Out of host capacity"):
        submit(scheduler, job)
    assert oracle.num_made == 3
    assert oracle.rented() == []
    assert [c["lifecycleState"] for c in oracle.clusters.values()] == ["DELETED"]
    assert slept.count(30.0) == 9


def test_a_host_that_never_comes_gives_everything_back(
    scheduler: OciScheduler, oracle: Any, job: Rendered
) -> None:
    oracle.never_runs.add("grok-1-512-2")
    with pytest.raises(JobError, match="took back 1 of 4 hosts"):
        submit(scheduler, job)
    assert oracle.rented() == []


def test_a_person_who_gives_up_pays_no_more(
    scheduler: OciScheduler, oracle: Any, job: Rendered
) -> None:
    def interrupt(seconds: float) -> None:
        if oracle.num_made == 4 and not interrupted:
            interrupted.append(seconds)
            raise KeyboardInterrupt

    interrupted: list[float] = []
    scheduler.calls.sleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        submit(scheduler, job)
    assert oracle.num_made == 4
    assert oracle.rented() == []


def test_throttling_is_waited_out(
    scheduler: OciScheduler, oracle: Any, job: Rendered, slept: list[float]
) -> None:
    throttled = (429, "TooManyRequests", "too many requests")
    oracle.troubles["POST instances"] = deque([throttled] * 2)
    oracle.troubles["POST computeClusters"] = deque([throttled, throttled, throttled])
    submit(scheduler, job)
    assert slept[:3] == [1.0, 2.0, 4.0]
    assert len(oracle.rented()) == 4
    oracle.troubles["GET computeClusters"] = deque([throttled] * 6)
    with pytest.raises(JobError, match="get_compute_cluster: too many requests"):
        scheduler.watch("ocid1.computecluster.0")


def test_what_cannot_be_given_back_is_named(
    scheduler: OciScheduler, oracle: Any, job: Rendered
) -> None:
    oracle.never_runs.add("grok-1-512-2")
    oracle.troubles["DELETE instances"] = deque([(400, "LimitExceeded", "no")] * 9)
    says = r"took back 1 of 4 hosts; and then: .* ocid1\.computecluster\.0 may still be rented"
    with pytest.raises(JobError, match=says):
        submit(scheduler, job)


def test_a_bad_host_is_replaced_at_its_rank(
    scheduler: OciScheduler, oracle: Any, job: Rendered
) -> None:
    name = submit(scheduler, job)
    with pytest.raises(InputError, match="not over"):
        scheduler.requeue(name)
    old = oracle.named("grok-1-512-1")["id"]
    most = []
    plain = oracle.post_instances

    def counted(*arguments: Any) -> Any:
        said = plain(*arguments)
        most.append(len(oracle.rented()))
        return said

    oracle.post_instances = counted
    scheduler.drain("grok-1-512-1", reason="xid 79")
    oracle.stop_all("giga: the job ended with status 1")
    standing = scheduler.watch(name)
    assert (standing.state, standing.exit_status) == (JobState.FAILED, 1)
    assert scheduler.requeue(name) == name
    new = oracle.named("grok-1-512-1")
    assert new["id"] != old
    assert new["metadata"]["giga_host_rank"] == "2"
    assert new["metadata"]["giga_master"] == "grok-1-512-3"
    assert max(most) == 4, "never more than was agreed to"
    assert scheduler.watch(name).state is JobState.RUNNING
    with pytest.raises(InputError, match="no host 'grok-1-512-9'"):
        scheduler.replace(name, host="grok-1-512-9")
    with pytest.raises(InputError, match="no host 'nobody'"):
        scheduler.drain("nobody", reason="x")


def test_maintenance_is_announced(scheduler: OciScheduler, oracle: Any, job: Rendered) -> None:
    name = submit(scheduler, job)
    for host, state in (("grok-1-512-2", "SCHEDULED"), ("grok-1-512-1", "SUCCEEDED")):
        oracle.events.append({
            "id": host, "instanceId": oracle.named(host)["id"], "lifecycleState": state,
            "maintenanceReason": "HARDWARE_REPLACEMENT", "instanceAction": "TERMINATE",
            "timeWindowStart": "2026-12-01T10:00:00Z",
        })  # fmt: skip
    (one,) = scheduler.maintenance(name)
    assert (one.host, one.reason) == ("grok-1-512-2", "HARDWARE_REPLACEMENT")
    assert one.starts.startswith("2026-12-01T10:00")


def test_requests_are_signed(scheduler: OciScheduler, oracle: Any) -> None:
    oracle.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(JobError, match="the signature is wrong"):
        scheduler.watch("ocid1.computecluster.0")


def test_a_service_that_is_not_there(
    config: dict[str, Any], slept: list[float], job: Rendered
) -> None:
    reach = {**config, ENDPOINT: "http://127.0.0.1:9"}
    scheduler = OciScheduler(config=reach, compartment="c", sleep=slept.append)
    with pytest.raises(JobError, match="create_compute_capacity_report: cannot be reached"):
        submit(scheduler, job)
    assert slept == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_what_is_missing_is_named(ordered: Ordered, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"oci: missing; add"):
        render(Place.OCI, ordered())
    with pytest.raises(InputError, match=r"rents no host with .*oci\.shape"):
        render(Place.OCI, ordered(TARGET, "cluster=laptop", "job.precision=fp32",
                                  study="first-light", num_hosts=1, dp=2, tp=1))  # fmt: skip
    with pytest.raises(InputError, match="no such file; `oci setup config`"):
        read_config(tmp_path / "none", profile="DEFAULT")
    (tmp_path / "half").write_text("[DEFAULT]\nuser=x\n")
    with pytest.raises(InputError, match="profile DEFAULT"):
        read_config(tmp_path / "half", profile="DEFAULT")
    with pytest.raises(InputError, match="profile OTHER"):
        read_config(tmp_path / "half", profile="OTHER")


def test_a_host_waits_for_its_rank_and_tells_how_it_ended(job: Rendered, tmp_path: Path) -> None:
    """The script that hosts run, with the metadata service, the job and the switch played."""
    from ruamel.yaml import YAML

    read = YAML(typ="safe").load(job.files[oci.BOOT_FILE])
    script = next(f["content"] for f in read["write_files"] if f["path"].endswith("host.sh"))
    curl = (
        f'echo asked >> {tmp_path}/asked; [ "$(wc -l < {tmp_path}/asked)" -gt 2 ] || exit 22\n'
        'case "$*" in *giga_host_rank) echo 7;; *giga_master) echo first;; esac'
    )
    played = {"curl": curl, "sleep": "exit 0", "tee": "cat", "systemctl": 'echo "switch: $*"'}
    for name, text in played.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "start.sh").write_text('echo "$GIGA_HOST_RANK $GIGA_MASTER $GIGA_OUTPUT"; exit 3\n')
    script = script.replace("/opt/giga/start.sh", str(tmp_path / "start.sh"))
    done = subprocess.run(
        ["sh", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "7 first /giga/output", "giga: the job ended with status 3", "switch: poweroff",
    ]  # fmt: skip
