"""One measuring rank: ``python -m gigafactory.train.measure.worker --config FILE``.

All ranks measure the same piece at the same time, so that what they share (memory, caches, power,
the clock) is shared as it will be in training. Rounds go through all pieces again and again, so
that a disturbance of seconds hits all of them alike; the median over the rounds counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from gigafactory.describe.cluster import Precision
from gigafactory.describe.measured import (
    DeviceKind,
    Machine,
    MeasureTask,
    Round,
    Sampled,
)
from gigafactory.describe.rank import REPORT_FD_VARIABLE
from gigafactory.train.measure import bookkeeping, collectives, pieces
from gigafactory.train.measure.probe import machine_name
from gigafactory.train.measure.sizes import LARGE, SMALL, TINY, Sizes, routed_models
from gigafactory.train.measure.timing import Case, once_s, warm_up
from gigafactory.train.parallel import has_bf16
from gigafactory.train.telling import Tell, beat, describe_failure, die_with_parent, into_pipe

_FAILED = 1
_LEAST_ROUNDS = 3
#: Layers that a processor goes forward through before it turns back.
_DEPTH = 4


def main() -> None:
    """Measure and tell; the exit status is 0 only when all was told."""
    parent = os.getppid()
    parser = argparse.ArgumentParser(prog="python -m gigafactory.train.measure.worker")
    parser.add_argument("--config", type=Path, required=True, help="the task, as JSON")
    arguments = parser.parse_args()
    die_with_parent(parent)
    task = MeasureTask.model_validate_json(arguments.config.read_text())
    tell = into_pipe(int(os.environ.get(REPORT_FD_VARIABLE, "1")))
    beat(tell, interval_s=1.0, parent=parent)
    status = 0
    try:
        measure(task, rank=int(os.environ["RANK"]), world=int(os.environ["WORLD_SIZE"]), tell=tell)
    except Exception as error:
        traceback.print_exc()
        tell(describe_failure(error))
        status = _FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    # threads of a broken gang may wait for ever for peers that are gone: do not join them
    os._exit(status)


def measure(task: MeasureTask, *, rank: int, world: int, tell: Tell) -> None:
    """Join the other ranks, set every case up, go round, tell the medians."""
    device = _device(task, rank)
    torch.set_num_threads(task.num_threads)
    tell(Machine(machine=machine_name(device.type)))
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend, init_method=task.rendezvous, rank=rank, world_size=world,
        timeout=timedelta(seconds=task.timeout_s),
    )  # fmt: skip
    cases = list(all_cases(task, device))
    _warm_up(cases, device)
    _rounds(cases, device, duration_s=task.duration_s, tell=tell)
    for case in cases:
        if case.num_ranks is None or rank < case.num_ranks:
            tell(
                Sampled(
                    piece=case.piece,
                    precision=case.precision,
                    work=case.work,
                    seconds=statistics.median(case.seconds),
                )
            )
    dist.barrier()


def _device(task: MeasureTask, rank: int) -> torch.device:
    if task.device is DeviceKind.CUDA:
        torch.cuda.set_device(rank)
        return torch.device("cuda", rank)
    # as the training program does
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return torch.device("cpu")


def all_cases(task: MeasureTask, device: torch.device) -> Iterator[Case]:
    """Every piece at every size, in every format asked for."""
    sizes = SMALL if device.type == "cpu" else LARGE
    sizes = TINY if task.is_tiny else sizes
    plain = pieces.Bench(device, torch.float32)
    yield from pieces.launches(plain)
    yield from pieces.streams(plain, sizes.streams)
    yield from pieces.embeddings(plain, sizes.embeddings)
    yield from pieces.optimizers(plain, sizes.optimizers)
    yield from bookkeeping.steps()
    for precision in task.formats:
        for case in _in_format(precision, device, sizes):
            case.precision = precision
            yield case
    yield from collectives.talks(device, sizes.messages)
    yield from collectives.gradients(device, sizes.gradients)


def _in_format(precision: Precision, device: torch.device, sizes: Sizes) -> Iterator[Case]:
    if precision is Precision.FP8:
        yield from pieces.eight_bit_gemms(device, sizes.gemms)
        return
    depth = _DEPTH if device.type == "cpu" else 1
    bench = pieces.Bench(device, dtype_of(precision, device), depth)
    yield from pieces.gemms(bench, sizes.gemms)
    yield from pieces.flashes(bench, sizes.flashes)
    yield from pieces.linears(bench, sizes.linears)
    yield from pieces.grouped(bench, sizes.grouped)
    yield from pieces.norms(bench, sizes.norms)
    yield from pieces.rotaries(bench, sizes.rotaries)
    yield from pieces.attentions(bench, sizes.attentions)
    yield from pieces.gates(bench, sizes.gates)
    yield from pieces.routes(bench, routed_models(sizes))
    yield from pieces.losses(bench, sizes.losses)


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """What the program computes in when the job says ``precision``: as ``parallel.autocast``."""
    if precision is Precision.FP32 or (device.type == "cpu" and not has_bf16()):
        return torch.float32
    return torch.bfloat16


def _warm_up(cases: list[Case], device: torch.device) -> None:
    for case in cases:
        dist.barrier()
        warm_up(case, device=device)
    # ranks that talk must do so equally often
    repeats = torch.tensor([case.repeats for case in cases])
    dist.all_reduce(repeats, op=dist.ReduceOp.MAX)
    for case, most in zip(cases, repeats.tolist(), strict=True):
        case.repeats = most


def _rounds(cases: list[Case], device: torch.device, *, duration_s: float, tell: Tell) -> None:
    began_s = time.monotonic()
    count = 0
    while True:
        for case in cases:
            dist.barrier()
            case.seconds.append(once_s(case, device=device))
        count += 1
        passed = torch.tensor([time.monotonic() - began_s])
        dist.broadcast(passed, src=0)
        share = passed.item() / duration_s
        tell(Round(share=min(1.0, share)))
        if share >= 1.0 and count >= _LEAST_ROUNDS:
            return


if __name__ == "__main__":
    main()
