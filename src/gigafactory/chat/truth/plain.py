"""Plain talk about the world, as against talk about what is said, thought, shown or feared."""

from __future__ import annotations

from collections.abc import Sequence

from gigafactory.chat.truth.forms import singular, verb_form
from gigafactory.chat.truth.lexicon import (
    ABOUT_TALK,
    AGAIN_AND_AGAIN,
    ALLEGED,
    AUXILIARIES,
    BELIEFS,
    CONDITIONAL,
    DILUTING,
    FICTION,
    FIGURATIVE,
    LEAVING_OUT,
    LIMITS,
    NEGATIONS,
    POSSIBLE,
    PREPOSITIONS,
    PRIVATIVE,
    PROBABLE,
    REPORTS,
    RETRACTIONS,
    SPEAKERS,
    TIME_NOUNS,
    TIME_PREPOSITIONS,
    UNREAL_PLACES,
)
from gigafactory.chat.truth.words import Item, Kind

_UNPLAIN = (
    ABOUT_TALK
    | ALLEGED
    | CONDITIONAL
    | DILUTING
    | FICTION
    | FIGURATIVE
    | LEAVING_OUT
    | LIMITS
    | NEGATIONS
    | POSSIBLE
    | PRIVATIVE
    | PROBABLE
    | RETRACTIONS
    | SPEAKERS
)
_SPOKEN = REPORTS | BELIEFS
_PLAIN_SIGNS = frozenset(".,%")


def is_fools_day(item: Item) -> bool:
    """Whether it is the first of April: what is told of that day may be a joke."""
    return item.day is not None and (item.day.month, item.day.day) == (4, 1)


def is_plain_talk(part: Sequence[Item], *, also: frozenset[str] = frozenset()) -> bool:
    """Whether nothing in it speaks of what is said, thought, shown, feared, denied or limited.

    ``also`` are words that do no harm where it stands.
    """
    for item in part:
        if item.kind is Kind.SIGN and item.text not in _PLAIN_SIGNS:
            return False
        if is_fools_day(item):
            return False
        if item.day is not None or item.lower in also:
            continue
        if {item.lower, singular(item.lower), item.lower.split("-")[0]} & _UNPLAIN:
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
        is_again = item.lower in AGAIN_AND_AGAIN or (
            item.day is not None and item.lower.endswith("days")
        )
        if item.text == "," or is_again or (is_link and not _is_when_or_where(part, at)):
            return False
    return True


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
