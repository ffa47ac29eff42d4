"""The job: what to train on how much, and how a real run is to be carried out."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, NonNegativeInt, PositiveInt

from gigafactory.describe.cluster import Precision
from gigafactory.describe.spec import Spec
from gigafactory.units import Tokens


class JobKind(StrEnum):
    """What the factory is asked to do."""

    PRETRAIN = "pretrain"


class Job(Spec):
    """A pretraining campaign."""

    kind: JobKind = JobKind.PRETRAIN
    tokens: Tokens = Field(gt=0)
    seq_len: PositiveInt
    global_batch: PositiveInt
    """Sequences a step."""
    precision: Precision = Precision.BF16

    @property
    def tokens_per_step(self) -> int:
        """Tokens in one optimizer step."""
        return self.global_batch * self.seq_len

    @property
    def num_steps(self) -> int:
        """Optimizer steps until ``tokens`` are seen (the last one is whole)."""
        return -int(-self.tokens // self.tokens_per_step)


class Corpus(StrEnum):
    """Text that installs from a package index, so that a run needs no download."""

    CHITCHAT = "chitchat"
    """chitchat-dataset 0.9.0 (MIT): human small talk, filtered."""


class Train(Spec):
    """How the training program on this machine carries the job out (`giga run`)."""

    corpus: Corpus = Corpus.CHITCHAT
    vocab: PositiveInt = 2048
    """Size of the tokenizer trained on the corpus; the model's vocab must hold it."""
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: NonNegativeInt = 20
    weight_decay: float = Field(default=0.1, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    seed: NonNegativeInt = 0
    checkpoint_steps: PositiveInt = 20
    """Steps between asynchronous checkpoints."""
    threads_per_worker: PositiveInt = 1


class Drill(Spec):
    """A failure made on purpose in a real run, to show that it survives one."""

    kill_at_step: PositiveInt
    """A worker gets SIGKILL when this step has been reported."""
    kill_rank: NonNegativeInt = 1
