"""What a text says, and who says it: its statements, pronouns resolved where that is certain."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gigafactory.chat.truth.clauses import Statement, statements
from gigafactory.chat.truth.forms import meaning
from gigafactory.chat.truth.lexicon import KIN, PERSONAL, THINGS, TITLES
from gigafactory.chat.truth.marks import attributed, marks_of_text
from gigafactory.chat.truth.phrases import Phrase, Share, read_phrase
from gigafactory.chat.truth.plain import is_narrow, is_plain_talk
from gigafactory.chat.truth.verbs import find_verb
from gigafactory.chat.truth.words import Item, items, sentences


@dataclass(frozen=True, slots=True)
class Said:
    """A statement and who makes it (None: the source itself)."""

    statement: Statement
    speaker: Phrase | None
    first: int
    last: int
    items: tuple[Item, ...] = ()
    """All of its sentence; of a claim, what belongs to this statement."""
    sentence: int = 0
    known: frozenset[str] = frozenset()
    """The words that a pronoun stands for."""


def read(text: str, *, is_claim: bool = False) -> list[Said]:
    """All statements of a text that the grammar reaches, pronouns resolved where that is
    certain."""
    marks = marks_of_text(text)
    found: list[Said] = []
    for index, (offset, sentence) in enumerate(sentences(text)):
        parts = tuple(items(sentence, offset=offset))
        speech = attributed(parts)
        speaker = read_phrase(speech.speaker, starts_sentence=True) if speech.speaker else None
        read_ones = statements(speech.said, marks=marks | speech.marks, is_claim=is_claim)
        for statement in read_ones:
            own = parts
            if is_claim and len(read_ones) > 1:
                own = _own_items(parts, statement)
            elif statement.is_aside:
                own = _of_aside(parts, statement)
            said = Said(statement, speaker, offset, offset + len(sentence), own, index)
            found.append(_resolved(said, found[-1] if found else None))
    return found


def _of_aside(parts: tuple[Item, ...], statement: Statement) -> tuple[Item, ...]:
    """The subject and what the insert says of it; all, if what is around it is no plain talk."""
    inside = [i for i in parts if statement.first <= i.first and i.last <= statement.last]
    outside = [i for i in parts if i not in inside]
    own = [i for i in inside if i.text != "," and i.lower not in ("who", "which")]
    is_first = statement.first == parts[0].first
    rest = outside[1:-1] if outside and outside[-1].text == "." else outside
    is_plain = is_first and is_plain_talk(rest) and is_narrow(rest, links=frozenset(("of",)))
    return tuple(own) if is_plain and not any(item.text == "." for item in rest) else parts


def _own_items(parts: tuple[Item, ...], statement: Statement) -> tuple[Item, ...]:
    """The subject that a sentence begins with, and what belongs to one of its statements."""
    begin = find_verb(parts) or 0
    return tuple(
        item
        for at, item in enumerate(parts)
        if at < begin or (statement.first <= item.first and item.last <= statement.last)
    )


def _resolved(said: Said, before: Said | None) -> Said:
    """ "She" is the one person of the sentence before, if there is exactly one."""
    statement = said.statement
    doer = statement.doer
    if before is None or doer is None or doer.head not in PERSONAL or not doer.is_pronoun:
        return said
    person = before.statement.doer
    if person is None or not person.is_name or before.speaker or _has_others(before, person):
        return said
    return replace(said, statement=replace(statement, doer=person), known=frozenset(person.words))


def _has_others(said: Said, person: Phrase) -> bool:
    """Whether anybody else could be meant: another name, or a noun of a person."""
    statement = said.statement
    others = [statement.done_to, *(p for w, p in statement.adjuncts if w not in _PLACE_LINKS)]
    is_other = any(other is not None and not _is_thing(other) for other in others)
    return is_other or any(meaning(item.lower) in KIN | TITLES for item in said.items)


def _is_thing(phrase: Phrase) -> bool:
    """Whether nobody is meant: a day, an amount, a prize, a bare noun (physics)."""
    if phrase.day is not None or not phrase.words or phrase.head in THINGS:
        return True
    is_counted = bool(phrase.quantity) or phrase.share is not Share.BARE
    return not (phrase.is_name or phrase.has_article or is_counted)


_PLACE_LINKS = frozenset(("in", "at", "near", "on"))
