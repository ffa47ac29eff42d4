"""The table of states, the configuration, and the small parts."""

from __future__ import annotations

import pytest

from gigafactory.control import events as ev
from gigafactory.control.config import ControlConfig, config_from_json, config_to_json
from gigafactory.control.controller import Controller
from gigafactory.control.fleet import Fleet
from gigafactory.control.observe import FENCED, OBSERVERS
from gigafactory.control.progress import MAX_CHECKPOINTS, Progress
from gigafactory.control.states import LIVE, TRANSITIONS, Phase, Turn, mermaid
from gigafactory.control.timeouts import ladder
from gigafactory.describe.errors import InputError


def config(**bounds):
    rungs = ladder(
        heartbeat_floor_s=10, collective_floor_s=60, join_floor_s=300, report_s=1, start_s=30
    )
    return ControlConfig(ladder=rungs, **bounds)


def test_every_phase_can_be_reached_and_only_the_end_cannot_be_left():
    assert set(TRANSITIONS.values()) | {Phase.IDLE} == set(Phase)
    assert set(Phase) - {source for source, _ in TRANSITIONS} == {Phase.FINISHED}


def test_a_gang_is_started_only_where_none_lives():
    assert [source for source, turn in TRANSITIONS if turn is Turn.START] == [Phase.DECIDING]
    assert Phase.DECIDING not in LIVE


def test_the_drawing_shows_every_transition():
    text = mermaid()
    assert text.startswith("stateDiagram-v2\n")
    assert text.count("-->") == len(TRANSITIONS) + 2
    assert "deciding --> starting" in text


def test_every_event_is_observed():
    assert set(OBSERVERS) == set(ev.EVENTS)
    assert all("generation" in kind.__dataclass_fields__ for kind in FENCED)


def test_config_survives_json():
    before = config(max_evictions_per_h=7)
    assert config_from_json(config_to_json(before)) == before


@pytest.mark.parametrize("key", ["ladder", "colour"])
def test_config_refuses_what_it_does_not_know(key):
    source = config_to_json(config())
    source[key] = {"flap_s": 1.0}
    with pytest.raises(InputError, match="not a configuration of this controller"):
        config_from_json(source)


def test_ladder_refuses_a_timeout_of_nothing():
    with pytest.raises(ValueError, match="positive"):
        ladder(heartbeat_floor_s=0, collective_floor_s=1, join_floor_s=1, report_s=1, start_s=1)


def test_old_checkpoints_thin_out_and_the_oldest_and_newest_stay():
    progress = Progress(num_steps=10**9)
    for step in range(1, 5000):
        progress.commit(step)
        assert len(progress.committed) <= MAX_CHECKPOINTS
    assert progress.newest() == 4999
    assert progress.committed[0] == 1
    assert progress.committed[-10:] == list(range(4990, 5000))
    assert progress.committed == sorted(set(progress.committed))


def test_the_fingerprint_of_the_seats_does_not_depend_on_history():
    one, other = Fleet(), Fleet()
    one.allocate((0, 1, 2), (3, 4))
    one.remove(1)
    one.fill()
    one.stand_by(1)
    other.allocate((0, 3, 2), (4, 1))
    assert one.seats == other.seats
    assert one.lost_seats == {1}
    one.lost_seats.clear()
    assert one.fingerprint() == other.fingerprint()


def test_the_fingerprint_tells_seats_apart():
    one, other = Fleet(), Fleet()
    one.allocate((0, 1), ())
    other.allocate((1, 0), ())
    assert one.fingerprint() != other.fingerprint()


def test_the_hash_tells_what_is_known_and_not_how_often_it_was_asked(bench):
    often = Controller(bench.config)
    told = [
        ev.Launched(at_s=0.0, hosts=(0, 1, 2), spares=(3,), num_steps=1000),
        ev.GangReady(at_s=10.0, generation=1, step=0),
        ev.StepsDone(at_s=20.0, generation=1, step=1),
        ev.HostUnreachable(at_s=21.0, host=1),
        ev.StepsDone(at_s=24.0, generation=1, step=2),
        ev.LinksDown(at_s=25.0, hosts=(2,), cause="cable"),
        ev.Reattached(at_s=40.0),
    ]
    for event in told:
        often.handle(event)
        assert often.state_hash() == _asked_once(bench.config, told[: told.index(event) + 1])


def _asked_once(known, events):
    brain = Controller(known)
    for event in events:
        brain.handle(event)
    return brain.state_hash()
