"""`giga calibrate`: start the measuring ranks on this machine and collect what they tell."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from gigafactory.cost.measured import fit
from gigafactory.describe.cluster import Precision
from gigafactory.describe.errors import InputError, JobError
from gigafactory.describe.measured import (
    ALONE,
    TOGETHER,
    DeviceKind,
    Machine,
    Measured,
    MeasureTask,
    Pieces,
    Round,
    Sampled,
    read_measure,
)
from gigafactory.describe.rank import Failed
from gigafactory.run.engines.ours import rank_environment
from gigafactory.run.launchers.launcher import Ended, Line, RankCommand, Seen
from gigafactory.run.launchers.local import LocalLauncher

#: Beyond the rounds: importing torch, setting up, telling, and three rounds on a crowded machine.
_PATIENCE_S = 600.0
_DEFAULT_CPU_RANKS = 2
_MOST_RANKS = 64
#: Seconds of rounds; starting and setting up takes some ten more.
THOROUGH_S, QUICK_S = 45.0, 12.0

Watch = Callable[[float], None]
"""Gets the share of the rounds that is done, 0 to 1."""


@dataclass(frozen=True)
class Wish:
    """What to measure; None: what the machine has."""

    duration_s: float
    num_ranks: int | None = None
    device: DeviceKind | None = None
    num_threads: int = 1
    is_tiny: bool = False


@dataclass(slots=True)
class _Told:
    machine: str = ""
    samples: dict[int, list[Sampled]] = field(default_factory=lambda: defaultdict(list))


def measure(wish: Wish, *, date: str, watch: Watch | None = None) -> Measured:
    """Measure this machine; JobError where a rank fails, InputError where it has not what is asked.

    ``date`` goes into every entry.
    """
    begin_s = time.monotonic()
    device, num_ranks, formats = _chosen(wish)
    with tempfile.TemporaryDirectory(prefix="giga-calibrate-") as folder:
        task = MeasureTask(
            device=device,
            rendezvous=f"file://{folder}/rendezvous",
            num_threads=wish.num_threads,
            formats=formats,
            duration_s=wish.duration_s,
            is_tiny=wish.is_tiny,
        )
        told = _gang(task, num_ranks, Path(folder), watch or (lambda share: None))
    samples = _together(told)
    source = f"giga calibrate, {num_ranks} ranks at once, {told.machine}"

    def of(chosen: list[Sampled]) -> Pieces:
        return fit(chosen, source=source, date=date)

    return Measured(
        device=device,
        machine=told.machine,
        num_ranks=num_ranks,
        num_threads=wish.num_threads,
        date=date,
        duration_s=round(time.monotonic() - begin_s, 1),
        alone=of([s for s in samples if s.piece in ALONE]),
        formats={name: of([s for s in samples if s.precision is name]) for name in formats},
        together=of([s for s in samples if s.piece in TOGETHER]),
    )


def _chosen(wish: Wish) -> tuple[DeviceKind, int, tuple[Precision, ...]]:
    """Device, ranks and formats, those not asked for being what the machine has."""
    found = _probe()
    num_gpus = int(found["num_gpus"])
    device = wish.device or (DeviceKind.CUDA if num_gpus else DeviceKind.CPU)
    if device is DeviceKind.CUDA and not num_gpus:
        raise InputError("--device cuda: torch sees no CUDA device here; use --device cpu")
    most = num_gpus if device is DeviceKind.CUDA else _MOST_RANKS
    default = num_gpus if num_gpus else min(_DEFAULT_CPU_RANKS, int(found["num_cores"]))
    num_ranks = default if wish.num_ranks is None else wish.num_ranks
    if not 1 <= num_ranks <= most:
        raise InputError(f"--ranks {num_ranks}: this machine can take 1 to {most} on {device}")
    formats = (Precision.BF16, Precision.FP32)
    is_eight_bit = device is DeviceKind.CUDA and found["has_fp8"]
    return device, num_ranks, (*formats, Precision.FP8) if is_eight_bit else formats


def _probe() -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "gigafactory.train.measure.probe"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise JobError(f"measuring needs PyTorch, which does not start here: {last}")
    found: dict[str, int] = json.loads(done.stdout)
    return found


def _gang(task: MeasureTask, num_ranks: int, folder: Path, watch: Watch) -> _Told:
    config = folder / "task.json"
    config.write_text(task.model_dump_json())
    launcher = LocalLauncher(folder / "logs")
    told, running = _Told(), set(range(num_ranks))
    deadline_s = time.monotonic() + task.duration_s + _PATIENCE_S
    try:
        launcher.start(_commands(config, num_ranks), generation=0)
        while running:
            if time.monotonic() > deadline_s:
                raise JobError("the measuring ranks do not come to an end; the machine is too busy")
            for event in launcher.poll(0.5):
                _take(told, event, watch)
                if isinstance(event, Ended):
                    running.discard(event.rank)
    finally:
        launcher.stop()
    return told


def _commands(config: Path, num_ranks: int) -> list[RankCommand]:
    return [
        RankCommand(
            rank=rank,
            host=0,
            argv=(
                sys.executable, "-m", "gigafactory.train.measure.worker", "--config", str(config)
            ),
            environment=rank_environment(rank, num_ranks=num_ranks),
        )
        for rank in range(num_ranks)
    ]  # fmt: skip


def _take(told: _Told, event: Seen, watch: Watch) -> None:
    if isinstance(event, Ended) and event.status:
        raise JobError(f"measuring rank {event.rank} ended with status {event.status}")
    if not isinstance(event, Line):
        return
    match read_measure(event.text):
        case Machine(machine=machine):
            told.machine = machine
        case Round(share=share) if event.rank == 0:
            watch(share)
        case Sampled() as sample:
            told.samples[event.rank].append(sample)
        case Failed(signature=signature, message=message):
            raise JobError(f"measuring rank {event.rank} failed: {signature}: {message}")
        case _:
            pass


def _together(told: _Told) -> list[Sampled]:
    """One sample a case: the mean over the ranks that measured it."""
    by_case: dict[str, list[Sampled]] = defaultdict(list)
    for samples in told.samples.values():
        for index, sample in enumerate(samples):
            by_case[f"{index} {sample.piece} {sample.work}"].append(sample)
    return [
        same[0].model_copy(update={"seconds": fmean(s.seconds for s in same)})
        for same in by_case.values()
    ]
