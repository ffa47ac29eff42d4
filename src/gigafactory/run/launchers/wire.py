"""What the driver and the agents on its hosts say to each other: one JSON object a line, over TCP.

Both hold the same secret (a file in the run's folder that its owner alone can read), and each
proves it before the other believes a word: the driver sends a nonce, the agent answers with a
proof and a nonce of its own, the driver proves in return. Nothing is encrypted: what is said is
no secret, only who may say it.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from gigafactory.describe.spec import Spec

#: A longer line is no message of ours.
MAX_LINE_BYTES = 64 << 20


class Said(Spec):
    """One message. Machines write and read it, so every key is spelled out."""

    model_config = ConfigDict(alias_generator=None)

    def line(self) -> bytes:
        """As it goes over the wire."""
        return self.model_dump_json().encode() + b"\n"


class Challenge(Said):
    """Driver: prove that you are ours."""

    kind: Literal["challenge"] = "challenge"
    nonce: str


class Hello(Said):
    """Agent: I am on ``host``; now you."""

    kind: Literal["hello"] = "hello"
    host: str
    proof: str
    nonce: str
    interface: str = ""
    """Network interface that the way to the driver goes through; empty: unknown."""
    address: str
    """Of this host, as its peers reach it."""


class Welcome(Said):
    """Driver: I am who you look for."""

    kind: Literal["welcome"] = "welcome"
    proof: str


class Rank(Said):
    """A process to start; as ``RankCommand``."""

    kind: Literal["rank"] = "rank"
    rank: int
    host: int
    argv: tuple[str, ...]
    environment: dict[str, str]


class Start(Said):
    """Driver: start these ranks; any that run are to be ended first."""

    kind: Literal["start"] = "start"
    generation: int
    ranks: tuple[Rank, ...]


class Signal(Said):
    """Driver: send a signal to a rank."""

    kind: Literal["signal"] = "signal"
    rank: int
    number: int


class Stop(Said):
    """Driver: end every rank, then answer Stopped."""

    kind: Literal["stop"] = "stop"
    turn: int
    """Named again in the answer."""


class Knock(Said):
    """Driver: does anybody answer at this address? (About a host that fell silent.)"""

    kind: Literal["knock"] = "knock"
    turn: int
    """Named again in the answer."""
    host: str
    address: str
    port: int


class Prepare(Said):
    """Driver: keep processes warm for a start that may come."""

    kind: Literal["prepare"] = "prepare"
    count: int
    modules: tuple[str, ...]
    environment: dict[str, str]
    after_s: float


class Examine(Said):
    """Driver: measure your host with this command line, which prints one JSON object."""

    kind: Literal["examine"] = "examine"
    argv: tuple[str, ...]
    environment: dict[str, str]
    timeout_s: float


class Leave(Said):
    """Driver: end every rank and yourself."""

    kind: Literal["leave"] = "leave"


class Beat(Said):
    """Either: I am here."""

    kind: Literal["beat"] = "beat"


class Told(Said):
    """Agent: a rank told this line."""

    kind: Literal["told"] = "told"
    rank: int
    text: str


class Over(Said):
    """Agent: the process of a rank is gone."""

    kind: Literal["over"] = "over"
    rank: int
    status: int


class Stopped(Said):
    """Agent: no rank is left here."""

    kind: Literal["stopped"] = "stopped"
    turn: int


class NotStarted(Said):
    """Agent: the ranks cannot be started here."""

    kind: Literal["not_started"] = "not_started"
    generation: int
    reason: str


class Knocked(Said):
    """Agent: whether somebody answered."""

    kind: Literal["knocked"] = "knocked"
    turn: int
    host: str
    answers: bool


class Examined(Said):
    """Agent: what the examination printed last, or why it printed nothing."""

    kind: Literal["examined"] = "examined"
    report: str = ""
    reason: str = ""
    clock_s: float
    """The host's clock when it said so, in seconds since 1970."""


AnySaid = Annotated[
    Challenge | Hello | Welcome | Start | Prepare | Signal | Stop | Knock | Examine | Leave | Beat
    | Told | Over | Stopped | NotStarted | Knocked | Examined,
    Field(discriminator="kind"),
]  # fmt: skip
_SAID: TypeAdapter[AnySaid] = TypeAdapter(AnySaid)


def read_said(line: bytes) -> AnySaid:
    """One message; pydantic's ValidationError where it is none."""
    return _SAID.validate_json(line)


def proof(secret: bytes, *, nonce: str, role: str) -> str:
    """That whoever answers ``nonce`` holds the secret; ``role`` keeps answers from being echoed."""
    return hmac.new(secret, f"{role} {nonce}".encode(), hashlib.sha256).hexdigest()


def is_proof(given: str, secret: bytes, *, nonce: str, role: str) -> bool:
    """Whether ``given`` is the proof, compared in constant time."""
    return hmac.compare_digest(given, proof(secret, nonce=nonce, role=role))
