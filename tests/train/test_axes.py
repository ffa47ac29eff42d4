"""Every axis and every useful pair of them trains as one process does, and reads what others kept.

Three gangs, of 2, 4 and 1 ranks, work through many cases each: starting a process costs seconds,
a case much less.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.real

RANKS = Path(__file__).with_name("ranks.py")
NUM_STEPS, MIDDLE = 4, 2
SEQ_LEN, VOCAB = 16, 300
SMALL: dict[str, Any] = {
    "name": "tiny", "block": "grok-1", "num_layers": 2, "hidden": 32, "num_heads": 4,
    "num_kv_heads": 2, "head_dim": 8, "vocab": VOCAB, "tied_embeddings": True, "num_experts": 4,
    "topk": 2, "moe_ffn": 48, "context": SEQ_LEN, "source": "test",
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "grok": SMALL,
    "grok-2": SMALL | {"block": "grok-2", "dense_residual": True, "ffn": 40,
                       "tied_embeddings": False},
    "qwen": SMALL | {"block": "qwen3-moe", "tied_embeddings": False},
    "dense": SMALL | {"block": "qwen3-moe", "num_experts": 0, "topk": 0, "moe_ffn": 0, "ffn": 40,
                      "num_kv_heads": 4},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A model and a layout; batch 7 does not divide by the ranks."""

    model: str
    layout: dict[str, Any]
    batch: int = 8
    optimizer: str = "adamw"
    begins_with: str = ""
    """Name of the case whose checkpoint of the middle it goes on from."""
    keeps: bool = False
    """It stops in the middle and keeps a checkpoint."""

    @property
    def name(self) -> str:
        mesh = "-".join(f"{key}{value}" for key, value in self.layout.items())
        after = f"-after-{self.begins_with}" if self.begins_with else ""
        return f"{self.model}-{self.batch}-{self.optimizer}-{mesh}{after}{'-kept' * self.keeps}"

    @property
    def base(self) -> str:
        return f"{self.model}-{self.batch}-{self.optimizer}-"


def case(model: str, /, *, batch: int = 8, optimizer: str = "adamw", **layout: Any) -> Case:
    return Case(model, layout, batch, optimizer)


OF_TWO = [
    case("qwen", dp=2, ep=2, sharding="zero1"),
    case("grok", dp=2, sharding="zero1"),
    case("grok", dp=2, sharding="zero2"),
    case("grok", dp=2, sharding="fsdp", batch=7),
    case("grok", tp=2),
    case("grok-2", tp=2, ep=2),
    case("dense", dp=2, sharding="fsdp", optimizer="muon"),
]
OF_FOUR = [
    case("qwen", dp=2, tp=2, ep=2, sharding="fsdp"),
    case("grok", dp=4, sharding="none", batch=7),
    case("grok", dp=4, sharding="hsdp", shard=2),
    case("grok-2", dp=2, tp=2, sharding="zero1"),
    case("qwen", dp=4, ep=2, sharding="hsdp", shard=2),
    case("qwen", dp=4, ep=4, sharding="fsdp", batch=7),
    case("qwen", dp=2, tp=2, ep=4, sharding="none"),
    case("qwen", dp=4, ep=2, sharding="fsdp", optimizer="muon"),
    case("dense", tp=4),
]
KEPT_BY_TWO = Case("qwen", {"dp": 2, "ep": 2, "sharding": "zero1"}, keeps=True)
KEPT_BY_FOUR = Case("qwen", {"dp": 2, "tp": 2, "ep": 2, "sharding": "fsdp"}, keeps=True)


def after(kept: Case, layout: dict[str, Any]) -> Case:
    return Case("qwen", layout, begins_with=kept.name)


GANGS = {
    2: [*OF_TWO, KEPT_BY_TWO, after(KEPT_BY_TWO, KEPT_BY_TWO.layout),
        after(KEPT_BY_TWO, {"tp": 2})],
    4: [*OF_FOUR, KEPT_BY_FOUR, after(KEPT_BY_FOUR, KEPT_BY_FOUR.layout),
        after(KEPT_BY_TWO, {"dp": 2, "tp": 2, "ep": 4, "sharding": "fsdp"})],
    1: [after(KEPT_BY_FOUR, {}), after(KEPT_BY_TWO, {"sharding": "fsdp"})],
}  # fmt: skip
BASES = [
    Case(model, {}, batch, optimizer)
    for model, batch, optimizer in sorted(
        {(c.model, c.batch, c.optimizer) for gang in GANGS.values() for c in gang}
    )
]
COMPARED = [(size, c) for size, gang in GANGS.items() for c in gang if not c.keeps]


def written(one: Case, place: Path, *, size: int) -> dict[str, Any]:
    """What a rank needs to know of the case."""
    step_tokens = one.batch * SEQ_LEN
    folder = place / (one.begins_with or one.name)
    folder.mkdir(exist_ok=True)
    (folder / "corpus").unlink(missing_ok=True)
    (folder / "corpus").symlink_to(place / "corpus")
    (folder / "checkpoints").mkdir(exist_ok=True)
    task = {
        "study": "tiny",
        "model": MODELS[one.model],
        "job": {"tokens": step_tokens * NUM_STEPS, "seq_len": SEQ_LEN, "global_batch": one.batch},
        "train": {
            "vocab": VOCAB, "checkpoint_steps": MIDDLE, "warmup_steps": 2,
            "optimizer": one.optimizer, "learning_rate": 0.01,
        },
        "layout": {"precision": "fp32", "micro_batch": 2} | one.layout,
        "generation": 0,
        "num_steps": NUM_STEPS,
        "restore_step": MIDDLE if one.begins_with else None,
        "directory": str(folder),
        "rendezvous": f"file://{place}/meet-{size}",
    }  # fmt: skip
    last_step = MIDDLE if one.keeps else NUM_STEPS
    out = str(place / f"{one.name}.pt")
    return {"task": task, "last_step": last_step, "keeps": one.keeps, "out": out}


def work_through(cases: list[Case], place: Path, *, size: int) -> None:
    """A gang of ``size`` ranks does them all."""
    file = place / f"cases-{size}.json"
    file.write_text(json.dumps([written(one, place, size=size) for one in cases]))
    logs = [place / f"rank-{rank}-of-{size}.log" for rank in range(size)]
    ranks = []
    for rank, log in enumerate(logs):
        with log.open("w") as output:
            ranks.append(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", str(RANKS), str(file)],
                    env=os.environ
                    | {
                        "RANK": str(rank),
                        "WORLD_SIZE": str(size),
                        "GLOO_SOCKET_IFNAME": "lo",
                        "TORCH_CPP_LOG_LEVEL": "ERROR",
                    },
                    stdout=output,
                    stderr=output,
                )
            )
    try:
        statuses = [rank.wait(timeout=240) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert statuses == [0] * size, "".join(f"{log.name}\n{log.read_text()[-3000:]}" for log in logs)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> dict[str, dict[str, Any]]:
    """What came out, by name of the case; bases under the name of what they are the base of."""
    place = tmp_path_factory.mktemp("axes")
    (place / "corpus").symlink_to(corpus)
    for size in (2, 4, 1):
        work_through(GANGS[size] + BASES * (size == 1), place, size=size)
    return {path.stem: torch.load(path) for path in place.glob("*.pt")}


@pytest.mark.parametrize(("size", "one"), COMPARED, ids=lambda x: getattr(x, "name", str(x)))
def test_equals_one_process(size: int, one: Case, results: dict[str, dict[str, Any]]) -> None:
    found, base = results[one.name], results[one.base]
    first = MIDDLE if one.begins_with else 0
    assert found["losses"] == pytest.approx(base["losses"][first:], abs=1e-5)
    assert found["norms"] == pytest.approx(base["norms"][first:], abs=1e-5)
    assert found["held_out"] == pytest.approx(base["held_out"], abs=1e-5)
    for name, weight in base["weights"].items():
        # AdamW divides by what may be nearly nothing, so that a weight can move by more
        torch.testing.assert_close(found["weights"][name], weight, atol=2e-4, rtol=0, msg=name)


def test_the_bases_learn(results: dict[str, dict[str, Any]]) -> None:
    for base in BASES:
        losses = results[base.name]["losses"]
        assert losses[-1] < losses[0] - 0.05, base


@pytest.mark.parametrize(("kept", "size"), [(KEPT_BY_TWO, 2), (KEPT_BY_FOUR, 4)])
def test_the_same_gang_resumes_bit_for_bit(
    kept: Case, size: int, results: dict[str, dict[str, Any]]
) -> None:
    again = results[after(kept, kept.layout).name]
    whole = results[Case("qwen", kept.layout).name]
    assert results[kept.name]["losses"] + again["losses"] == whole["losses"]
    assert all(torch.equal(again["weights"][n], w) for n, w in whole["weights"].items())


#: (layout, whether a copy of attention, of the last norm, of the experts lies on another rank).
COPIES = [
    ({"dp": 4, "sharding": "hsdp", "shard": 2}, (True, True, True)),
    ({"dp": 2, "tp": 2, "ep": 4, "sharding": "none"}, (True, True, False)),
    ({"dp": 2, "tp": 2, "ep": 2, "sharding": "fsdp"}, (False, True, False)),
    ({"dp": 4, "ep": 4, "sharding": "fsdp"}, (False, False, False)),
]


@pytest.mark.parametrize(("layout", "has_copies"), COPIES, ids=str)
def test_a_flipped_bit_is_noticed_wherever_there_is_a_copy(
    layout: dict[str, Any], has_copies: tuple[bool, ...], results: dict[str, dict[str, Any]]
) -> None:
    (found,) = {
        tuple(results[c.name]["damage"].values())
        for _, c in COMPARED
        if c.layout == layout and c.model in ("grok", "qwen") and not c.begins_with
    }
    assert found == has_copies
