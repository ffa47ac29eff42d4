"""Examine this host: ``python -m gigafactory.train.measure.accept EXAM``, an ``Exam`` as JSON.

Prints one ``Fitness``. Of several short tries the best counts: the question is what the host can
do, and a neighbour that disturbs a try says nothing about that.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from gigafactory.describe.acceptance import Exam, Fitness, Talk
from gigafactory.describe.measured import DeviceKind, Unit
from gigafactory.train.measure import pieces
from gigafactory.train.measure.timing import Case, once_s, warm_up
from gigafactory.train.measure.worker import dtype_of

_TRY_S = 0.25
_LEAST_TRIES = 3
_DISK_BYTES = 2 << 20
#: (GEMM edge, bytes of a stream's tensor, bytes of a message)
_CPU = (512, 16 << 20, 1 << 20)
_GPU = (8192, 1 << 30, 256 << 20)


def main() -> None:
    """Measure, print, and leave without waiting for a partner that is gone."""
    exam = Exam.model_validate_json(sys.argv[1])
    torch.set_num_threads(exam.num_threads)
    print(examine(exam).model_dump_json())
    sys.stdout.flush()
    os._exit(0)


def examine(exam: Exam) -> Fitness:
    """Everything that is asked, one after the other."""
    kind = DeviceKind.CUDA if torch.cuda.device_count() >= exam.num_gpus else DeviceKind.CPU
    edge, stream_bytes, message_bytes = _GPU if kind is DeviceKind.CUDA else _CPU
    gemms, streams = [], []
    for device in _devices(kind):
        bench = pieces.Bench(device, dtype_of(exam.precision, device))
        [gemm] = pieces.gemms(bench, ((edge, edge, edge),))
        [stream] = pieces.streams(bench, (stream_bytes,))
        gemms.append(gemm.work[Unit.FLOP] / _best_s(gemm, device, exam.num_threads))
        streams.append(stream.work[Unit.BYTE] / _best_s(stream, device, exam.num_threads))
    return Fitness(
        device=kind,
        gemm_flops_per_s=min(gemms),
        memory_bytes_per_s=min(streams),
        disk_bytes_per_s=_disk(Path(exam.folder)),
        talks_bytes_per_s=tuple(
            _talk(talk, kind, message_bytes, timeout_s=exam.timeout_s) for talk in exam.talks
        ),
    )


def _devices(kind: DeviceKind) -> Iterator[torch.device]:
    if kind is DeviceKind.CPU:
        yield torch.device("cpu")
        return
    for index in range(torch.cuda.device_count()):
        torch.cuda.set_device(index)
        yield torch.device("cuda", index)


def _best_s(case: Case, device: torch.device, num_threads: int) -> float:
    """The shortest of as many tries as the time allows.

    A processor is shared with who knows whom, which is not its fault: there the time counts for
    which we had it.
    """
    warm_up(case, device=device)
    is_shared = device.type == "cpu"
    until_s, tries = time.monotonic() + _TRY_S, list[float]()
    while time.monotonic() < until_s or len(tries) < _LEAST_TRIES:
        began_s = time.process_time()
        took_s = once_s(case, device=device)
        if is_shared:
            took_s = (time.process_time() - began_s) / case.repeats / num_threads
        tries.append(took_s)
    return min(tries)


def _disk(folder: Path) -> float:
    """Bytes a second that reach the disk; 0 where they do not come back the same."""
    path = folder / f"acceptance-{os.uname().nodename}-{os.getpid()}"
    written = os.urandom(_DISK_BYTES)
    try:
        began_s = time.perf_counter()
        with path.open("wb") as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        took_s = time.perf_counter() - began_s
        return _DISK_BYTES / took_s if path.read_bytes() == written else 0.0
    except OSError:
        return 0.0
    finally:
        path.unlink(missing_ok=True)


def _talk(
    talk: Talk | None, kind: DeviceKind, message_bytes: int, *, timeout_s: float
) -> float | None:
    """Bus bandwidth of an all_reduce with the partner: of two ranks it is bytes over time."""
    if talk is None:
        return None
    is_gpu = kind is DeviceKind.CUDA
    device = torch.device("cuda", 0) if is_gpu else torch.device("cpu")
    with suppress(RuntimeError):
        dist.init_process_group(
            "nccl" if is_gpu else "gloo",
            init_method=f"tcp://{talk.address}:{talk.port}",
            rank=talk.rank,
            world_size=2,
            timeout=timedelta(seconds=timeout_s),
        )
        # both ranks must do the same number of calls, so the tries are counted, not timed
        message = torch.zeros(message_bytes // 4, device=device)
        took_s = [_all_reduce_s(message) for _ in range(4 * _LEAST_TRIES)]
        dist.barrier()
        dist.destroy_process_group()
        return message_bytes / min(took_s)
    return None


def _all_reduce_s(message: torch.Tensor) -> float:
    began_s = time.perf_counter()
    dist.all_reduce(message)
    if message.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main()
