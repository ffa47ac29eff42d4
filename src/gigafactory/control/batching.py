"""What the scheduler of a serving engine is told, what it answers, and its limits.

Those that come with every step are named tuples, which are made in half the time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from gigafactory.control.blocks import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLimits:
    """What one engine can bear."""

    max_running: int
    """Conversations in one step."""
    max_waiting: int
    num_blocks: int
    """Key/value blocks of ``block_tokens`` tokens."""
    block_tokens: int = 16
    max_step_tokens: int = 512
    """Tokens computed in one step: one for each conversation that is answered, the rest prompts."""
    max_chunk_tokens: int = 1 << 62
    """Of one prompt in one step."""
    max_wait_s: float = float("inf")
    """Who has waited longer is refused instead of started."""

    def __post_init__(self) -> None:
        wrong = [
            f"{name} {getattr(self, name)} is below 1"
            for name in (
                "max_running",
                "num_blocks",
                "block_tokens",
                "max_step_tokens",
                "max_chunk_tokens",
            )
            if getattr(self, name) < 1
        ]
        if self.max_step_tokens < self.max_running:
            wrong.append(f"max_step_tokens {self.max_step_tokens} < max_running {self.max_running}")
        if wrong:
            raise ValueError("; ".join(wrong))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingEvent:
    """Something happened at ``at_s``."""

    at_s: float


class Arrived(NamedTuple):
    """Somebody asks. ``keys`` name the full blocks of the prompt, in order."""

    at_s: float
    id: int
    prompt_tokens: int
    max_tokens: int
    keys: tuple[Key, ...] = ()
    ready_tokens: int = 0
    """Of the prompt, below all of it: their keys and values were computed by another engine and
    come with the request. Whoever gives way later computes them anew."""


class Computed(NamedTuple):
    """The step under way is done, ``num_repeats`` times over (decoding only); these answers ended.

    An answer ends at its last token: what was asked for is its engine's to know.
    """

    at_s: float
    num_repeats: int = 1
    ended: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone(ServingEvent):
    """Whoever asked is no longer there (hung up, took too long, lost the key)."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing(ServingEvent):
    """No one new is let in; who is there is served to the end."""


class Refusal(StrEnum):
    """Why somebody is not served."""

    FULL = "full"
    TOO_LONG = "too_long"
    WAITED = "waited"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class Refused:
    """``id`` will not be served."""

    id: int
    why: Refusal


class Started(NamedTuple):
    """``id`` has its blocks; the first ``num_shared`` of its keys are computed already.

    ``decodes``: all but its newest token came with it, so that it is answered from the next step
    on, without a chunk.
    """

    id: int
    num_shared: int
    decodes: bool = False


@dataclass(frozen=True, slots=True)
class Displaced:
    """``id`` gave its blocks back for want of room and waits again; what it said is kept."""

    id: int


class Published(NamedTuple):
    """The own blocks ``indices`` of ``id`` may serve others from now on, under their keys."""

    id: int
    indices: Sequence[int]


class Evicted(NamedTuple):
    """These published blocks are given up; their memory is free."""

    keys: tuple[Key, ...]


class Ended(NamedTuple):
    """``id`` has left and its blocks with it."""

    id: int


class Chunk(NamedTuple):
    """Tokens ``first`` to ``first + num_tokens`` of what ``id`` has so far are to be computed.

    ``is_last``: the step also yields its next token.
    """

    id: int
    first: int
    num_tokens: int
    is_last: bool


class Compute(NamedTuple):
    """One step: parts of prompts, and one more token for each of ``decodes``.

    It may be done up to ``max_repeats`` times before the scheduler has to be asked again, as long
    as nobody arrives, ends or leaves; always once with prompts. Repeats may take blocks that are
    evicted only with the answer to ``Computed``: an engine that numbers its blocks repeats nothing
    it has no free block for. ``held_tokens`` are in the cache of ``decodes`` before it. ``decodes``
    is a view of the scheduler's batch, good until the scheduler is told that the step is done.
    """

    chunks: tuple[Chunk, ...]
    decodes: Collection[int]
    held_tokens: int
    max_repeats: int


ServingAction = Refused | Started | Displaced | Published | Evicted | Ended | Compute
Batching = Arrived | Computed | Gone | Closing
