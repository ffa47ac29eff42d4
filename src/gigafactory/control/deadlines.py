"""Time: what has run out by now, and when the next thing will.

`expire` turns passed deadlines into facts before each reconciliation; `wake` asks for a Ticked at
the next one. Both look only at what is open, never at the whole fleet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from gigafactory.control.actions import HoldReason, WakeAt
from gigafactory.control.choices import cut_patience_s
from gigafactory.control.fleet import Condition
from gigafactory.control.recovery import reconcile, stop_gang
from gigafactory.control.replicas import expire_joins
from gigafactory.control.see_hosts import probe
from gigafactory.control.see_replays import give_up
from gigafactory.control.state import Break, State
from gigafactory.control.states import Membership, Phase, Turn
from gigafactory.units import HOUR_S


def expire(state: State) -> None:
    """Note everything whose time has come."""
    fleet = state.fleet
    if fleet.enquiries and state.now_s >= fleet.due_s:
        _enquiries(state)
    if fleet.cuts:
        _cuts(state)
    if state.refused:
        _ask_again(state)
    if state.gang.away:
        expire_joins(state)
    if state.replay is not None and state.now_s >= state.replay.until_s:
        give_up(state)
    if state.phase in _GANG_DEADLINES and state.now_s >= gang_deadline_s(state):
        _gang_is_late(state)


def _ask_again(state: State) -> None:
    """Evictions that were refused, once their pause is over."""
    for token, due_s in state.refused.items():
        if state.now_s >= due_s:
            state.evict_again(token)


def expire_hold(state: State) -> None:
    """A hold that outlasted its time and was not lifted even now ends the campaign."""
    if state.phase is Phase.HOLDING and state.now_s >= _hold_until_s(state):
        why = state.held.value if state.held else "held"
        state.is_failed = f"nobody lifted the hold ({why}) within {state.config.max_hold_s:g} s"
        reconcile(state)


def wake(state: State) -> None:
    """Ask for a Ticked at the next deadline, unless one that is early enough is on its way.

    The newest request replaces the one before. One that is too early does no harm; it is put off
    when the phase turns, because then the deadline it was meant for is gone.
    """
    if state.wake_at_s is not None and state.now_s >= state.wake_at_s:
        state.wake_at_s = None
    deadline_s, asked_s = _next_deadline_s(state), state.wake_at_s
    if deadline_s in (math.inf, asked_s):
        return
    if asked_s is None or asked_s > deadline_s or state.wake_phase is not state.phase:
        state.wake_at_s, state.wake_phase = deadline_s, state.phase
        state.out.append(WakeAt(token=state.token(), at_s=deadline_s))


def gang_deadline_s(state: State) -> float:
    """When the patience with the current generation ends."""
    gang, ladder = state.gang, state.config.ladder
    if state.phase is Phase.STARTING:
        return gang.started_at_s + ladder.join_s
    if state.phase is Phase.STOPPING:
        return gang.stopped_at_s + ladder.heartbeat_s
    moved_s = max(gang.moved_at_s + ladder.collective_s, gang.lease_until_s)
    if state.replay is not None:
        moved_s = max(moved_s, state.replay.until_s + ladder.collective_s)
    if state.fleet.cuts:
        # everybody waits for these links, and how long is a matter of its own
        moved_s = max(moved_s, max(state.fleet.cuts.values()) + cut_patience_s(state))
    if not gang.has_stepped:
        moved_s = max(moved_s, gang.started_at_s + ladder.watchdog_s)
    if state.phase is not Phase.DRAINING:
        return moved_s
    if _is_store_awaited(state):
        return gang.drain_until_s + state.config.max_hold_s
    return min(moved_s, gang.drain_until_s)


def _is_store_awaited(state: State) -> bool:
    """All that is missing is the last checkpoint, and the store is known to be slow or out."""
    is_end = state.num_stop_requests > 0 or state.gang.step >= state.progress.num_steps
    return is_end and state.storage > 1.0


_GANG_DEADLINES = frozenset({Phase.STARTING, Phase.RUNNING, Phase.DRAINING, Phase.STOPPING})


def _gang_is_late(state: State) -> None:
    if state.phase is Phase.STARTING:
        state.break_gang(Break.START_TIMEOUT)
    elif state.phase is Phase.RUNNING:
        state.break_gang(Break.SILENCE)
    elif state.phase is Phase.DRAINING:
        _drain_is_late(state)
    elif state.gang.num_stops < state.config.max_stops:
        stop_gang(state)
    else:
        # Whoever is left is fenced off by the next token, and cannot commit anything.
        state.turn(Turn.GONE)


def _drain_is_late(state: State) -> None:
    if state.num_stop_requests:
        state.break_gang(Break.STOP)
    elif state.gang.step >= state.progress.num_steps:
        state.break_gang(Break.UNSAVED)
    elif state.now_s >= state.gang.drain_until_s:
        state.break_gang(Break.DRAINED)
    else:
        state.break_gang(Break.SILENCE)


def _enquiries(state: State) -> None:
    """Leases that ran out with a witness, answers that vouch, questions to be asked again."""
    fleet = state.fleet
    for host, enquiry in list(fleet.enquiries.items()):
        if enquiry.alive is False and state.now_s >= enquiry.lease_until_s:
            words = "silent, and a second witness says it is dead"
            fleet.condemn(host, words, Condition.DEAD, until=Condition.UNREACHABLE)
        elif fleet.conditions.get(host) is not Condition.UNREACHABLE and _is_settled(state, host):
            fleet.settle(host)
            fleet.let_off(host)
        elif state.now_s >= enquiry.ask_again_s:
            probe(state, host)
    fleet.due_s = min(_enquiry_deadlines_s(state), default=math.inf)


def _enquiry_deadlines_s(state: State) -> Iterator[float]:
    for enquiry in state.fleet.enquiries.values():
        yield enquiry.ask_again_s
        if enquiry.alive is False:
            yield enquiry.lease_until_s


def _cuts(state: State) -> None:
    """Links that are down for longer than waiting is worth: both ends say so, which is proof."""
    fleet, patience_s = state.fleet, cut_patience_s(state)
    for host, since_s in list(fleet.cuts.items()):
        if state.now_s >= since_s + patience_s:
            fleet.condemn(host, "its links are down", Condition.DEAD, until=Condition.CUT)
            # whoever goes on without it has all the time it needs
            state.gang.moved_at_s = state.now_s


def _is_settled(state: State, host: int) -> bool:
    """An accused host whose heart beats is let off when the witness vouches or stays silent."""
    enquiry = state.fleet.enquiries[host]
    is_exhausted = enquiry.num_probes >= state.config.max_probes
    return enquiry.alive is True or (is_exhausted and state.now_s >= enquiry.ask_again_s)


def _hold_until_s(state: State) -> float:
    return state.held_since_s + state.config.max_hold_s


def _next_deadline_s(state: State) -> float:
    """The next moment at which something is due by time alone; inf: there is none."""
    if state.phase is Phase.FINISHED:
        return math.inf
    fleet, now_s = state.fleet, state.now_s
    found = _phase_deadlines_s(state)
    if fleet.enquiries:
        found += _enquiry_deadlines_s(state)
    if state.refused:
        found += state.refused.values()
    if fleet.cuts:
        patience_s = cut_patience_s(state)
        found += [since_s + patience_s for since_s in fleet.cuts.values()]
    for by_s in fleet.departing.values():
        found += (by_s - state.config.ladder.collective_s, by_s)
    if state.replay is not None:
        found.append(state.replay.until_s)
    for replica in state.gang.away.values():
        if replica.membership is Membership.JOINING:
            found.append(replica.since_s + state.config.ladder.join_s)
    if len(found) == 1:
        # nearly always: what the gang is to do by then
        return found[0] if found[0] > now_s else math.inf
    return min([at_s for at_s in found if at_s > now_s], default=math.inf)


def _phase_deadlines_s(state: State) -> list[float]:
    if state.phase in _GANG_DEADLINES:
        return [gang_deadline_s(state)]
    if state.phase is not Phase.HOLDING:
        return []
    if state.held is HoldReason.NO_SPARES and state.wait_until_s is not None:
        return [_hold_until_s(state), state.wait_until_s]
    if state.held is HoldReason.TOO_MANY_EVICTIONS and state.incidents_s:
        return [_hold_until_s(state), state.incidents_s[0] + HOUR_S]
    return [_hold_until_s(state)]
