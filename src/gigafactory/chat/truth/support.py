"""Whether a source supports a claim, contradicts it, or does neither.

Decided word by word and role by role: who did what to whom, how many, when, how surely, and who
says so. Similarity decides nothing. The order of worth is precision: "supported" is said only where
every word of the claim is found in one sentence of the source, and every other word of that
sentence is of a kind that is known to leave the claim standing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain

from gigafactory.chat.truth.alignment import align
from gigafactory.chat.truth.clauses import Statement
from gigafactory.chat.truth.forms import Tense
from gigafactory.chat.truth.leftover import left_over
from gigafactory.chat.truth.lexicon import (
    JOINING,
    LIMITS,
    PERSONAL,
    PRIVATIVE,
    REPEATABLE,
    STATIVE,
    SYMMETRIC,
    TIME_PREPOSITIONS,
    UNIQUE_DOER,
    are_opposite,
)
from gigafactory.chat.truth.marks import Mark
from gigafactory.chat.truth.phrases import Match, Phrase, Share, match
from gigafactory.chat.truth.said import Said, read
from gigafactory.chat.truth.scene import Scene, stand_of
from gigafactory.chat.truth.surroundings import disturbed
from gigafactory.chat.truth.terms import unaccounted
from gigafactory.chat.truth.words import Item, items, sentences


class Verdict(StrEnum):
    """What a source does for a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, the characters of the source that it rests on, and why, in words for people."""

    verdict: Verdict
    why: str
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Text:
    """A source, read."""

    said: tuple[Said, ...]
    sentences: tuple[list[Item], ...]
    is_answered_for: bool


def judge(claim: str, source: str, *, is_answered_for: bool = False) -> Finding:
    """What ``source`` does for ``claim``; a claim of several statements needs all of them.

    ``is_answered_for``: the source is by somebody who answers for it, so that the sentences beside
    the one that supports need not show that they tell no story.
    """
    return judge_readings((claim,), source, is_answered_for=is_answered_for)


def judge_readings(claims: Sequence[str], source: str, *, is_answered_for: bool = False) -> Finding:
    """The best that ``source`` does for one of several wordings of the same claim."""
    text = Text(tuple(read(source)), tuple(_by_sentence(source)), is_answered_for)
    findings = [_judge(claim, text) for claim in claims]
    return min(findings, key=lambda finding: _ORDER.index(finding.verdict))


_ORDER = (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.ABSENT)


def _judge(claim: str, text: Text) -> Finding:
    wanted = read(claim, is_claim=True)
    if not wanted:
        return Finding(Verdict.ABSENT, "the claim is not a statement that can be checked")
    if any(said.statement.marks & _UNCHECKABLE for said in wanted):
        return Finding(Verdict.ABSENT, "the claim is not meant as a statement")
    findings = [_best(said, text) for said in wanted]
    for verdict in (Verdict.CONTRADICTED, Verdict.ABSENT):
        for finding in findings:
            if finding.verdict is verdict:
                return finding
    missing = unaccounted([*chain(*_by_sentence(claim))], [*chain(*text.sentences)])
    if missing:  # words that the grammar passed over count all the same
        return Finding(Verdict.ABSENT, f"the source does not say {missing[0]!r}")
    return findings[0]


def _by_sentence(text: str) -> list[list[Item]]:
    return [items(sentence, offset=offset) for offset, sentence in sentences(text)]


_UNCHECKABLE = frozenset((Mark.QUESTION, Mark.IRONIC, Mark.FIGURATIVE))


def _best(wanted: Said, text: Text) -> Finding:
    findings = [_one(wanted, said, text) for said in text.said]
    if any(found.verdict is Verdict.SUPPORTED for found in findings) and _differs(
        wanted, text.said
    ):
        return Finding(Verdict.ABSENT, "the source says it in more than one way")
    nearest = [f for f in findings if f.why.startswith(_WITHHELD)]
    for verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.ABSENT):
        for finding in (*nearest, *findings):
            if finding.verdict is verdict:
                return finding
    return Finding(Verdict.ABSENT, "the source makes no statement that can be checked")


_WITHHELD = ("the source also says", "what stands beside it")


def _differs(wanted: Said, given: Sequence[Said]) -> bool:
    """Whether the source says of the same doer and deed something else as well, in another
    sentence: of several options, which one is so?"""
    verdicts = [(_spoken(wanted, said)[0], said.statement) for said in given]
    return any(
        verdict is Verdict.CONTRADICTED
        or (verdict is Verdict.ABSENT and _is_same_deed(wanted.statement, other))
        for verdict, other in verdicts
    )


def _is_same_deed(claim: Statement, source: Statement) -> bool:
    is_deed = claim.verb == source.verb and claim.verb not in STATIVE
    return is_deed and _doer(claim, source) is Match.SAME


def _one(wanted: Said, given: Said, text: Text) -> Finding:
    outcome, why = _spoken(wanted, given)
    doubt = _doubt(wanted, given, text) if outcome is Verdict.SUPPORTED else ""
    if doubt:
        outcome, why = Verdict.ABSENT, doubt
    return Finding(outcome, why, given.first, given.last)


def _doubt(wanted: Said, given: Said, text: Text) -> str:
    """Why a statement that agrees in all roles is still no support; empty if it is."""
    are_denied = wanted.statement.is_negated and given.statement.is_negated
    taken, missing = align(wanted.items, given.items, known=given.known, are_denied=are_denied)
    if missing:
        return f"the source does not say {missing!r} there"
    stand = stand_of(wanted.statement, given.statement, claim_items=wanted.items)
    claimed = frozenset(item.lower for item in wanted.items)
    stood_for = [at for at, i in enumerate(given.items) if given.known and i.lower in PERSONAL]
    rest = left_over(Scene(given.items, frozenset((*taken, *stood_for[:1])), stand, claimed))
    if rest:
        return f"{_WITHHELD[0]} {rest!r}, which may change it"
    near = disturbed(
        text.sentences, given.sentence, known=given.known, is_answered_for=text.is_answered_for
    )
    return f"{_WITHHELD[1]} may change it ({near} ...)" if near else ""


def _spoken(wanted: Said, given: Said) -> tuple[Verdict, str]:
    if given.statement.marks & _UNCHECKABLE:
        marks = ", ".join(sorted(given.statement.marks & _UNCHECKABLE))
        return Verdict.ABSENT, f"the source is not a statement ({marks})"
    outcome, why = compare_statements(wanted.statement, given.statement)
    if outcome is Verdict.ABSENT:
        return outcome, why
    if (wanted.speaker is None) != (given.speaker is None):
        return Verdict.ABSENT, "the source only reports that somebody says so"
    if wanted.speaker and given.speaker and match(wanted.speaker, given.speaker) is not Match.SAME:
        return Verdict.ABSENT, "somebody else says so"
    return outcome, why


def compare_statements(claim: Statement, source: Statement) -> tuple[Verdict, str]:
    """Two statements, role by role."""
    are_opposed = are_opposite(claim.verb, source.verb)
    if claim.verb != source.verb and not are_opposed:
        return Verdict.ABSENT, "the source does not say that this was done"
    roles = list(_roles(claim, source))
    matches = [found for found, _ in roles]
    if _is_swapped(claim, source):
        return Verdict.CONTRADICTED, "the source has it the other way round"
    if Match.OPEN in matches:
        return Verdict.ABSENT, next(why for found, why in roles if found is Match.OPEN)
    conflicts = [(found, why) for found, why in roles if found is not Match.SAME]
    differs = _tone(claim, source)
    if differs:
        return Verdict.ABSENT, differs
    return _weigh(
        conflicts,
        is_flipped=(claim.is_negated != source.is_negated) != are_opposed,
        are_opposed=are_opposed,
        claim=claim,
        source=source,
    )


def _weigh(
    conflicts: Sequence[tuple[Match, str]],
    *,
    is_flipped: bool,
    are_opposed: bool,
    claim: Statement,
    source: Statement,
) -> tuple[Verdict, str]:
    if are_opposed and (claim.is_negated or source.is_negated):
        return Verdict.ABSENT, "not the opposite is not the same"
    if not conflicts and is_flipped:
        return Verdict.CONTRADICTED, "the source says the opposite"
    if not conflicts:
        return Verdict.SUPPORTED, "the source says so"
    if len(conflicts) == 1 and not is_flipped and not (claim.is_negated or source.is_negated):
        found, why = conflicts[0]
        return (Verdict.CONTRADICTED if found is Match.CONFLICT else _other(claim), why)
    return Verdict.ABSENT, "the source speaks of something else"


def _other(claim: Statement) -> Verdict:
    """Another name in the same place: a contradiction only where there can be but one."""
    is_event = claim.verb in ("take", "hold", "happen", "be", "open") or claim.verb in UNIQUE_DOER
    return Verdict.CONTRADICTED if is_event else Verdict.ABSENT


def _roles(claim: Statement, source: Statement) -> Iterator[tuple[Match, str]]:
    yield _doer(claim, source), "the source does not say who"
    is_other_thing = _object(claim, source)
    if claim.done_to is None and source.done_to is not None and source.done_to.words:
        is_other_thing = Match.OPEN  # the ship sank, the ship sank a cruiser
    named = {word for p in (source.doer, source.done_to) if p is not None for word in p.words}
    if PRIVATIVE & (named - claim.words):
        is_other_thing = Match.OPEN
    if is_other_thing is Match.OTHER and claim.verb not in ("be",):
        is_other_thing = Match.OPEN
    yield is_other_thing, "the source does not say what"
    for preposition, phrase in claim.adjuncts:
        if preposition in LIMITS:
            continue  # weighed when all else agrees
        why = f"the source does not say {preposition} what".replace("say  ", "say ")
        yield _adjunct(preposition, phrase, source), why


def _doer(claim: Statement, source: Statement) -> Match:
    """What some did that are somewhere, some did: police in Turin are police."""
    ours, theirs = claim.doer, source.doer
    is_event = claim.tense is Tense.PAST and claim.verb != "be" and not source.is_negated
    if ours is not None and theirs is not None and is_event and _is_some(ours) and theirs.attached:
        return match(ours, replace(theirs, attached=()))
    return _role(ours, theirs)


def _is_some(phrase: Phrase) -> bool:
    is_bare = not phrase.has_article and phrase.share is Share.BARE and not phrase.attached
    return is_bare and not phrase.is_name and bool(phrase.words)


def _object(claim: Statement, source: Statement) -> Match:
    """One of two things that were done is enough, where each was done by itself."""
    ours, theirs = claim.done_to, source.done_to
    is_each = not (claim.is_negated or source.is_negated or source.verb in SYMMETRIC | JOINING)
    if ours is None or theirs is None or ours.joined or not is_each:
        return _role(ours, theirs)
    is_one = any(match(ours, part) is Match.SAME for part in theirs.parts)
    return Match.SAME if is_one else match(ours, theirs)


def _role(claim: Phrase | None, source: Phrase | None) -> Match:
    if claim is None:
        return Match.SAME
    return Match.OPEN if source is None else match(claim, source)


def _adjunct(preposition: str, phrase: Phrase, source: Statement) -> Match:
    found = [
        match(phrase, part)
        for word, other in source.adjuncts
        for part in (other, *(other.parts if _is_each(word, source) else ()))
        if word == preposition
        or (phrase.day and other.day and {word, preposition} <= TIME_PREPOSITIONS)
    ]
    for outcome in (Match.SAME, Match.CONFLICT, Match.OTHER):
        if outcome in found:
            can_recur = outcome is Match.CONFLICT and phrase.day and source.verb in REPEATABLE
            return Match.OPEN if can_recur else outcome
    return Match.OPEN


def _is_each(word: str, source: Statement) -> bool:
    """Whether what is said of two things behind ``word`` is said of each: not an amount for
    both."""
    is_amount = source.done_to is not None and source.done_to.quantity is not None
    return not (is_amount or source.is_negated or word == "between")


def _is_swapped(claim: Statement, source: Statement) -> bool:
    if claim.verb != source.verb or claim.verb in SYMMETRIC or claim.doer is None:
        return False
    if claim.is_negated or source.is_negated or claim.marks != source.marks:
        return False
    pairs = [(claim.done_to, source.done_to)]
    if claim.verb == "be":
        pairs = [(dict(claim.adjuncts).get("than"), dict(source.adjuncts).get("than"))]
        if claim.done_to is None or _role(claim.done_to, source.done_to) is not Match.SAME:
            return False
    for ours, theirs in pairs:
        if ours is None or theirs is None or source.doer is None:
            return False
        if (
            match(claim.doer, theirs) is not Match.SAME
            or match(ours, source.doer) is not Match.SAME
        ):
            return False
        if match(claim.doer, source.doer) is Match.SAME:
            return False
    return True


def _tone(claim: Statement, source: Statement) -> str:
    """Why the source says it less surely, or of another time; empty if it does not."""
    extra = source.marks - claim.marks
    if Mark.POSSIBLE in claim.marks:
        extra -= {Mark.CONDITIONAL}
    if extra:
        return f"the source says so only as {', '.join(sorted(extra))}"
    if claim.marks - source.marks:
        return "the source is surer than the claim"
    if claim.tense is not source.tense and Tense.PAST in (claim.tense, source.tense):
        return "the source speaks of another time"
    return ""
