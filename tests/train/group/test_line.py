"""Orders as they come down the line, without a driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigafactory.describe.group import Compare, Halt, Here, Proceed, Regroup
from gigafactory.train.group.line import Line, Pulse


@pytest.fixture
def line(tmp_path: Path) -> Line:
    def here() -> Here:
        return Here(secret="s", replica=0, rank=1, incarnation=1, pid=1)

    return Line(tmp_path / "control.json", here=here, pulse=Pulse(), heartbeat_s=1.0, orphan_s=60.0)


@pytest.mark.parametrize("comes_late", [False, True])
def test_a_halt_that_the_first_process_took_is_over_for_the_others(
    line: Line, comes_late: bool
) -> None:
    """Else a group of several processes would never meet again after a warm stop."""
    if not comes_late:
        line._obey(Halt(token=9))
        assert line.is_interrupted
    line.halt(9)
    line._obey(Halt(token=9))
    assert not line.is_interrupted
    line._obey(Regroup(epoch=3, addresses={0: ("a",)}, at_once=True))
    assert line.newest_epoch == 3
    line._obey(Halt(token=12))
    assert isinstance(line.take(), Halt)


def test_a_step_that_is_held_waits_for_the_newest_word(line: Line) -> None:
    assert line.next_about_held(timeout_s=0.0) is None
    line._obey(Compare(token=4, step=7, shift=1))
    line._obey(Proceed(step=7))
    assert line.next_about_held(timeout_s=0.0) == Proceed(step=7)
    assert line.next_about_held(timeout_s=0.0) is None
    line._obey(Halt(token=1))
    assert line.next_about_held(timeout_s=60.0) is None  # at once: the epoch ends
