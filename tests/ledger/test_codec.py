"""Dataclasses to JSON and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.control.actions import StartGang, Token
from gigafactory.control.events import StepsDone
from gigafactory.ledger.exchange import (
    action_from_json,
    action_to_json,
    event_from_json,
    event_to_json,
)
from gigafactory.ledger.hosts import runs_text, runs_tuple

STEPS = {"type": "StepsDone", "at_s": 1.0, "generation": 1}


@given(st.lists(st.integers(0, 200)).map(tuple))
def test_runs_of_hosts_survive_in_their_order(hosts):
    assert runs_tuple(runs_text(hosts)) == hosts


def test_runs_are_short():
    assert runs_text((*range(42), 12500, *range(43, 12500))) == "0-41,12500,43-12499"
    assert runs_text(()) == ""


@pytest.mark.parametrize("text", ["a", "1-", "-3", "1-2-3", "1,,2", 5, None])
def test_what_is_no_run_is_refused(text):
    with pytest.raises(ValueError, match="is not a"):
        runs_tuple(text)


def test_a_restarted_gang_names_only_new_seats():
    start = StartGang(token=Token(2, 9), hosts=(0, 7, 2), step=5, seated=((1, 7),))
    source = action_to_json(start)
    assert "hosts" not in source
    assert action_from_json(source, seats=(0, 1, 2)) == start


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"type": "StepsDone", "at_s": 1.0, "generation": 1}, "key 'step' is missing"),
        ({"type": "StepsDone", "at_s": 1.0, "generation": 1, "step": 2.5}, "step: 2.5 is not int"),
        (
            {"type": "StepsDone", "at_s": 1.0, "generation": 1, "step": True},
            "step: True is not int",
        ),
        ({"type": "Rain"}, "type 'Rain' is not one of"),
        ({}, "type None is not one of"),
    ],
)
def test_wrong_events_are_named(source, words):
    with pytest.raises(ValueError, match=words):
        event_from_json(source)


def test_a_whole_number_is_a_float_where_one_is_due():
    event = StepsDone(at_s=3.0, generation=1, step=2)
    assert event_from_json(event_to_json(event) | {"at_s": 3}) == event
