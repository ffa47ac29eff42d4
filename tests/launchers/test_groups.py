"""Processes of groups: who lives is known to a driver that comes after this one."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gigafactory.run.launchers.groups import GroupLauncher, Seat
from gigafactory.run.launchers.launcher import RankCommand


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[GroupLauncher]:
    opened = GroupLauncher(
        logs=tmp_path / "logs",
        control_file=tmp_path / "control.json",
        members_file=tmp_path / "members.json",
    )
    opened.open()
    yield opened
    opened.close(kill=True)


def test_a_member_that_could_not_be_written_down_is_written_down_later(
    launcher: GroupLauncher,
) -> None:
    """Else a driver that takes over after a full disk would not know a process that trains on."""
    sleeper = (sys.executable, "-c", "import time; time.sleep(60)")
    command = RankCommand(rank=0, host=0, argv=sleeper, environment={})
    blocked = launcher.members_file.with_name("members.json.tmp")
    blocked.mkdir()  # nothing can be written there
    launcher.start([command], replica=2, incarnation=7)
    launcher.poll(0.0)
    assert not launcher.members_file.exists()
    blocked.rmdir()
    launcher.poll(0.0)
    (member,) = json.loads(launcher.members_file.read_text())
    assert (member["replica"], member["incarnation"]) == (2, 7)


@pytest.mark.skipif(sys.platform != "linux", reason="states of threads are read from /proc")
def test_who_wants_a_processor_is_told_from_who_is_stopped(launcher: GroupLauncher) -> None:
    spinner = (sys.executable, "-c", "while True: pass")
    sleeper = (sys.executable, "-c", "import time; time.sleep(60)")
    for replica, argv in ((0, spinner), (1, sleeper)):
        command = RankCommand(rank=0, host=0, argv=argv, environment={})
        launcher.start([command], replica=replica, incarnation=1)

    def until(replica: int, is_so: bool) -> bool:
        deadline_s = time.monotonic() + 10.0
        while launcher.wants_processor(replica) is not is_so and time.monotonic() < deadline_s:
            time.sleep(0.01)
        return launcher.wants_processor(replica) is is_so

    assert until(0, is_so=True)
    assert until(1, is_so=False)
    launcher.signal(Seat(0, 0, 1), signal.SIGSTOP)
    assert until(0, is_so=False)
    assert not launcher.wants_processor(7)  # nobody
