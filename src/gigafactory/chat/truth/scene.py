"""A sentence of a source with the words that a claim has taken: what the rules of leaving out look
at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from gigafactory.chat.truth.clauses import Statement
from gigafactory.chat.truth.forms import Tense, singular, verb_form
from gigafactory.chat.truth.lexicon import (
    ABOUT_TALK,
    ALLEGED,
    AUXILIARIES,
    BELIEFS,
    CONDITIONAL,
    DILUTING,
    FICTION,
    FIGURATIVE,
    LIMITS,
    NEGATIONS,
    POSSIBLE,
    PREPOSITIONS,
    PRIVATIVE,
    PROBABLE,
    REPORTS,
    RETRACTIONS,
    SCOPED,
    TIME_NOUNS,
    TIME_PREPOSITIONS,
    UNREAL_PLACES,
)
from gigafactory.chat.truth.marks import Mark
from gigafactory.chat.truth.words import Item, Kind

#: behind them what is so somewhere is not so everywhere
_STATIVE = frozenset(("be", "have"))
_ALL_OR_ONE = frozenset(
    "all every each both any none no nobody everyone everybody anyone most only than first second third last next "
    "least best worst more fewer less same".split()
)

SPEAKERS = frozenset("i me my mine myself we us our ours you your yours yourself".split(" "))
_NOTHING = frozenset("no none nobody nothing nowhere neither without unless except but only instead rather thanks exception exceptions".split())
_UNPLAIN = (
    ABOUT_TALK
    | ALLEGED
    | CONDITIONAL
    | DILUTING
    | FICTION
    | FIGURATIVE
    | LIMITS
    | NEGATIONS
    | POSSIBLE
    | PRIVATIVE
    | PROBABLE
    | RETRACTIONS
    | SPEAKERS
    | _NOTHING
)
_SPOKEN = REPORTS | BELIEFS
_PLAIN_SIGNS = frozenset(".,%")


class Stand(Enum):
    """How a statement holds, which says what may be left out beside it."""

    EVENT = auto()
    """It happened once: it has happened, whenever and wherever."""
    COMING = auto()
    """It will happen: when may be left out."""
    STATE = auto()
    """It is so, or always so: perhaps only there and then."""
    DENIED = auto()
    """It is not so: perhaps only there and then, and otherwise it is."""


def stand_of(claim: Statement, source: Statement, *, claim_items: Sequence[Item]) -> Stand:
    """How a statement of a source holds for a claim that agrees with it."""
    if claim.is_negated or source.is_negated:
        return Stand.DENIED
    words = {item.lower for item in claim_items}
    is_born = source.tense is Tense.PAST and "born" in words
    is_bounded = bool(words & _ALL_OR_ONE) or any(_is_superlative(word) for word in words)
    if is_bounded or (source.verb in _STATIVE and not is_born) or source.verb in SCOPED:
        return Stand.STATE
    if {Mark.FUTURE, Mark.PLANNED} & claim.marks & source.marks:
        return Stand.COMING
    return Stand.EVENT if source.tense is Tense.PAST else Stand.STATE


def _is_superlative(word: str) -> bool:
    return len(word) > 5 and word.endswith("est") and word not in _NO_SUPERLATIVES


_NO_SUPERLATIVES = frozenset("forest harvest interest protest request invest arrest contest".split())


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


def is_plain_talk(part: Sequence[Item], *, also: frozenset[str] = frozenset()) -> bool:
    """Whether nothing in it speaks of what is said, thought, shown, feared, denied or limited.

    ``also`` are words that do no harm where it stands."""
    for item in part:
        if item.kind is Kind.SIGN and item.text not in _PLAIN_SIGNS:
            return False
        if item.day is not None and (item.day.month, item.day.day) == (4, 1):
            return False
        if item.day is not None or item.lower in also:
            continue
        if {item.lower, singular(item.lower)} & _UNPLAIN or "-" in item.text and item.lower.split("-")[0] in _UNPLAIN:
            return False
        form = verb_form(item.lower)
        if form is not None and form.base in _SPOKEN:
            return False
    return True


def is_narrow(part: Sequence[Item], *, links: frozenset[str]) -> bool:
    """Whether nothing hangs on it that could reach over all of the sentence: only ``links``, days
    and places by name."""
    for at, item in enumerate(part):
        is_link = item.lower in PREPOSITIONS and item.lower not in links
        is_again = item.lower in _AGAIN or (item.day is not None and item.lower.endswith("days"))
        if item.text == "," or is_again or (is_link and not _is_when_or_where(part, at)):
            return False
    return True


_AGAIN = frozenset(["every", "each", "twice", "once"])


def _is_when_or_where(part: Sequence[Item], at: int) -> bool:
    """ "In 1994", "in a decade", "in Girona", "in two pillars"."""
    link, *near = part[at : at + 3]
    if not near or link.lower not in TIME_PREPOSITIONS:
        return False
    is_span = near[0].lower in ("a", "the", "this") and near[-1].lower in TIME_NOUNS - {"time"}
    is_place = link.lower == "in" and near[0].is_capital and near[0].lower not in UNREAL_PLACES
    is_number = link.lower == "in" and near[0].quantity is not None
    return near[0].day is not None or is_span or is_place or is_number


def is_known_verb(word: str) -> bool:
    """A finite form of a verb of deeds."""
    form = verb_form(word)
    return form is not None and form.tense is not None and form.base not in _SPOKEN


def has_finite(part: Sequence[Item]) -> bool:
    """Whether any word in it could be a finite verb."""
    for at, item in enumerate(part):
        if item.kind is not Kind.WORD or (item.is_capital and at):
            continue
        form = verb_form(item.lower)
        is_past = form is not None and form.tense is not None and not form.is_plain
        if item.lower in AUXILIARIES or (is_past and not item.lower.endswith("s")):
            return True
    return False
