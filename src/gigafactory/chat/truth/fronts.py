"""What stands before a clause or inside it: leads ("In 1998, ...") and inserts (", a Swede, ")."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from gigafactory.chat.truth.forms import verb_form
from gigafactory.chat.truth.lexicon import (
    AUXILIARIES,
    DETERMINERS,
    EDGES_OF_TIME,
    PREPOSITIONS,
    RELATIVES,
    TIME_NOUNS,
)
from gigafactory.chat.truth.phrases import Phrase, read_phrase
from gigafactory.chat.truth.verbs import find_verb
from gigafactory.chat.truth.words import Item, Kind

BEFORE_ARTICLE = frozenset(["of", "all", "both", "half", "and", "not", "nearly", "almost", "only"])


def fronted(body: Sequence[Item]) -> tuple[list[tuple[str, Phrase]], list[Item]]:
    """Adjuncts before the subject ("In 1998, ...", "Last spring ...") and the rest."""
    if len(body) > 2 and body[0].lower in EDGES_OF_TIME and body[1].lower in PREPOSITIONS:
        body = body[1:]  # late on Friday
    end = _end_of_lead(body)
    if end == 0:
        return [], list(body)
    lead, rest = body[:end], list(body[end:])
    if rest and rest[0].text == ",":
        rest = rest[1:]
    if any(item.lower in AUXILIARIES for item in lead):
        return [], list(body)  # a clause: "If the calculations are right, ..."
    if lead[0].lower not in PREPOSITIONS:
        is_day = lead[-1].lower in TIME_NOUNS
        return [("on" if is_day else "while", read_phrase(lead))], rest
    inner = lead[2:] if lead[1].lower == "of" else lead[1:]
    return [(lead[0].lower, read_phrase(inner))], rest


def _end_of_lead(body: Sequence[Item]) -> int:
    if len(body) < 4:
        return 0
    first = body[0].lower
    texts = [item.text for item in body]
    if first in ("last", "next", "this") and body[1].lower in TIME_NOUNS:
        return 2
    form = verb_form(first)
    is_participle = form is not None and (form.is_participle or first.endswith("ing"))
    if first not in PREPOSITIONS and not is_participle:
        return 0
    if "," in texts:
        return texts.index(",")
    if first in PREPOSITIONS and not is_participle and (end := _end_before_article(body)):
        return end
    days = [at for at, item in enumerate(body[:5]) if item.kind is Kind.DAY]
    if days and first in PREPOSITIONS and (days[0] == 1 or days == [2]):
        return days[-1] + 1
    return 0


def _end_before_article(body: Sequence[Item]) -> int:
    """ "After days of protest the mayor ...": where the subject begins, if that is plain."""
    for at in range(2, len(body) - 1):
        word, before = body[at].lower, body[at - 1].lower
        form = verb_form(before)
        is_verb = form is not None and (form.is_participle or before.endswith("ing"))
        is_noun = at > 1 and body[at - 2].lower in DETERMINERS  # a hearing
        if (is_verb and not is_noun) or before in AUXILIARIES | RELATIVES:
            return 0
        if word in ("the", "a", "an") and before not in PREPOSITIONS | BEFORE_ARTICLE:
            return at if find_verb(body[at:]) is not None else 0
    return 0


def without_insert(part: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Take out what stands between commas behind the subject; the clause, and what was taken
    out."""
    span = insert_span(part)
    if span is None:
        return list(part), []
    opening, closing = span
    return [*part[:opening], *part[closing + 1 :]], list(part[opening + 1 : closing])


def insert_span(part: Sequence[Item]) -> tuple[int, int] | None:
    """The two commas around it."""
    commas = [at for at, item in enumerate(part) if item.text == ","]
    for opening, closing in pairwise(commas):
        if find_verb(part[closing + 1 : closing + 3]) == 0 and find_verb(part[:opening]) is None:
            return opening, closing
    return None
