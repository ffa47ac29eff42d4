"""A tiny text and a tiny task, and ranks started by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gigafactory.describe.layout import Sharding
from gigafactory.describe.rank import Task
from gigafactory.train.tokens import keep, train_tokenizer

VOCAB = 300
TALK = [
    ["hello there", "hi, how are you?", "i am well, thank you", "that is good to hear"],
    ["what do you like?", "i like long walks", "and what else?", "music and good food"],
] * 60

Losses = list[float]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared text, as `prepare` leaves it."""
    directory = tmp_path_factory.mktemp("text") / "corpus"
    tokenizer = train_tokenizer((turn for talk in TALK for turn in talk), vocab=VOCAB)
    keep(directory, tokenizer=tokenizer, documents={"chitchat": (TALK, TALK[:8])})
    return directory


@pytest.fixture
def make_task(tmp_path: Path, corpus: Path) -> Callable[..., Task]:
    """``make_task(num_ranks, sharding, **changes of the task)`` with a directory of its own."""
    (tmp_path / "corpus").symlink_to(corpus)

    def make(num_ranks: int, sharding: Sharding, **changes: Any) -> Task:
        num_steps = changes.pop("num_steps", 6)
        generation = changes.pop("generation", 0)
        return Task(
            study="tiny",
            model={
                "name": "tiny", "block": "grok-1", "num_layers": 2, "hidden": 32, "num_heads": 4,
                "num_kv_heads": 2, "head_dim": 8, "vocab": VOCAB, "tied_embeddings": True,
                "num_experts": 4, "topk": 2, "moe_ffn": 48, "context": 32, "source": "test",
            },
            job={"tokens": 8 * 32 * num_steps, "seq_len": 32, "global_batch": 8},
            train={"vocab": VOCAB, "checkpoint_steps": 3, "warmup_steps": 2},
            layout={
                "dp": num_ranks, "sharding": sharding, "precision": "fp32",
                "micro_batch": changes.pop("micro_batch", 8 // num_ranks),
            },
            generation=generation,
            num_steps=num_steps,
            directory=str(tmp_path),
            rendezvous=f"file://{tmp_path}/meet-{num_ranks}-{sharding}-{generation}",
            **changes,
        )  # fmt: skip

    return make


@pytest.fixture
def run_ranks() -> Callable[[Task], list[dict[str, Any]]]:
    """Start every rank of the task, wait, and return what rank 0 told."""

    def run(task: Task) -> list[dict[str, Any]]:
        config = Path(task.directory) / "task.json"
        config.write_text(task.model_dump_json())
        num_ranks = task.layout.num_gpus
        ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "gigafactory.train.worker", "--config", str(config)],
                env=os.environ
                | {
                    "RANK": str(rank),
                    "WORLD_SIZE": str(num_ranks),
                    "GLOO_SOCKET_IFNAME": "lo",
                    "TORCH_CPP_LOG_LEVEL": "ERROR",
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(num_ranks)
        ]
        told = [rank.communicate(timeout=120) for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0] * num_ranks, told
        return [json.loads(line) for line in told[0][0].splitlines()]

    return run
