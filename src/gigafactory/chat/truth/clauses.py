"""Sentences into statements: who did what to whom, said how surely, by whom.

This is a small grammar of plain English news prose. What it cannot take apart it does not
understand, and what is not understood supports nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gigafactory.chat.truth.forms import Tense, verb_form, verb_meaning
from gigafactory.chat.truth.lexicon import (
    ALLEGED,
    AUXILIARIES,
    BE,
    CONDITIONAL,
    DETERMINERS,
    FIGURATIVE,
    FILLERS,
    FUTURE,
    NEGATING_CHAINS,
    NEGATIONS,
    OPEN_CHAINS,
    PHRASAL,
    POSSIBLE,
    PREPOSITIONS,
    PROBABLE,
    RELATIVES,
    STATES,
)
from gigafactory.chat.truth.marks import Mark
from gigafactory.chat.truth.phrases import Phrase, Share, read_phrase
from gigafactory.chat.truth.verbs import find_verb
from gigafactory.chat.truth.words import Item, Kind


@dataclass(frozen=True, slots=True)
class Statement:
    """One clause. A passive is turned round, so ``doer`` is always who acts."""

    verb: str
    doer: Phrase | None
    done_to: Phrase | None
    adjuncts: tuple[tuple[str, Phrase], ...] = ()
    is_negated: bool = False
    tense: Tense | None = None
    marks: frozenset[Mark] = frozenset()
    first: int = 0
    last: int = 0

    @property
    def words(self) -> frozenset[str]:
        """All meanings in it."""
        phrases = [self.doer, self.done_to, *(phrase for _, phrase in self.adjuncts)]
        return frozenset(w for p in phrases if p for w in (*p.words, *(p.of.words if p.of else ())))


@dataclass(slots=True)
class _Verb:
    """What stands between subject and object, while it is read."""

    base: str = ""
    tense: Tense | None = None
    is_negated: bool = False
    is_passive: bool = False
    end: int = 0


_MARKS = (
    (POSSIBLE, Mark.POSSIBLE), (PROBABLE, Mark.PROBABLE), (ALLEGED, Mark.ALLEGED), (FUTURE, Mark.FUTURE),
    (CONDITIONAL, Mark.CONDITIONAL), (FIGURATIVE, Mark.FIGURATIVE),
)  # fmt: skip
_STOPS = ("and", "but", ";", "or", ",", "—", "–")
_BEFORE_ARTICLE = frozenset("of all both half and not nearly almost only".split())
_WRAPPERS = frozenset("false untrue myth hoax lie wrong nonsense rumour rumor doubtful unlikely unclear".split())


def statements(found: Sequence[Item], *, marks: frozenset[Mark]) -> list[Statement]:
    """The statements of one sentence (without its attribution), the first one's subject shared.

    An empty list where the grammar does not reach.
    """
    body = _without_end(found)
    if any(item.lower in _WRAPPERS for item in body) and any(i.lower == "that" for i in body):
        return []
    lead, body = _fronted(body)
    read: list[Statement] = []
    doer: Phrase | None = None
    for at, part in enumerate(_coordinated(body)):
        statement = _clause(part, shared=doer, starts_sentence=at == 0 and not lead)
        if statement is None:
            return []
        doer = statement.doer if not _is_passive(statement, part) else statement.done_to
        own = statement.marks | marks
        adjuncts = (*statement.adjuncts, *lead) if at == 0 else statement.adjuncts
        read.append(replace(statement, marks=own, adjuncts=adjuncts))
    return read


def _is_passive(statement: Statement, part: Sequence[Item]) -> bool:
    begin = statement.done_to
    return begin is not None and statement.doer is None and bool(part)


def _without_end(found: Sequence[Item]) -> list[Item]:
    body = list(found)
    while body and body[-1].kind is Kind.SIGN:
        body.pop()
    while body and body[0].kind is Kind.SIGN:
        body.pop(0)
    return body


def _fronted(body: Sequence[Item]) -> tuple[list[tuple[str, Phrase]], list[Item]]:
    """Adjuncts before the subject ("In 1998, ...") and the rest."""
    texts = [item.text for item in body]
    if not body or body[0].lower not in PREPOSITIONS or "," not in texts:
        return [], list(body)
    comma = texts.index(",")
    lead = body[:comma]
    if any(item.lower in AUXILIARIES for item in lead):
        return [], list(body)  # a clause: "If the calculations are right, ..."
    return [(lead[0].lower, read_phrase(lead[1:]))], list(body[comma + 1 :])


def _coordinated(body: Sequence[Item]) -> Iterator[list[Item]]:
    """Parts that each have a finite verb."""
    begin = 0
    for at, item in enumerate(body):
        if item.lower not in ("and", "but", ";") or at == begin:
            continue
        left, right = body[begin:at], body[at + 1 :]
        if find_verb(left) is not None and _begins_clause(right):
            yield list(left)
            begin = at + 1
    yield list(body[begin:])


def _begins_clause(part: Sequence[Item]) -> bool:
    at = find_verb(part)
    if at is None:
        return False
    return not any(item.lower in PREPOSITIONS for item in part[:at])


def _clause(
    part: Sequence[Item], *, shared: Phrase | None, starts_sentence: bool
) -> Statement | None:
    begin = find_verb(part)
    if begin is None:
        return None
    before = part[:begin]
    is_denied = bool(before) and before[-1].lower in NEGATIONS
    subject_items = [i for i in before if not _is_adverb(i) and i.lower not in NEGATIONS - {"not"}]
    lowers = {item.lower for item in subject_items}
    if lowers & (RELATIVES | PREPOSITIONS) or not _is_plain(subject_items):
        return None  # who of them acts is not plain
    subject: Phrase | None = read_phrase(subject_items, starts_sentence=starts_sentence)
    if not subject_items:
        subject = shared
    verb, marks = _verb_group(part, begin)
    verb.is_negated ^= is_denied
    if not verb.base or subject is None:
        return None
    rest = part[verb.end :]
    if _has_loose_verb(rest):
        return None
    done_to, adjuncts = _rest(rest)
    all_marks = marks | _marks_of(part)
    span = (part[0].first, part[-1].last)
    return _in_order(verb, subject, done_to, adjuncts, marks=all_marks, span=span)


def _is_plain(subject: Sequence[Item]) -> bool:
    """Whether it is one noun phrase: a comma or an article in its middle says that it is more."""
    articles = [at for at, item in enumerate(subject) if item.lower in ("the", "a", "an")]
    led = [subject[at - 1].lower for at in articles if at > 0]
    return all(word in _BEFORE_ARTICLE for word in led) and not any(i.text == "," for i in subject)


def _is_adverb(item: Item) -> bool:
    word = item.lower
    is_marked = any(word in words for words, _ in _MARKS)
    return (len(word) > 4 and word.endswith("ly")) or is_marked or word in FILLERS


def _marks_of(part: Sequence[Item]) -> frozenset[Mark]:
    words = {item.lower for item in part if item.kind is Kind.WORD}
    return frozenset(mark for table, mark in _MARKS if words & table)


def _verb_group(part: Sequence[Item], begin: int) -> tuple[_Verb, frozenset[Mark]]:
    verb, marks, at = _Verb(), set[Mark](), begin
    last_aux = ""
    while at < len(part):
        item = part[at]
        word = item.lower
        if word in NEGATIONS:
            verb.is_negated = not verb.is_negated
        elif word == "to" and verb.base in OPEN_CHAINS | NEGATING_CHAINS | {"go", "have", "use", "be"}:
            marks |= _chained(verb)
        elif word in AUXILIARIES and not (verb.base and verb.base not in ("be", "have", "do")):
            form = verb_form(word)
            verb.base, last_aux = (form.base if form else ""), word
            verb.tense = verb.tense or (form.tense if form else None)
        elif _continues(part, at, verb, last_aux=last_aux):
            _take(verb, word, last_aux=last_aux)
            last_aux = ""
        elif not _is_adverb(item) or verb.base in ("be",) and word in FILLERS:
            break
        at += 1
    verb.end = at
    after = part[at].lower if at < len(part) else ""
    phrasal = PHRASAL.get((verb.base, after))
    if phrasal:
        verb.base, verb.end = phrasal, at + 1
    if verb.is_passive and verb.base in OPEN_CHAINS and after in ("of", "to"):
        marks.add(Mark.ALLEGED)
    return verb, frozenset(marks)


def _chained(verb: _Verb) -> set[Mark]:
    """What "wants to", "failed to", "is going to" make of the verb that comes."""
    chain, verb.base = verb.base, ""
    verb.is_passive = False
    if chain in NEGATING_CHAINS:
        verb.is_negated = not verb.is_negated
        return set()
    if chain == "go":
        return {Mark.FUTURE}
    return {Mark.FORMER} if chain == "use" else {Mark.PLANNED}


def _continues(part: Sequence[Item], at: int, verb: _Verb, *, last_aux: str) -> bool:
    item = part[at]
    form = verb_form(item.lower)
    if form is None or item.kind is not Kind.WORD or item.is_capital:
        return False
    if not verb.base or last_aux in ("have", "has", "had", "having"):
        return not verb.base or form.is_participle
    if last_aux in BE:
        is_state = item.lower in STATES and not _by_follows(part, at)
        return (form.is_participle or item.lower.endswith("ing")) and not is_state
    return last_aux in AUXILIARIES and form.is_plain


def _by_follows(part: Sequence[Item], at: int) -> bool:
    return any(item.lower == "by" for item in part[at + 1 : at + 4])


def _take(verb: _Verb, word: str, *, last_aux: str) -> None:
    form = verb_form(word)
    assert form is not None
    if last_aux in BE and form.is_participle:
        verb.is_passive = True
    if not verb.tense and not last_aux:
        verb.tense = form.tense
    if last_aux in ("have", "has"):
        verb.tense = Tense.PAST
    verb.base = form.base


def _has_loose_verb(rest: Sequence[Item]) -> bool:
    """A second finite verb that nothing introduces: the clause was misread."""
    for at, item in enumerate(rest):
        if item.lower in RELATIVES or item.lower in PREPOSITIONS:
            return False
        if item.kind is not Kind.WORD:
            continue
        if item.lower in AUXILIARIES:
            return True
        form = verb_form(item.lower)
        is_past = form is not None and form.tense is Tense.PAST and not form.is_participle
        if is_past and at > 0 and not item.is_capital:
            return True
    return False


def _rest(rest: Sequence[Item]) -> tuple[Phrase | None, list[tuple[str, Phrase]]]:
    """Object or complement, and the adjuncts behind it."""
    runs: list[tuple[str, list[Item]]] = [("", [])]
    for item in rest:
        word = item.lower
        if word in RELATIVES or item.text == ";":
            break
        if word in PREPOSITIONS:
            runs.append((word, []))
        elif item.kind is Kind.DAY and runs[-1][1] and runs[-1][0] != "":
            runs.append(("on", [item]))
        elif item.kind is Kind.DAY and runs[-1] == ("", []) or item.kind is not Kind.SIGN:
            runs[-1][1].append(item)
    found = read_phrase(runs[0][1]) if _says_something(runs[0][1]) else None
    return found, [(preposition, read_phrase(part)) for preposition, part in runs[1:] if part]


def _says_something(part: Sequence[Item]) -> bool:
    return any(item.lower not in FILLERS and not _is_adverb(item) for item in part)


def _in_order(
    verb: _Verb,
    subject: Phrase,
    done_to: Phrase | None,
    adjuncts: list[tuple[str, Phrase]],
    *,
    marks: frozenset[Mark],
    span: tuple[int, int],
) -> Statement:
    doer: Phrase | None = subject
    kept = tuple(adjuncts)
    if verb.is_passive:
        agent = next((phrase for word, phrase in adjuncts if word == "by" and not phrase.day), None)
        kept = tuple((w, p) for w, p in adjuncts if p is not agent)
        if done_to is not None:
            kept = (("", done_to), *kept)
        doer, done_to = agent, subject
    elif subject.words == ("there",) and done_to is not None:
        doer, done_to = done_to, None
    is_negated = verb.is_negated
    doer, flips = _without_none(doer)
    done_to, flips_too = _without_none(done_to)
    return Statement(
        verb=verb_meaning(verb.base),
        doer=doer,
        done_to=done_to,
        adjuncts=kept,
        is_negated=is_negated ^ flips ^ flips_too,
        tense=verb.tense,
        marks=marks,
        first=span[0],
        last=span[1],
    )


def _without_none(phrase: Phrase | None) -> tuple[Phrase | None, bool]:
    """ "No passengers" is a negation of "passengers"."""
    if phrase is None or phrase.share is not Share.NONE:
        return phrase, False
    is_person = phrase.words == ("person",)
    return replace(phrase, share=Share.SOME if is_person else Share.BARE), True
