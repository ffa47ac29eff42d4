"""Silent corruption: an anomaly is replayed, a difference localised, its descendants forgotten."""

from __future__ import annotations

from gigafactory.control import events as ev
from gigafactory.control.fleet import Condition
from gigafactory.control.state import Break, Ignored, Slot, State
from gigafactory.control.states import GOING, Phase
from gigafactory.units import HOUR_S


def anomaly_seen(state: State, event: ev.AnomalySeen) -> None:
    """Corruption, or merely odd text: a replay tells; so many an hour are worth it."""
    asked_s = state.replays_s
    while asked_s and asked_s[0] + HOUR_S <= state.now_s:
        asked_s.popleft()
    is_busy = state.replay is not None or state.suspicion is not None
    is_known = state.gang.bad_step is not None and event.step >= state.gang.bad_step
    if state.phase is not Phase.RUNNING or is_busy or is_known:
        state.ignore(Ignored.REPEATED)
    elif len(asked_s) >= state.config.max_replays_per_h:
        state.ignore(Ignored.TOO_MANY)
    else:
        state.suspicion = (max(event.step - 1, 0), False)
        asked_s.append(state.now_s)


def replayed(state: State, event: ev.Replayed) -> None:
    """The same values: a false alarm. Others: everything since is bad, and a host is sought."""
    replay = state.replay
    if replay is None or event.token != replay.token:
        state.ignore(Ignored.STALE_TOKEN)
        return
    _close(state)
    if event.clean_step is not None and (event.differs or event.clean_step <= state.gang.step):
        state.clean_step = event.clean_step
    if not event.differs and not replay.localise:
        return
    clean_step = replay.step if event.clean_step is None else event.clean_step
    is_contained = event.is_contained and clean_step >= state.gang.step
    if not is_contained:
        taint(state, clean_step)
    known = [host for host in event.hosts if state.fleet.knows(host)]
    for host in known:
        state.fleet.condemn(host, "silent data corruption", Condition.CORRUPT)
    if known and is_contained:
        return  # the others hold nothing of it, and the host leaves as any other that is lost
    if known:
        _break(state, Break.CORRUPTION, f"host {known[0]}")
    elif replay.localise:
        _break(state, Break.NOT_LOCALISED, f"after step {clean_step}")
    else:
        state.suspicion = (replay.step, True)


def corruption_found(state: State, event: ev.CorruptionFound) -> None:
    """Not fenced: a state once corrupted stays so in every generation that descends from it."""
    gang, fleet = state.gang, state.fleet
    if event.generation > gang.generation:
        state.ignore(Ignored.FUTURE)
        return
    taints_gang = (
        gang.restored_step > event.clean_step
        or event.host in fleet.seat_of
        or (event.generation == gang.generation and gang.step > event.clean_step)
    )
    if fleet.knows(event.host):
        fleet.condemn(event.host, "silent data corruption", Condition.CORRUPT)
    if not taints_gang:
        state.ignore(Ignored.REPEATED)
        return
    is_clean = event.generation == gang.generation and event.clean_step >= gang.step
    if event.is_contained and is_clean:
        # the others hold nothing of it, and the host leaves as any other that is lost
        return
    taint(state, event.clean_step)
    _break(state, Break.CORRUPTION, f"host {event.host}")


def give_up(state: State) -> None:
    """No answer, or none possible: without a difference seen, the alarm counts as false."""
    replay = state.replay
    _close(state)
    if replay is not None and replay.localise:
        _break(state, Break.NOT_LOCALISED, f"after step {replay.step}")


def taint(state: State, clean_step: int) -> None:
    """No state after ``clean_step`` may ever be restored, from any tier."""
    gang, first_bad = state.gang, clean_step + 1
    state.progress.forget_beyond(clean_step)
    gang.bad_step = first_bad if gang.bad_step is None else min(gang.bad_step, first_bad)
    gang.step = min(gang.step, clean_step)
    if state.clean_step is not None:
        state.clean_step = min(state.clean_step, clean_step)


def _close(state: State) -> None:
    state.replay = None
    state.open.pop(Slot.REPLAY, None)
    state.gang.moved_at_s = state.now_s


def _break(state: State, why: Break, words: str) -> None:
    if state.phase in GOING:
        state.break_gang(why, words)
