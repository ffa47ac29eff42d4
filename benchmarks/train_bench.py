"""What the two training benchmarks share: a trainer on drawn tokens, and the rate of products.

Imported by train_speed.py (a processor) and train_on_gpu.py.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from gigafactory.cost.flops import model_flops_per_token
from gigafactory.describe.model import Model
from gigafactory.describe.rank import Task
from gigafactory.train import loop
from gigafactory.train.tokens import Stream, Text, train_tokenizer

NUM_STEPS = 1_000_000


@dataclass(frozen=True)
class Size:
    """How much a step sees."""

    micro_batch: int
    num_micro: int
    seq_len: int

    @property
    def tokens(self) -> int:
        return self.micro_batch * self.num_micro * self.seq_len


def join_alone() -> None:
    """A gang of one, as a worker forms it."""
    place = Path(tempfile.mkdtemp()) / "meet"
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, init_method=f"file://{place}", rank=0, world_size=1)


def trainer_of(
    model: Model, size: Size, *, precision: str = "bf16", **train: object
) -> loop.Trainer:
    """The training program as a run starts it, on drawn tokens; checkpoints are never due."""
    dice = np.random.default_rng(0)
    tokenizer = train_tokenizer(["some words"], vocab=300)
    stream = dice.integers(4, model.vocab, 1 << 22).astype(np.uint32)
    text = Text(tokenizer, (Stream("drawn", 1.0, stream, stream[:10000]),))
    batch = size.micro_batch * size.num_micro
    task = Task.model_validate(
        {
            "study": "benchmark",
            "model": model.model_dump(),
            "job": {
                "tokens": float(NUM_STEPS * size.tokens),
                "seq_len": size.seq_len,
                "global_batch": batch,
            },
            "train": {"vocab": 300, "checkpoint_steps": NUM_STEPS} | train,
            "layout": {"dp": 1, "micro_batch": size.micro_batch, "precision": precision},
            "generation": 0,
            "num_steps": NUM_STEPS,
            "directory": tempfile.mkdtemp(),
            "rendezvous": "",
        }
    )
    return loop.build(task, text, tell=lambda _told: None)


def step_flops(model: Model, size: Size) -> float:
    """Of the reference formula of MFU: causal attention counted once, nothing recomputed."""
    return size.tokens * model_flops_per_token(model, seq_len=size.seq_len)


def seconds_of(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """One call, device work included."""
    settle()
    begin = clock()
    run()
    settle()
    return clock() - begin


def settle() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gemm(shape: tuple[int, int, int], device: str) -> Callable[[], object]:
    """A plain bf16 product (m, n, k), x (m, k) times w (n, k) transposed."""
    m, n, k = shape
    x = torch.randn(m, k, device=device).bfloat16()
    w = torch.randn(n, k, device=device).bfloat16()
    return lambda: torch.nn.functional.linear(x, w)


def gemm_rate(
    shape: tuple[int, int, int],
    run: Callable[[], object],
    *,
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """FLOP/s of ``repeats`` products one after the other."""
    m, n, k = shape

    def several() -> None:
        for _ in range(repeats):
            run()

    return 2.0 * m * n * k * repeats / seconds_of(several, clock)


def spread_of(values: list[float]) -> str:
    """median (least to most)."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"
