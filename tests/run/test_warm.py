"""A rank that is started from a warm process is the rank that would have been started cold."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gigafactory.run.launchers.launcher import Ended, Line, RankCommand, Seen
from gigafactory.run.launchers.warm_local import WarmLauncher, Wish

RANK = """
import json, os, sys
told = {
    "warm": "colorsys" in sys.modules, "argv": sys.argv[1:], "name": __name__,
    "says": os.environ["SAYS"], "input": sys.stdin.read(), "parent": os.getppid(),
}
os.write(int(os.environ["GIGA_REPORT_FD"]), (json.dumps(told) + chr(10)).encode())
print("printed")
sys.exit(7)
"""


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WarmLauncher]:
    (tmp_path / "rank_of_a_test.py").write_text(RANK)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    made = WarmLauncher(tmp_path / "logs")
    yield made
    made.stop()
    made.close()


def run_one(launcher: WarmLauncher, *, generation: int) -> dict[str, object]:
    argv = (sys.executable, "-m", "rank_of_a_test", "--config", "x y")
    command = RankCommand(rank=3, host=0, argv=argv, environment={"SAYS": f"g{generation}"})
    launcher.start([command], generation=generation)
    line, end = until(launcher, lambda seen: len(seen) == 2)
    assert isinstance(line, Line)
    assert end == Ended(rank=3, status=7)
    told: dict[str, object] = json.loads(line.text)
    return told


def until(launcher: WarmLauncher, condition: Callable[[list[Seen]], bool]) -> list[Seen]:
    seen: list[Seen] = []
    deadline_s = time.monotonic() + 30
    while not condition(seen):
        assert time.monotonic() < deadline_s, seen
        seen += launcher.poll(0.05)
    return seen


def test_warm_and_cold_are_the_same_but_for_the_imports(
    launcher: WarmLauncher, tmp_path: Path
) -> None:
    cold = run_one(launcher, generation=1)
    wish = Wish(1, ("colorsys", "no_such_module"), {"EARLY": "1"})
    launcher.prepare(wish, after_s=0.0)
    launcher.poll(0.0)
    warm = run_one(launcher, generation=2)
    assert (cold.pop("warm"), warm.pop("warm")) == (False, True)
    assert (cold.pop("says"), warm.pop("says")) == ("g1", "g2")
    assert cold == warm == {
        "argv": ["--config", "x y"], "name": "__main__", "input": "", "parent": os.getpid(),
    }  # fmt: skip
    log = (tmp_path / "logs" / "rank-3.log").read_text()
    assert log == ("--- generation 1, rank 3\nprinted\n--- generation 2, rank 3\nprinted\n")
    assert run_one(launcher, generation=3)["warm"] is False  # used up


def test_a_warm_process_that_died_is_no_loss(launcher: WarmLauncher) -> None:
    launcher.prepare(Wish(1, ("colorsys",), {}), after_s=0.0)
    launcher.poll(0.0)
    [warm] = launcher._warm
    warm.process.send_signal(signal.SIGKILL)
    warm.process.wait()
    assert run_one(launcher, generation=1)["warm"] is False
