"""The smallest study that really runs, and hosts that are this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.describe.study import Study
from gigafactory.ledger.entries import Entry
from gigafactory.ledger.writer import line_of
from gigafactory.run.launchers.agent import Meeting
from gigafactory.run.launchers.links import Links
from gigafactory.run.launchers.remote import PORTS, Door, RemoteLauncher

MICRO = (
    "model.hidden=64",
    "model.num_layers=2",
    "model.head_dim=16",
    "model.moe_ffn=128",
    "model.context=64",
    "job.tokens=12288",  # 24 steps of 8 sequences of 64
    "job.seq_len=64",
    "job.global_batch=8",
    "layout.micro_batch=4",
    "train.checkpoint_steps=5",
    "drill.kill_at_step=13",
)


@pytest.fixture(scope="session")
def micro() -> Study:
    root = Path(__file__).resolve().parents[2]
    return load_study(root / "studies" / "first-light.yaml", overrides=MICRO)


@pytest.fixture
def write_book() -> Callable[[Path, list[Entry]], None]:
    """Writes entries as a ledger."""

    def write(file: Path, entries: list[Entry]) -> None:
        file.write_text("".join(line_of(entry) + "\n" for entry in entries))

    return write


HOSTS = ("a", "b", "c")
SECRET = b"not to be guessed"


class Here:
    """A floor of agents on this machine."""

    name = "daemon"

    def __init__(self, meet: Path) -> None:
        self.hosts, self.meet = HOSTS, meet
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.daemons = {host: socket.create_server(("127.0.0.1", 0)) for host in HOSTS}
        self.doors = {h: Door("127.0.0.1", d.getsockname()[1]) for h, d in self.daemons.items()}
        self.aside: list[tuple[str, str]] = []
        self.unable: set[str] = set()
        self.environment: dict[str, dict[str, str]] = {}

    def raise_agents(self, hosts: Sequence[str]) -> None:
        for host in set(hosts) - self.unable:
            module = "gigafactory.run.launchers.agent"
            argv = [sys.executable, "-m", module, "--meet", str(self.meet), "--host", host]
            if host in self.agents:
                self.agents[host].wait(10)
            environment = os.environ | self.environment.get(host, {})
            self.agents[host] = subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL)

    def door(self, host: str) -> Door | None:
        return self.doors[host]

    def set_aside(self, host: str, *, reason: str) -> None:
        self.aside.append((host, reason))

    def close(self) -> None:
        for agent in self.agents.values():
            agent.wait(10)
        for daemon in self.daemons.values():
            daemon.close()


@pytest.fixture
def floor(tmp_path: Path) -> Here:
    return Here(tmp_path / "meet.json")


@pytest.fixture
def launcher(tmp_path: Path, floor: Here) -> Iterator[RemoteLauncher]:
    links = Links(SECRET, frozenset(HOSTS))
    Meeting(links.port, SECRET, tmp_path / "logs", "127.0.0.1").write(floor.meet)
    made = RemoteLauncher(
        floor=floor, links=links, first_port=PORTS[5], heartbeat_timeout_s=2.0,
        environment={"NCCL_CROSS_NIC": "0"},
    )  # fmt: skip
    yield made
    for agent in floor.agents.values():
        with contextlib.suppress(ProcessLookupError):
            agent.send_signal(signal.SIGCONT)
    made.close()
