"""Where the finite verb of a clause stands."""

from __future__ import annotations

from collections.abc import Sequence

from gigafactory.chat.truth.forms import Tense, verb_form
from gigafactory.chat.truth.lexicon import (
    AUXILIARIES,
    DETERMINERS,
    FILLERS,
    NEGATIONS,
    PREPOSITIONS,
    RELATIVES,
)
from gigafactory.chat.truth.words import Item, Kind


def find_verb(part: Sequence[Item]) -> int | None:
    """Where the finite verb group begins."""
    for at, item in enumerate(part):
        if item.kind is not Kind.WORD:
            continue
        if item.lower in AUXILIARIES and not (item.is_capital and at > 0):
            return at
        if _is_finite(part, at):
            return at
    return None


def _is_finite(part: Sequence[Item], at: int) -> bool:
    item = part[at]
    form = verb_form(item.lower)
    if form is None or form.tense is None or (item.is_capital and at > 0):
        return False
    before = part[at - 1] if at else None
    if before is not None and (before.lower in DETERMINERS or before.lower in PREPOSITIONS):
        return False
    if before is not None and before.kind is Kind.QUANTITY:
        return False
    if before is not None and (before.lower in ("of", "to", "'s") or before.lower in RELATIVES):
        return False
    is_nounlike = form.is_plain or form.tense is Tense.PRESENT
    if is_nounlike and _verb_follows(part, at):
        return False
    return at > 0 or not item.is_capital


def _verb_follows(part: Sequence[Item], at: int) -> bool:
    """Whether this word, which may be a noun, has its verb right behind it."""
    for item in part[at + 1 : at + 3]:
        if item.lower in AUXILIARIES:
            return True
        form = verb_form(item.lower)
        if form is not None and form.tense is not None and item.kind is Kind.WORD:
            return True
        if item.lower not in FILLERS and item.lower not in NEGATIONS:
            return False
    return False
