"""The same brain decides the same again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gigafactory.control import events as ev
from gigafactory.control.config import config_from_json
from gigafactory.control.controller import Controller
from gigafactory.describe.errors import InputError
from gigafactory.ledger.entries import ActionTaken, EventSeen, Resumed
from gigafactory.ledger.reader import parse_lines, read_ledger
from gigafactory.ledger.replay import replay
from gigafactory.ledger.writer import LedgerWriter, line_of


@pytest.fixture
def entries(tmp_path, campaign):
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter(path) as ledger:
        campaign(ledger)
    return read_ledger(path)


def of_kind(entries, kind):
    return [index for index, entry in enumerate(entries) if isinstance(entry.content, kind)]


def test_a_recorded_campaign_replays(entries):
    result = replay(entries)
    assert result.same
    assert result.num_events == len(of_kind(entries, EventSeen))
    assert result.num_actions == len(of_kind(entries, ActionTaken))
    assert "as recorded" in result.text()
    assert json.loads(json.dumps(result.to_json()))["difference"] is None


def test_an_action_that_differs_is_found(entries):
    index = of_kind(entries, ActionTaken)[0]
    content = entries[index].content
    forged = ActionTaken(action=replace(content.action, step=77))
    entries[index] = replace(entries[index], content=forged)
    result = replay(entries)
    assert not result.same
    assert (result.difference.seq, result.difference.what) == (index, "action")
    assert result.difference.recorded["step"] == 77
    assert f"entry {index}" in result.text()


def test_an_action_that_is_missing_is_found(entries):
    del entries[of_kind(entries, ActionTaken)[1]]
    assert replay(entries).difference.what == "number of actions"


def test_a_state_that_differs_is_found(entries):
    index = of_kind(entries, EventSeen)[3]
    forged = replace(entries[index].content, state_hash="0" * 64)
    entries[index] = replace(entries[index], content=forged)
    assert replay(entries).difference.what == "state hash"


def test_another_policy_decides_differently(entries):
    opened = entries[0].content
    rungs = opened.controller["ladder"] | {"join_s": 31.0}
    changed = replace(opened, controller=opened.controller | {"ladder": rungs})
    entries[0] = replace(entries[0], content=changed)
    assert replay(entries).difference.what == "action"


def test_a_book_cut_off_in_the_middle_of_a_turn_replays(entries):
    last = of_kind(entries, ActionTaken)[0]
    assert replay(entries[:last]).same


def test_a_new_driver_begins_with_a_new_brain(entries):
    config = config_from_json(entries[0].content.controller)
    with LedgerWriter() as ledger:
        for entry in entries[:9]:
            ledger.write(entry.content, at_s=entry.at_s)
        ledger.write(Resumed(), at_s=50.0)
        brain = Controller(config)
        event = ev.Launched(at_s=50.0, hosts=(0, 1), num_steps=30, generation=1)
        ledger.decide(event, brain.handle(event), state_hash=brain.state_hash, generation=2)
    assert replay(ledger.entries).same


def test_a_book_without_a_brain_is_refused(opening):
    with LedgerWriter() as ledger:
        ledger.write(opening(controller={}), at_s=0.0)
    with pytest.raises(InputError, match="no controller configuration"):
        replay(ledger.entries)


def test_an_unknown_event_is_named(entries):
    index = of_kind(entries, EventSeen)[2]
    lines = [line_of(entry) for entry in entries]
    lines[index] = lines[index].replace('"type":"StepsDone"', '"type":"Rain"')
    with pytest.raises(InputError, match=f"book:{index + 1}: event: type 'Rain' is not one of"):
        replay(parse_lines(lines, place="book"))
