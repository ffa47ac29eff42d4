"""Replica groups: the others go on while one is dropped, filled, started and taken in again."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from gigafactory.control.actions import DropReplicas, JoinReplica, Tier, Token
from gigafactory.control.choices import may_drop
from gigafactory.control.fleet import Condition
from gigafactory.control.state import EXPLAINED, Break, Replica, Slot, State
from gigafactory.control.states import Membership, Move, Phase

_TRAINS = frozenset({Phase.RUNNING, Phase.DRAINING})


def harm(state: State, hosts: Iterable[int], why: Break, words: str) -> None:
    """Something that stops these hosts' replicas; the whole gang, where it cannot go on without."""
    gang, fleet = state.gang, state.fleet
    replicas = {state.replica_of(fleet.seat_of[h]) for h in hosts if h in fleet.seat_of}
    if not replicas:
        return  # nobody has processes on a spare
    training = replicas - gang.away.keys()
    lost = training | {n for n in gang.hurt if _membership(state, n) is Membership.TRAINING}
    if state.phase not in _TRAINS or (training and not may_drop(state, len(lost))):
        state.break_gang(why, words)
        return
    for number in replicas:
        if _membership(state, number) is Membership.JOINING:
            join_failed(state, number, words)
        elif number in training:
            gang.hurt.setdefault(number, (why, words))


def part_with(state: State, hosts: Iterable[int]) -> None:
    """Drop the replicas of these hosts, which are well enough to go on, as many as may be."""
    hurt, words = state.gang.hurt, "hosts are exchanged"
    for host in hosts:
        number = state.replica_of(state.fleet.seat_of[host])
        if number not in hurt and may_drop(state, len(hurt) + 1):
            hurt[number] = (Break.DRAINED, words)
    if hurt:
        _drop(state)


def is_any_joining(state: State) -> bool:
    """Whether the start of a replica is under way."""
    return any(r.membership is Membership.JOINING for r in state.gang.away.values())


def open_joins(state: State) -> list[JoinReplica]:
    """What was asked for and may not have taken effect yet, under its token."""
    generation = state.gang.generation
    return [
        JoinReplica(
            token=Token(generation, replica.incarnation), replica=number, seated=replica.seated
        )
        for number, replica in state.gang.away.items()
        if replica.membership is Membership.JOINING
    ]


def joined(state: State, number: int, incarnation: int) -> bool:
    """The replica trains again; False where nobody waits for this."""
    replica = state.gang.replicas.get(number)
    if replica is None or replica.incarnation != incarnation or not replica.move(Move.READY):
        return False
    replica.num_failures, replica.seated = 0, ()
    del state.gang.away[number]
    # whoever took it in has dropped it before
    state.open.pop(Slot.DROP, None)
    state.gang.moved_at_s = state.now_s
    return True


def join_failed(state: State, number: int, reason: str) -> None:
    """Its start failed: its processes end, and it is tried again, so many times."""
    replica = state.gang.replicas[number]
    if not replica.move(Move.FAIL):
        return
    replica.num_failures += 1
    replica.since_s = state.now_s
    if replica.num_failures >= state.config.max_restarts_without_progress:
        state.break_gang(Break.REPLICA_STUCK, f"replica {number}: {reason}")
    else:
        _ask_drop(state, (number,))


def mind_replicas(state: State) -> None:
    """Drop those that are hurt, and take in those whose seats are filled."""
    gang = state.gang
    if gang.broken is not None or state.phase not in _TRAINS:
        return
    if gang.hurt:
        _drop(state)
    if gang.broken is None and gang.away and state.phase is Phase.RUNNING:
        _gather_hosts(state)
        for number, replica in gang.away.items():
            if replica.membership is Membership.OUT:
                _take_in(state, number, replica)


def expire_joins(state: State) -> None:
    """A replica that joins for longer than the ladder permits has failed."""
    limit_s = state.config.ladder.join_s
    for number, replica in list(state.gang.away.items()):
        is_late = state.now_s >= replica.since_s + limit_s
        if replica.membership is Membership.JOINING and is_late:
            join_failed(state, number, "it did not join in time")


def _membership(state: State, number: int) -> Membership:
    replica = state.gang.away.get(number)
    return replica.membership if replica else Membership.TRAINING


def _drop(state: State) -> None:
    gang = state.gang
    hurt = [n for n in sorted(gang.hurt) if _membership(state, n) is Membership.TRAINING]
    why, words = next(iter(gang.hurt.values()))
    if any(cause not in EXPLAINED for cause, _ in gang.hurt.values()):
        state.progress.num_restarts += 1
    limit = state.config.max_restarts_without_progress
    if state.progress.num_restarts > limit or not may_drop(state, len(hurt)):
        state.break_gang(why, words)
        gang.hurt.clear()
        return
    gang.hurt.clear()
    for number in hurt:
        replica = gang.away[number] = gang.replicas.setdefault(number, Replica())
        replica.move(Move.DROP)
        replica.since_s = state.now_s
    _ask_drop(state, tuple(hurt))


def _ask_drop(state: State, numbers: tuple[int, ...]) -> None:
    gang = state.gang
    gang.drop_token = state.token()
    # the others stand still until they have parted from it, and then speak
    gang.moved_at_s, gang.lease_until_s = state.now_s, 0.0
    state.ask(DropReplicas(token=gang.drop_token, replicas=numbers), Slot.DROP)


def _gather_hosts(state: State) -> None:
    """Where spares do not fill every replica that is out, the last of them gives its hosts."""
    fleet = state.fleet
    out = [n for n, r in state.gang.away.items() if r.membership is Membership.OUT]
    num_vacant = sum(len(_vacant(state, n)) for n in out)
    if len(out) > 1 and num_vacant > fleet.num_usable():
        fleet.clear(state.seats_of(max(out)))
        # a disk serves its own seat alone
        state.progress.forget_tier(Tier.LOCAL)


def _vacant(state: State, number: int) -> list[int]:
    """Seats of the replica that nobody holds."""
    seats, vacant = state.seats_of(number), state.fleet.vacant
    return vacant[bisect_left(vacant, seats.start) : bisect_left(vacant, seats.stop)]


def _take_in(state: State, number: int, replica: Replica) -> None:
    fleet = state.fleet
    vacant = _vacant(state, number)
    if len(vacant) > fleet.num_usable():
        return
    taken = [seat for seat in state.seats_of(number) if seat not in vacant]
    if any(_is_open(state, fleet.seats[seat]) for seat in taken):
        return
    # what an earlier request named, which may be lost, and what is new
    new = dict(replica.seated) | dict(fleet.fill(vacant) if vacant else ())
    seated = tuple(sorted(new.items()))
    replica.move(Move.JOIN)
    replica.since_s, replica.seated = state.now_s, seated
    for seat in taken:
        if fleet.conditions.get(fleet.seats[seat]) in (Condition.SUSPECT, Condition.HUNG):
            fleet.settle(fleet.seats[seat])
            fleet.ease(fleet.seats[seat])
    token = state.token()
    replica.incarnation = token.attempt
    state.out.append(JoinReplica(token=token, replica=number, seated=seated))


def _is_open(state: State, host: int) -> bool:
    """Whether the fate of a host is not settled yet."""
    fleet = state.fleet
    if host in fleet.casualties or host in fleet.cuts:
        return True
    known = fleet.conditions.get(host)
    if known is Condition.UNREACHABLE:
        return True
    enquiry = fleet.enquiries.get(host)
    if known is not Condition.HUNG or enquiry is None:
        return False
    return enquiry.num_probes <= state.config.max_probes and enquiry.alive is not True
