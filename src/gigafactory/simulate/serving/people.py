"""Who asks what, and when: conversations by the daily curve, turn by turn.

Conversations begin as a Poisson process whose rate follows the demand; their turns come with
exponential pauses. A prompt holds all that was said before, so that its length grows with every
turn, until the model's context is full and the conversation is over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigafactory.control.blocks import Key
from gigafactory.describe.serve import Conversation, Lengths, Serve
from gigafactory.simulate.rng import stream
from gigafactory.simulate.serving.clock import SECOND
from gigafactory.simulate.traffic import demand_series

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: The demand is the same for so long.
_BIN_S = 60.0
#: Conversations that began so many pauses before the window still have turns in it.
_PAUSES_BEFORE = 12.0
#: Blocks of one conversation in the numbering of keys.
_MOST_BLOCKS = 1 << 20


@dataclass(frozen=True, slots=True)
class Requests:
    """Every request of the window in order of time; columns of one length."""

    at: list[int]
    """Picoseconds."""
    conversation: list[int]
    prompt_tokens: list[int]
    answer_tokens: list[int]

    def __len__(self) -> int:
        return len(self.at)


def mean_requests_per_s(serve: Serve, *, seed: int) -> float:
    """Of the whole service, over the window."""
    series = demand_series(
        serve.demand, duration_s=serve.cut.duration_s, every_s=_BIN_S, seed=seed
    )
    return float(series.requests_per_s.mean())


def requests_of(serve: Serve, *, share: float, context: int, seed: int) -> Requests:
    """What ``share`` of the people ask in the window; ``context``: the model's, in tokens."""
    begins = _begins(serve, share=share, seed=seed)
    talk = serve.conversation
    dice = stream("serve.conversations", seed=seed)
    turns = dice.geometric(1 / talk.mean_turns, size=len(begins))
    conversation = np.repeat(np.arange(len(begins)), turns)
    first = np.cumsum(turns) - turns
    pauses = dice.exponential(talk.think_s, size=len(conversation))
    pauses[first] = 0.0
    at_s = begins[conversation] + _within(pauses, first, turns)
    asked = _tokens(talk.question, len(conversation), seed=seed, name="serve.questions")
    said = _tokens(talk.answer, len(conversation), seed=seed, name="serve.answers")
    prompt = _prompts(talk, asked, said, first=first, turns=turns)
    kept = (at_s >= 0) & (at_s < serve.cut.duration_s) & (prompt + said <= context)
    order = np.argsort(at_s[kept], kind="stable")
    at = np.floor(at_s[kept][order] * SECOND).astype(np.int64)
    columns = (column[kept][order].tolist() for column in (conversation, prompt, said))
    return Requests(at.tolist(), *columns)


def _begins(serve: Serve, *, share: float, seed: int) -> Floats:
    """When conversations begin, seconds; negative: before the window."""
    series = demand_series(
        serve.demand, duration_s=serve.cut.duration_s, every_s=_BIN_S, seed=seed
    )
    talk = serve.conversation
    before = math.ceil(_PAUSES_BEFORE * talk.think_s / _BIN_S)
    rates = np.concatenate([np.full(before, series.requests_per_s[0]), series.requests_per_s])
    dice = stream("serve.arrivals", seed=seed)
    counts = dice.poisson(rates * share * _BIN_S / talk.mean_turns)
    bins = np.repeat(np.arange(len(rates)) - before, counts)
    return np.asarray((bins + dice.random(len(bins))) * _BIN_S)


def _tokens(lengths: Lengths, num: int, *, seed: int, name: str) -> Ints:
    sigma = lengths.spread
    centre = math.log(lengths.mean_tokens) - sigma**2 / 2
    drawn = np.exp(centre + sigma * stream(name, seed=seed).standard_normal(num))
    return np.clip(np.rint(drawn), 1, lengths.most_tokens).astype(np.int64)


def _within(values: Floats, first: Ints, turns: Ints) -> Floats:
    """Sum of ``values`` from the first turn of its conversation on."""
    total = np.cumsum(values)
    before = np.repeat(total[first] - values[first], turns) if len(first) else total
    return np.asarray(total - before)


def _prompts(
    talk: Conversation, asked: Ints, said: Ints, *, first: Ints, turns: Ints
) -> Ints:  # fmt: skip
    grown = _within((asked + said).astype(np.float64), first, turns).astype(np.int64)
    return np.asarray(talk.system_tokens + grown - said)


def block_keys(
    conversation: int, *, num_blocks: int, num_common: int
) -> tuple[Key, ...]:  # fmt: skip
    """Names of the full blocks of a prompt: the first ``num_common`` are everybody's, the others
    those of the conversation. Turns that grow out of each other begin alike."""
    base = (conversation + 1) * _MOST_BLOCKS
    own = range(base + num_common, base + num_blocks)
    return (*range(min(num_common, num_blocks)), *own)
