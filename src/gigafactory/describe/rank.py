"""What a rank is given to do, and what it tells while doing it.

The driver writes one ``Task`` a generation and starts a process a rank; each rank answers with
reports, one JSON object a line. Both ends read this file, so neither can misunderstand the other.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, TypeAdapter

from gigafactory.describe.job import Job, Train
from gigafactory.describe.layout import Layout
from gigafactory.describe.model import Model
from gigafactory.describe.spec import Spec
from gigafactory.units import Seconds

#: Environment variable with the number of the inherited descriptor that takes the reports.
REPORT_FD_VARIABLE = "GIGA_REPORT_FD"


class Task(Spec):
    """Everything a rank must know, the same for all ranks of a generation."""

    study: str
    model: Model
    job: Job
    train: Train
    layout: Layout
    generation: NonNegativeInt
    num_steps: PositiveInt
    restore_step: NonNegativeInt | None = None
    """Committed step to go on from; None: from nothing."""
    directory: str
    """The run directory."""
    rendezvous: str
    """Address of the store where the ranks of this generation meet (torch's init_method)."""
    num_kept_checkpoints: PositiveInt = 3
    heartbeat_s: Seconds = Field(default=1.0, gt=0)
    collective_timeout_s: Seconds = Field(default=600.0, gt=0)
    join_timeout_s: Seconds = Field(default=1800.0, gt=0)


class Told(Spec):
    """One report. Machines write and read it, so every key is spelled out, unit and all."""

    model_config = ConfigDict(alias_generator=None, ser_json_inf_nan="constants")


class Joined(Told):
    """The rank reached the rendezvous; its peers may still be missing."""

    kind: Literal["joined"] = "joined"
    pid: int


class Restoring(Told):
    """The gang is complete; the checkpoint is being read."""

    kind: Literal["restoring"] = "restoring"


class Ready(Told):
    """Training goes on after ``step``."""

    kind: Literal["ready"] = "ready"
    step: NonNegativeInt


class Step(Told):
    """One optimizer step is done on this rank; ``loss`` is that of the global batch."""

    kind: Literal["step"] = "step"
    step: PositiveInt
    loss: float = Field(allow_inf_nan=True)
    grad_norm: float = Field(allow_inf_nan=True)
    learning_rate: float
    step_s: float
    tokens: PositiveInt
    """Of the global batch."""
    finite: bool
    replicas_agree: bool = True


class CheckpointBegun(Told):
    """The state of ``step`` was copied aside, which held training up for ``blocking_s``."""

    kind: Literal["checkpoint_begun"] = "checkpoint_begun"
    step: NonNegativeInt
    blocking_s: float


class CheckpointCommitted(Told):
    """The checkpoint of ``step`` is complete, verified and named."""

    kind: Literal["checkpoint_committed"] = "checkpoint_committed"
    step: NonNegativeInt
    write_s: float
    num_bytes: int


class CheckpointFailed(Told):
    """Saving ``step`` failed; training goes on and older checkpoints stay."""

    kind: Literal["checkpoint_failed"] = "checkpoint_failed"
    step: NonNegativeInt
    reason: str


class Heartbeat(Told):
    """The process runs, whatever its main thread does."""

    kind: Literal["heartbeat"] = "heartbeat"


class Failed(Told):
    """An exception ended the rank."""

    kind: Literal["failed"] = "failed"
    signature: str
    """Type and place of the exception, without what varies from run to run."""
    message: str
    is_victim: bool = False
    """It failed because a peer was lost: look for the culprit elsewhere."""


class Finished(Told):
    """The last step is committed; rank 0 has exported and evaluated the model."""

    kind: Literal["finished"] = "finished"
    held_out_bits_per_byte: float | None = None
    held_out_loss: float | None = None
    bits_per_byte_by_source: dict[str, float] = Field(default_factory=dict)
    """On the held-out text of each source."""


AnyTold = Annotated[
    Joined | Restoring | Ready | Step | CheckpointBegun | CheckpointCommitted | CheckpointFailed
    | Heartbeat | Failed | Finished,
    Field(discriminator="kind"),
]  # fmt: skip
_TOLD: TypeAdapter[AnyTold] = TypeAdapter(AnyTold)


def read_told(line: str | bytes) -> AnyTold:
    """One line of a rank's reports; pydantic's ValidationError where it is not one."""
    return _TOLD.validate_json(line)


class Commit(Spec):
    """The commit mark of a checkpoint: what must be there for it to count."""

    step: NonNegativeInt
    world_size: PositiveInt
    sizes_bytes: dict[str, int]
    """By file name."""
    sha256: dict[str, str]
    """By file name."""


COMMIT_MARK = "COMMITTED"


def checkpoint_name(step: int) -> str:
    """Directory of a committed checkpoint below ``checkpoints/``; sorts by step."""
    return f"step-{step:08d}"
