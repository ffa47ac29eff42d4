"""Reconciliation: compare what is with the goal, and ask only for what is missing.

The goal is RUNNING on as many healthy hosts as there are seats, until the last step is safe or a
person says stop. There is no script of a recovery anywhere: after every event the same questions
are asked again, so that a second failure in the middle of a recovery merely changes the answers.
"""

from __future__ import annotations

import math

from gigafactory.control.actions import (
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
    exchange_s,
    growth_is_due,
    may_drop,
    num_seats,
    shrunk_s,
    store_every_s,
)
from gigafactory.control.fleet import Condition
from gigafactory.control.leaving import has_incident_left, see_off, swap_is_due
from gigafactory.control.progress import survives
from gigafactory.control.replicas import is_any_joining, mind_replicas
from gigafactory.control.start import counts, may_start_from, start
from gigafactory.control.state import Break, Replay, Slot, State
from gigafactory.control.states import GOING, Phase, Turn
from gigafactory.cost.recovery import patience_s
from gigafactory.describe.policy import Recovery


def reconcile(state: State) -> None:
    """Append to ``state.out`` the actions that are missing on the way to the goal."""
    fleet = state.fleet
    if fleet.casualties or fleet.departing or fleet.failing or fleet.slow:
        see_off(state)
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
    elif state.phase is Phase.DRAINING:
        _mind_drain(state)


def _mind_drain(state: State) -> None:
    """What the drain was for may be gone, or may ask for more by now."""
    if not wants_drain(state):
        state.turn(Turn.CALM)
    elif state.gang.drain_tier is Tier.PEER and _drain_tier(state) is Tier.STORE:
        _drain(state)


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
        if _is_about(every_s, _told_cadence_s(state)):
            return
        action = SetCadence(token=state.token(), tier=Tier.STORE, every_s=every_s)
        state.ask(action, Slot.CADENCE)


def _told_cadence_s(state: State) -> float | None:
    known = state.open.get(Slot.CADENCE)
    return known.every_s if isinstance(known, SetCadence) else state.config.prices.store_every_s


def _is_about(every_s: float | None, other_s: float | None) -> bool:
    if every_s is None or other_s is None:
        return every_s is other_s
    return math.isclose(every_s, other_s, rel_tol=_CADENCE_TOLERANCE)


#: The cost of an interval is flat around its optimum ([Young74]): less is not worth a word.
_CADENCE_TOLERANCE = 0.05


def wants_drain(state: State) -> bool:
    """Whether a checkpoint is to be made and the gang then to be stopped."""
    fleet = state.fleet
    if state.num_stop_requests or state.gang.step >= state.progress.num_steps:
        return True
    is_leaving = fleet.departing or fleet.slow or fleet.failing
    if is_leaving and not may_drop(state, 1) and _wants_exchange(state):
        return True
    return len(fleet.seats) < fleet.num_seats and growth_is_due(state)


def _wants_exchange(state: State) -> bool:
    """Whether hosts are to be exchanged, which takes the whole gang."""
    fleet = state.fleet
    if fleet.departing and swap_is_due(state):
        return True
    if is_any_joining(state):
        # with one replica more, the others may go on without this one
        return False
    has_spares = fleet.num_usable() > len(fleet.vacant)
    if not (fleet.slow or fleet.failing) or not has_spares or not has_incident_left(state):
        return False
    seated = [host for host in (*fleet.slow, *fleet.failing) if host in fleet.seat_of]
    planned_s = exchange_s(state)
    return any(exchange_is_due(state, host, planned_s=planned_s) for host in seated)


def _drain(state: State) -> None:
    gang = state.gang
    gang.drain_from = (gang.step, state.progress.num_commits)
    gang.drain_until_s = state.now_s + state.config.ladder.collective_s
    gang.drain_tier = _drain_tier(state)
    if state.phase is Phase.RUNNING:
        state.turn(Turn.DRAIN)
    state.ask(SaveNow(token=state.token(), tier=gang.drain_tier), Slot.SAVE)


def _drain_tier(state: State) -> Tier:
    """Copies in memory, where they outlast those who leave: made at the next step, and for free.

    The end of a campaign is kept in the store.
    """
    fleet, prices = state.fleet, state.config.prices
    is_end = state.num_stop_requests or state.gang.step >= state.progress.num_steps
    if is_end or prices.recovery is Recovery.RESTART:
        return Tier.STORE
    leaving = {*fleet.departing, *fleet.slow, *fleet.failing}
    seats = {fleet.seat_of[host] for host in leaving if host in fleet.seat_of}
    is_kept = survives(
        seats, num_seats=len(fleet.seats), stride=prices.peer_stride, absent=state.seats_out()
    )
    return Tier.PEER if is_kept else Tier.STORE


def _is_drained(state: State) -> bool:
    """A checkpoint was made since SaveNow, of a step that was not yet reached then."""
    step, num_commits = state.gang.drain_from
    progress = state.progress
    newest = progress.newest()
    if progress.num_commits > num_commits and newest is not None and newest >= step:
        return True
    return state.gang.drain_tier is Tier.PEER and (progress.peer or 0) > step


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
    if why is HoldReason.NO_SPARES and state.wait_until_s is None:
        # as long as going on with fewer would cost: hosts that are about to return are awaited
        state.wait_until_s = state.now_s + float(patience_s(shrunk_s(state)))
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
