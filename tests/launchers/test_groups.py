"""Processes of groups: who lives is known to a driver that comes after this one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gigafactory.run.launchers.groups import GroupLauncher
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
