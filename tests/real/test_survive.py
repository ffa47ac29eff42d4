"""Replica groups that are really shot at: from outside, in every way, one after the other.

The director of `giga run --chaos` does it by a script here, and its judge reads the book: no step
lost, nobody well ended, no stall longer than the ladder, equal weights at every step.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from gigafactory.describe.faults import FaultClass
from gigafactory.ledger.entries import Entry, FaultStruck
from gigafactory.ledger.reader import read_ledger
from gigafactory.net.export import load_exported
from gigafactory.run.chaos.director import Director, Kind, Soak
from gigafactory.train.tokens import keep, train_tokenizer

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="memory and threads are reached by /proc"),
]

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "studies" / "replicas.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for a soak, with a text that is small and prepared."""
    place = tmp_path_factory.mktemp("soak")
    corpus = place / "corpus"
    dice = Random(1)
    words = ["hello", "there", "how", "are", "you", "fine", "thanks", "and", "yours", "music"]
    talk = [[" ".join(dice.choices(words, k=6)) for _ in range(6)] for _ in range(300)]
    tokenizer = train_tokenizer((turn for turns in talk for turn in turns), vocab=400)
    keep(corpus, tokenizer=tokenizer, documents={"chitchat": (talk, talk[:10])})
    return place


def shoot(folder: Path, *script: Kind, num_steps: int, sets: Sequence[str] = ()) -> Soak:
    chosen = [f"job.tokens={num_steps * 768}", *sets]
    argv = [
        sys.executable, "-W", "error", "-m", "gigafactory.cli", "run", str(STUDY),
        *(word for one in chosen for word in ("--set", one)),
    ]  # fmt: skip
    return Director(
        argv=argv, folder=folder, seed=int(time.time()), num_faults=len(script), script=script,
        watcher=print,
    ).run()  # fmt: skip


def faults(book: list[Entry]) -> Counter[str]:
    return Counter(e.content.fault for e in book if isinstance(e.content, FaultStruck))


@pytest.mark.timeout(900)
def test_shot_at_in_every_way(folder: Path) -> None:
    soak = shoot(
        folder, Kind.KILL_FIRST, Kind.NAN, Kind.DRIVER, Kind.STOP, Kind.FLIP, Kind.DEFECT,
        Kind.FULL, Kind.HANG, Kind.STORE, Kind.KILL_TWO, Kind.KILL_AGAIN, Kind.TORN, Kind.ALL,
        num_steps=100_000,
    )  # fmt: skip
    found = soak.findings
    assert found.broken == []
    assert found.num_starts == 2  # the second after everybody was killed; nobody well ever ended
    # what was done after the checkpoint of the stop is compared too, and given up
    assert soak.num_compared >= found.num_steps > 12
    seen = faults(read_ledger(folder / "shot" / "ledger.jsonl"))
    assert seen[FaultClass.CORRUPTION] == 3
    assert seen[FaultClass.HANG] == 2
    assert seen[FaultClass.PROCESS] >= 3
    assert not _workers(folder)


def _workers(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_text()
                alive = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
            except OSError:
                continue
            if alive and str(folder) in line:
                found.append(line)
    return found


def test_a_whole_job_ends_with_a_model(folder: Path) -> None:
    """And a group that is killed while the model is exported changes nothing about it."""
    import subprocess

    place = folder / "whole"
    place.mkdir()
    (place / "corpus").symlink_to(folder / "corpus")
    sets = ("job.tokens=9216", "train.warmup_steps=2", "drill={kill_at_step: 5, kill_rank: 1}")
    argv = [sys.executable, "-W", "error", "-m", "gigafactory.cli", "run", str(STUDY), "--json",
            "--dir", str(place), *(w for one in sets for w in ("--set", one))]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    result = json.loads(done.stdout)
    assert (result["outcome"], result["steps"], result["num_restarts"]) == ("done", 12, 0)
    assert result["held_out_loss"] < 8.0
    assert load_exported(place / "model").model.model.hidden == 64
    assert not (place / "control.json").exists()
    assert not _workers(place)


@pytest.mark.timeout(600)
def test_groups_of_two_processes(folder: Path) -> None:
    """What one process of a group cannot do, its group does not do; the weights stay the same."""
    place = folder / "pairs"
    place.mkdir()
    (place / "corpus").symlink_to(folder / "corpus")
    sets = (
        "cluster.num_hosts=2", "cluster.host.num_gpus=2",
        "layout={dp: 2, tp: 2, micro_batch: 2, sharding: none}",
    )  # fmt: skip
    soak = shoot(place, Kind.KILL_FIRST, Kind.HANG, num_steps=100_000, sets=sets)
    assert soak.broken == []
    assert soak.findings.num_starts == 1
    assert not _workers(place)
