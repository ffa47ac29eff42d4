"""The smallest study that really runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.describe.study import Study
from gigafactory.ledger.entries import Entry
from gigafactory.ledger.writer import line_of

MICRO = (
    "model.hidden=64",
    "model.num_layers=2",
    "model.head_dim=16",
    "model.moe_ffn=128",
    "model.context=64",
    "job.tokens=12288",  # 24 steps of 8 sequences of 64
    "job.seq_len=64",
    "job.global_batch=8",
    "layout.micro_batch=4",
    "train.checkpoint_steps=5",
    "drill.kill_at_step=13",
)


@pytest.fixture(scope="session")
def micro() -> Study:
    root = Path(__file__).resolve().parents[2]
    return load_study(root / "studies" / "first-light.yaml", overrides=MICRO)


@pytest.fixture
def write_book() -> Callable[[Path, list[Entry]], None]:
    """Writes entries as a ledger."""

    def write(file: Path, entries: list[Entry]) -> None:
        file.write_text("".join(line_of(entry) + "\n" for entry in entries))

    return write
