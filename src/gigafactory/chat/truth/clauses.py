"""Sentences into statements: who did what to whom, said how surely, by whom.

This is a small grammar of plain English news prose. What it cannot take apart it does not
understand, and what is not understood supports nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from gigafactory.chat.truth.forms import Tense, verb_form, verb_meaning
from gigafactory.chat.truth.fronts import BEFORE_ARTICLE, fronted, insert_span, without_insert
from gigafactory.chat.truth.lexicon import (
    ALLEGED,
    AUXILIARIES,
    BE,
    CLAUSE_OPENERS,
    CONDITIONAL,
    DETERMINERS,
    DILUTING,
    FICTION,
    FIGURATIVE,
    FILLERS,
    FUTURE,
    HARMLESS_ADVERBS,
    LIMITS,
    NEGATING_CHAINS,
    NEGATIONS,
    NOT_QUITE,
    OPEN_CHAINS,
    PHRASAL,
    POSSIBLE,
    PREPOSITIONS,
    PROBABLE,
    RELATIVES,
    STATES,
    TIME_NOUNS,
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
    is_aside: bool = False
    """Whether an insert says it of the subject, and not the sentence itself."""

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
    (POSSIBLE, Mark.POSSIBLE),
    (PROBABLE, Mark.PROBABLE),
    (ALLEGED, Mark.ALLEGED),
    (FUTURE, Mark.FUTURE),
    (CONDITIONAL, Mark.CONDITIONAL),
    (FIGURATIVE, Mark.FIGURATIVE),
    (DILUTING, Mark.DILUTED),
)
_STOPS = ("and", "but", ";", "or", ",", "—", "–")
#: marks of one clause that reach over all of its sentence
_FAR_REACHING = frozenset([Mark.FICTIONAL, Mark.ALLEGED, Mark.CONDITIONAL])
_WITHIN = frozenset(["in", "during", "on", "under"])
_WRAPPERS = frozenset(
    [
        "false",
        "untrue",
        "myth",
        "hoax",
        "lie",
        "wrong",
        "nonsense",
        "rumour",
        "rumor",
        "doubtful",
        "unlikely",
        "unclear",
    ]
)


def statements(
    found: Sequence[Item], *, marks: frozenset[Mark], is_claim: bool = False
) -> list[Statement]:
    """The statements of one sentence (without its attribution), the first one's subject shared.

    An empty list where the grammar does not reach. Of a source a part behind what was read may
    stay unread, if nothing is denied in it; of a claim none.
    """
    body = _without_end(found)
    if any(item.lower in _WRAPPERS for item in body) and any(i.lower == "that" for i in body):
        return []
    lead, body = fronted(body)
    read: list[Statement] = []
    subject: Phrase | None = None
    is_passive = False
    for at, words in enumerate(_coordinated(body)):
        if at and any(item.lower == "that" for item in body[: body.index(words[0])]):
            break  # "legend has it that ... and ...": the second hangs on it as well
        part = _with_verb(words) if is_passive else words
        statement = _clause(part, shared=subject, starts_sentence=at == 0 and not lead)
        if statement is None:
            if at and not is_claim and not any(i.lower in NEGATIONS for i in part):
                break
            return []
        is_passive = _is_passive(statement, part) or (is_passive and part is not words)
        subject = statement.done_to if is_passive else statement.doer
        own = statement.marks | marks | (_marks_of(found) & _FAR_REACHING)
        if any(_is_in_fiction(word, phrase) for word, phrase in lead):
            own |= {Mark.FICTIONAL}
        if not is_claim:  # it stands or falls with what it stands in
            aside = _said_aside(part, starts_sentence=at == 0 and not lead)
            read += [replace(said, marks=said.marks | own) for said in aside]
        adjuncts = (*statement.adjuncts, *lead) if at == 0 else statement.adjuncts
        read.append(replace(statement, marks=own, adjuncts=adjuncts))
    return read


def _is_passive(statement: Statement, part: Sequence[Item]) -> bool:
    """Whether what stands before the verb is what was done to."""
    begin = find_verb(part)
    if statement.done_to is None or not begin:
        return False
    before = _subject(part[:begin], starts_sentence=False)
    heads = (before.head.lower(), statement.done_to.head.lower()) if before else ("", "-")
    return statement.doer is None or heads[0] == heads[1]


def _with_verb(part: list[Item]) -> list[Item]:
    """ "... was built by the state and opened by the king" has a second "was"; what has an object
    acts itself."""
    form = verb_form(part[0].lower) if part else None
    has_object = len(part) > 1 and part[1].lower not in PREPOSITIONS and not _is_adverb(part[1])
    if form is None or not form.is_participle or has_object:
        return part
    return [replace(part[0], text="was"), *part]


def _without_end(found: Sequence[Item]) -> list[Item]:
    body = list(found)
    while body and body[-1].kind is Kind.SIGN:
        body.pop()
    while body and body[0].kind is Kind.SIGN:
        body.pop(0)
    return body


def _said_aside(part: Sequence[Item], *, starts_sentence: bool) -> list[Statement]:
    """What an insert says of the subject: ", who chairs the board, ", ", directed by her, "."""
    kept, insert = without_insert(part)
    begin = find_verb(kept)
    if begin is None or len(insert) < 3:
        return []
    subject, head = list(kept[:begin]), insert[0]
    form = verb_form(head.lower)
    if head.lower in ("who", "which"):
        clause = [*subject, *insert[1:]]
    elif form is not None and form.is_participle and _by_follows(insert, 0):
        clause = [*subject, replace(head, text="was"), *insert]
    else:
        return []
    if find_verb(clause) != begin:
        return []
    statement = _clause(clause, shared=None, starts_sentence=starts_sentence)
    return [replace(statement, is_aside=True)] if statement else []


def _coordinated(body: Sequence[Item]) -> Iterator[list[Item]]:
    """Parts that each have a finite verb."""
    begin = 0
    inside = range(*(insert_span(body) or (0, 0)))
    for at, item in enumerate(body):
        if item.lower not in ("and", "but", ";") or at == begin or at in inside:
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
    whole: Sequence[Item], *, shared: Phrase | None, starts_sentence: bool
) -> Statement | None:
    part, insert = without_insert(whole)
    begin = find_verb(part)
    if begin is None:
        return None
    before = part[:begin]
    is_over = [item.lower for item in before[-2:]] == ["no", "longer"]
    before = before[:-2] if is_over else before
    subject = _subject(before, starts_sentence=starts_sentence) if before else shared
    verb, marks = _verb_group(part, begin)
    verb.is_negated ^= bool(before) and before[-1].lower in NEGATIONS
    verb.is_negated ^= is_over
    if not verb.base or subject is None:
        return None
    rest = part[verb.end :]
    if _has_loose_verb(rest):
        return None
    done_to, adjuncts = _rest(rest)
    if any(_is_in_fiction(word, phrase) for word, phrase in adjuncts):
        marks |= {Mark.FICTIONAL}
    limits = [(item.lower, Phrase()) for item in (*insert, *rest) if item.lower in LIMITS]
    return _in_order(
        verb,
        subject,
        done_to,
        [*adjuncts, *limits],
        marks=marks | _marks_of(whole),
        span=(part[0].first, part[-1].last),
    )


def _is_in_fiction(preposition: str, phrase: Phrase) -> bool:
    """ "In the first version of the story"."""
    words = (*phrase.words, *(phrase.of.words if phrase.of else ()))
    return preposition in _WITHIN and bool(FICTION & set(words))


def _subject(before: Sequence[Item], *, starts_sentence: bool) -> Phrase | None:
    """The noun phrase before the verb; None where it is not plain who acts."""
    kept = [i for i in before if not _is_adverb(i) and i.lower not in NEGATIONS - {"not"}]
    if any(item.lower in RELATIVES for item in kept) or not _is_plain(kept):
        return None
    runs = list(_runs(kept))
    phrase = read_phrase(runs[0][1], starts_sentence=starts_sentence)
    attached = tuple((word, read_phrase(part)) for word, part in runs[1:])
    return replace(phrase, attached=attached) if kept else None


def _runs(found: Sequence[Item]) -> list[tuple[str, list[Item]]]:
    """Split at prepositions; a day is an adjunct of its own."""
    runs: list[tuple[str, list[Item]]] = [("", [])]
    for at, item in enumerate(found):
        if item.lower in PREPOSITIONS:
            runs.append((item.lower, []))
        elif _is_time_noun(found, at) or (
            runs[-1][1] and Kind.DAY in (item.kind, runs[-1][1][-1].kind)
        ):
            runs.append(("on", [item]))
        elif item.kind is not Kind.SIGN:
            runs[-1][1].append(item)
    return runs


def _is_plain(subject: Sequence[Item]) -> bool:
    """Whether it is one noun phrase: a comma or an article in its middle says that it is more."""
    articles = [at for at, item in enumerate(subject) if item.lower in ("the", "a", "an")]
    led = [subject[at - 1].lower for at in articles if at > 0]
    return all(word in BEFORE_ARTICLE for word in led) and not any(i.text == "," for i in subject)


def _is_adverb(item: Item) -> bool:
    word = item.lower
    is_marked = any(word in words for words, _ in _MARKS)
    return (len(word) > 4 and word.endswith("ly")) or is_marked or word in FILLERS


def _marks_of(part: Sequence[Item]) -> frozenset[Mark]:
    words = {item.lower for item in part if item.kind is Kind.WORD}
    is_fiction = any(a.lower in _WITHIN and b.lower in FICTION for a, b in _near(part))
    marks = {mark for table, mark in _MARKS if words & table}
    if is_fiction:
        marks.add(Mark.FICTIONAL)
    if _is_graded(part):
        marks.add(Mark.DILUTED)
    return frozenset(marks)


def _is_graded(part: Sequence[Item]) -> bool:
    """ "Not very safe", "safe enough", "falling more slowly"."""
    lowers = [item.lower for item in part]
    is_denied = any(a in NEGATIONS and b in NOT_QUITE for a, b in pairwise(lowers))
    is_more = any(a in ("more", "less") and b.endswith("ly") for a, b in pairwise(lowers))
    return is_denied or is_more or "enough" in lowers or "too" in lowers


def _near(part: Sequence[Item]) -> Iterator[tuple[Item, Item]]:
    """Every item with each of the three behind it."""
    for at, item in enumerate(part):
        for other in part[at + 1 : at + 4]:
            yield item, other


def _verb_group(part: Sequence[Item], begin: int) -> tuple[_Verb, frozenset[Mark]]:
    verb, marks, at = _Verb(), set[Mark](), begin
    last_aux = ""
    while at < len(part):
        item = part[at]
        word = item.lower
        if word in NEGATIONS or (word == "no" and _is_no_longer(part, at)):
            verb.is_negated = not verb.is_negated
        elif word == "to" and verb.base in OPEN_CHAINS | NEGATING_CHAINS | {
            "go",
            "have",
            "use",
            "be",
        }:
            marks |= _chained(verb)
        elif word in AUXILIARIES and not (verb.base and verb.base not in ("be", "have", "do")):
            form = verb_form(word)
            verb.base, last_aux = (form.base if form else ""), word
            verb.tense = verb.tense or (form.tense if form else None)
        elif _continues(part, at, verb, last_aux=last_aux):
            _take(verb, word, last_aux=last_aux)
            last_aux = ""
        elif not _is_adverb(item) or (verb.base in ("be",) and word in FILLERS):
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


def _is_no_longer(part: Sequence[Item], at: int) -> bool:
    return at + 1 < len(part) and part[at + 1].lower == "longer"


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
        if item.lower in RELATIVES or item.lower in CLAUSE_OPENERS or item.text in ",;:":
            return False
        if item.kind is not Kind.WORD or item.is_capital:
            continue
        if item.lower in AUXILIARIES:
            return True
        form = verb_form(item.lower)
        if form is None:
            continue
        is_past = form.tense is Tense.PAST
        if is_past and at > 1 and (not form.is_participle or _ends_or_acts(rest, at)):
            return True
    return False


def _ends_or_acts(rest: Sequence[Item], at: int) -> bool:
    """Whether a participle at ``at`` looks like a verb: behind a noun, at the end of the
    sentence."""
    is_behind_noun = rest[at - 1].lower not in DETERMINERS | AUXILIARIES | PREPOSITIONS
    return is_behind_noun and at == len(rest) - 1


def _is_time_noun(found: Sequence[Item], at: int) -> bool:
    is_pointing = found[at].lower in ("last", "next", "this")
    return is_pointing and at + 1 < len(found) and found[at + 1].lower in TIME_NOUNS


def _rest(rest: Sequence[Item]) -> tuple[Phrase | None, list[tuple[str, Phrase]]]:
    """Object or complement, and the adjuncts behind it; what follows a comma adds, it does not
    say."""
    stop = next((at for at, i in enumerate(rest) if i.lower in RELATIVES or i.text in ",;:"), None)
    runs = _runs([item for item in rest[:stop] if item.lower not in HARMLESS_ADVERBS])
    found = read_phrase(runs[0][1]) if _says_something(runs[0][1]) else None
    adjuncts = [(preposition, read_phrase(part)) for preposition, part in runs[1:] if part]
    if stop and _is_name_alone(rest[stop:]) and rest[stop - 1].is_capital:
        # Rome, Georgia: not the Rome that one means
        if adjuncts:
            adjuncts[-1] = (adjuncts[-1][0], replace(adjuncts[-1][1], joined=True))
        elif found is not None:
            found = replace(found, joined=True)
    return found, adjuncts


def _is_name_alone(tail: Sequence[Item]) -> bool:
    return len(tail) > 1 and tail[0].text == "," and all(item.is_capital for item in tail[1:])


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
