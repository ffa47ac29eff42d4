"""What a person sees of a run while it goes on, and what is left of it at the end."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from gigafactory.ledger.summary import Summary


class Stage(StrEnum):
    """Where a run stands."""

    STARTING = "starting"
    RESTORING = "restoring"
    TRAINING = "training"
    RECOVERING = "recovering"
    STOPPING = "stopping"
    FINISHING = "finishing"
    """The last step is safe; the model is evaluated and exported."""
    OVER = "over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A snapshot for display, sent after every step and whenever something happens."""

    at_s: float
    """Since the campaign began, drivers that ended not counted."""
    stage: Stage
    step: int
    num_steps: int
    generation: int
    committed_step: int | None = None
    loss: float | None = None
    tokens_per_s: float | None = None
    message: str = ""
    """Something happened that a person wants to read; empty for a plain step."""


Observer = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended, in this driver and those before it."""

    outcome: str
    """A `control.actions.Outcome` value: done, stopped or failed."""
    reason: str
    steps: int
    """The last step that is kept."""
    num_steps: int
    final_loss: float | None
    held_out_loss: float | None
    held_out_bits_per_byte: float | None
    bits_per_byte_by_source: dict[str, float]
    """On the held-out text of each source; empty unless the run is done."""
    tokens_per_s: float | None
    """At the median step."""
    num_restarts: int
    resumed_from_step: int | None
    """Where this driver went on; None: it began from nothing."""
    model_dir: Path | None
    """The exported model; only when the run is done."""
    run_dir: Path
    summary: Summary

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, the summary under its own key."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {
            "model_dir": str(self.model_dir) if self.model_dir else None,
            "run_dir": str(self.run_dir),
            "summary": self.summary.to_json(),
        }


def tokens_per_s(summary: Summary, *, tokens_per_step: int) -> float | None:
    """Throughput of the whole job at the median kept step."""
    times_s = [step_s for _, step_s in summary.step_times]
    return tokens_per_step / statistics.median(times_s) if times_s else None
