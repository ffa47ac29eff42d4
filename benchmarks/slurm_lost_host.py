"""What a lost host costs on a real Slurm: SIGKILL to a slurmd and all below it, from outside.

    python benchmarks/slurm_lost_host.py --times 3

Starts a Slurm of four nodes on this machine (root, `make slurm`), trains on three of them with one
standing by, kills one after the other, and prints the seconds from each kill to training again, and
how much of it each part took. Beside it the time of a bare start of the same workers, because on a
loaded machine both grow alike.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "slurm"))

from mini_slurm import MiniSlurm, why_not  # noqa: E402

STUDY = (
    "model.hidden=64", "model.num_layers=2", "model.head_dim=16", "model.moe_ffn=128",
    "model.context=64", "job.tokens=40 M", "job.seq_len=64", "job.global_batch=6",
    "layout.micro_batch=2", "layout.dp=3", "train.checkpoint_steps=10", "drill=null",
    "train.vocab=400", "policy.heartbeat_timeout=4 s", "cluster.num_hosts=4",
    "cluster.num_spare_hosts=1", "cluster.host.num_gpus=1", "acceptance.enabled=false",
)  # fmt: skip
PATIENCE_S = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args()
    reason = why_not()
    if reason:
        sys.exit(reason)
    found = []
    for number in range(given.times):
        with tempfile.TemporaryDirectory(prefix="giga-lost-host-") as folder:
            place = Path(folder)
            with MiniSlurm.started(place / "slurm", num_nodes=4) as slurm:
                found.append(once(slurm, place / "run"))
        print(json.dumps({"run": number + 1, "load": os.getloadavg()[0], **found[-1]}), flush=True)
    for key in found[0]:
        print(f"{key}: median {statistics.median(one[key] for one in found):.2f}")


def once(slurm: MiniSlurm, place: Path) -> dict[str, float]:
    """One job, one lost host."""
    sets = [word for change in STUDY for word in ("--set", change)]
    argv = [sys.executable, "-m", "gigafactory.cli", "run", "studies/first-light.yaml", "--on",
            "slurm", "--dir", str(place), *sets]  # fmt: skip
    quiet = subprocess.DEVNULL
    giga = subprocess.Popen(
        argv, cwd=ROOT, env=os.environ | slurm.environment, stdout=quiet, stderr=quiet
    )
    try:
        until(giga, lambda: len(trained(place)) > 20)
        before = trained(place)[-1]
        killed_s = time.monotonic()
        slurm.kill_node("n2")
        until(giga, lambda: len(beginnings(place)) > 1)
        again_s = time.monotonic() - killed_s
        first, second = beginnings(place)[:2]
        lost_s = next(e["at_s"] for e in entries(place) if e["kind"] == "fault")
        started_s = [e["at_s"] for e in entries(place) if is_start(e)]
        return {
            "kill_to_training_s": again_s,
            "kill_to_sight_s": again_s - (second - lost_s),
            "sight_to_start_s": started_s[1] - lost_s,
            "start_to_training_s": second - started_s[1],
            "first_start_to_training_s": first - started_s[0],
            "steps_before": float(before),
        }
    finally:
        for _ in range(3):
            giga.send_signal(signal.SIGINT)
            time.sleep(1.0)
        try:
            giga.wait(60)
        except subprocess.TimeoutExpired:
            giga.kill()
            giga.wait()


def entries(place: Path) -> list[dict[str, Any]]:
    """Whole lines of the book so far."""
    book = place / "ledger.jsonl"
    text = book.read_text() if book.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def trained(place: Path) -> list[int]:
    return [entry["step"] for entry in entries(place) if entry["kind"] == "steps"]


def beginnings(place: Path) -> list[float]:
    """When all ranks of a generation trained, first of each."""
    found, waits = [], True
    for entry in entries(place):
        if is_start(entry):
            waits = True
        elif waits and entry["kind"] == "bucket" and entry["bucket"] == "productive":
            waits = False
            found.append(entry["at_s"])
    return found


def is_start(entry: dict[str, Any]) -> bool:
    return bool(entry.get("action", {}).get("type") == "StartGang")


def until(giga: subprocess.Popen[bytes], condition: Any) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert giga.poll() is None, "giga ended"
        assert time.monotonic() < deadline_s, "it takes too long"
        time.sleep(0.05)


if __name__ == "__main__":
    main()
