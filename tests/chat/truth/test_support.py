"""Support is decided by what is said, not by how alike it sounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gigafactory.chat.truth.quantities import Relation, compare, find_quantity
from gigafactory.chat.truth.scoring import Case, Lot, read_cases, score
from gigafactory.chat.truth.support import Verdict, judge

CASES = {lot: list(read_cases(lot)) for lot in Lot}
#: recall of "supported" that each lot has; a fall is a loss, precision is the law
RECALL = {
    Lot.DEVELOPMENT: 0.67,
    Lot.HELD_OUT: 0.84,
    Lot.TRAPS: 0.50,
    Lot.SEALED: 0.90,
    Lot.FRESH: 0.33,
    Lot.BLIND: 0.64,
    Lot.UNSEEN: 0.79,
    Lot.HOSTILE: 0.73,
    Lot.STRANGE: 0.75,
    Lot.TWISTED: 0.86,
    Lot.POSTED: 0.72,
    Lot.FRAMED: 0.85,
    Lot.MIXED: 0.87,
    Lot.LAST: 0.93,
    Lot.PRESS: 0.64,
}


def test_the_scored_set_is_large_and_has_every_verdict_and_kind() -> None:
    cases = [case for lot in CASES.values() for case in lot]
    assert len(cases) >= 150
    assert len({case.id for case in cases}) == len(cases)
    assert len({(case.claim, case.source) for case in cases}) == len(cases)
    assert {case.expect for case in cases} == set(Verdict)
    held, used = CASES[Lot.HELD_OUT], CASES[Lot.DEVELOPMENT]
    assert not {case.claim for case in held} & {case.claim for case in used}
    assert {case.kind for case in held} == {case.kind for case in used}


@pytest.mark.parametrize("lot", RECALL)
def test_supported_is_said_with_precision(lot: Lot) -> None:
    found = score(CASES[lot])
    assert found.precision is not None
    assert found.precision >= 0.98, found.wrong
    assert found.recall is not None
    assert found.recall >= RECALL[lot], found.wrong


def test_who_answers_for_a_text_is_believed_as_surely() -> None:
    """What is judged with less caution about the sentences around it, for press and officials."""
    cases = [replace(case, is_answered_for=True) for lot in RECALL for case in CASES[lot]]
    found = score(cases)
    assert found.precision is not None
    assert found.precision >= 0.99, found.wrong


@pytest.mark.parametrize(
    ("claim", "source", "is_supported"),
    [
        # leads without a comma
        ("The mayor left.", "After weeks of silence the mayor left.", True),
        ("The mayor left.", "Late on Monday the mayor left.", True),
        ("The mayor left.", "In the novel the mayor left.", False),
        # what an insert says of the subject
        ("Ida Holm runs the zoo.", "Ida Holm, who runs the zoo, sold a lion.", True),
        ("Ida Holm built the zoo.", "The zoo, built by Ida Holm, opened in May.", True),
        ("Ida Holm built the zoo.", "The zoo, visited by Ida Holm, opened in May.", False),
        # one of two
        ("The shop sells tea.", "The shop sells tea and coffee.", True),
        ("The shop sells tea.", "The shop sells tea or coffee.", False),
        ("The shop sold 300 cups.", "The shop sold 300 cups and saucers.", False),
        ("The bank merged two funds.", "The bank merged two funds and a trust.", False),
        # some of them
        ("Nurses went on strike.", "Nurses in Lyon went on strike.", True),
        ("The nurse went on strike.", "The nurse in Lyon went on strike.", False),
        # the subject of a passive goes on, and what has an object acts
        ("The king repaired the dam.", "The dam was opened by the king and repaired.", False),
        ("The thief was hit.", "The thief was caught and hit the guard.", False),
        # what a verb takes with it, idioms, plans, other places of the name
        ("The boy was raised.", "The boy was raised from a well.", False),
        ("The team won the game.", "The team won the game on paper.", False),
        ("The firm cut 90 jobs.", "The firm cut 90 jobs in a draft of its plan.", False),
        ("The poet lived in Paris.", "The poet lived in Paris, Texas.", False),
        ("The pool is open.", "The pool is open during the holidays.", False),
        # a noun that could be a verb of saying
        ("Ana Roy wrote the report.", "The report was written by Ana Roy.", True),
    ],
)
def test_how_clauses_are_taken_apart(claim: str, source: str, is_supported: bool) -> None:
    assert (judge(claim, source).verdict is Verdict.SUPPORTED) is is_supported


def test_alike_is_not_supported() -> None:
    # the two of the issue: word overlap and embeddings hold the false one for nearly as good
    source = "Northwind bought Ferris Labs for 2 million euros in May 2020."
    assert judge("Northwind bought Ferris Labs in May 2020.", source).verdict is Verdict.SUPPORTED
    assert judge("Ferris Labs bought Northwind in May 2020.", source).verdict is not (
        Verdict.SUPPORTED
    )
    assert judge("Northwind bought Ferris Labs in May 2021.", source).verdict is not (
        Verdict.SUPPORTED
    )


@pytest.mark.parametrize("lot", [Lot.DEVELOPMENT, Lot.HELD_OUT])
def test_no_word_of_the_claim_may_be_invented(lot: Lot) -> None:
    """Whatever is supported is supported no more with a word that the source lacks."""
    for case in CASES[lot]:
        if case.expect is Verdict.SUPPORTED:
            longer = case.claim.rstrip(".") + " with Zorblax Quent."
            assert judge(longer, case.source).verdict is not Verdict.SUPPORTED, case.id


@pytest.mark.parametrize("lot", [Lot.DEVELOPMENT, Lot.HELD_OUT])
@pytest.mark.parametrize("joke", ["lol {}", "{} /s", "{} 😂", "Yeah right, {}"])
def test_a_joke_supports_nothing(lot: Lot, joke: str) -> None:
    for case in CASES[lot]:
        told = judge(case.claim, joke.format(case.source))
        assert told.verdict is not Verdict.SUPPORTED, case.id


def test_a_finding_names_the_sentence_and_why() -> None:
    source = "The lake is old. The lake is 30 metres deep. Boats may enter the lake."
    found = judge("The lake is 30 metres deep.", source)
    assert found.verdict is Verdict.SUPPORTED
    assert source[found.first : found.last] == "The lake is 30 metres deep."
    withheld = judge("The lake is 30 metres deep.", "It rained. The lake is 30 metres deep.")
    assert withheld.verdict is Verdict.ABSENT
    assert "It rained" in withheld.why
    against = judge("The lake is 40 metres deep.", source)
    assert against.verdict is Verdict.CONTRADICTED
    assert against.why


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "?!",
        "🔥" * 50,
        "a" * 5000,
        "not not not",
        "of of of",
        "\x00",
        "1,2,3 4 million % $",
        "who that which of by",
    ],
)
def test_whatever_is_written_it_is_judged(text: str) -> None:
    for claim, source in ((text, "The lake is deep."), ("The lake is deep.", text), (text, text)):
        judge(claim, source)


def quantity(text: str):  # type: ignore[no-untyped-def]
    found, count = find_quantity(text.split(), 0)
    assert found is not None
    assert count == len(text.split())
    return found


@pytest.mark.parametrize(
    ("claim", "source", "relation"),
    [
        ("3 km", "3,000 metres", Relation.FOLLOWS),
        ("two days", "48 hours", Relation.FOLLOWS),
        ("more than 40", "52", Relation.FOLLOWS),
        ("more than 40", "40", Relation.OPEN),
        ("52", "more than 40", Relation.OPEN),
        ("about 1,000", "1,040", Relation.FOLLOWS),
        ("1,040", "about 1,000", Relation.OPEN),
        ("fewer than 40", "52", Relation.CONFLICTS),
        ("2 million", "2 billion", Relation.CONFLICTS),
        ("15 euros", "15 dollars", Relation.CONFLICTS),
        ("5 km", "5 kg", Relation.OPEN),
        ("nearly 1,000", "1,000", Relation.OPEN),
    ],
)
def test_what_follows_from_a_number(claim: str, source: str, relation: Relation) -> None:
    assert compare(quantity(claim), quantity(source)) is relation


def test_the_score_counts_what_is_wrong() -> None:
    wrong = Case("x", "number", Verdict.ABSENT, "The lake is deep.", "The lake is deep.")
    right = Case("y", "number", Verdict.SUPPORTED, "The lake is deep.", "The lake is deep.")
    found = score([wrong, right])
    assert found.precision == 0.5
    assert found.recall == 1.0
    assert found.wrong == ("x",)


#: lots of single sentences; the others would take long and show the same
IN_FRAMES = (Lot.DEVELOPMENT, Lot.HELD_OUT, Lot.SEALED, Lot.UNSEEN, Lot.TWISTED, Lot.LAST)

FRAMES = [
    "It is false that {lower}",
    "Nobody believes that {lower}",
    "If it is true, {lower}",
    "Critics claim that {lower}",
    "A rumour says {lower}",
    "I dreamt that {lower}",
    "Whether {lower}",
    "It would be wrong to say that {lower}",
    "Suppose {lower}",
    "Imagine: {whole}",
    "{whole} That is not true.",
    "{whole} That was a lie.",
    "{whole} Correction: that never happened.",
    "Few people think {lower}",
    "According to a bot, {lower}",
    "The idea that {lower}",
    "Ann doubts that {lower}",
    "Ann denied that {lower}",
    "They pretend that {lower}",
    "My uncle reckons {lower}",
    "Legend has it that {lower}",
    "Hardly anyone knows that {lower}",
    "What if {lower}",
    "Fake news: {lower}",
    "They want us to believe {lower}",
    "{whole} Not.",
    "The film shows how {lower}",
    "{whole} Just kidding.",
    "{whole} Allegedly.",
    "{open}, not.",
    "{whole} Or so they say.",
    "Aliens told me {lower}",
    "{open} (satire)",
    "{open}, rumour has it.",
]


@pytest.mark.parametrize("frame", FRAMES)
def test_what_stands_around_a_statement_can_undo_it(frame: str) -> None:
    for case in (case for lot in IN_FRAMES for case in CASES[lot]):
        is_plain = not {'"', "said", "may", "might", "allegedly", "probably"} & set(
            case.source.replace('"', ' " ').split()
        )
        if case.expect is not Verdict.SUPPORTED or not is_plain or case.kind == "pronoun":
            continue
        source = case.source
        first, rest = source.split(" ", 1)
        lower = f"{first.lower()} {rest}" if first in ("The", "A", "Some", "No") else source
        framed = frame.format(lower=lower, whole=source, open=source.rstrip("."))
        if source.count(". "):
            continue  # a frame around the first sentence says nothing of the second
        assert judge(case.claim, framed).verdict is not Verdict.SUPPORTED, framed
