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
from gigafactory.ledger.replay import rebuild, replay
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
    assert result.difference.before["phase"] == "idle"
    assert result.difference.event["type"] == "Launched"
    assert f"then at entry {index}, 0.0 s (action)" in result.text()
    assert sum(result.actions.values()) == result.num_actions


def test_an_action_that_is_missing_is_found(entries):
    del entries[of_kind(entries, ActionTaken)[0]]
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
    difference = replay(entries).difference
    assert difference.what == "wake-up"
    assert difference.replayed == 31.0


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


def test_a_controller_that_was_rebuilt_from_the_book_goes_on(entries):
    """Resumed and then Reattached: the same brain, not a fresh one."""
    middle = of_kind(entries, EventSeen)[4]
    with LedgerWriter() as ledger:
        brain = Controller(config_from_json(entries[0].content.controller))
        for entry in entries[:middle]:
            if isinstance(entry.content, EventSeen):
                brain.handle(entry.content.event)
            ledger.write(entry.content, at_s=entry.at_s)
        ledger.write(Resumed(), at_s=31.0)
        event = ev.Reattached(at_s=31.0)
        ledger.decide(
            event, brain.handle(event), state_hash=brain.state_hash, generation=brain.generation
        )
    result = replay(ledger.entries)
    assert result.same, result.text()
    assert result.num_events == 5


def test_a_book_of_the_first_schema_is_read_and_not_replayed(entries):
    entries[0] = replace(
        entries[0], content=replace(entries[0].content, schema="gigafactory-ledger/1")
    )
    assert list(parse_lines(map(line_of, entries), place="old")) == entries
    with pytest.raises(InputError, match="can be read and reported, but only"):
        replay(entries)


def test_a_gang_that_names_other_hosts_is_found(entries):
    """Even where the line itself leaves them out: the state knows who sits where."""
    index = next(
        i for i in of_kind(entries, EventSeen) if isinstance(entries[i].content.event, ev.Launched)
    )
    seen = entries[index].content
    forged = replace(seen, event=replace(seen.event, hosts=(0, 1, 2, 9)))
    entries[index] = replace(entries[index], content=forged)
    assert replay(entries).difference.what == "action"


def test_a_book_that_nobody_closed_says_so(entries):
    assert not replay(entries).is_cut
    cut = replay(entries[:-1])
    assert cut.same
    assert cut.is_cut
    assert "cut off" in cut.text()


def test_a_brain_is_rebuilt_from_any_place_of_its_book(entries):
    """A driver that takes over goes on with the very state in which the last one died."""
    for end in range(2, len(entries) + 1):
        hashes = [e.content.state_hash for e in entries[:end] if isinstance(e.content, EventSeen)]
        if hashes:
            assert rebuild(entries[:end]).state_hash() == hashes[-1]
    with pytest.raises(InputError, match="must be 'opened'"):
        rebuild(entries[1:])
