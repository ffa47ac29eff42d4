"""Text into sentences and items: words, quantities, dates and signs, each with its place in the
text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from gigafactory.chat.truth.dates import Day, find_day
from gigafactory.chat.truth.quantities import Quantity, find_quantity

_TOKEN = re.compile(
    r"(?P<iso>\d{4}-\d{2}-\d{2})"
    r"|(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"|(?P<word>/s\b|(?:[A-Z]\.){2,}|[^\W\d_]+(?:[-'’][^\W\d_]+)*)"
    r"|(?P<sign>\S)",
)
_END = re.compile(r"(?<=[.!?…])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z0-9])|\n+")
_NOT_AN_END = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|St|Prof|Gen|Sen|Rep|No|vs|etc|[A-Z])\.$")
_SHORT = {"won't": ("will", "not"), "can't": ("can", "not"), "cannot": ("can", "not")}
_ENDINGS = {"'re": "are", "'m": "am", "'ll": "will", "'ve": "have"}


class Kind(Enum):
    """What an item is."""

    WORD = auto()
    QUANTITY = auto()
    DAY = auto()
    SIGN = auto()


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in a sentence; ``first`` and ``last`` are characters of the text."""

    kind: Kind
    text: str
    first: int
    last: int
    quantity: Quantity | None = None
    day: Day | None = None

    @property
    def lower(self) -> str:
        """The text in lower case."""
        return self.text.lower()

    @property
    def is_capital(self) -> bool:
        """Whether it is written like a name."""
        return self.kind is Kind.WORD and self.text[:1].isupper()


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """Where each sentence begins, and the sentence."""
    begin = 0
    for end in _END.finditer(text):
        piece = text[begin : end.start()]
        if _NOT_AN_END.search(piece):
            continue
        if piece.strip():
            yield begin, text[begin : end.end()].rstrip()
        begin = end.end()
    if text[begin:].strip():
        yield begin, text[begin:].rstrip()


def items(text: str, *, offset: int = 0) -> list[Item]:
    """What stands in one sentence."""
    found = list(_merged(list(_tokens(text))))
    return [
        Item(i.kind, i.text, i.first + offset, i.last + offset, i.quantity, i.day) for i in found
    ]


def _tokens(text: str) -> Iterator[Item]:
    for match in _TOKEN.finditer(text):
        kind = Kind.WORD if match.lastgroup == "word" else Kind.SIGN
        first, last = match.span()
        parts = _parts(match.group()) if kind is Kind.WORD else (match.group(),)
        for part in parts:
            yield Item(kind, part, first, last)


def _parts(word: str) -> tuple[str, ...]:
    plain = word.replace("’", "'")
    lower = plain.lower()
    if lower in _SHORT:
        return _SHORT[lower]
    if lower.endswith("n't"):
        return (plain[:-3], "not")
    for ending, verb in _ENDINGS.items():
        if lower.endswith(ending):
            return (plain[: -len(ending)], verb)
    if lower.endswith("'s"):
        owner = plain[:-2]
        is_verb = owner.lower() in ("it", "he", "she", "that", "there", "what", "who")
        return (owner, "is" if is_verb else "'s")
    return (plain.removesuffix("'"),)


def _merged(tokens: Sequence[Item]) -> Iterator[Item]:
    texts = [token.text for token in tokens]
    at = 0
    while at < len(tokens):
        day, num_tokens = find_day(texts, at)
        quantity = None
        if day is None:
            quantity, num_tokens = find_quantity(texts, at)
        if day is None and quantity is None:
            yield tokens[at]
            at += 1
            continue
        part = tokens[at : at + num_tokens]
        kind = Kind.DAY if day else Kind.QUANTITY
        text = " ".join(token.text for token in part)
        yield Item(kind, text, part[0].first, part[-1].last, quantity, day)
        at += num_tokens
