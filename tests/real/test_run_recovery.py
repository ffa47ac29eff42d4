"""A real run, disturbed in every way that a person or a machine would, ends as an undisturbed one.

Each test starts the driver as a process of its own and looks at it from outside only: its ledger,
its exit, and the processes it leaves behind (none).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gigafactory.describe.rank import checkpoint_name
from gigafactory.ledger.fold import fold
from gigafactory.ledger.reader import read_ledger
from gigafactory.net.export import load_exported
from gigafactory.train.tokens import keep, train_tokenizer

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
NUM_STEPS = 24
MICRO = (
    "model.hidden=64", "model.num_layers=2", "model.head_dim=16", "model.moe_ffn=128",
    "model.context=64", "job.tokens=12288", "job.seq_len=64", "job.global_batch=8",
    "layout.micro_batch=4", "train.checkpoint_steps=5", "drill=null",
    "policy.heartbeat_timeout=4 s",
)  # fmt: skip
DRIVER = """
import sys
from pathlib import Path
from gigafactory.catalog.studies import load_study
from gigafactory.describe.errors import InputError, JobError
from gigafactory.plan.search import plan
from gigafactory.run.driver import run
study = load_study(Path("studies/first-light.yaml"), overrides=tuple(sys.argv[2:]))
try:
    result = run(study, plan=plan(study), run_dir=Path(sys.argv[1]))
except (InputError, JobError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(result.outcome, result.steps, result.resumed_from_step)
"""
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared text that is small, so that the tests need not make one."""
    directory = tmp_path_factory.mktemp("text") / "corpus"
    dice = random.Random(1)
    words = ["hello", "there", "how", "are", "you", "fine", "thanks", "and", "yours", "music"]
    talk = [[" ".join(dice.choices(words, k=6)) for _ in range(6)] for _ in range(300)]
    tokenizer = train_tokenizer((turn for turns in talk for turn in turns), vocab=400)
    keep(directory, tokenizer=tokenizer, documents={"chitchat": (talk, talk[:10])})
    return directory


class Run:
    """A driver process on a run directory."""

    def __init__(self, place: Path, *more: str) -> None:
        self.place = place
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", DRIVER, str(place), *MICRO, *more],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def workers(self) -> list[int]:
        """Process ids of the living ranks of this directory, whoever their parent is."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and _is_worker(entry, self.place):
                    found.append(int(entry.name))
        return sorted(found)

    def steps(self) -> int:
        """Steps that the book shows so far, redone ones counted again."""
        return self._count('"kind":"steps"')

    def starts(self) -> int:
        return self._count('"type":"StartGang"')

    def until(self, condition: Callable[[], Any]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline_s, "it takes too long"
            time.sleep(0.01)

    def until_no_worker(self) -> None:
        deadline_s = time.monotonic() + 10.0
        while self.workers():
            assert time.monotonic() < deadline_s, "workers outlive their driver"
            time.sleep(0.02)

    def abandon(self) -> None:
        """SIGKILL to the driver alone."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out.strip(), err.strip()

    def kill_one(self, number: int = signal.SIGKILL, *, which: int = -1) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.workers()[which], number)

    def _count(self, what: str) -> int:
        book = self.place / "ledger.jsonl"
        return book.read_text().count(what) if book.exists() else 0


def _is_worker(entry: Path, place: Path) -> bool:
    alive = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return alive and str(place / "task.json") in (entry / "cmdline").read_text().split("\0")


@pytest.fixture
def begin(tmp_path: Path, corpus: Path) -> Iterator[Callable[..., Run]]:
    """``begin(name, *overrides)`` starts a driver; none and no worker may be left at the end."""
    runs: list[Run] = []

    def start(name: str, *more: str) -> Run:
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (place / "corpus").symlink_to(corpus)
        runs.append(Run(place, *more))
        return runs[-1]

    yield start
    for run in runs:
        run.abandon()
    for run in runs:
        run.until_no_worker()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> dict[int, float]:
    """Loss by step of a run that nobody touches."""
    place = tmp_path_factory.mktemp("undisturbed")
    (place / "corpus").symlink_to(corpus)
    run = Run(place)
    assert run.end() == (0, f"done {NUM_STEPS} None", "")
    kept = losses(place)
    assert len(kept) == NUM_STEPS
    assert kept[NUM_STEPS] < kept[1] - 0.3
    assert load_exported(place / "model").model.model.hidden == 64
    return kept


def losses(place: Path) -> dict[int, float]:
    return dict(fold(read_ledger(place / "ledger.jsonl")).losses)


def test_killed_again_and_again_and_hung(
    begin: Callable[..., Run], undisturbed: dict[int, float]
) -> None:
    dice = random.Random()
    run = begin("killed")
    at = dice.randrange(6, 10)
    run.until(lambda: run.steps() >= at)
    run.kill_one(which=dice.choice([0, 1]))
    run.until(lambda: run.starts() == 2 and len(run.workers()) == 2)
    run.kill_one(which=dice.choice([0, 1]))  # while it restarts
    run.until(lambda: run.starts() == 3)
    seen = run.steps()
    run.until(lambda: run.steps() >= seen + 7)
    run.kill_one(signal.SIGSTOP, which=dice.choice([0, 1]))  # silence, no death
    assert run.end() == (0, f"done {NUM_STEPS} None", ""), at
    assert losses(run.place) == undisturbed, at
    summary = fold(read_ledger(run.place / "ledger.jsonl"))
    assert summary.num_starts == 4
    assert summary.num_interruptions == 2  # the second kill prolongs the first interruption
    assert summary.num_lost_steps > 0
    assert sum(summary.buckets_gpu_s.values()) == pytest.approx(summary.allocation_gpu_s)
    assert summary.buckets_gpu_s["other"] < 0.01 * summary.allocation_gpu_s
    for bucket in ("rework", "detect", "rendezvous", "restore"):
        assert summary.buckets_gpu_s[bucket] > 0, bucket


def test_stopped_truncated_abandoned_and_resumed(
    begin: Callable[..., Run], undisturbed: dict[int, float]
) -> None:
    run = begin("stopped")
    run.until(lambda: run.steps() >= 7)
    run.process.send_signal(signal.SIGINT)
    status, out, err = run.end()
    assert (status, err) == (0, "")
    assert out.startswith("stopped ")
    stopped_at = int(out.split()[1])
    assert stopped_at >= 7
    assert not run.workers()

    newest = run.place / "checkpoints" / checkpoint_name(stopped_at)
    weights = next(newest.glob("*.distcp"))
    weights.write_bytes(weights.read_bytes()[:-10])
    again = begin("stopped")
    again.until(lambda: again.starts() == 2 and again.steps() > stopped_at + 1)
    again.abandon()
    again.until_no_worker()

    last = begin("stopped")
    status, out, err = last.end()
    assert (status, err) == (0, "")
    assert out.startswith(f"done {NUM_STEPS} ")
    assert int(out.split()[2]) >= 5
    assert losses(last.place) == undisturbed
    status, _, err = begin("stopped").end()
    assert status == 1
    assert "InputError" in err
    assert "--fresh" in err


def test_a_loss_that_is_never_finite_ends_the_job(begin: Callable[..., Run]) -> None:
    run = begin(
        "diverging",
        "train.learning_rate=1e30",
        "train.warmup_steps=0",
        "policy.max_restarts_without_progress=1",
    )
    status, out, err = run.end()
    assert (status, err) == (0, "")
    assert out.startswith("failed ")
    result = json.loads((run.place / "result.json").read_text())
    assert "not finite" in result["reason"]
    assert result["num_restarts"] == 1
    assert not list((run.place / "checkpoints").glob("step-*"))  # nothing bad was committed
    assert not (run.place / "model").exists()
