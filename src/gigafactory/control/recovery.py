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
    ReplaySteps,
    SaveNow,
    SetCadence,
    Start,
    StopGang,
    Tier,
)
from gigafactory.control.choices import (
    exchange_is_due,
    growth_is_due,
    num_seats,
    store_every_s,
)
from gigafactory.control.fleet import Condition
from gigafactory.control.replicas import harm, mind_replicas
from gigafactory.control.start import counts, may_start_from, start
from gigafactory.control.state import Break, Replay, Slot, State
from gigafactory.control.states import GOING, Phase, Turn
from gigafactory.describe.policy import Recovery
from gigafactory.units import HOUR_S

#: Evictions remembered, so that a failed one can be repeated.
MAX_REMEMBERED_EVICTIONS = 16


def reconcile(state: State) -> None:
    """Append to ``state.out`` the actions that are missing on the way to the goal."""
    fleet = state.fleet
    if fleet.departing:
        _let_go(state)
    if fleet.failing or fleet.slow:
        _exchange(state)
    if fleet.casualties:
        _evict(state)
    if state.storage != state.told_storage:
        _tell_cadence(state)
    if state.phase in GOING:
        mind_replicas(state)
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
    _send_away(state, gone, "maintenance")


def _exchange(state: State) -> None:
    """Failing and slow hosts leave where nobody waits for them, and a spare takes the seat."""
    fleet = state.fleet
    num_free = fleet.num_usable() - len(fleet.vacant)
    gone: list[int] = []
    for host in [*fleet.failing, *(host for host in fleet.slow if host not in fleet.failing)]:
        is_seated = host in fleet.seat_of
        if host in fleet.casualties or (is_seated and (_is_wanted(state) or num_free <= 0)):
            continue
        num_free -= is_seated
        gone.append(host)
    if not gone or not _may_evict(state):
        return
    _send_away(state, gone, "failing or slow")


def _due_to_leave(state: State) -> Iterator[int]:
    """Spares at once; seated hosts at their time, or earlier between two gangs.

    Earlier means: shortly before their time, or when a spare can take the seat.
    """
    fleet, between_gangs = state.fleet, not _is_wanted(state)
    num_free = fleet.num_usable() - len(fleet.vacant)
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
    seated = [host for host in fleet.casualties if host in fleet.seat_of]
    if seated:
        why = _why_lost(state, seated)
        harm(state, seated, why, fleet.casualties[seated[0]])
    if not _may_evict(state):
        return
    by_reason: dict[str, list[int]] = {}
    for host, reason in fleet.casualties.items():
        by_reason.setdefault(reason, []).append(host)
    for reason, hosts in by_reason.items():
        _send_away(state, hosts, reason)


def _send_away(state: State, hosts: list[int], reason: str) -> None:
    """Out of the fleet, and remembered until they come back or too many others followed."""
    for host in hosts:
        state.fleet.remove(host)
    action = EvictHosts(token=state.token(), hosts=tuple(hosts), reason=reason)
    state.remember(action, at_most=MAX_REMEMBERED_EVICTIONS)
    state.out.append(action)


def _why_lost(state: State, hosts: list[int]) -> Break:
    corrupt = any(state.fleet.conditions.get(host) is Condition.CORRUPT for host in hosts)
    return Break.CORRUPTION if corrupt else Break.HOST_LOST


def _has_incident_left(state: State) -> bool:
    """Whether an exchange would be let through; a stop for one that is not gains nothing."""
    recent = [at_s for at_s in state.incidents_s if at_s + HOUR_S > state.now_s]
    return len(recent) < state.config.max_evictions_per_h


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
    elif state.suspicion is not None and state.replay is None:
        _replay(state, *state.suspicion)
    elif state.phase is Phase.RUNNING and state.replay is None and wants_drain(state):
        _drain(state)
    elif state.phase is Phase.DRAINING and not wants_drain(state):
        state.turn(Turn.CALM)


def stop_gang(state: State) -> None:
    """Ask for the end of the generation, first or again."""
    gang, is_plain = state.gang, state.config.prices.recovery is Recovery.RESTART
    gang.num_stops += 1
    gang.stopped_at_s = state.now_s
    is_end = gang.broken in (Break.DONE, Break.STOP)
    gang.stop_how = Start.COLD if is_plain or is_end else Start.WARM
    for slot in (Slot.SAVE, Slot.REPLAY, Slot.DROP):
        state.open.pop(slot, None)
    state.ask(StopGang(token=state.token(), how=gang.stop_how), Slot.GANG)


def _replay(state: State, step: int, localise: bool) -> None:
    """The gang stands still and computes again."""
    token = state.token()
    until_s = state.now_s + state.config.ladder.join_s
    state.suspicion = None
    state.replay = Replay(token, step, localise, until_s)
    state.ask(ReplaySteps(token=token, step=step, localise=localise), Slot.REPLAY)


def _tell_cadence(state: State) -> None:
    """A slow store is written to less often ([Young74]), one that is out not at all."""
    state.told_storage = state.storage
    if state.config.prices.store_every_s > 0:
        every_s = store_every_s(state)
        action = SetCadence(token=state.token(), tier=Tier.STORE, every_s=every_s)
        state.ask(action, Slot.CADENCE)


def wants_drain(state: State) -> bool:
    """Whether a checkpoint is to be committed and the gang then to be stopped."""
    fleet = state.fleet
    if state.num_stop_requests or state.gang.step >= state.progress.num_steps:
        return True
    if fleet.departing and _swap_is_due(state):
        return True
    if (fleet.slow or fleet.failing) and _an_exchange_is_due(state):
        return True
    return len(fleet.seats) < fleet.num_seats and growth_is_due(state)


def _an_exchange_is_due(state: State) -> bool:
    """Whether a slow or failing host is worth stopping for, and a spare may take its seat."""
    fleet = state.fleet
    if fleet.num_usable() <= len(fleet.vacant) or not _has_incident_left(state):
        return False
    seated = (host for host in (*fleet.slow, *fleet.failing) if host in fleet.seat_of)
    return any(exchange_is_due(state, host) for host in seated)


def _swap_is_due(state: State) -> bool:
    """Departing hosts are swapped as soon as spares suffice, or in good time before they go."""
    fleet = state.fleet
    seated = [by_s for host, by_s in fleet.departing.items() if host in fleet.seat_of]
    if not seated:
        return False
    is_late = state.now_s >= min(seated) - state.config.ladder.collective_s
    return is_late or fleet.num_usable() >= len(seated)


def _drain(state: State) -> None:
    gang = state.gang
    gang.drain_from = (gang.step, state.progress.num_commits)
    gang.drain_until_s = state.now_s + state.config.ladder.collective_s
    state.turn(Turn.DRAIN)
    state.ask(SaveNow(token=state.token()), Slot.SAVE)


def _is_drained(state: State) -> bool:
    """A checkpoint was committed since SaveNow, of a step that was not yet reached then."""
    step, num_commits = state.gang.drain_from
    progress = state.progress
    newest, is_last = progress.newest(), state.gang.step >= progress.num_steps
    if progress.num_commits > num_commits and newest is not None and newest >= step:
        return True
    near = max(progress.peer or 0, progress.local or 0)
    return near > step and not is_last and not state.num_stop_requests


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
    if any(host in fleet.seat_of for host in fleet.cuts):
        return True
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
        start(state)
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
    state.ask(Hold(token=state.token(), why=why, reason=reason), Slot.HOLD)


def _obstacle(state: State) -> tuple[HoldReason, str] | None:
    """Why no gang can be started now; None: nothing stands in the way."""
    fleet = state.fleet
    if any(host in fleet.seat_of for host in fleet.casualties):
        limit = state.config.max_evictions_per_h
        return HoldReason.TOO_MANY_EVICTIONS, f"{limit} evictions within the hour; time lifts it"
    missing = fleet.num_seats - len(fleet.seat_of) - fleet.num_usable()
    if missing > 0 and num_seats(state) == 0:
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
    limit, gang = state.config.max_restarts_without_progress, state.gang
    if counts(state) and state.progress.num_restarts >= limit:
        what = gang.broken.value if gang.broken else "it stopped"
        words = f"{what}: {gang.signature}" if gang.signature else what
        return HoldReason.NO_PROGRESS, (
            f"{limit} restarts without a new checkpoint; last at step {gang.step}: {words}. "
            "Remove the cause and resume"
        )
    if state.progress.everything_lost and not may_start_from(state):
        return HoldReason.NO_CLEAN_CHECKPOINT, (
            "no checkpoint is left that may be restored; resuming starts from nothing"
        )
    if state.progress.committed and not may_start_from(state):
        return HoldReason.NO_STORAGE, (
            f"the newest checkpoint that may be restored, of step {state.progress.newest()}, lies "
            "in a store that does not answer; its return lifts this"
        )
    return None


def _finish(state: State, outcome: Outcome, reason: str = "") -> None:
    state.turn(Turn.FINISH)
    state.out.append(Finish(token=state.token(), outcome=outcome, reason=reason))
