"""Who asks what, and when: conversations by the daily curve, turn by turn.

Conversations begin as a Poisson process whose rate follows the demand; their turns come with
exponential pauses. A prompt holds all that was said before, so that its length grows with every
turn, until the model's context is full and the conversation is over.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigafactory.control.blocks import Key
from gigafactory.describe.serve import Conversation, Lengths, Serve
from gigafactory.simulate.rng import stream
from gigafactory.simulate.serving.clock import SECOND
from gigafactory.simulate.traffic import Series, demand_series

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: The demand is the same for so long.
EVERY_S = 60.0
#: Conversations that began so many pauses before the window still have turns in it.
_PAUSES_BEFORE = 12.0
#: Blocks of one conversation in the numbering of keys.
_MOST_BLOCKS = 1 << 20


@dataclass(frozen=True, slots=True)
class Requests:
    """Every request of the window in order of time; columns of one length."""

    at: array[int]
    """Picoseconds."""
    conversation: array[int]
    prompt_tokens: array[int]
    answer_tokens: array[int]
    place: Floats
    """Of the conversation, evenly within 0 and 1: who is followed is decided by it."""

    def __len__(self) -> int:
        return len(self.at)


def demand_of(serve: Serve, *, seed: int) -> Series:
    """Requests a second of the whole service, from the beginning of the warm-up on; times count
    from there."""
    cut = serve.cut
    before = math.ceil(cut.warm_s / EVERY_S)
    begin = math.floor(cut.begin_s / EVERY_S)
    num = before + math.ceil(cut.duration_s / EVERY_S)
    # a window at midnight has the warm-up of the hour after it
    start = max(0, begin - before)
    series = demand_series(
        serve.demand, duration_s=(start + num) * EVERY_S, every_s=EVERY_S, seed=seed
    )
    rates = series.requests_per_s[start : start + num]
    return Series(np.arange(len(rates), dtype=np.float64) * EVERY_S, rates)


def requests_of(serve: Serve, demand: Series, *, share: float, context: int, seed: int) -> Requests:
    """What ``share`` of the people ask; ``context``: the model's, in tokens."""
    begins = _begins(serve.conversation, demand, share=share, seed=seed)
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
    end_s = len(demand.at_s) * EVERY_S
    kept = (at_s >= 0) & (at_s < end_s) & (prompt + said <= context)
    order = np.argsort(at_s[kept], kind="stable")
    at = np.floor(at_s[kept][order] * SECOND).astype(np.int64)
    # by conversation, so that all its turns are of the same people
    place = stream("serve.places", seed=seed).random(len(begins))[conversation]
    return Requests(
        at=_column(at),
        conversation=_column(conversation[kept][order]),
        prompt_tokens=_column(prompt[kept][order]),
        answer_tokens=_column(said[kept][order]),
        place=place[kept][order],
    )


def _column(values: Ints) -> array[int]:
    """Read one by one, an array of Python's is faster than NumPy's, and smaller than a list."""
    return array("q", values.astype(np.int64).tobytes())


def _begins(talk: Conversation, demand: Series, *, share: float, seed: int) -> Floats:
    """When conversations begin, seconds; negative: before the window."""
    before = math.ceil(_PAUSES_BEFORE * talk.think_s / EVERY_S)
    rates = np.concatenate([np.full(before, demand.requests_per_s[0]), demand.requests_per_s])
    dice = stream("serve.arrivals", seed=seed)
    counts = dice.poisson(rates * share * EVERY_S / talk.mean_turns)
    bins = np.repeat(np.arange(len(rates)) - before, counts)
    return np.asarray((bins + dice.random(len(bins))) * EVERY_S)


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


def _prompts(talk: Conversation, asked: Ints, said: Ints, *, first: Ints, turns: Ints) -> Ints:
    grown = _within((asked + said).astype(np.float64), first, turns).astype(np.int64)
    return np.asarray(talk.system_tokens + grown - said)


def block_keys(conversation: int, *, num_blocks: int, num_common: int) -> tuple[Key, ...]:
    """Names of the full blocks of a prompt: the first ``num_common`` are everybody's, the others
    those of the conversation. Turns that grow out of each other begin alike."""
    base = (conversation + 1) * _MOST_BLOCKS
    own = range(base + num_common, base + num_blocks)
    return (*range(min(num_common, num_blocks)), *own)
