"""Hosts that leave: the lost at once, others where they hurt least, and so many incidents an hour.

With replica groups an exchange takes one replica out while the others go on; else it waits for a
stop of the whole gang.
"""

from __future__ import annotations

from collections.abc import Iterator

from gigafactory.control.actions import EvictHosts, Tier
from gigafactory.control.choices import exchange_is_due, exchange_s
from gigafactory.control.fleet import Condition
from gigafactory.control.replicas import harm, part_with
from gigafactory.control.state import Break, State
from gigafactory.control.states import GOING, Membership, Phase
from gigafactory.describe.policy import Recovery
from gigafactory.units import HOUR_S

#: Evictions remembered at least, so that a failed one can be repeated.
NUM_REMEMBERED_EVICTIONS = 16


def see_off(state: State) -> None:
    """Ask for the eviction of every host that is to leave now."""
    fleet = state.fleet
    if fleet.departing or fleet.failing or fleet.slow:
        _part(state)
    if fleet.departing:
        _let_go(state)
    if fleet.failing or fleet.slow:
        _exchange(state)
    if fleet.casualties:
        _evict(state)


def _part(state: State) -> None:
    """Only the replicas that have a host to exchange stop, and only as many as may."""
    if state.config.prices.recovery is not Recovery.REPLICAS:
        return
    if state.phase is Phase.RUNNING and state.gang.broken is None and state.replay is None:
        due = [*_due_for_exchange(state)]
        if due:
            part_with(state, due)


def _due_for_exchange(state: State) -> Iterator[int]:
    """Hosts of replicas that train: those about to be taken, and those whose exchange pays."""
    fleet = state.fleet
    num_free = fleet.num_usable() - len(fleet.vacant)
    for host, by_s in fleet.departing.items():
        is_late = state.now_s >= by_s - state.config.ladder.collective_s
        if _trains(state, host) and (is_late or num_free > 0):
            num_free -= 1
            yield host
    if not has_incident_left(state):
        return
    planned_s = exchange_s(state)
    for host in dict.fromkeys((*fleet.slow, *fleet.failing)):
        if num_free <= 0:
            return
        is_new = host not in fleet.departing and _trains(state, host)
        if is_new and exchange_is_due(state, host, planned_s=planned_s):
            num_free -= 1
            yield host


def _trains(state: State, host: int) -> bool:
    seat = state.fleet.seat_of.get(host)
    return seat is not None and _membership(state, seat) is Membership.TRAINING


def _membership(state: State, seat: int) -> Membership:
    away = state.gang.away
    replica = away.get(state.replica_of(seat)) if away else None
    return replica.membership if replica else Membership.TRAINING


def _let_go(state: State) -> None:
    """Announced hosts leave for maintenance; whoever still trains on one has to end."""
    gone = [*_due_to_leave(state)]
    if not gone:
        return
    if state.phase in GOING:
        harm(state, gone, Break.DRAINED, "maintenance")
    _send_away(state, gone, "maintenance")


def _exchange(state: State) -> None:
    """Failing and slow hosts leave where nobody waits for them, and a spare takes the seat."""
    fleet = state.fleet
    num_free = fleet.num_usable() - len(fleet.vacant)
    gone: list[int] = []
    for host in dict.fromkeys((*fleet.failing, *fleet.slow)):
        is_seated = host in fleet.seat_of
        if host in fleet.casualties or (is_seated and (num_free <= 0 or _is_wanted(state, host))):
            continue
        num_free -= is_seated
        gone.append(host)
    if gone and _may_evict(state):
        _send_away(state, gone, "failing or slow")


def _due_to_leave(state: State) -> Iterator[int]:
    """Spares at once; seated hosts at their time, or earlier where nobody trains on them.

    Earlier means: shortly before their time, or when a spare can take the seat.
    """
    fleet = state.fleet
    num_free = fleet.num_usable() - len(fleet.vacant)
    for host, by_s in fleet.departing.items():
        if host in fleet.casualties:
            continue
        is_late = state.now_s >= by_s - state.config.ladder.collective_s
        if host in fleet.spares or state.now_s >= by_s:
            yield host
        elif (is_late or num_free > 0) and not _is_wanted(state, host):
            num_free -= 1
            yield host


def _is_wanted(state: State, host: int) -> bool:
    """A gang is there that nothing speaks against, and it has processes on this seated host."""
    if state.phase not in GOING or state.gang.broken is not None:
        return False
    return _membership(state, state.fleet.seat_of[host]) is not Membership.OUT


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
    """Out of the fleet, and remembered until they come back, or for long enough."""
    if any(host in state.fleet.seat_of for host in hosts):
        # its disk goes with it, whoever trains on without it
        state.progress.forget_tier(Tier.LOCAL)
    for host in hosts:
        state.fleet.remove(host)
    action = EvictHosts(token=state.token(), hosts=tuple(hosts), reason=reason)
    state.remember(action, at_least=NUM_REMEMBERED_EVICTIONS)
    state.out.append(action)


def _why_lost(state: State, hosts: list[int]) -> Break:
    corrupt = any(state.fleet.conditions.get(host) is Condition.CORRUPT for host in hosts)
    return Break.CORRUPTION if corrupt else Break.HOST_LOST


def swap_is_due(state: State) -> bool:
    """Departing hosts are swapped as soon as spares suffice, or in good time before they go."""
    fleet = state.fleet
    seated = [by_s for host, by_s in fleet.departing.items() if host in fleet.seat_of]
    if not seated:
        return False
    is_late = state.now_s >= min(seated) - state.config.ladder.collective_s
    return is_late or fleet.num_usable() >= len(seated)


def has_incident_left(state: State) -> bool:
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
