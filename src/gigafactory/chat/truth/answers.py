"""Answers that quote: what is found, judged, weighed by authority, and said with its date and
doubt.

How many say something decides nothing. A source of authority that says so supports; one that says
the opposite contradicts; both together are a dispute, and both are shown. What only anybody says is
shown as that. Where nothing is found, that is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gigafactory.chat.truth.finding import Hit
from gigafactory.chat.truth.marks import Mark, attributed, marks_of_text
from gigafactory.chat.truth.posts import Post
from gigafactory.chat.truth.questions import Question, Wanted
from gigafactory.chat.truth.support import Finding, Verdict, judge_readings
from gigafactory.chat.truth.terms import terms_of
from gigafactory.chat.truth.words import Item, Kind, items, sentences

NOTHING = "Not supported by what I can see."
MOST_QUOTES = 3


class Decision(StrEnum):
    """What an answer comes to."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    DISPUTED = "disputed"
    UNCONFIRMED = "unconfirmed"
    """Only sources that support nothing by themselves."""
    QUOTED = "quoted"
    """An open question: sentences that speak of it, as they stand."""
    NOTHING = "not supported"


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of a source, exactly as they stand there."""

    post: Post
    first: int
    last: int
    verdict: Verdict
    why: str
    score: float = 0.0
    num_copies: int = 1

    @property
    def text(self) -> str:
        """The words."""
        return self.post.text[self.first : self.last].strip()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said, and what it rests on; ``spans`` are the characters of ``text`` of each
    quote."""

    decision: Decision
    text: str
    quotes: tuple[Quote, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


def answer(question: Question, hits: Sequence[Hit]) -> Answer:
    """The answer to ``question`` from ``hits``; never a word that is not a quote or a fixed
    phrase."""
    if question.claims:
        judged = _judged(question.claims, hits)
        if judged:
            return _weighed(judged)
        if question.wanted is Wanted.TRUTH:
            return Answer(Decision.NOTHING, NOTHING)
    quotes = _speaking_of(question, hits)
    if not quotes:
        return Answer(Decision.NOTHING, NOTHING)
    is_weak = all(quote.post.authority.is_weak for quote in quotes)
    decision = Decision.UNCONFIRMED if is_weak else Decision.QUOTED
    return _said(decision, "Unconfirmed:" if is_weak else "", quotes)


def check(claim: str, hits: Sequence[Hit]) -> Answer:
    """One claim against what was found."""
    judged = _judged((claim,), hits)
    return _weighed(judged) if judged else Answer(Decision.NOTHING, NOTHING)


def _judged(claims: Sequence[str], hits: Sequence[Hit]) -> list[Quote]:
    quotes = []
    for hit in hits:
        checked = hit.post.authority.is_answered_for
        finding = judge_readings(claims, hit.post.text, is_answered_for=checked)
        if finding.verdict is not Verdict.ABSENT:
            quotes.append(_quote(hit, finding))
    return sorted(quotes, key=lambda q: (q.post.authority.rank, -q.post.at_s, q.post.id))


def _quote(hit: Hit, finding: Finding) -> Quote:
    return Quote(
        post=hit.post,
        first=finding.first,
        last=finding.last,
        verdict=finding.verdict,
        why=finding.why,
        score=hit.score,
        num_copies=hit.num_copies,
    )


def _weighed(quotes: Sequence[Quote]) -> Answer:
    """The highest authority speaks; a lower one that differs is shown, an anonymous one is not
    asked."""
    strong = [quote for quote in quotes if not quote.post.authority.is_weak]
    if not strong:
        return _said(Decision.UNCONFIRMED, "Unconfirmed, only said by anyone:", _both_sides(quotes))
    verdicts = {quote.verdict for quote in strong}
    if len(verdicts) > 1:
        return _said(Decision.DISPUTED, "Sources disagree:", _both_sides(strong))
    if Verdict.SUPPORTED in verdicts:
        return _said(Decision.SUPPORTED, "Yes, as far as I can see:", strong[:MOST_QUOTES])
    return _said(Decision.CONTRADICTED, "No, as far as I can see:", strong[:MOST_QUOTES])


def _both_sides(quotes: Sequence[Quote]) -> list[Quote]:
    first: dict[Verdict, Quote] = {}
    for quote in quotes:
        first.setdefault(quote.verdict, quote)
    return list(first.values())


def _said(decision: Decision, lead: str, quotes: Sequence[Quote]) -> Answer:
    text, spans = lead, []
    for quote in quotes:
        begin = len(text) + (1 if text else 0)
        text += (" " if text else "") + cite(quote)
        spans.append((begin, len(text)))
    return Answer(decision, text, tuple(quotes), tuple(spans))


def cite(quote: Quote) -> str:
    """A quote with its id, author, authority and date; no link."""
    post = quote.post
    words = " ".join(quote.text.split())
    return f"“{words}” [{post.id}; {post.author}, {post.authority}, {post.date}]"


def _speaking_of(question: Question, hits: Sequence[Hit]) -> list[Quote]:
    found: list[tuple[float, Quote]] = []
    for hit in hits:
        if marks_of_text(hit.post.text) & {Mark.IRONIC, Mark.FIGURATIVE}:
            continue
        best = _best_sentence(question, hit)
        if best is not None:
            found.append(best)
    found.sort(key=lambda pair: (pair[1].post.authority.rank, -pair[0], -pair[1].post.at_s))
    quotes = [quote for _, quote in found]
    strong = [quote for quote in quotes if not quote.post.authority.is_weak]
    return (strong or quotes[:1])[:MOST_QUOTES]


def _best_sentence(question: Question, hit: Hit) -> tuple[float, Quote] | None:
    best: tuple[float, Quote] | None = None
    for offset, sentence in sentences(hit.post.text):
        parts = items(sentence, offset=offset)
        share = _share_of_terms(question.terms, parts)
        is_question = any(item.text == "?" for item in parts)
        if is_question or share < _LEAST_SHARE or not _answers(question.wanted, parts):
            continue
        if best is None or share > best[0]:
            finding = Finding(
                Verdict.SUPPORTED, "it speaks of this", offset, offset + len(sentence)
            )
            best = (share, _quote(hit, finding))
    return best


_LEAST_SHARE = 0.75


def _share_of_terms(terms: frozenset[str], parts: Sequence[Item]) -> float:
    return len(terms & terms_of(parts)) / len(terms) if terms else 0.0


def _answers(wanted: Wanted, parts: Sequence[Item]) -> bool:
    """Whether the sentence has anything of the wanted kind in it."""
    speech = attributed(parts)
    if wanted is Wanted.NUMBER:
        return any(item.quantity for item in parts)
    if wanted is Wanted.TIME:
        return any(item.day for item in parts)
    if wanted in (Wanted.PERSON, Wanted.PLACE):
        names = [item for item in parts if item.is_capital and item.kind is Kind.WORD]
        return bool(names) or bool(speech.speaker)
    return True
