"""Whether a source supports a claim, contradicts it, or does neither.

Decided word by word and role by role: who did what to whom, how many, when, how surely, and who
says
so. Similarity decides nothing. The order of worth is precision: "supported" is said only where
every
part of the claim is found in one statement of the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gigafactory.chat.truth.clauses import Statement, statements
from gigafactory.chat.truth.forms import Tense, verb_form
from gigafactory.chat.truth.lexicon import (
    COMPLEMENTS,
    HARMLESS_LINKS,
    JOINING,
    LIMITS,
    PERSONAL,
    PRIVATIVE,
    REPEATABLE,
    SCOPED,
    SYMMETRIC,
    TIME_NOUNS,
    TIME_PREPOSITIONS,
    UNIQUE_DOER,
    are_opposite,
)
from gigafactory.chat.truth.marks import Mark, attributed, marks_of_text
from gigafactory.chat.truth.phrases import Match, Phrase, Share, match, read_phrase
from gigafactory.chat.truth.quantities import Dimension
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
class Said:
    """A statement and who makes it (None: the source itself)."""

    statement: Statement
    speaker: Phrase | None
    first: int
    last: int


def read(text: str, *, is_claim: bool = False) -> list[Said]:
    """All statements of a text that the grammar reaches, pronouns resolved where that is
    certain."""
    marks = marks_of_text(text)
    found: list[Said] = []
    for offset, sentence in sentences(text):
        parts = items(sentence, offset=offset)
        speech = attributed(parts)
        speaker = read_phrase(speech.speaker, starts_sentence=True) if speech.speaker else None
        for statement in statements(speech.said, marks=marks | speech.marks, is_claim=is_claim):
            resolved = _resolved(statement, found[-1] if found else None)
            found.append(Said(resolved, speaker, offset, offset + len(sentence)))
    return found


def _resolved(statement: Statement, before: Said | None) -> Statement:
    """ "She" is the one person of the sentence before, if there is exactly one."""
    doer = statement.doer
    if before is None or doer is None or doer.head not in PERSONAL or not doer.is_pronoun:
        return statement
    earlier = before.statement
    people = [p for p in (earlier.doer, earlier.done_to) if p is not None and p.is_name]
    is_certain = len(people) == 1 and people[0] is earlier.doer and before.speaker is None
    return replace(statement, doer=people[0]) if is_certain else statement


def judge(claim: str, source: str) -> Finding:
    """What ``source`` does for ``claim``; a claim of several statements needs all of them."""
    return judge_readings((claim,), source)


def judge_readings(claims: Sequence[str], source: str) -> Finding:
    """The best that ``source`` does for one of several wordings of the same claim."""
    given, there = read(source), _all_items(source)
    findings = [_judge(claim, given, there) for claim in claims]
    return min(findings, key=lambda finding: _ORDER.index(finding.verdict))


_ORDER = (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.ABSENT)


def _judge(claim: str, given: Sequence[Said], there: Sequence[Item]) -> Finding:
    wanted = read(claim, is_claim=True)
    if not wanted:
        return Finding(Verdict.ABSENT, "the claim is not a statement that can be checked")
    if any(said.statement.marks & _UNCHECKABLE for said in wanted):
        return Finding(Verdict.ABSENT, "the claim is not meant as a statement")
    findings = [_best(said, given) for said in wanted]
    for verdict in (Verdict.CONTRADICTED, Verdict.ABSENT):
        for finding in findings:
            if finding.verdict is verdict:
                return finding
    missing = unaccounted(_all_items(claim), there)
    if missing:  # words that the grammar passed over count all the same
        return Finding(Verdict.ABSENT, f"the source does not say {missing[0]!r}")
    return findings[0]


def _all_items(text: str) -> list[Item]:
    return [item for offset, sentence in sentences(text) for item in items(sentence, offset=offset)]


_UNCHECKABLE = frozenset((Mark.QUESTION, Mark.IRONIC, Mark.FIGURATIVE))


def _best(wanted: Said, given: Sequence[Said]) -> Finding:
    findings = [_one(wanted, said) for said in given]
    for verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.ABSENT):
        for finding in findings:
            if finding.verdict is verdict:
                return finding
    return Finding(Verdict.ABSENT, "the source makes no statement that can be checked")


def _one(wanted: Said, given: Said) -> Finding:
    outcome, why = _spoken(wanted, given)
    return Finding(outcome, why, given.first, given.last)


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
        widened = _widens(claim, source)
        return (Verdict.ABSENT, widened) if widened else (Verdict.SUPPORTED, "the source says so")
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
    if PRIVATIVE & (source.words - claim.words):
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


def _widens(claim: Statement, source: Statement) -> str:
    """Whether the claim leaves out what limits the source; says what."""
    kept = dict(claim.adjuncts)
    if _is_other_deed(claim, source):
        return f"the source says so {source.adjuncts[0][0]} something"
    left_out = [(word, phrase) for word, phrase in source.adjuncts if word not in kept]
    for word, phrase in left_out:
        if word == "for" and _is_span(phrase):
            return "the source says so only for a time"
        if word in LIMITS or (word == "if" and Mark.POSSIBLE not in claim.marks):
            return f"the source limits it ({word} ...)"
    for word, phrase in left_out:
        if _is_idiom(word, phrase):
            return f"the source says so {word} {phrase.head}, whatever that means"
    is_scoped = claim.verb in SCOPED or bool(SCOPED & claim.words)
    is_general = claim.tense is Tense.PRESENT or claim.verb == "be"
    keeps_time = claim.tense is Tense.PRESENT or is_scoped
    narrowing = [
        (word, phrase)
        for word, phrase in left_out
        if not _is_harmless(word, claim) and (keeps_time or not _is_time(phrase))
    ]
    if narrowing and (is_scoped or (is_general and Mark.FUTURE not in claim.marks)):
        return f"the source says so only {narrowing[0][0]} something".replace("only  ", "only ")
    if _is_sum(claim.done_to) and any(word in ("in", "on", "of", "above") for word, _ in narrowing):
        return "the source says in what the amount is counted"
    if claim.is_negated and (narrowing or _is_narrower(claim, source)):
        return "" if _is_event(source) else "the source denies only a part"
    return ""


def _is_idiom(preposition: str, phrase: Phrase) -> bool:
    """In vain, on loan, for granted: a bare word behind a preposition may be an idiom."""
    if phrase.has_article or phrase.is_name or phrase.quantity or phrase.of or _is_time(phrase):
        return False
    form = verb_form(phrase.head)
    is_participle = form is not None and form.is_participle and form.tense is not None
    is_bare = preposition in ("in", "on", "under") or (preposition == "for" and is_participle)
    return is_bare and len(phrase.words) == 1


def _is_harmless(link: str, claim: Statement) -> bool:
    """What happened while something else went on has happened; what is so only then is not so."""
    is_while = link == "during"
    return link in HARMLESS_LINKS and not (is_while and claim.tense is Tense.PRESENT)


def _is_other_deed(claim: Statement, source: Statement) -> bool:
    """Whether the claim leaves out what stands right behind a verb without an object."""
    has_object = claim.doer is not None and claim.done_to is not None
    if has_object or not source.adjuncts:
        return False
    word, phrase = source.adjuncts[0]
    is_kept = word in dict(claim.adjuncts)
    return word in COMPLEMENTS and not is_kept and not _is_time(phrase) and not _is_span(phrase)


def _is_time(phrase: Phrase) -> bool:
    return phrase.day is not None or phrase.head in TIME_NOUNS


def _is_span(phrase: Phrase) -> bool:
    quantity = phrase.quantity
    is_counted = quantity is not None and quantity.dimension is Dimension.TIME
    return is_counted or phrase.head in TIME_NOUNS - {"time", "season"}


def _is_sum(phrase: Phrase | None) -> bool:
    quantity = phrase.quantity if phrase else None
    return quantity is not None and quantity.dimension not in (Dimension.COUNT, Dimension.FRACTION)


def _is_narrower(claim: Statement, source: Statement) -> bool:
    ours, theirs = claim.words, source.words
    return bool(theirs - ours) and claim.done_to is not None and claim.done_to != source.done_to


def _is_event(source: Statement) -> bool:
    return source.tense is Tense.PAST and all(
        phrase.has_article or phrase.day for _, phrase in source.adjuncts
    )
