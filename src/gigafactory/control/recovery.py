"""Reconciliation: compare what is with the goal, and ask only for what is missing.

The goal is RUNNING on as many healthy hosts as there are seats, until the last step is safe or a
person says stop. There is no script of a recovery anywhere: after every event the same questions
are asked again, so that a second failure in the middle of a recovery merely changes the answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from gigafactory.control.actions import (
    EvictHosts,
    Finish,
    Hold,
    HoldReason,
    Outcome,
    SaveNow,
    StartGang,
    StopGang,
)
from gigafactory.control.fleet import Condition
from gigafactory.control.state import EXPLAINED, Break, Gang, State
from gigafactory.control.states import GOING, Phase, Turn
from gigafactory.units import HOUR_S

#: Evictions remembered, so that a failed one can be repeated.
MAX_REMEMBERED_EVICTIONS = 16


def reconcile(state: State) -> None:
    """Append to ``state.out`` the actions that are missing on the way to the goal."""
    if state.fleet.departing:
        _let_go(state)
    if state.fleet.casualties:
        _evict(state)
    if state.phase in GOING:
        _mind_gang(state)
    if state.phase is Phase.HOLDING and _obstacle(state) is None:
        state.turn(Turn.LIFT)
        state.held = None
    if state.phase in (Phase.IDLE, Phase.DECIDING, Phase.HOLDING):
        _without_gang(state)


# -- hosts that leave ------------------------------------------------------------------------


def _let_go(state: State) -> None:
    """Announced hosts leave for maintenance; a gang that still sits on one has to end."""
    fleet = state.fleet
    gone = [*_due_to_leave(state)]
    if not gone:
        return
    if state.phase in GOING and any(host in fleet.seat_of for host in gone):
        state.break_gang(Break.DRAINED)
    for host in gone:
        fleet.remove(host)
    state.out.append(EvictHosts(token=state.token(), hosts=tuple(gone), reason="maintenance"))


def _due_to_leave(state: State) -> Iterator[int]:
    """Spares at once; seated hosts at their time, or earlier between two gangs.

    Earlier means: shortly before their time, or when a spare can take the seat.
    """
    fleet, between_gangs = state.fleet, not _is_wanted(state)
    num_free = len(fleet.usable_spares()) - len(fleet.vacant)
    for host, by_s in fleet.departing.items():
        if host in fleet.casualties:
            continue
        is_late = state.now_s >= by_s - state.config.ladder.collective_s
        if host in fleet.spares or state.now_s >= by_s:
            yield host
        elif between_gangs and (is_late or num_free > 0):
            num_free -= 1
            yield host


def _is_wanted(state: State) -> bool:
    """A gang is there and nothing speaks against it."""
    return state.phase in GOING and state.gang.broken is None


def _evict(state: State) -> None:
    """All casualties of this moment are one incident, and leave in one action for each reason."""
    fleet = state.fleet
    if any(host in fleet.seat_of for host in fleet.casualties):
        state.break_gang(Break.HOST_LOST, next(iter(fleet.casualties.values())))
    if not _may_evict(state):
        return
    by_reason: dict[str, list[int]] = {}
    for host, reason in fleet.casualties.items():
        by_reason.setdefault(reason, []).append(host)
    for reason, hosts in by_reason.items():
        for host in hosts:
            fleet.remove(host)
        action = EvictHosts(token=state.token(), hosts=tuple(hosts), reason=reason)
        state.evictions[action.token] = action
        state.out.append(action)
    while len(state.evictions) > MAX_REMEMBERED_EVICTIONS:
        del state.evictions[next(iter(state.evictions))]


def _may_evict(state: State) -> bool:
    """Open an incident, or join the one that is open; False where the hour's are used up."""
    incidents_s = state.incidents_s
    while incidents_s and incidents_s[0] + HOUR_S <= state.now_s:
        incidents_s.popleft()
    if incidents_s and state.now_s - incidents_s[-1] <= state.config.ladder.heartbeat_s:
        return True
    if len(incidents_s) >= state.config.max_evictions_per_h:
        return False
    incidents_s.append(state.now_s)
    return True


# -- a gang that goes ------------------------------------------------------------------------


def _mind_gang(state: State) -> None:
    """Let it run, drain it, or stop it."""
    gang = state.gang
    if state.progress.is_done():
        state.break_gang(Break.DONE)
    if state.num_stop_requests > 1 or (state.num_stop_requests and state.phase is Phase.STARTING):
        state.break_gang(Break.STOP)
    if gang.broken is None and state.phase is Phase.DRAINING and _is_drained(state):
        state.break_gang(Break.STOP if state.num_stop_requests else Break.DRAINED)
    if gang.broken is not None:
        state.turn(Turn.STOP)
        gang.num_stops = 0
        stop_gang(state)
    elif state.phase is Phase.RUNNING and wants_drain(state):
        _drain(state)
    elif state.phase is Phase.DRAINING and not wants_drain(state):
        state.turn(Turn.CALM)


def stop_gang(state: State) -> None:
    """Ask for the end of the generation, first or again."""
    state.gang.num_stops += 1
    state.gang.stopped_at_s = state.now_s
    state.out.append(StopGang(token=state.token()))


def wants_drain(state: State) -> bool:
    """Whether a checkpoint is to be committed and the gang then to be stopped."""
    if state.num_stop_requests or state.gang.step >= state.progress.num_steps:
        return True
    return bool(state.fleet.departing) and _swap_is_due(state)


def _swap_is_due(state: State) -> bool:
    """Departing hosts are swapped as soon as spares suffice, or in good time before they go."""
    fleet = state.fleet
    seated = [by_s for host, by_s in fleet.departing.items() if host in fleet.seat_of]
    if not seated:
        return False
    is_late = state.now_s >= min(seated) - state.config.ladder.collective_s
    return is_late or len(fleet.usable_spares()) >= len(seated)


def _drain(state: State) -> None:
    gang = state.gang
    gang.drain_from = (gang.step, state.progress.num_commits)
    gang.drain_until_s = state.now_s + state.config.ladder.collective_s
    state.turn(Turn.DRAIN)
    state.out.append(SaveNow(token=state.token()))


def _is_drained(state: State) -> bool:
    """A checkpoint was committed since SaveNow, of a step that was not yet reached then."""
    step, num_commits = state.gang.drain_from
    newest = state.progress.newest()
    return state.progress.num_commits > num_commits and newest is not None and newest >= step


# -- no gang ---------------------------------------------------------------------------------


def _without_gang(state: State) -> None:
    """Finish, wait for evidence, hold, or start the next generation."""
    if state.is_failed:
        _finish(state, Outcome.FAILED, state.is_failed)
    elif state.phase is not Phase.IDLE and state.progress.is_done():
        _finish(state, Outcome.DONE)
    elif state.num_stop_requests:
        _finish(state, Outcome.STOPPED, "a person said stop")
    elif state.phase is Phase.DECIDING and not awaits_evidence(state):
        _start_or_hold(state)
    elif state.phase is Phase.HOLDING:
        _change_hold(state)


def awaits_evidence(state: State) -> bool:
    """Whether a seated host's fate is open, and time or the witness will settle it."""
    fleet, max_probes = state.fleet, state.config.max_probes
    return any(
        host in fleet.seat_of
        and (
            enquiry.alive is False
            or (enquiry.alive is None and enquiry.num_probes <= max_probes)
            or (enquiry.alive and fleet.conditions.get(host) is not Condition.UNREACHABLE)
        )
        for host, enquiry in fleet.enquiries.items()
    )


def _start_or_hold(state: State) -> None:
    obstacle = _obstacle(state)
    if obstacle is None:
        _start(state)
        return
    state.turn(Turn.BLOCK)
    state.held_since_s = state.now_s
    _hold(state, *obstacle)


def _change_hold(state: State) -> None:
    obstacle = _obstacle(state)
    if obstacle is not None and obstacle[0] is not state.held:
        _hold(state, *obstacle)


def _hold(state: State, why: HoldReason, reason: str) -> None:
    state.held = why
    state.out.append(Hold(token=state.token(), why=why, reason=reason))


def _obstacle(state: State) -> tuple[HoldReason, str] | None:
    """Why no gang can be started now; None: nothing stands in the way."""
    fleet = state.fleet
    if any(host in fleet.seat_of for host in fleet.casualties):
        limit = state.config.max_evictions_per_h
        return HoldReason.TOO_MANY_EVICTIONS, f"{limit} evictions within the hour; time lifts it"
    missing = len(fleet.vacant) - len(fleet.usable_spares())
    if missing > 0:
        return HoldReason.NO_SPARES, f"{missing} hosts too few; a repaired host lifts this"
    silent = [h for h, known in fleet.conditions.items() if _is_silent(state, h, known)]
    if silent:
        return HoldReason.NO_WITNESS, (
            f"host {silent[0]} ({len(silent)} in all) is silent and no second witness says it is "
            "dead; its heartbeat, its witness or its repair lifts this"
        )
    return _obstacle_of_progress(state)


def _is_silent(state: State, host: int, known: Condition) -> bool:
    return known is Condition.UNREACHABLE and host in state.fleet.seat_of


def _obstacle_of_progress(state: State) -> tuple[HoldReason, str] | None:
    limit = state.config.max_restarts_without_progress
    if _counts(state) and state.progress.num_restarts >= limit:
        gang = state.gang
        what = gang.broken.value if gang.broken else "it stopped"
        words = f"{what}: {gang.signature}" if gang.signature else what
        return HoldReason.NO_PROGRESS, (
            f"{limit} restarts without a new checkpoint; last at step {gang.step}: {words}. "
            "Remove the cause and resume"
        )
    if state.progress.everything_lost:
        return HoldReason.NO_CLEAN_CHECKPOINT, (
            "no checkpoint is left that may be restored; resuming starts from nothing"
        )
    return None


def _counts(state: State) -> bool:
    """Whether the next start is an attempt after a failure that nothing explains."""
    return state.gang.broken is not None and state.gang.broken not in EXPLAINED


def _start(state: State) -> None:
    """The next generation: spares on the vacant seats, the newest checkpoint that may be used."""
    if _counts(state):
        state.progress.num_restarts += 1
    seated = state.fleet.fill()
    step = state.progress.newest()
    state.progress.unconfirmed = []
    for host in [h for h, known in state.fleet.conditions.items() if known is Condition.HUNG]:
        state.fleet.enquiries.pop(host, None)
        state.fleet.ease(host, Condition.SUSPECT)
    state.gang = Gang(
        generation=state.gang.generation + 1,
        restored_step=step or 0,
        step=step or 0,
        started_at_s=state.now_s,
        moved_at_s=state.now_s,
    )
    state.turn(Turn.START)
    state.gang.start_token = state.token()
    state.out.append(
        StartGang(
            token=state.gang.start_token,
            hosts=tuple(state.fleet.seats),
            step=step,
            seated=seated if state.has_started else None,
        )
    )
    state.has_started = True


def _finish(state: State, outcome: Outcome, reason: str = "") -> None:
    state.turn(Turn.FINISH)
    state.out.append(Finish(token=state.token(), outcome=outcome, reason=reason))
