"""The words of a text that carry any meaning, whatever the grammar makes of them."""

from __future__ import annotations

from collections.abc import Sequence

from gigafactory.chat.truth.forms import meaning, verb_form, verb_meaning
from gigafactory.chat.truth.lexicon import (
    AUXILIARIES,
    DETERMINERS,
    FILLERS,
    NEGATIONS,
    PHRASAL,
    PREPOSITIONS,
    PRONOUNS,
)
from gigafactory.chat.truth.quantities import Relation, compare
from gigafactory.chat.truth.words import Item, Kind

_ASKING = frozenset(("who", "whom", "whose", "what", "when", "where", "which", "why", "how"))
_SMALL = {"of", "and", "or", "'s", "not", "many", "much", "all", "any", "ever", "there", "long"}
_ADDRESS = {"true", "tell", "me", "about", "please", "is", "it", "that"}
EMPTY_WORDS = DETERMINERS | PREPOSITIONS | AUXILIARIES | FILLERS | PRONOUNS | _SMALL | _ASKING
_UNCHECKED = NEGATIONS | {"no", "nobody", "every", "each", "some", "most", "none", "only", "fail"}
"""Compared by the grammar, as what they do to a statement."""


def terms_of(parts: Sequence[Item]) -> frozenset[str]:
    """The meanings of all words that carry any."""
    words = [item for item in parts if item.kind is Kind.WORD]
    found = set()
    for at, item in enumerate(words):
        if item.lower in EMPTY_WORDS or item.lower in _ADDRESS:
            continue
        after = words[at + 1].lower if at + 1 < len(words) else ""
        found.add(_term(item, after))
    return frozenset(found)


def _term(item: Item, after: str) -> str:
    form = verb_form(item.lower)
    if form is None or item.is_capital:
        return meaning(item.lower)
    phrasal = PHRASAL.get((form.base, after))
    return verb_meaning(phrasal or form.base)


def unaccounted(claim: Sequence[Item], source: Sequence[Item]) -> list[str]:
    """What the claim says and the source has nowhere, in order; empty where nothing is added."""
    there = terms_of(source) | {meaning(i.lower) for i in source if i.kind is Kind.WORD}
    missing = sorted(terms_of(claim) - there - _UNCHECKED - {"away", "person"})
    for item in claim:
        if item.quantity and not any(
            compare(item.quantity, other.quantity) is Relation.FOLLOWS
            for other in source
            if other.quantity
        ):
            missing.append(item.text)
        if item.day and not any(other.day and item.day.follows_from(other.day) for other in source):
            missing.append(item.text)
    return missing
