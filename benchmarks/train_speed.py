"""Training on a processor as a share of what its bf16 products reach, in one run.

    sh benchmarks/train_speed.sh [--threads 2] [--rounds 7] [--only NAME]

Each round times products of the network's own shapes and of large squares, then whole steps of
the training program (batch, forward, backward, gates, optimizer), one of every case in turn, so
that a slow minute of the machine falls on all alike. The machine's rate is that of the fastest
shape of the round. Two clocks: the wall, and the processor seconds of the process, which other
processes disturb less. Shares are medians over the rounds.

d384 x 6 layers, 14.55 M active parameters: dense (ffn 1024) and 8 experts of 512, top-2, none
dropped; vocabulary 10,240, 16 sequences of 256 tokens a step, AdamW.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import torch
from train_bench import (
    Size,
    gemm,
    gemm_rate,
    join_alone,
    seconds_of,
    spread_of,
    step_flops,
    trainer_of,
)  # fmt: skip

from gigafactory.describe.model import Model
from gigafactory.train import loop
from gigafactory.train.measure.probe import machine_name

SHAPES = [(4096, 1152, 384), (4096, 2048, 384), (4096, 384, 1024), (4096, 10240, 384),
          (1024, 1024, 1024), (2048, 2048, 2048)]  # fmt: skip
SIZE = Size(micro_batch=16, num_micro=1, seq_len=256)
BODY = {
    "name": "d384", "block": "qwen3-moe", "num_layers": 6, "hidden": 384, "num_heads": 6,
    "num_kv_heads": 6, "head_dim": 64, "vocab": 10240, "tied_embeddings": True, "context": 256,
    "source": "benchmark",
}  # fmt: skip
MODELS = {
    "dense": BODY | {"ffn": 1024},
    "8 experts, top-2": BODY | {"num_experts": 8, "topk": 2, "moe_ffn": 512},
}
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}


class Case:
    """One trainer and its figures by round."""

    def __init__(self, model: Model, *, compiles: bool) -> None:
        self.trainer = trainer_of(model, SIZE, compile=compiles)
        self.flops = step_flops(model, SIZE)
        self.step = 0
        self.tokens_per_s: list[float] = []
        self.shares: dict[str, list[float]] = {name: [] for name in CLOCKS}

    def one(self) -> None:
        self.step += 1
        loop.one_step(self.trainer, self.step)

    def go_round(self, rates: dict[str, float]) -> None:
        wall_s = time.perf_counter()
        processor_s = seconds_of(self.one, time.process_time)
        wall_s = time.perf_counter() - wall_s
        self.tokens_per_s.append(SIZE.tokens / wall_s)
        self.shares["wall"].append(self.flops / wall_s / rates["wall"])
        self.shares["processor"].append(self.flops / processor_s / rates["processor"])


def main(*, threads: int, rounds: int, only: str) -> None:
    torch.set_num_threads(threads)
    join_alone()
    products = {shape: gemm(shape, "cpu") for shape in SHAPES}
    cases = {
        f"{name}, {'compiled' if compiles else 'eager'}": Case(
            Model.model_validate(shapes), compiles=compiles
        )
        for name, shapes in MODELS.items()
        for compiles in (True, False)
        if only in f"{name}, {'compiled' if compiles else 'eager'}"
    }
    for case in cases.values():
        case.one()
        case.one()
    rates: dict[str, list[float]] = {name: [] for name in CLOCKS}
    for _ in range(rounds):
        found = {
            name: max(
                gemm_rate(shape, run, repeats=4, clock=clock) for shape, run in products.items()
            )
            for name, clock in CLOCKS.items()
        }
        for name, rate in found.items():
            rates[name].append(rate / 1e9)
        for case in cases.values():
            case.go_round(found)
    print(f"{machine_name('cpu')}, {threads} threads, torch {torch.__version__}, Python "
          f"{platform.python_version()}, {rounds} rounds")  # fmt: skip
    print(f"fastest product, GFLOP/s: wall {spread_of(rates['wall'])}, "
          f"per processor second {spread_of(rates['processor'])}\n")  # fmt: skip
    print("| case | tokens/s | share of the products' rate, wall | by processor seconds |")
    print("|---|---|---|---|")
    for name, case in cases.items():
        shares = " | ".join(spread_of(case.shares[clock]) for clock in CLOCKS)
        print(f"| {name} | {spread_of(case.tokens_per_s)} | {shares} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    given = parser.parse_args()
    main(threads=given.threads, rounds=given.rounds, only=given.only)
