"""Ranks through agents: the same promises as on one machine, and what becomes of hosts.

The floor here is this machine: its agents are plain processes, and the daemon of a host is a socket
that listens or does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gigafactory.describe.errors import JobError
from gigafactory.describe.rank import REPORT_FD_VARIABLE
from gigafactory.run.launchers import wire
from gigafactory.run.launchers.agent import Meeting
from gigafactory.run.launchers.launcher import (
    Ended,
    HostHeard,
    HostLost,
    HostSilent,
    Line,
    RankCommand,
    Seats,
    Seen,
    Witnessed,
)
from gigafactory.run.launchers.remote import PORTS, RemoteLauncher

HOSTS = ("a", "b", "c")
SECRET = b"not to be guessed"
TELLER = (
    "import os,time; fd=int(os.environ['GIGA_REPORT_FD']); parent=os.getppid()\n"
    "os.write(fd, (os.environ['SAYS'] + ' ' + os.environ['MASTER_PORT'] + '\\n').encode())\n"
    "end_s = time.monotonic() + float(os.environ['LIVES_S'])\n"
    "while time.monotonic() < end_s and os.getppid() == parent: time.sleep(0.05)\n"
)


def _tellers(place: Path) -> list[str]:
    """Ranks that live, whoever their parent is."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and str(place).encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
    return [line for line in found if "GIGA_REPORT_FD" in line]


def commands(place: Path, *hosts: int, lives_s: float = 60.0) -> list[RankCommand]:
    return [
        RankCommand(
            rank=rank, host=host, argv=(sys.executable, "-c", TELLER),
            environment={"SAYS": f"rank {rank}", "LIVES_S": str(lives_s), "PLACE": str(place),
                         "GLOO_SOCKET_IFNAME": "wrong"},
        )
        for rank, host in enumerate(hosts)
    ]  # fmt: skip


def until(launcher: RemoteLauncher, condition: Callable[[list[Seen]], bool]) -> list[Seen]:
    seen: list[Seen] = []
    deadline_s = time.monotonic() + 30
    while not condition(seen):
        assert time.monotonic() < deadline_s, seen
        seen += launcher.poll(0.1)
    return seen


@pytest.fixture(autouse=True)
def _nothing_outlives(tmp_path: Path, launcher: RemoteLauncher) -> Iterator[None]:
    yield
    launcher.close()
    deadline_s = time.monotonic() + 10
    while _tellers(tmp_path) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not _tellers(tmp_path)


def test_a_gang_tells_is_signalled_ends_and_starts_again(
    launcher: RemoteLauncher, tmp_path: Path
) -> None:
    assert launcher.meet(num_needed=2, timeout_s=30, grace_s=30) == ()
    assert launcher.seats(2) == Seats((0, 1), (2,))
    assert launcher.rendezvous(tmp_path, generation=3, host=0) == f"tcp://127.0.0.1:{PORTS[8]}"
    launcher.start(commands(tmp_path, 0, 2, 2), generation=3)
    seen = until(launcher, lambda seen: len(seen) == 3)
    told = {one.rank: one.text.decode() for one in seen if isinstance(one, Line)}
    assert told == {rank: f"rank {rank} {PORTS[8]}" for rank in range(3)}
    assert "generation 3, rank 2" in (tmp_path / "logs" / "rank-2.log").read_text()

    launcher.signal(1, signal.SIGTERM)
    assert until(launcher, bool) == [Ended(rank=1, status=-signal.SIGTERM)]
    launcher.stop()
    assert not _tellers(tmp_path)
    launcher.start(commands(tmp_path, 1, lives_s=0.0), generation=4)
    assert until(launcher, lambda seen: len(seen) == 2) == [
        Line(rank=0, text=f"rank 0 {PORTS[9]}".encode()), Ended(rank=0, status=0),
    ]  # fmt: skip


def test_the_network_of_a_host_is_found_there(launcher: RemoteLauncher, tmp_path: Path) -> None:
    launcher.meet(num_needed=1, timeout_s=30, grace_s=30)
    [command] = commands(tmp_path, 0)
    show = "import os,json; os.write(int(os.environ['GIGA_REPORT_FD']), (json.dumps(dict(os.environ)) + chr(10)).encode())"  # noqa: E501
    launcher.start([RankCommand(rank=0, host=0, argv=(sys.executable, "-c", show),
                                environment=command.environment)], generation=1)  # fmt: skip
    first = until(launcher, bool)[0]
    assert isinstance(first, Line)
    found = json.loads(first.text)
    assert (found["GLOO_SOCKET_IFNAME"], found["NCCL_SOCKET_IFNAME"]) == ("lo", "lo")
    assert (found["MASTER_ADDR"], found["NCCL_CROSS_NIC"]) == ("127.0.0.1", "0")
    assert REPORT_FD_VARIABLE in found


def test_an_agent_that_is_killed_is_replaced_and_its_ranks_are_ended(
    launcher: RemoteLauncher, floor: Any, tmp_path: Path
) -> None:
    launcher.meet(num_needed=3, timeout_s=30, grace_s=30)
    launcher.start(commands(tmp_path, 0, 1), generation=1)
    until(launcher, lambda seen: len(seen) == 2)
    floor.agents["b"].kill()
    assert until(launcher, bool) == [Ended(rank=1, status=-signal.SIGKILL)]
    launcher.stop()
    launcher.start(commands(tmp_path, 0, 1), generation=2)
    until(launcher, lambda seen: len(seen) == 2)


def test_agent_and_daemon_gone_is_evidence(
    launcher: RemoteLauncher, floor: Any, tmp_path: Path
) -> None:
    launcher.meet(num_needed=3, timeout_s=30, grace_s=30)
    launcher.start(commands(tmp_path, 0, 1), generation=1)
    until(launcher, lambda seen: len(seen) == 2)
    floor.daemons["b"].close()
    floor.agents["b"].kill()
    [lost] = until(launcher, bool)
    assert isinstance(lost, HostLost)
    assert lost.host == 1
    assert "no daemon answers there" in lost.cause
    launcher.stop()
    launcher.set_aside([1], reason="lost")
    assert floor.aside == [("b", "lost")]
    assert launcher.seats(2) == Seats((0, 2))
    with pytest.raises(JobError, match="3 hosts are needed to train, and 2 are left"):
        launcher.seats(3)


def test_a_daemon_that_answers_with_its_last_breath_deceives_for_a_second(
    launcher: RemoteLauncher, floor: Any, tmp_path: Path
) -> None:
    launcher.meet(num_needed=3, timeout_s=30, grace_s=30)
    launcher.start(commands(tmp_path, 0, 1), generation=1)
    until(launcher, lambda seen: len(seen) == 2)
    floor.unable = {"b"}
    floor.agents["b"].kill()
    assert until(launcher, bool) == [Ended(rank=1, status=-signal.SIGKILL)]
    floor.daemons["b"].close()
    [lost] = until(launcher, bool)
    assert isinstance(lost, HostLost)
    with pytest.raises(OSError, match="no agent on b"):
        launcher.start(commands(tmp_path, 0, 1), generation=2)


def test_silence_is_no_evidence_and_others_are_asked(
    launcher: RemoteLauncher, floor: Any, tmp_path: Path
) -> None:
    launcher.meet(num_needed=3, timeout_s=30, grace_s=30)
    floor.agents["c"].send_signal(signal.SIGSTOP)
    assert until(launcher, bool) == [HostSilent(host=2)]
    launcher.probe(2)
    assert until(launcher, bool) == [Witnessed(host=2, alive=True)]  # its daemon answers
    floor.daemons["c"].close()
    launcher.probe(2)
    assert until(launcher, bool) == [Witnessed(host=2, alive=False)]
    floor.agents["c"].send_signal(signal.SIGCONT)
    assert until(launcher, bool) == [HostHeard(host=2)]
    launcher.probe(2)
    assert until(launcher, bool) == [Witnessed(host=2, alive=True)]


def test_hosts_whose_agent_does_not_come_are_named(launcher: RemoteLauncher, floor: Any) -> None:
    floor.unable = {"b"}
    assert launcher.meet(num_needed=2, timeout_s=30, grace_s=1) == ("b",)
    assert launcher.seats(2) == Seats((0, 2))


def test_too_few_agents_are_an_error(launcher: RemoteLauncher, floor: Any) -> None:
    floor.unable = set(HOSTS)
    with pytest.raises(JobError, match=r"3 of 3 hosts did not start their agent .*\(a, b, c\)"):
        launcher.meet(num_needed=2, timeout_s=0.5, grace_s=0.1)


def test_strangers_are_not_believed(launcher: RemoteLauncher) -> None:
    port = launcher.links.port
    for secret, host in ((b"guessed", "a"), (SECRET, "unknown")):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
            for _ in range(3):
                launcher.poll(0.1)
            challenge = wire.read_said(link.recv(4096).strip())
            assert isinstance(challenge, wire.Challenge)
            proof = wire.proof(secret, nonce=challenge.nonce, role=f"agent {host}")
            hello = wire.Hello(host=host, proof=proof, nonce="n", address="127.0.0.1")
            link.sendall(hello.line())
            for _ in range(3):
                launcher.poll(0.1)
            assert link.recv(4096) == b""  # hung up on
    assert all(host not in launcher.links for host in HOSTS)


def test_an_agent_obeys_no_driver_that_does_not_know_the_secret(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as imposter:
        meet = tmp_path / "meet.json"
        Meeting(imposter.getsockname()[1], SECRET, tmp_path, "127.0.0.1").write(meet)
        assert os.stat(meet).st_mode & 0o077 == 0
        argv = [sys.executable, "-m", "gigafactory.run.launchers.agent", "--meet", str(meet)]
        agent = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        link, _ = imposter.accept()
        with link:
            link.sendall(wire.Challenge(nonce="n").line())
            link.recv(4096)
            link.sendall(wire.Welcome(proof="guessed").line())
            _, said = agent.communicate(timeout=20)
        assert agent.returncode == 1
        assert "does not know the secret" in said
