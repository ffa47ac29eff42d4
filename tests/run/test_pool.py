"""Pieces of work on many processes: order, failures, and nothing that stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from gigafactory.describe.errors import InputError, JobError
from gigafactory.run.pool import each

PIECES = [3, 1, 4, 1, 5, 9, 2, 6]


def squared(piece: int) -> int:
    time.sleep(0.01 * (piece % 3))
    return piece * piece


def only_even(piece: int) -> int:
    if piece % 2:
        raise InputError("write an even number")
    return piece


def fails(piece: int) -> int:
    raise ZeroDivisionError("by nothing")


def dies(piece: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return piece


@pytest.mark.parametrize("num_processes", [1, 3])
def test_results_come_in_order_whoever_was_first(num_processes):
    done = []
    found = each(squared, PIECES, num_processes=num_processes, watch=done.append)
    assert found == [p * p for p in PIECES]
    assert done == list(range(1, len(PIECES) + 1))


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_failure_names_its_piece_and_keeps_its_kind(num_processes):
    with pytest.raises(InputError, match="piece 7: write an even number"):
        each(only_even, [2, 7], num_processes=num_processes, name=lambda p: f"piece {p}")
    with pytest.raises(JobError, match="7: ZeroDivisionError: by nothing"):
        each(fails, [7, 7], num_processes=num_processes)


def test_a_killed_worker_is_told_of():
    with pytest.raises(JobError, match="7: its process ended with status -9"):
        each(dies, [7, 7], num_processes=2)


SLEEPER = """
    import os, signal, sys, time
    from gigafactory.run.pool import each

    def sleeps(piece):
        open(os.path.join(sys.argv[1], f"{os.getpid()}"), "w").close()
        time.sleep(60)

    if __name__ == "__main__":
        # tests that run in the background of a script inherit Ctrl-C as ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)
        each(sleeps, [1, 2], num_processes=2)
"""


@pytest.mark.real
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_when_the_parent_ends_no_worker_stays(tmp_path, how):
    """Ctrl-C reaches the whole group; SIGKILL only the parent, and a worker ends with its piece."""
    if how is signal.SIGKILL:
        source = SLEEPER.replace("time.sleep(60)", "time.sleep(1)")
    else:
        source = SLEEPER
    script = tmp_path / "sleeper.py"
    script.write_text(textwrap.dedent(source))
    seen = tmp_path / "workers"
    seen.mkdir()
    parent = subprocess.Popen(
        [sys.executable, str(script), str(seen)], start_new_session=True, stderr=subprocess.PIPE
    )
    _until(lambda: len(list(seen.iterdir())) == 2)
    workers = [int(path.name) for path in seen.iterdir()]
    if how is signal.SIGINT:
        os.killpg(parent.pid, how)
    else:
        parent.kill()
    parent.communicate(timeout=30)
    _until(lambda: not any(map(_runs, workers)))


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(true, limit_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
