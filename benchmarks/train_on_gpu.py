"""MFU of our training program on one GPU, against others in the same run.

    sh benchmarks/train_on_gpu.sh [--rounds 5] [--tiny] [--only NAME]

About 1 B parameters, dense and with experts: ours (giga's training program, whole steps), a plain
nanochat-like recipe (plain_gpt.py, dense), torchtitan's Qwen3 (where it is installed). Each round
takes a few steps of every contender in turn. MFU: model FLOPs by the reference formula (causal
attention once, nothing recomputed) over the dense bf16 peak, given or that of an H200, also where
products are in fp8; beside it the share of what the largest bf16 product measured here reaches.
``--tiny``: small shapes, to see that it runs, on a processor if need be. Each contender is built,
measured and freed before the next where memory would not hold all: ``--apart``.
"""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from plain_gpt import PlainGpt, PlainTraining
from titan_model import titan_training
from train_bench import Size, gemm, gemm_rate, join_alone, seconds_of, step_flops, trainer_of

from gigafactory.describe.model import Model
from gigafactory.train import loop

PEAK_FLOPS_PER_S = 989.4e12
"""Dense bf16 of an H100 SXM and an H200 (NVIDIA's data sheets)."""
SIZE = Size(micro_batch=8, num_micro=4, seq_len=2048)
COMMON = {"block": "qwen3-moe", "vocab": 32768, "head_dim": 128, "context": 2048,
          "source": "benchmark"}  # fmt: skip
DENSE = COMMON | {"name": "dense", "num_layers": 16, "hidden": 2048, "num_heads": 16,
                  "num_kv_heads": 16, "ffn": 5632}  # fmt: skip
EXPERTS = COMMON | {"name": "experts", "num_layers": 12, "hidden": 1536, "num_heads": 12,
                    "num_kv_heads": 12, "num_experts": 16, "topk": 2, "moe_ffn": 1024}  # fmt: skip
TINY = {"num_layers": 2, "hidden": 64, "num_heads": 2, "num_kv_heads": 2, "head_dim": 32,
        "vocab": 512, "context": 64}  # fmt: skip
TINY_SIZE = Size(micro_batch=2, num_micro=2, seq_len=64)


@dataclass
class Contender:
    """A step, its FLOPs and its seconds by round."""

    name: str
    step: Callable[[], object]
    flops: float
    seconds: list[float] = field(default_factory=list)


def ours(
    name: str, model: Model, size: Size, *, precision: str = "bf16", **train: object
) -> Contender:
    trainer = trainer_of(model, size, compile=True, precision=precision, **train)
    count = iter(range(1, 1_000_000))
    return Contender(name, lambda: loop.one_step(trainer, next(count)), step_flops(model, size))


def drawn(vocab: int, size: Size, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    rows = size.micro_batch * size.num_micro
    ids = torch.randint(0, vocab, (rows, size.seq_len + 1), device=device)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def plain(name: str, model: Model, size: Size, device: str) -> Contender:
    net = PlainGpt(
        vocab=model.vocab,
        hidden=model.hidden,
        num_layers=model.num_layers,
        head_dim=model.head_dim,
    )
    training = PlainTraining(net.to(device), num_micro=size.num_micro)
    batch = drawn(model.vocab, size, device)
    flops = net.flops_per_token(size.seq_len) * size.tokens
    return Contender(name, lambda: training.step(*batch), flops)


def titan(name: str, model: Model, size: Size, device: str) -> Contender | None:
    training = titan_training(model, num_micro=size.num_micro, device=device)
    if training is None:
        return None
    batch = drawn(model.vocab, size, device)
    return Contender(name, lambda: training.step(*batch), step_flops(model, size))


def contenders(device: str, *, is_tiny: bool) -> dict[str, Callable[[str], Contender | None]]:
    """Each built when its turn comes."""
    size = TINY_SIZE if is_tiny else SIZE
    small = TINY if is_tiny else {}
    dense = Model.model_validate(DENSE | small | ({"ffn": 128} if is_tiny else {}))
    experts = Model.model_validate(EXPERTS | small | ({"moe_ffn": 64} if is_tiny else {}))
    return {
        "giga, dense, adamw": lambda name: ours(name, dense, size),
        "giga, dense, muon": lambda name: ours(name, dense, size, optimizer="muon"),
        "giga, dense, adamw, fp8": lambda name: ours(name, dense, size, precision="fp8"),
        "plain recipe, dense, muon": lambda name: plain(name, dense, size, device),
        "torchtitan, dense, adamw": lambda name: titan(name, dense, size, device),
        "giga, experts, adamw": lambda name: ours(name, experts, size),
        "torchtitan, experts, adamw": lambda name: titan(name, experts, size, device),
    }


def measure(group: list[Contender], *, rounds: int) -> None:
    for one in group:
        for _ in range(3):
            one.step()
    for _ in range(rounds):
        for one in group:
            one.seconds.append(seconds_of(one.step))


def main(*, rounds: int, is_tiny: bool, is_apart: bool, only: str, peak: float) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    join_alone()
    shape = (256, 256, 256) if is_tiny else (8192, 8192, 8192)
    product = gemm(shape, device)
    best = max(gemm_rate(shape, product, repeats=10) for _ in range(5))
    machine = torch.cuda.get_device_name() if device == "cuda" else "a processor"
    print(f"{machine}, torch {torch.__version__}, largest product {best / 1e12:.4g} TFLOP/s\n")
    print("| contender | step, ms | TFLOP/s | MFU | share of the product's rate |")
    print("|---|---|---|---|---|")
    makers = [pair for pair in contenders(device, is_tiny=is_tiny).items() if only in pair[0]]
    for group in [[pair] for pair in makers] if is_apart else [makers]:
        made = [one for name, make in group if (one := make(name)) is not None]
        measure(made, rounds=rounds)
        for one in made:
            second = statistics.median(one.seconds)
            rate = one.flops / second
            print(f"| {one.name} | {second * 1e3:.4g} | {rate / 1e12:.4g} | {rate / peak:.1%} "
                  f"| {rate / best:.1%} |", flush=True)  # fmt: skip
        made.clear()
        gc.collect()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--only", default="", help="contenders whose name holds this")
    parser.add_argument("--peak", type=float, default=PEAK_FLOPS_PER_S, help="FLOP/s")
    given = parser.parse_args()
    main(
        rounds=given.rounds, is_tiny=given.tiny, is_apart=given.apart, only=given.only,
        peak=given.peak,
    )  # fmt: skip
