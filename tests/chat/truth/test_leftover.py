"""What a source may say beyond a claim, and what withholds support."""

from __future__ import annotations

from typing import Any

import pytest

from gigafactory.chat.truth.alignment import align
from gigafactory.chat.truth.answers import Decision
from gigafactory.chat.truth.desk import Desk
from gigafactory.chat.truth.support import Verdict, judge
from gigafactory.chat.truth.words import items

CLAIM = "The company sold the mill."


def is_supported(claim: str, source: str) -> bool:
    return judge(claim, source).verdict is Verdict.SUPPORTED


@pytest.mark.parametrize(
    "source",
    [
        "The company sold the mill on 4 May.",
        "Late on Monday the company sold the mill.",
        "The company sold the mill near Leeds in 2019.",
        "Because of its debts, the company sold the mill.",
        "The company sold the mill after a fire destroyed the roof.",
        "The company sold the mill for 3 million euros.",
        "The company sold the mill and moved to Oslo.",
        "The company, founded in 1901, sold the mill.",
        "The mill was sold by the company.",
        "The company sold the mill. The mill has six floors.",
    ],
)
def test_what_may_be_left_out(source: str) -> None:
    assert is_supported(CLAIM, source)


@pytest.mark.parametrize(
    "source",
    [
        "The company sold the mill on 1 April.",
        "The company sold the mill every Monday.",
        "The company sold the mill in Monopoly.",
        "The company sold the mill in chapter four.",
        "The company sold the mill, or so it seems.",
        "The company sold the mill for the cameras.",
        "The company sold the mill and woke up.",
        "The company sold the mill (unverified).",
        "The company sold the mill...",
        "The company, in the novel a bank, sold the mill.",
        "The deputy company sold the mill.",
        "The company sold the mill shares.",
        "The company was selling the mill.",
        "The company sold a mill.",
        "The company sold the mills.",
        # what stands beside it
        "The company sold the mill. It was a joke.",
        "The company sold the mill. The sale never took place.",
        "The curtain rose. The company sold the mill.",
        "A bard sang. The company sold the mill.",
        "The company sold the mill. The company sold the farm.",
        'The owner stood up. "We are poor. The company sold the mill.',
    ],
)
def test_what_withholds_support(source: str) -> None:
    assert not is_supported(CLAIM, source)


@pytest.mark.parametrize(
    "claim",
    [
        "The company sold its mill.",
        "The company sold the mill again.",
        "The company sold the mill yesterday.",
        "The company must sell the mill.",
        "The company sold only the mill.",
        "All companies sold the mill.",
        "The company was being sold the mill.",
    ],
)
def test_small_words_of_the_claim_count(claim: str) -> None:
    assert not is_supported(claim, CLAIM)


def test_what_is_so_may_be_so_only_there() -> None:
    assert is_supported("The tower fell.", "The tower fell in May.")
    assert not is_supported("The tower is closed.", "The tower is closed in May.")
    assert not is_supported("The tower did not fall.", "The tower did not fall in May.")
    assert is_supported("The tower will fall.", "The tower will fall in May.")
    assert not is_supported("All towers fell.", "All towers fell near Leeds.")


def test_each_word_of_the_claim_takes_one_of_the_source() -> None:
    source = items("The red car hit the blue bus.")
    taken, missing = align(items("The car hit the bus."), source)
    assert missing == ""
    assert [source[at].text for at in sorted(taken)] == ["The", "car", "hit", "the", "bus"]
    assert align(items("The car hit the bus and the tram."), source)[1] == "tram"
    assert align(items("A few cars hit."), items("Few cars hit."))[1] == "few"


def test_press_may_speak_of_other_things_beside() -> None:
    claim = "The lake is 30 metres deep."
    source = f"{claim} No fish died in the winter."
    assert judge(claim, source).verdict is Verdict.ABSENT
    assert judge(claim, source, is_answered_for=True).verdict is Verdict.SUPPORTED
    taken_back = f"{claim} It is not known when that was so."
    assert judge(claim, taken_back, is_answered_for=True).verdict is Verdict.ABSENT


def test_what_anybody_tells_is_read_with_more_caution(desk: Desk, post: Any) -> None:
    text = "A bard sang in the hall. The dam broke on Sunday."
    desk.library.add([post("p", text, "The Daily", "press")])
    assert desk.ask("Did the dam break on Sunday?").answer.decision is Decision.SUPPORTED
    desk.library.remove(["p"])
    desk.library.add([post("k", text, "Ann", "known")])
    assert desk.ask("Did the dam break on Sunday?").answer.decision is Decision.NOTHING
