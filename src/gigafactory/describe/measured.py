"""What was measured on a machine: samples while it runs, constants when it is done.

A piece is a part of the training program that is measured by itself. Its time is a sum: so many
seconds a call, an element, a FLOP, a byte. ``Measured`` holds these constants, each with range,
source, date and meaning, as the published calibration does; a study names the file that holds it.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, PositiveInt, TypeAdapter, model_validator

from gigafactory.describe.cluster import Precision
from gigafactory.describe.rank import Failed, Heartbeat, Told
from gigafactory.describe.spec import Spec

#: Version of the calibration file; a file of another one is refused.
SCHEMA: Literal[1] = 1


class DeviceKind(StrEnum):
    """What computed."""

    CPU = "cpu"
    CUDA = "cuda"


class Piece(StrEnum):
    """What is measured by itself."""

    LAUNCH = "launch"
    """The smallest kernel: what python and dispatch cost."""
    STREAM = "stream"
    """Adding two large tensors: memory bandwidth."""
    GEMM = "gemm"
    """One plain matrix product."""
    FLASH = "flash"
    """Causal attention that never writes its scores, forward."""
    FLASH_BACKWARD = "flash_backward"
    LINEAR = "linear"
    """A linear layer of the network, forward and backward, casts included."""
    GROUPED = "grouped"
    """The products of all experts in one call, forward and backward."""
    NORMS = "norms"
    """Two norms and a residual, forward and backward."""
    ROTARY = "rotary"
    ATTENTION = "attention"
    """The network's attention with capped, written scores, forward and backward."""
    GATE = "gate"
    """The gated activation of a feed-forward, forward and backward."""
    ROUTE = "route"
    """Router, permutation to the experts and back, forward and backward."""
    EMBEDDING = "embedding"
    LOSS = "loss"
    """Cross-entropy from logits, forward and backward."""
    OPTIMIZER = "optimizer"
    """Clipping and AdamW."""
    STEP = "step"
    """What python does once a step beside all kernels: batch, schedule, report."""
    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    REDUCE_SCATTER = "reduce_scatter"
    ALL_TO_ALL = "all_to_all"
    GRADIENTS = "gradients"
    """Summing gradients over the ranks as the program does it."""


class Unit(StrEnum):
    """What the time of a piece is counted by."""

    CALL = "s_per_call"
    GROUP = "s_per_group"
    """One of several products in a call: a processor does them one after the other."""
    FLOP = "s_per_flop"
    BYTE = "s_per_byte"
    ELEMENT = "s_per_element"
    WEIGHT = "s_per_weight"
    """An element of a weight: cast for the product, and its gradient cast back."""
    SCORE_WIDTH = "s_per_score_width"
    """Score of an attention times the two head sizes: a multiply-add."""
    HOP = "s_per_hop"
    """One message to the next rank."""


#: The terms of each piece's time.
TERMS = MappingProxyType({
    Piece.LAUNCH: (Unit.CALL,),
    Piece.STREAM: (Unit.CALL, Unit.BYTE),
    Piece.EMBEDDING: (Unit.CALL, Unit.ELEMENT),
    Piece.OPTIMIZER: (Unit.CALL, Unit.WEIGHT),
    Piece.STEP: (Unit.CALL,),
    Piece.GEMM: (Unit.CALL, Unit.FLOP, Unit.ELEMENT),
    Piece.FLASH: (Unit.CALL, Unit.FLOP),
    Piece.FLASH_BACKWARD: (Unit.CALL, Unit.FLOP),
    Piece.LINEAR: (Unit.CALL, Unit.FLOP, Unit.ELEMENT, Unit.WEIGHT),
    Piece.GROUPED: (Unit.CALL, Unit.GROUP, Unit.FLOP, Unit.WEIGHT),
    Piece.NORMS: (Unit.CALL, Unit.ELEMENT),
    Piece.ROTARY: (Unit.CALL, Unit.ELEMENT),
    Piece.ATTENTION: (Unit.CALL, Unit.ELEMENT, Unit.SCORE_WIDTH),
    Piece.GATE: (Unit.CALL, Unit.ELEMENT),
    Piece.ROUTE: (Unit.CALL, Unit.ELEMENT),
    Piece.LOSS: (Unit.CALL, Unit.ELEMENT),
    Piece.ALL_REDUCE: (Unit.HOP, Unit.BYTE),
    Piece.ALL_GATHER: (Unit.HOP, Unit.BYTE),
    Piece.REDUCE_SCATTER: (Unit.HOP, Unit.BYTE),
    Piece.ALL_TO_ALL: (Unit.HOP, Unit.BYTE),
    Piece.GRADIENTS: (Unit.CALL, Unit.WEIGHT),
})  # fmt: skip
#: What every rank does alone, whatever the number format.
ALONE = (Piece.LAUNCH, Piece.STREAM, Piece.EMBEDDING, Piece.OPTIMIZER, Piece.STEP)
#: What depends on the number format.
IN_FORMAT = (
    Piece.GEMM, Piece.FLASH, Piece.FLASH_BACKWARD, Piece.LINEAR, Piece.GROUPED, Piece.NORMS,
    Piece.ROTARY, Piece.ATTENTION, Piece.GATE, Piece.ROUTE, Piece.LOSS,
)  # fmt: skip
#: What the ranks do together.
TOGETHER = (
    Piece.ALL_REDUCE, Piece.ALL_GATHER, Piece.REDUCE_SCATTER, Piece.ALL_TO_ALL, Piece.GRADIENTS,
)  # fmt: skip
#: Formats in which the training program can run, so that all its pieces are measured there.
PROGRAM_FORMATS = (Precision.FP32, Precision.BF16)

Terms = dict[Unit, "Entry"]
Pieces = dict[Piece, Terms]


class _Plain(Spec):
    """Machines write these files, so every key is spelled out, unit and all."""

    model_config = ConfigDict(alias_generator=None)


class Entry(_Plain):
    """One constant; ``low`` and ``high`` bound what is physically plausible."""

    value: float
    low: float
    high: float
    source: str
    date: str
    meaning: str

    @model_validator(mode="after")
    def _plausible(self) -> Entry:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} lies outside its range {self.low} to {self.high}")
        return self


class Measured(_Plain):
    """A calibration file: one machine, measured with all its ranks at once."""

    schema_version: Literal[1] = SCHEMA
    device: DeviceKind
    machine: str
    """Processor or GPU, and the version of torch."""
    num_ranks: PositiveInt
    """Ranks that worked at the same time, so that what they share was shared."""
    num_threads: PositiveInt
    """Of one rank."""
    date: str
    duration_s: float = Field(gt=0)
    alone: Pieces
    formats: dict[Precision, Pieces] = Field(min_length=1)
    together: Pieces = Field(default_factory=dict)
    """Empty where one rank was measured."""

    @property
    def words(self) -> str:
        """``AMD EPYC, torch 2.13.0, 2 ranks on cpu, measured 2026-11-24``."""
        ranks = "1 rank" if self.num_ranks == 1 else f"{self.num_ranks} ranks"
        return f"{self.machine}, {ranks} on {self.device}, measured {self.date}"

    @model_validator(mode="after")
    def _complete(self) -> Measured:
        _check_pieces("alone", self.alone, ALONE)
        for name, pieces in self.formats.items():
            wanted = IN_FORMAT if name in PROGRAM_FORMATS else (Piece.GEMM,)
            _check_pieces(f"formats.{name}", pieces, wanted)
        _check_pieces("together", self.together, TOGETHER if self.num_ranks > 1 else ())
        return self


def _check_pieces(where: str, pieces: Pieces, wanted: tuple[Piece, ...]) -> None:
    if pieces.keys() != set(wanted):
        differing = ", ".join(sorted(pieces.keys() ^ set(wanted)))
        raise ValueError(f"{where}: pieces missing or out of place: {differing}")
    for piece, terms in pieces.items():
        if terms.keys() != set(TERMS[piece]):
            right = ", ".join(TERMS[piece])
            raise ValueError(f"{where}.{piece}: needs exactly the keys {right}")


class MeasureTask(_Plain):
    """What the ranks are told."""

    device: DeviceKind
    rendezvous: str
    num_threads: PositiveInt
    formats: tuple[Precision, ...]
    duration_s: float = Field(gt=0)
    """Of the rounds; setting up comes on top."""
    is_tiny: bool = False
    """Sizes for a test of the machinery, not for use."""
    timeout_s: float = Field(default=60.0, gt=0)
    """A rank that waits longer for the others gives up."""


class Sampled(Told):
    """One piece at one size on one rank: the median over the rounds."""

    kind: Literal["sampled"] = "sampled"
    piece: Piece
    precision: Precision | None = None
    work: dict[Unit, float]
    seconds: float = Field(gt=0)


class Round(Told):
    """One round through all pieces is done."""

    kind: Literal["round"] = "round"
    share: float = Field(ge=0, le=1)
    """Of the time for the rounds."""


class Machine(Told):
    """What a rank finds when it starts."""

    kind: Literal["machine"] = "machine"
    machine: str


AnyMeasure = Annotated[Sampled | Round | Machine | Failed | Heartbeat, Field(discriminator="kind")]
_MEASURE: TypeAdapter[AnyMeasure] = TypeAdapter(AnyMeasure)


def read_measure(line: str | bytes) -> AnyMeasure:
    """One line of a measuring rank; pydantic's ValidationError where it is not one."""
    return _MEASURE.validate_json(line)
