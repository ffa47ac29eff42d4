"""What a question asks: whether something is so, or for a number, a time, a person, a place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from gigafactory.chat.truth.lexicon import AUXILIARIES
from gigafactory.chat.truth.terms import terms_of
from gigafactory.chat.truth.words import Item, items, sentences


class Wanted(Enum):
    """What would be an answer."""

    TRUTH = auto()
    NUMBER = auto()
    TIME = auto()
    PERSON = auto()
    PLACE = auto()
    ANYTHING = auto()


@dataclass(frozen=True, slots=True)
class Question:
    """``claims`` are the readings of a yes-or-no question as a statement."""

    text: str
    wanted: Wanted
    terms: frozenset[str]
    """Meanings that an answer must speak of."""
    claims: tuple[str, ...] = ()


_MEASURES = frozenset(("many", "much", "long", "big", "deep", "tall", "high", "old", "far", "fast"))
_LEADS = ("is it true that", "is it true", "is it correct that", "grok,", "hey,", "please,")


def read_question(text: str) -> Question:
    """The last sentence with a question mark, else the last sentence."""
    found = [sentence for _, sentence in sentences(text)] or [text]
    asked = [sentence for sentence in found if sentence.rstrip("\"'”)").endswith("?")]
    sentence = " ".join((asked or found)[-1].split())
    plain = _without_lead(_without_mentions(sentence))
    parts = items(plain)
    wanted = _wanted(parts)
    is_statement = plain != _without_mentions(sentence) or not sentence.endswith("?")
    claims: tuple[str, ...] = ()
    if wanted is Wanted.TRUTH:
        claims = tuple(_turned(plain))
    elif is_statement or wanted is Wanted.ANYTHING:
        claims = (plain.rstrip("?!. ") + ".",)
    return Question(sentence, wanted, terms_of(parts), claims)


def _without_mentions(sentence: str) -> str:
    return " ".join(word for word in sentence.split() if not word.startswith("@"))


def _without_lead(sentence: str) -> str:
    lower = sentence.lower()
    for lead in _LEADS:
        if lower.startswith(lead):
            return sentence[len(lead) :].strip(" ,:")
    return sentence


def _wanted(parts: Sequence[Item]) -> Wanted:
    lowers = [item.lower for item in parts[:4]]
    if not lowers:
        return Wanted.ANYTHING
    if lowers[0] in AUXILIARIES:
        return Wanted.TRUTH
    if lowers[0] == "how" and lowers[-1] != "how" and lowers[1] in _MEASURES:
        return Wanted.NUMBER
    table = {
        "when": Wanted.TIME,
        "who": Wanted.PERSON,
        "whom": Wanted.PERSON,
        "where": Wanted.PLACE,
    }
    return table.get(lowers[0], Wanted.ANYTHING)


def _turned(sentence: str) -> Iterator[str]:
    """ "Did X do Y?" as "X did do Y.", with every word that could end the subject."""
    body = sentence.rstrip("?!. ")
    auxiliary, _, rest = body.partition(" ")
    words = rest.split()
    for at in range(1, min(len(words), 9)):
        subject = [words[0][:1].upper() + words[0][1:], *words[1:at]]
        yield " ".join([*subject, auxiliary.lower(), *words[at:]]) + "."
