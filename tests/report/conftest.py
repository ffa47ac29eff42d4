"""Run folders with small ledgers, written by the real writer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gigafactory.control.actions import StartGang, Token, WakeAt
from gigafactory.ledger.entries import (
    ActionTaken,
    Bucket,
    BucketFrom,
    CheckpointKept,
    Closed,
    FaultStruck,
    Opened,
    PowerFrom,
    Rollback,
    Steps,
    World,
)
from gigafactory.ledger.writer import LedgerWriter

PLAN = {
    "best": {
        "layout": {"tp": 2, "pp": 1, "dp": 4, "recompute": "none", "precision": "bf16"},
        "num_gpus": 8,
        "step_s": 2.0,
        "tokens_per_s": 4096.0,
        "tokens_per_s_per_gpu": 512.0,
        "mfu": 0.41,
        "flops_per_step": 1e15,
        "memory_bytes_per_gpu": 60e9,
        "breakdown_s": {"gemm_s": 1.5, "ep_comm_s": 0.4, "bubble_s": 0.1},
        "memory_breakdown_bytes": {"parameters_bytes": 40e9, "activations_bytes": 20e9},
    },
    "alternatives": [
        {
            "layout": {"tp": 4, "pp": 1, "dp": 2, "recompute": "none", "precision": "bf16"},
            "step_s": 2.5,
            "tokens_per_s_per_gpu": 409.6,
            "mfu": 0.33,
            "memory_bytes_per_gpu": 50e9,
        }
    ],
    "num_candidates": 120,
    "num_feasible": 60,
    "explanation": ["It has the smallest bubble."],
    "limits": ["Faster NICs: +2 %."],
    "search_s": 0.25,
}
DESCRIPTION = [
    {
        "key": "num_gpus", "value": 8, "unit": "", "label": "GPUs (h100)", "group": "Machines",
        "formula": "1 host x 8", "source": "the study",
    },
    {
        "key": "site_training_w", "value": 12500.0, "unit": "W", "label": "site, training",
        "group": "Power", "formula": "10 kW x 1.25", "source": "a vendor's sheet",
    },
]  # fmt: skip
ANSWERS = [
    {"model": "small", "question": "Hi?", "answer": "hello ."},
    {"model": "large", "question": "Hi?", "answer": "Good day."},
]


def write_campaign(path: Path, *, world: World, losses: bool, rent: float = 0.0) -> None:
    """Twelve steps of 2 s on 8 GPUs; a kill after step 7 throws two steps away.

    Wall time 40 s: init 6, productive 24, rework 4, checkpoint 1, detect 1, restore 4.
    """
    with LedgerWriter(path) as book:
        book.write(
            Opened(
                world=world, study="tiny", num_gpus=8, gpus_per_host=8, num_spare_gpus=8,
                num_steps=12, tokens_per_step=8192, flops_per_step=1e15, peak_flops_per_s=1e14,
                step_s=2.0, rent_usd_per_gpu_s=rent, electricity_usd_per_j=1e-8, pue=1.25,
            ),
            at_s=0.0,
        )  # fmt: skip
        book.write(BucketFrom(bucket=Bucket.INIT), at_s=0.0)
        book.write(PowerFrom(draw_w=3000.0), at_s=0.0)
        book.write(
            ActionTaken(action=StartGang(token=Token(1, 1), hosts=(0,), step=None)), at_s=0.0
        )
        book.write(ActionTaken(action=WakeAt(token=Token(1, 2), at_s=9.0)), at_s=0.0)
        at_s = _steps(book, 6.0, first=1, last=5, losses=losses)
        book.write(BucketFrom(bucket=Bucket.CHECKPOINT), at_s=at_s)
        book.write(CheckpointKept(step=5, save_s=1.0), at_s=at_s + 1)
        at_s = _steps(book, at_s + 1, first=6, last=7, losses=losses)
        book.write(FaultStruck(cause="process-killed", fault="process", hosts=(1,)), at_s=at_s)
        book.write(BucketFrom(bucket=Bucket.DETECT), at_s=at_s)
        book.write(PowerFrom(draw_w=1000.0), at_s=at_s)
        book.write(BucketFrom(bucket=Bucket.RESTORE), at_s=at_s + 1)
        book.write(
            ActionTaken(action=StartGang(token=Token(2, 3), hosts=(0,), step=5, seated=())),
            at_s=at_s + 1,
        )
        book.write(Rollback(step=5), at_s=at_s + 5)
        at_s = _steps(book, at_s + 5, first=6, last=12, losses=losses)
        book.write(Closed(outcome="done", step=12), at_s=at_s)


def _steps(book: LedgerWriter, at_s: float, *, first: int, last: int, losses: bool) -> float:
    book.write(BucketFrom(bucket=Bucket.PRODUCTIVE), at_s=at_s)
    for step in range(first, last + 1):
        at_s += 2.0
        loss = 9.0 - step / 2 if losses else None
        book.write(Steps(step=step, step_s=2.0, loss=loss), at_s=at_s)
    return at_s


@pytest.fixture
def folder(tmp_path):
    """A run folder that holds everything."""
    path = tmp_path / "tiny"
    path.mkdir()
    keep(path / "plan.json", PLAN)
    keep(path / "description.json", DESCRIPTION)
    keep(path / "answers.json", ANSWERS)
    write_campaign(path / "twin.jsonl", world=World.TWIN, losses=False, rent=0.001)
    write_campaign(path / "ledger.jsonl", world=World.REAL, losses=True, rent=0.001)
    return path


def keep(path: Path, document: object) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")
