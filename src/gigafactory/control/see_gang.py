"""What events about the current generation teach; stale ones never get here."""

from __future__ import annotations

from gigafactory.control import events as ev
from gigafactory.control.actions import Tier
from gigafactory.control.culprit import suspects
from gigafactory.control.fleet import Condition
from gigafactory.control.replicas import harm, join_failed, joined
from gigafactory.control.see_hosts import enquire, renew_leases
from gigafactory.control.state import Break, Ignored, Slot, State
from gigafactory.control.states import GOING, LIVE, Phase, Turn
from gigafactory.describe.policy import Recovery
from gigafactory.units import DAY_S

#: A sensor may promise its next word no later than this.
MAX_LEASE_S = DAY_S
_NO_SEATS: frozenset[int] = frozenset()


def rank_exited(state: State, event: ev.RankExited) -> None:
    """A process ended; its host may be well."""
    gang = state.gang
    if state.phase not in GOING:
        return
    seat = state.fleet.seat_of.get(event.host)
    if _is_of_old(state, seat, event.incarnation):
        state.ignore(Ignored.STALE)
        return
    if seat is not None:
        state.fleet.worsen(event.host, Condition.SUSPECT)
    if event.exit is ev.Exit.CLEAN and gang.step >= state.progress.num_steps:
        return
    words = event.signature or f"{event.exit.value} on host {event.host}"
    error = (event.signature, gang.step) if event.exit is ev.Exit.ERROR else None
    is_everybodys = error is not None and error[0] != "" and error == gang.last_exit
    gang.last_exit = error
    if is_everybodys or seat is None:
        state.break_gang(Break.PROCESS_EXIT, words)
    else:
        harm(state, [event.host], Break.PROCESS_EXIT, words)


def _is_of_old(state: State, seat: int | None, incarnation: int) -> bool:
    """Whether the process belongs to an earlier life of its replica, or to none."""
    if seat is None:
        return incarnation != 0 or bool(state.gang.replicas)
    replica = state.gang.replicas.get(state.replica_of(seat))
    return incarnation != (replica.incarnation if replica else 0)


def ready(state: State, event: ev.GangReady) -> None:
    """It must have restored what was asked for."""
    if state.phase is not Phase.STARTING or state.gang.broken is not None:
        state.ignore(Ignored.REPEATED)
        return
    if event.step != state.gang.restored_step:
        words = f"it restored step {event.step}, not {state.gang.restored_step}"
        state.break_gang(Break.START_FAILED, words)
        return
    _ready(state)


def _ready(state: State) -> None:
    state.gang.moved_at_s = state.now_s
    state.turn(Turn.READY)
    state.open.pop(Slot.GANG, None)
    fleet = state.fleet
    suspected = [host for host, known in fleet.conditions.items() if known is Condition.SUSPECT]
    for host in suspected:
        fleet.ease(host)


def stopped(state: State, event: ev.GangStopped) -> None:
    """No process is left; asked for or not."""
    if state.phase not in LIVE:
        state.ignore(Ignored.REPEATED)
        return
    if state.gang.broken is None and not state.progress.is_done():
        state.break_gang(Break.VANISHED)
    state.gang.is_gone = True
    state.turn(Turn.GONE)
    state.close_all()


def steps_done(state: State, event: ev.StepsDone) -> None:
    """Good steps count, and with them what was saved of them."""
    gang = state.gang
    if not (event.finite and event.replicas_agree):
        _bad_step(state, event)
        return
    if gang.bad_step is not None and event.step >= gang.bad_step:
        return
    if event.step <= gang.step and gang.has_stepped:
        state.ignore(Ignored.REPEATED)
    else:
        _good_step(state, event)
    if event.peer_step is not None or event.local_step is not None:
        _saved_nearby(state, event)


def _good_step(state: State, event: ev.StepsDone) -> None:
    gang = state.gang
    gang.step = max(gang.step, event.step)
    gang.has_stepped, gang.moved_at_s = True, state.now_s
    state.num_failed_starts = 0
    if event.lease_s > 0:
        gang.lease_until_s = state.now_s + min(event.lease_s, MAX_LEASE_S)
    if state.phase is Phase.STARTING and gang.broken is None:
        _ready(state)
    if state.progress.unconfirmed:
        state.progress.confirm(gang.step)
    if state.fleet.enquiries:
        renew_leases(state)


def _saved_nearby(state: State, event: ev.StepsDone) -> None:
    """Only what the job is able to restore, of steps that were reported as good."""
    prices, top = state.config.prices, state.gang.step
    peer = event.peer_step if prices.peer_stride > 0 else None
    local = event.local_step if prices.has_local and _are_disks_whole(state) else None
    if prices.recovery is Recovery.RESTART or state.gang.broken is not None:
        peer = None
    # a repeated word may be older than the last loss, and tells nothing of what is left
    newest = -1 if state.progress.peer is None else state.progress.peer
    if peer is not None and newest < peer <= top:
        state.fleet.copied(without=state.seats_out() if state.gang.away else _NO_SEATS)
        state.progress.keep_near(peer=peer, local=None)
    if local is not None and 0 <= local <= top:
        if prices.peer_stride <= 0:
            state.fleet.copied()
        state.progress.keep_near(peer=None, local=local)


def _are_disks_whole(state: State) -> bool:
    """A gang of which somebody was given up may go on for a while, and knows nothing of it."""
    return state.gang.broken is None and not state.gang.away


def _bad_step(state: State, event: ev.StepsDone) -> None:
    gang = state.gang
    if event.step <= gang.restored_step:
        state.ignore(Ignored.REPEATED)
        return
    gang.bad_step = event.step if gang.bad_step is None else min(gang.bad_step, event.step)
    gang.step = min(gang.step, gang.bad_step - 1)
    state.progress.forget_beyond(max(gang.bad_step - 1, gang.restored_step))
    if state.phase in GOING:
        why = Break.DISAGREEMENT if event.finite else Break.NOT_FINITE
        state.break_gang(why, f"{why.value} at step {event.step}")


def committed(state: State, event: ev.CheckpointCommitted) -> None:
    """In the store, complete and verified; of a good step or not."""
    gang, progress = state.gang, state.progress
    if gang.bad_step is not None and event.step >= gang.bad_step:
        state.ignore(Ignored.REFUSED_CHECKPOINT)
    elif event.step > gang.step:
        progress.wait(event.step)
    else:
        progress.commit(event.step)


def checkpoint_lost(state: State, event: ev.CheckpointLost) -> None:
    """Never restore it, in its tier."""
    state.progress.forget(event.step, event.tier)
    gang = state.gang
    is_being_restored = gang.restored_step == event.step and gang.tier is event.tier
    if state.phase is Phase.STARTING and is_being_restored:
        where = "" if event.tier is Tier.STORE else f" in tier {event.tier.value}"
        words = f"the checkpoint of step {event.step}{where} is lost"
        state.break_gang(Break.CHECKPOINT_LOST, words)


def hang_suspected(state: State, event: ev.HangSuspected) -> None:
    """Whoever waited is a victim; the few that did not are asked about."""
    fleet, config = state.fleet, state.config
    if state.phase not in GOING:
        return
    if any(host in fleet.seat_of for host in fleet.cuts):
        # the cause is known, and judged by its own deadline
        state.ignore(Ignored.REPEATED)
        return
    found = suspects(silent=event.hosts, groups=event.groups, waiting=event.waiting)
    seated = [host for host in found if host in fleet.seat_of]
    words = f"{len(seated)} hosts fell silent"
    if not seated or len(seated) > config.max_accused:
        state.break_gang(Break.HANG, words)
        return
    harm(state, seated, Break.HANG, words)
    _second_accusations(state, seated)
    for host in seated:
        if host not in fleet.casualties:
            fleet.worsen(host, Condition.HUNG)
            enquire(state, host, lease_until_s=state.now_s)
            fleet.accuse(host, generation=state.gang.generation, at_s=state.now_s)


def _second_accusations(state: State, hosts: list[int]) -> None:
    """Two generations hung at the same host: each is the other's witness.

    The whole set leaves or none of it, and only where spares can take the seats.
    """
    fleet, generation = state.fleet, state.gang.generation
    fleet.forget_accusations(before_s=state.now_s - state.config.accusation_s)
    again = [host for host in hosts if fleet.accused.get(host, (generation,))[0] != generation]
    if len(again) <= fleet.num_usable():
        for host in again:
            first = fleet.accused[host][0]
            fleet.condemn(host, f"hung in generations {first} and {generation}")


def replica_ready(state: State, event: ev.ReplicaReady) -> None:
    """One replica more trains."""
    if not joined(state, event.replica, event.incarnation):
        state.ignore(Ignored.REPEATED)


def replica_lost(state: State, event: ev.ReplicaLost) -> None:
    """The start of a replica failed."""
    replica = state.gang.replicas.get(event.replica)
    if replica is None or replica.incarnation != event.incarnation:
        state.ignore(Ignored.REPEATED)
    else:
        join_failed(state, event.replica, event.reason)
