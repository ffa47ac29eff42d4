"""Whether what stands before and behind a sentence leaves it a plain statement.

A post may begin with "Here is how the novel ends" or go on with "It was all staged". Sentences
beside the one that supports have to be plain talk about the world that points at nothing said
before.
"""

from __future__ import annotations

from collections.abc import Sequence

from gigafactory.chat.truth.forms import meaning
from gigafactory.chat.truth.lexicon import (
    BESIDE,
    GOING_ON,
    NEGATIONS,
    PLAIN_REPORTS,
    POINTING_BACK,
    POINTING_ON,
    POSSIBLE,
)
from gigafactory.chat.truth.plain import is_plain_talk
from gigafactory.chat.truth.terms import EMPTY_WORDS
from gigafactory.chat.truth.verbs import find_verb
from gigafactory.chat.truth.words import Item, Kind

_REACH = 3
"""Sentences before and behind that are looked at; retractions are looked for everywhere."""
_LEAST_WORDS = 2
_DENIALS = NEGATIONS | frozenset(["no", "nobody", "none", "nothing"])


def disturbed(
    found: Sequence[Sequence[Item]], at: int, *, known: frozenset[str], is_answered_for: bool
) -> str:
    """The first words of a sentence near the one at ``at`` that may take it back or set it in a
    story; empty if there is none.

    ``known`` are the words that a pronoun of it stands for; ``is_answered_for`` says that the text
    is by somebody who answers for it and tells no stories.
    """
    if _is_in_quotes([item.text for sentence in found[:at] for item in sentence]):
        return '"'
    for near in range(max(0, at - _REACH), min(len(found), at + _REACH + 1)):
        pointing = POINTING_ON if near < at else POINTING_BACK
        is_near = _is_anchored(found[near], found[at], known)
        also = POSSIBLE
        if is_answered_for:
            also = POSSIBLE | PLAIN_REPORTS | (frozenset() if is_near else _DENIALS)
        is_plain = _is_plain(found[near], pointing, also) and (is_near or is_answered_for)
        if near != at and not is_plain:
            return " ".join(item.text for item in found[near][:3])
    return ""


def _is_anchored(sentence: Sequence[Item], other: Sequence[Item], known: frozenset[str]) -> bool:
    """Whether it speaks of the same things: what frames a story or takes it back rarely does."""
    is_owned = any(item.lower in ("its", "their") for item in sentence)
    return is_owned or bool(_nouns(sentence) & (_nouns(other) | known))


def _nouns(sentence: Sequence[Item]) -> set[str]:
    return {meaning(item.lower) for item in sentence if item.kind is Kind.WORD} - EMPTY_WORDS


def _is_in_quotes(before: Sequence[str]) -> bool:
    """Whether quotes or brackets are open: somebody else goes on speaking."""
    is_open = any(before.count(a) > before.count(b) for a, b in ("“”", "„“", "«»", "()", "[]"))
    return is_open or before.count('"') % 2 == 1


def _is_plain(sentence: Sequence[Item], pointing: frozenset[str], also: frozenset[str]) -> bool:
    words = [item for item in sentence if item.kind is not Kind.SIGN]
    is_whole = len(words) >= _LEAST_WORDS and bool(find_verb(words))
    is_closed = bool(sentence) and sentence[-1].text == "."
    points = any(item.lower in pointing | BESIDE for item in words)
    begins_over = bool(words) and words[0].lower in GOING_ON
    is_apart = not points and not begins_over
    return is_whole and is_closed and is_apart and is_plain_talk(sentence, also=also)
