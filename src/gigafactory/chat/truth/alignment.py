"""Which words of a source's sentence a claim accounts for, one by one.

The grammar says that the roles agree; here every word of the claim takes one word of the sentence,
and what is not taken is left over.
"""

from __future__ import annotations

from collections.abc import Sequence

from gigafactory.chat.truth.forms import meaning, singular, verb_form, verb_meaning
from gigafactory.chat.truth.lexicon import (
    AUXILIARIES,
    DETERMINERS,
    INDEFINITE,
    MODALS,
    NEGATIONS,
    PHRASAL,
    PREPOSITIONS,
)
from gigafactory.chat.truth.quantities import Relation, compare
from gigafactory.chat.truth.words import Item, Kind

#: of these the grammar has compared what they do; they take their like if there is one
_COMPARED = (
    (AUXILIARIES - MODALS - {"being"})
    | {"the", "a", "an", "'s", "by", "that", "some", "on", "at", "in", "during", "about", "of"}
    | {"and"}
)
_DENIALS = NEGATIONS | {"no", "nobody", "none", "anyone", "any"}
_ALIKE = (
    frozenset(("all", "every", "each")),
    frozenset(("is", "are")),
    frozenset(("was", "were")),
)
_REACH = 4
"""How far before its noun a small word may stand."""
_SMALL = _COMPARED | _DENIALS | PREPOSITIONS | DETERMINERS


def align(
    claim: Sequence[Item],
    source: Sequence[Item],
    *,
    known: frozenset[str] = frozenset(),
    are_denied: bool = False,
) -> tuple[list[int], str]:
    """Places in ``source`` of the words of ``claim``, in the claim's order, and the first word that
    has none.

    ``known`` are the words that a pronoun of the source stands for; ``are_denied`` says that both
    deny something, so that the grammar has compared how.
    """
    places: dict[int, int] = {}
    passed = _COMPARED | known | (_DENIALS if are_denied else frozenset())
    words = [at for at, item in enumerate(claim) if item.kind is not Kind.SIGN]
    # first what carries meaning, then each small word as near to it as there is one
    for at in sorted(words, key=lambda at: claim[at].lower in _SMALL):
        free = [i for i in range(len(source)) if i not in places.values()]
        same = [i for i in free if _is_same(claim, at, source, i)]
        place = _nearest(same, places, at, is_small=claim[at].lower in _SMALL) if same else None
        if place is not None:
            places[at] = place
        elif not (claim[at].lower in passed or _is_there(claim, at) or _is_particle(claim, at)):
            return [], claim[at].text
        if claim[at].lower == "the" and _is_any(source, places, at):
            return [], claim[at].text
    taken = set(places.values())
    return [*taken, *(i for place in taken for i in _particle(source, place))], ""


def _nearest(same: Sequence[int], places: dict[int, int], at: int, *, is_small: bool) -> int | None:
    """The first behind the word before; a small word stands close before the one behind it."""
    last = max((place for i, place in places.items() if i < at), default=-1)
    following = min((i for i in places if i > at), default=None)
    if not is_small or following is None:
        return next((i for i in same if i > last), same[0])
    near = [i for i in same if 0 < places[following] - i <= _REACH]
    return near[-1] if near else None


def _is_there(claim: Sequence[Item], at: int) -> bool:
    """ "There are 40 pupils"."""
    return at == 0 and claim[at].lower == "there"


def _is_any(source: Sequence[Item], places: dict[int, int], at: int) -> bool:
    """Whether the source has "a" where the claim has "the": it may be another one."""
    following = min((i for i in places if i > at), default=None)
    if following is None:
        return False
    before = source[max(0, places[following] - 2) : places[following]]
    return bool(before) and before[-1].lower in INDEFINITE


def _is_same(claim: Sequence[Item], at: int, source: Sequence[Item], i: int) -> bool:
    item, other = claim[at], source[i]
    if item.kind is not other.kind:
        return False
    if item.quantity and other.quantity:
        is_judged = item.lower.split(" ")[0] in ("only", "just")
        is_same = compare(item.quantity, other.quantity) is Relation.FOLLOWS
        return is_same and (not is_judged or item.lower == other.lower)
    if item.day and other.day:
        return item.day.follows_from(other.day)
    if item.lower == other.lower:
        return item.lower not in _A_FEW or _is_a_few(claim, at) == _is_a_few(source, i)
    if any({item.lower, other.lower} <= alike for alike in _ALIKE):
        return True
    if item.lower in _SMALL or item.kind is not Kind.WORD:
        return False
    shared = _senses(claim, at) & _senses(source, i)
    is_deed = any(sense.startswith("verb") for sense in shared)
    if is_deed and (item.lower.endswith("ing") == other.lower.endswith("ing")):
        return True  # what was being built was not built
    is_each = i > 0 and source[i - 1].lower in ("every", "each")
    is_number = is_each or _is_plural(item.lower) == _is_plural(other.lower)
    return is_number and any(not sense.startswith("verb") for sense in shared)


_A_FEW = frozenset(("few", "little"))


def _is_a_few(found: Sequence[Item], at: int) -> bool:
    return at > 0 and found[at - 1].lower == "a"


def _is_plural(word: str) -> bool:
    return singular(word) != word


def _senses(found: Sequence[Item], at: int) -> set[str]:
    """What a word can stand for, as a noun and as a verb."""
    word = found[at].lower
    form = verb_form(word)
    if found[at].is_capital and at > 0:
        return {word}
    senses = {f"noun {meaning(word)}"}
    if form is not None:
        after = found[at + 1].lower if at + 1 < len(found) else ""
        senses.add(f"verb {verb_meaning(PHRASAL.get((form.base, after), form.base))}")
    return senses


def _particle(source: Sequence[Item], at: int) -> list[int]:
    """The "down" of "shut down" goes with it."""
    return [at + 1] if at + 1 < len(source) and _is_particle(source, at + 1) else []


def _is_particle(found: Sequence[Item], at: int) -> bool:
    form = verb_form(found[at - 1].lower) if at else None
    return form is not None and (form.base, found[at].lower) in PHRASAL
