"""A language model may rephrase, never add: what it adds is cut.

A draft is read sentence by sentence. A sentence stays where a source of authority supports every
statement of it; everything else is cut. If nothing stays, the quotes themselves are the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gigafactory.chat.truth.answers import Answer, Decision, Quote, check
from gigafactory.chat.truth.finding import Hit
from gigafactory.chat.truth.words import sentences

_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b[^.]{0,40}\b(?:instructions?|prompts?|rules|above|previous)\b"
    r"|\bsystem prompt\b|\byou are now\b|\bas an ai\b|\b(?:reply|respond|answer) (?:only )?with\b"
    r"|\brepeat after me\b|<\|[^|]*\|>|\b(?:assistant|system)\s*:",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Grounded:
    """What is left of a draft."""

    answer: Answer
    num_cut: int
    """Sentences of the draft that nothing supports."""


def gives_orders(text: str) -> bool:
    """Whether a post speaks to the model instead of to people; it is then not shown to one."""
    return bool(_ORDERS.search(text))


def ground(draft: str, hits: Sequence[Hit], *, otherwise: Answer) -> Grounded:
    """Keep of ``draft`` what ``hits`` support; ``otherwise`` where nothing is."""
    text, kept, cut = "", list[tuple[Quote, tuple[int, int]]](), 0
    for _, sentence in sentences(draft):
        checked = check(sentence, hits)
        if checked.decision is not Decision.SUPPORTED:
            cut += 1
            continue
        begin = len(text) + (1 if text else 0)
        text += (" " if text else "") + " ".join(sentence.split())
        kept.append((checked.quotes[0], (begin, len(text))))
    if not kept:
        return Grounded(otherwise, cut)
    cited = "; ".join(_short(quote) for quote in dict.fromkeys(quote for quote, _ in kept))
    answer = Answer(
        Decision.SUPPORTED,
        f"{text} [{cited}]",
        tuple(quote for quote, _ in kept),
        tuple(span for _, span in kept),
    )
    return Grounded(answer, cut)


def _short(quote: Quote) -> str:
    return f"{quote.post.id}; {quote.post.author}, {quote.post.authority}, {quote.post.date}"


def material(hits: Sequence[Hit], *, most_posts: int = 8) -> str:
    """The quotes as a model is shown them: numbered lines, nothing that gives it orders."""
    shown = [hit for hit in hits if not gives_orders(hit.post.text)][:most_posts]
    lines = (f"[{at}] {' '.join(hit.post.text.split())}" for at, hit in enumerate(shown, start=1))
    return "\n".join(lines)
