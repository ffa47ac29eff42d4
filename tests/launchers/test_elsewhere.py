"""A job sent from the command line: rendered, watched, cancelled, given back, or refused."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from gigafactory.cli.main import status
from gigafactory.describe.errors import InputError, JobError
from gigafactory.run import elsewhere
from gigafactory.run.launchers import registry
from gigafactory.run.launchers.kubernetes_access import Access
from gigafactory.run.launchers.kubernetes_client import KubernetesScheduler
from gigafactory.run.launchers.oci_calls import ENDPOINT
from gigafactory.run.launchers.oci_client import OciScheduler
from gigafactory.run.launchers.registry import Front, Order, Place

KUBERNETES = "kubernetes={image: registry.example/giga:1}"
OCI = ("oci={compartment: ocid1.c, availability_domain: AD-1, subnet: s, image: i}",
       "money.rent=oci-h100")  # fmt: skip


@pytest.fixture
def order(ordered: Any) -> Order:
    made: Order = ordered(KUBERNETES, *OCI, num_hosts=2, tp=8, dp=2)
    return made


@pytest.fixture
def cluster(api: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    access = Access(server=api.url, token=lambda: "letmein")
    scheduler = KubernetesScheduler(access, namespace="default", sleep=lambda _: None)
    monkeypatch.setattr(elsewhere, "connect", lambda place, study: scheduler)
    yield api
    scheduler.wire.close()


@pytest.fixture
def oracle(oci_api: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from cryptography.hazmat.primitives import serialization

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                            serialization.NoEncryption()).decode()  # fmt: skip
    with oci_api.serving(key) as service:
        config = {"user": "ocid1.user.oc1..u", "tenancy": "ocid1.tenancy.oc1..root",
                  "region": "us-chicago-1",
                  "fingerprint": "11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00",
                  "key_content": pem, ENDPOINT: service.url}  # fmt: skip
        scheduler = OciScheduler(config=config, compartment="ocid1.c", sleep=lambda _: None)
        monkeypatch.setattr(elsewhere, "connect", lambda place, study: scheduler)
        yield service


def send(order: Order, place: Place, folder: Path, *, then: Any = None, **more: Any) -> Any:
    """``then`` is done once the job runs, from another thread."""
    said: list[str] = []

    def tell(words: str) -> None:
        said.append(words)
        if words.endswith("is running") and then is not None:
            threading.Timer(0.2, then).start()

    sent = elsewhere.send(order, place=place, folder=folder, tell=tell, look_s=0.05, **more)
    return sent, said


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_job_is_watched_to_its_end(cluster: Any, order: Order, tmp_path: Path) -> None:
    done = lambda: cluster.condition("grok-1-512", "Completed", "AllJobsCompleted", "")  # noqa: E731
    sent, said = send(order, Place.KUBERNETES, tmp_path, then=done)
    assert said == ["asking kubernetes for 2 hosts", "job grok-1-512 is running",
                    "job grok-1-512 is done"]  # fmt: skip
    document = sent.to_json()
    assert (document["state"], document["num_hosts"]) == ("done", 2)
    assert json.loads((tmp_path / "kubernetes" / "job.json").read_text())["job_id"] == "grok-1-512"


def test_the_same_command_goes_on_watching(cluster: Any, order: Order, tmp_path: Path) -> None:
    def die(words: str) -> None:
        if "running" in words:
            raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError):
        elsewhere.send(order, place=Place.KUBERNETES, folder=tmp_path, tell=die, look_s=0.05)
    written = cluster.wrote()
    done = lambda: cluster.condition("grok-1-512", "Completed", "AllJobsCompleted", "")  # noqa: E731
    _, said = send(order, Place.KUBERNETES, tmp_path, then=done)
    assert said[-1] == "job grok-1-512 is done"
    assert cluster.wrote() == written, "nothing was asked for twice"


def test_a_failure_says_what_the_job_said(cluster: Any, order: Order, tmp_path: Path) -> None:
    bad = lambda: cluster.condition("grok-1-512", "Failed", "FailedJobs", "wrongInput")  # noqa: E731
    with pytest.raises(JobError, match=r"is failed\n  FailedJobs: wrongInput\n  host 0: hello"):
        send(order, Place.KUBERNETES, tmp_path, then=bad)


def test_ctrl_c_cancels(cluster: Any, order: Order, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="stopped; what was asked of kubernetes is cancelled"):
        send(order, Place.KUBERNETES, tmp_path, then=interrupt)
    assert cluster.objects == {}


def test_rented_hosts_are_given_back(oracle: Any, order: Order, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"160\.00 \$/h .* say yes with --yes-rent 160"):
        send(order, Place.OCI, tmp_path)
    with pytest.raises(InputError, match=r"Nothing was asked for"):
        send(order, Place.OCI, tmp_path, confirm=lambda quote: False)
    assert oracle.seen == []
    good = lambda: oracle.stop_all("giga: the job ended with status 0")  # noqa: E731
    _, said = send(order, Place.OCI, tmp_path, then=good, confirm=lambda quote: True)
    assert said[-1].endswith("is done")
    assert oracle.num_made == 2
    assert oracle.rented() == []
    bad = lambda: oracle.stop_all("Killed\ngiga: the job ended with status 137")  # noqa: E731
    with pytest.raises(JobError, match=r"status 137\n(.*\n)*.*Killed"):
        send(order, Place.OCI, tmp_path, then=bad, yes_usd_per_h=200.0)
    assert oracle.rented() == []


def test_ctrl_c_gives_rented_hosts_back(oracle: Any, order: Order, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is cancelled"):
        send(order, Place.OCI, tmp_path, then=interrupt, yes_usd_per_h=160.0)
    assert oracle.num_made == 2
    assert oracle.rented() == []


# -- the command line ---------------------------------------------------------------------

STUDY = "studies/grok-1-512.yaml"


def giga(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = status(["run", STUDY, *args])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_render_writes_and_asks_for_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = giga(capsys, "--on", "kubernetes", "--engine", "megatron", "--set", KUBERNETES,
                          "--render", str(tmp_path / "job"))  # fmt: skip
    assert (code, out) == (0, f"{tmp_path}/job/job.yaml\n"), err
    assert "kind: JobSet" in (tmp_path / "job" / "job.yaml").read_text()
    assert "MEGATRON_ARGUMENTS" in err
    code, out, _ = giga(capsys, "--on", "oci", "--engine", "megatron", "--set", OCI[0],
                        "--render", str(tmp_path / "o"), "--json")  # fmt: skip
    assert code == 0
    assert [Path(path).name for path in json.loads(out)] == ["request.json", "cloud-init.yaml"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--engine", "megatron"], "--on local runs our own engine only"),
        (["--on", "slurm", "--render", "x"], "--on slurm runs our own engine only"),
        (["--on", "kubernetes", "--engine", "megatron"], "kubernetes: missing; add"),
        (["--on", "kubernetes", "--engine", "torchtitan", "--set", "model=mixtral-8x7b"],
         "megatron could: --engine megatron"),
        (["--on", "oci", "--engine", "megatron", "--set", OCI[0], "--set", "oci.config=/none"],
         "/none: no such file; `oci setup config`"),
        (["--on", "mars"], "'mars' is not one of"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_once(
    capsys: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    code, out, err = giga(capsys, *args)
    assert (code, out) == (2, "")
    assert says in err


@pytest.mark.parametrize("place", Place)
def test_a_missing_extra_names_the_install_line(
    place: Place, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = registry.FRONTS[place]
    gone = {place: Front(front.module, front.extra, "no_such_package")}
    monkeypatch.setattr(registry, "FRONTS", gone)
    says = rf"no_such_package is not installed; pip install 'gigafactory\[{front.extra}\]'"
    with pytest.raises(InputError, match=says):
        registry.connect(place, order.study)
    assert registry.render(place, order).files, "rendering needs nothing installed"


def test_tables_import_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys, gigafactory.run.launchers.registry, gigafactory.run.engines.catalog\n"
        "heavy = {'ray', 'oci', 'httpx', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
