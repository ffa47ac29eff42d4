"""Every kind of line: out and in again, the same; and what docs/ledger.md shows is a book."""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import fields
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.control import actions as ac
from gigafactory.control import events as ev
from gigafactory.control.actions import StartGang, Token
from gigafactory.describe.errors import InputError
from gigafactory.ledger.entries import KINDS, ActionTaken, EventSeen
from gigafactory.ledger.exchange import (
    action_from_json,
    action_to_json,
    event_from_json,
    event_to_json,
)
from gigafactory.ledger.hosts import seats_after
from gigafactory.ledger.reader import parse_lines
from gigafactory.ledger.writer import line_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ledger.md"
HOSTS = st.lists(st.integers(0, 99_999), max_size=80).map(tuple)
PAIRS = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 999)), max_size=5).map(tuple)
OF_TYPE = {
    int: st.integers(0, 2**40),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    str: st.text(),
    Token: st.builds(Token, st.integers(0, 99), st.integers(0, 99)),
    tuple[int, ...]: HOSTS,
    Sequence[int]: HOSTS,
    tuple[tuple[int, ...], ...]: st.lists(HOSTS, max_size=3).map(tuple),
    tuple[tuple[int, int], ...]: PAIRS,
}


def of_hint(hint):
    """Any value of a field's type; where null is a word, figures are finite."""
    if hint in OF_TYPE:
        return OF_TYPE[hint]
    if isinstance(hint, types.UnionType):
        (some,) = (one for one in typing.get_args(hint) if one is not types.NoneType)
        finite = st.floats(allow_nan=False, allow_infinity=False)
        return st.none() | (finite if some is float else of_hint(some))
    assert issubclass(hint, Enum)
    return st.sampled_from(hint)


def any_of(cls):
    hints = typing.get_type_hints(cls)
    return st.builds(cls, **{f.name: of_hint(hints[f.name]) for f in fields(cls)})


@pytest.mark.parametrize("cls", ev.EVENTS, ids=lambda cls: cls.__name__)
def test_every_event_survives(cls):
    @settings(max_examples=20, deadline=None)
    @given(any_of(cls))
    def survives(event):
        assert event_from_json(event_to_json(event)) == event

    survives()


@pytest.mark.parametrize("cls", ac.ACTIONS, ids=lambda cls: cls.__name__)
def test_every_action_survives(cls):
    @settings(max_examples=20, deadline=None)
    @given(any_of(cls))
    def survives(action):
        if not (isinstance(action, StartGang) and action.seated is not None):
            assert action_from_json(action_to_json(action)) == action

    survives()


def test_a_store_that_does_not_answer_is_inf():
    event = ev.StorageSeen(at_s=1.0, slowdown=math.inf)
    assert event_to_json(event)["slowdown"] == "inf"
    assert event_from_json(event_to_json(event)) == event


def test_a_gang_that_shrinks_and_grows_names_seats_alone():
    seats = (10, 11, 12, 13)
    for hosts, seated in [
        ((10, 12, 11), ((1, 12), (2, 11))),  # the last seat is given up, its host moves
        ((10, 12, 11, 9, 8), ((3, 9), (4, 8))),
        ((10, 12, 11, 9, 8), ()),
    ]:
        start = StartGang(token=Token(2, 9), hosts=hosts, step=5, seated=seated)
        source = action_to_json(start)
        assert "hosts" not in source
        assert source["num_hosts"] == len(hosts)
        assert action_from_json(source, seats=seats) == start
        seats = hosts


@pytest.mark.parametrize(
    ("seated", "num_hosts", "words"),
    [
        ((), 4, "seat 3 has no host"),
        (((5, 7),), None, "seat 3 has no host"),
        (((3, 7),), 3, "seat 3 lies beyond the 3 seats"),
    ],
)
def test_a_seat_that_nobody_explains_is_named(seated, num_hosts, words):
    with pytest.raises(ValueError, match=words):
        seats_after((0, 1, 2), seated, num_hosts=num_hosts)


def shown() -> list[str]:
    blocks = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


def test_the_page_shows_one_book_with_every_kind_of_line():
    lines = shown()
    entries = list(parse_lines(lines, place="docs/ledger.md"))
    assert {json.loads(line)["kind"] for line in lines} == set(KINDS)
    assert [line_of(entry) for entry in entries] == lines
    started = [e.content.action for e in entries if isinstance(e.content, ActionTaken)]
    assert [a.hosts for a in started if isinstance(a, StartGang)] == [(0, 1, 2, 3), (0, 1, 4, 3)]
    assert math.isinf(
        [e for e in entries if isinstance(e.content, EventSeen)][-1].content.event.slowdown
    )


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("event", {"event": {"type": "Rain", "at_s": 1.0}}, "event: type 'Rain' is not one of"),
        ("event", {"event": "Ticked"}, "event: 'Ticked' is not an object"),
        ("event", {"event": {"type": "Ticked"}}, "event: key 'at_s' is missing"),
        ("event", {"state_hash": 5}, "state_hash: 5 is not str"),
        ("action", {"action": {"type": "WakeAt", "token": [1], "at_s": 1}}, "action: token: "),
        ("action", {"colour": 1}, "unknown key 'colour'"),
        (
            "action",
            {"action": {"type": "StartGang", "token": [2, 9], "step": 1, "how": "lukewarm",
                        "seated": []}},
            "action: how: 'lukewarm' is not a valid Start",
        ),
        (
            "action",
            {"action": {"type": "JoinReplica", "token": [1, 1], "replica": 0, "seated": [[9, 1]]}},
            "action: seat 4 has no host",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_inside_an_event_or_action_is_named(kind, change, words):
    lines = shown()
    number = next(i for i, x in enumerate(lines) if i > 2 and json.loads(x)["kind"] == kind)
    lines[number] = json.dumps(json.loads(lines[number]) | change)
    with pytest.raises(InputError) as caught:
        list(parse_lines(lines, place="book"))
    assert str(caught.value).startswith(f"book:{number + 1}: ")
    assert words in str(caught.value)
