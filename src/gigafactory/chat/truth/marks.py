"""What makes a sentence less than a plain statement: doubt, irony, a question, somebody else's
words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gigafactory.chat.truth.forms import singular, verb_form
from gigafactory.chat.truth.lexicon import (
    ALLEGED,
    AUXILIARIES,
    BELIEFS,
    DETERMINERS,
    IRONIC_PHRASES,
    IRONY_OPENINGS,
    IRONY_SIGNS,
    IRONY_WORDS,
    NEGATIONS,
    PREPOSITIONS,
    REPORTS,
    RETRACTIONS,
    SLANG,
)
from gigafactory.chat.truth.verbs import find_verb
from gigafactory.chat.truth.words import Item, Kind, sentences


class Mark(StrEnum):
    """Why something that is written is not simply said to be so."""

    POSSIBLE = "possible"
    PROBABLE = "probable"
    FUTURE = "future"
    PLANNED = "planned"
    ALLEGED = "alleged"
    CONDITIONAL = "conditional"
    BELIEVED = "believed"
    FORMER = "former"
    QUESTION = "question"
    IRONIC = "ironic"
    FIGURATIVE = "figurative"
    DILUTED = "nearly or partly"
    FICTIONAL = "in a story"
    RETRACTED = "with a word that takes it back"


@dataclass(frozen=True, slots=True)
class Attributed:
    """A sentence without its "X said": who says it (empty: the source itself), and what is said."""

    speaker: tuple[Item, ...]
    said: tuple[Item, ...]
    marks: frozenset[Mark] = frozenset()


_QUOTES = '"“”„«»'
_LONGEST_SPEAKER = 8
_SUPPOSING = frozenset(
    ["whether", "suppose", "supposing", "imagine", "assume", "assuming", "pretend", "what"]
)


def marks_of_text(text: str) -> frozenset[Mark]:
    """Marks that colour a whole post."""
    words = [word.lower() for word in re.findall(r"/s\b|[\w'’-]+|[^\w\s]", text)]
    # the signs of #satire and of a smile are no letters; the words around them are looked at as
    # well
    is_ironic = bool(IRONY_WORDS & set(words)) or bool(IRONY_SIGNS & set(text))
    is_ironic |= any(tuple(words[: len(opening)]) == opening for opening in IRONY_OPENINGS)
    marks = {Mark.IRONIC} if is_ironic else set()
    lower = " ".join(text.lower().split())
    if any(phrase in lower for phrase in IRONIC_PHRASES):
        marks.add(Mark.IRONIC)
    if RETRACTIONS & set(words) or any(_takes_back(part) for _, part in sentences(text)):
        marks.add(Mark.RETRACTED)
    if _is_slang(words):
        marks.add(Mark.FIGURATIVE)
    return frozenset(marks)


_TAKING_BACK = ("not true", "a lie", "kidding", "so they say", "or so", "if you believe")
_FEW_WORDS = 2


def _takes_back(sentence: str) -> bool:
    """ "Allegedly." and "Not." as sentences of their own, "..., not.", "That was a lie."."""
    words = re.findall(r"[\w'’]+", sentence.lower())
    is_aside = 0 < len(words) <= _FEW_WORDS and bool((NEGATIONS | ALLEGED) & set(words))
    lower = " ".join(words)
    ends_denied = len(words) > 1 and words[-1] == "not"
    return is_aside or ends_denied or any(phrase in lower for phrase in _TAKING_BACK)


def _is_slang(words: Sequence[str]) -> bool:
    near = set(words)
    return any(
        (singular(word) in SLANG and SLANG[singular(word)] & near)
        or (word in SLANG and SLANG[word] & near)
        for word in words
    )


def attributed(found: Sequence[Item]) -> Attributed:
    """Take "X said that", "..., X said" and "according to X" off a sentence."""
    body = list(found)
    is_question = bool(body) and any(item.text == "?" for item in body)
    is_question |= bool(body) and body[0].lower in _SUPPOSING
    marks = frozenset((Mark.QUESTION,)) if is_question else frozenset[Mark]()
    for take in (_quoted, _before, _according, _behind):
        taken = take(body)
        if taken is not None:
            return Attributed(tuple(taken.speaker), tuple(taken.said), taken.marks | marks)
    return Attributed((), tuple(body), marks)


def _quoted(body: list[Item]) -> Attributed | None:
    at = [index for index, item in enumerate(body) if item.text in _QUOTES]
    if len(at) < 2:
        return None
    said = body[at[0] + 1 : at[1]]
    outside = [item for item in (*body[: at[0]], *body[at[1] + 1 :]) if item.kind is Kind.WORD]
    verb = next((i for i, item in enumerate(outside) if _base(item) in REPORTS), None)
    if verb is None or len(said) < 3:
        return None  # a title or a word in quotes
    before, after = outside[:verb], outside[verb + 1 :]
    speaker = before or [item for item in after if item.is_capital][:3]
    return Attributed(tuple(speaker[:_LONGEST_SPEAKER]), tuple(said)) if speaker else None


def _base(item: Item) -> str:
    form = verb_form(item.lower)
    return form.base if form is not None and item.kind is Kind.WORD else ""


def _before(body: list[Item]) -> Attributed | None:
    """ "The coach said (that) the team was tired"."""
    for at, item in enumerate(body[1 : _LONGEST_SPEAKER + 1], start=1):
        base = _base(item)
        is_noun = body[at - 1].lower in DETERMINERS  # despite its doubts
        if base not in REPORTS | BELIEFS or item.lower == "to" or is_noun:
            continue
        said = body[at + 1 :]
        is_led = bool(said) and (said[0].lower == "that" or said[0].text == ":")
        if is_led:
            said = said[1:]
        if not (is_led or _is_clause(said)) or not said or said[0].lower == "to":
            continue
        speaker = [i for i in body[:at] if i.lower not in AUXILIARIES and i.lower != "not"]
        is_open = base in BELIEFS or len(speaker) < at
        marks = frozenset((Mark.BELIEVED,)) if is_open else frozenset[Mark]()
        return Attributed(tuple(speaker), tuple(said), marks)
    return None


def _is_clause(said: Sequence[Item]) -> bool:
    """Whether a verb comes before any preposition: what was said, and not what was told of."""
    at = find_verb(said)
    return bool(at) and not any(item.lower in PREPOSITIONS for item in said[:at])


def _according(body: list[Item]) -> Attributed | None:
    lowers = [item.lower for item in body]
    for at in range(len(body) - 2):
        if lowers[at : at + 2] != ["according", "to"]:
            continue
        comma = next((i for i in range(at, len(body)) if body[i].text == ","), len(body))
        speaker = tuple(item for item in body[at + 2 : comma] if item.kind is Kind.WORD)
        said = body[comma + 1 :] if at == 0 else body[:at]
        return Attributed(speaker, tuple(said))
    return None


def _behind(body: list[Item]) -> Attributed | None:
    """ "..., the company said in its filing"."""
    commas = [index for index, item in enumerate(body) if item.text == ","]
    for at in reversed(commas):
        tail = [item for item in body[at + 1 :] if item.kind is Kind.WORD]
        verb = next((i for i, t in enumerate(tail) if _base(t) in REPORTS | BELIEFS), None)
        if verb is None or verb > _LONGEST_SPEAKER or find_verb(body[:at]) is None:
            continue
        if verb == 0 and _base(tail[0]) == "tell":
            continue  # "..., told residents": whom, not who
        is_belief = _base(tail[verb]) in BELIEFS
        marks = frozenset((Mark.BELIEVED,)) if is_belief else frozenset[Mark]()
        speaker = tail[:verb] or tail[verb + 1 :][:3]
        return Attributed(tuple(speaker), tuple(body[:at]), marks)
    return None
