"""A sentence of a source with the words that a claim has taken: what the rules of leaving out look
at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from gigafactory.chat.truth.clauses import Statement
from gigafactory.chat.truth.forms import Tense, verb_form
from gigafactory.chat.truth.lexicon import ALL_OR_ONE, NO_SUPERLATIVES, REPORTS, SCOPED, STATIVE
from gigafactory.chat.truth.marks import Mark
from gigafactory.chat.truth.words import Item


class Stand(Enum):
    """How a statement holds, which says what may be left out beside it."""

    EVENT = auto()
    """It happened once: it has happened, whenever and wherever."""
    COMING = auto()
    """It will happen: when may be left out."""
    WAS = auto()
    """It was so once: when may be left out."""
    STATE = auto()
    """It is so, or always so: perhaps only there and then."""
    DENIED = auto()
    """It is not so: perhaps only there and then, and otherwise it is."""


def stand_of(claim: Statement, source: Statement, *, claim_items: Sequence[Item]) -> Stand:
    """How a statement of a source holds for a claim that agrees with it."""
    if claim.is_negated or source.is_negated:
        return Stand.DENIED
    words = {item.lower for item in claim_items}
    is_past = source.tense is Tense.PAST
    is_kept = source.verb in STATIVE | SCOPED and not (is_past and "born" in words)
    is_bounded = bool(words & ALL_OR_ONE) or any(_is_superlative(word) for word in words)
    if is_bounded:
        return Stand.STATE
    if is_kept:
        return Stand.WAS if is_past else Stand.STATE
    if {Mark.FUTURE, Mark.PLANNED} & claim.marks & source.marks:
        return Stand.COMING
    return Stand.EVENT if is_past else Stand.STATE


def _is_superlative(word: str) -> bool:
    return len(word) > 5 and word.endswith("est") and word not in NO_SUPERLATIVES


@dataclass(frozen=True, slots=True)
class Scene:
    """``taken`` are the places of ``items`` that the claim accounts for."""

    items: tuple[Item, ...]
    taken: frozenset[int]
    stand: Stand
    claimed: frozenset[str]
    """The words of the claim, in lower case."""

    def word(self, at: int) -> str:
        """The word at a place, in lower case; empty outside."""
        return self.items[at].lower if 0 <= at < len(self.items) else ""

    def is_free(self, at: int) -> bool:
        """Whether the claim lacks it."""
        return 0 <= at < len(self.items) and at not in self.taken

    def end(self, at: int, *, stops: str = "") -> int:
        """Where the stretch of free items from ``at`` on ends, at the latest at one of
        ``stops``."""
        while self.is_free(at) and self.items[at].text not in (*stops, "."):
            at += 1
        return at

    def part(self, begin: int, end: int) -> tuple[Item, ...]:
        """Some of the items."""
        return self.items[begin:end]

    @property
    def speaks(self) -> bool:
        """Whether the claim tells what somebody says."""
        return any(_is_speech(word) for word in self.claimed)

    def is_behind_speech(self, at: int) -> bool:
        """Whether a "said" that the claim has as well stands right before."""
        return at > 0 and at - 1 in self.taken and _is_speech(self.word(at - 1))

    @property
    def is_event(self) -> bool:
        """Whether it happened once."""
        return self.stand is Stand.EVENT


def _is_speech(word: str) -> bool:
    form = verb_form(word)
    return form is not None and form.base in REPORTS and form.tense is not None
