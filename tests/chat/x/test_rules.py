from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.chat.truth.answers import Answer, Decision, Quote, answer
from gigafactory.chat.truth.finding import Hit
from gigafactory.chat.truth.posts import Authority, Post
from gigafactory.chat.truth.questions import read_question
from gigafactory.chat.truth.support import Verdict
from gigafactory.chat.x.budget import Budget, Cost, Spent, cost_of
from gigafactory.chat.x.platform import Account, Call, Mention
from gigafactory.chat.x.rules import (
    MOST_CHARACTERS,
    Refusal,
    compose,
    has_link,
    len_on_x,
    plain,
    refusal,
)

ME = Account("1", "quotesbot")


def mention(**fields: object) -> Mention:
    usual = {"id": "9", "author_id": "2", "text": "@quotesbot is it so?", "call": Call.MENTION}
    return Mention(**{**usual, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "is_done", "why"),
    [
        ({}, False, None),
        ({"call": Call.QUOTE}, False, None),
        ({"call": Call.NONE}, False, Refusal.NOT_CALLED),
        ({"author_id": "1"}, False, Refusal.OWN),
        ({"is_repost": True}, False, Refusal.REPOST),
        ({"text": " @QuotesBot! "}, False, Refusal.EMPTY),
        ({}, True, Refusal.DONE),
    ],
)
def test_who_is_answered(fields: dict[str, object], is_done: bool, why: Refusal | None) -> None:
    assert refusal(mention(**fields), me=ME, is_done=is_done) is why


def test_a_quote_with_a_link_becomes_one_without() -> None:
    text = "The lake is 30 metres deep: see https://example.org/a and b.com"
    post = Post("7", "Survey", text, 1.7e9, Authority.PRESS)
    given_ = answer(read_question("How deep is the lake?"), [Hit(post, 1.0, 1)])
    assert given_.decision is Decision.QUOTED
    reply = compose(given_, to="9")
    assert reply.made_with_ai
    assert not has_link(reply.text)
    assert "[7;" in reply.text
    assert cost_of(reply.text) is Cost.POST
    assert cost_of("look at example.org/x") is Cost.POST_WITH_LINK


def quote(ident: str, text: str, verdict: Verdict = Verdict.SUPPORTED) -> Quote:
    post = Post(ident, "a", text, 1.7e9, Authority.PRESS)
    return Quote(post, 0, len(text), verdict, "")


def told(decision: Decision, quotes: list[Quote]) -> Answer:
    text, spans = "Sources disagree:", []
    for one in quotes:
        spans.append((len(text) + 1, len(text) + 1 + len(one.text)))
        text += " " + one.text
    return Answer(decision, text, tuple(quotes), tuple(spans))


def test_one_side_of_a_dispute_is_never_posted_alone() -> None:
    sides = [quote("1", "The dam broke. " + "x" * 150), quote("2", "It did not. " + "y" * 150)]
    text = compose(told(Decision.DISPUTED, sides), to="9").text
    assert "dam broke" not in text
    assert "[1;" in text
    assert "[2;" in text
    one = compose(told(Decision.SUPPORTED, sides), to="9").text
    assert "dam broke" in one
    assert "did not" not in one


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=3), st.sampled_from(Decision)
)
def test_every_reply_fits_has_no_link_and_calls_nobody(
    texts: list[str], decision: Decision
) -> None:
    quotes = [quote(str(at), text + " https://a.b/c @someone") for at, text in enumerate(texts)]
    text = compose(told(decision, quotes), to="9").text
    assert len_on_x(text) <= MOST_CHARACTERS
    assert not has_link(text)
    assert "@someone" not in text


def test_characters_are_counted_as_x_counts() -> None:
    assert len_on_x("abc é “”") == 8
    assert len_on_x("日本") == 4
    assert plain("ask @ann at https://x.y/z now") == "ask ann at (link) now"


def test_a_day_costs_no_more_than_its_budget() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    budget = Budget(connection, usd_per_day=0.05)
    day = 86_400.0 * 20_000
    budget.spend(Cost.POST, at_s=day, count=2)
    budget.spend(Cost.READ, at_s=day + 10, count=4)
    assert budget.spent_usd(day) == 0.05
    with pytest.raises(Spent, match=r"read of 0\.005"):
        budget.spend(Cost.READ, at_s=day + 20)
    assert Budget(connection, usd_per_day=0.05).spent_usd(day) == 0.05  # a restart forgets nothing
    budget.spend(Cost.READ, at_s=day + 86_400)
    with pytest.raises(Spent):
        Budget(connection, usd_per_day=0.19).spend(Cost.POST_WITH_LINK, at_s=day + 2 * 86_400)
