"""What each event teaches: one short function an event, facts only.

No function here asks for recovery; what follows from the facts is `recovery.reconcile`'s. The one
exception is a question to a witness, which belongs to learning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gigafactory.control import events as ev
from gigafactory.control.actions import ProbeHost
from gigafactory.control.fleet import Condition, Enquiry
from gigafactory.control.state import Break, Ignored, State
from gigafactory.control.states import GOING, LIVE, Phase, Turn


def observe(state: State, event: ev.Event) -> None:
    """Take ``event`` in; an unknown kind of event changes nothing."""
    look = OBSERVERS.get(type(event))
    if look is None:
        state.ignore(Ignored.UNASKED)
    else:
        look(state, event)


def enquire(state: State, host: int, *, lease_until_s: float) -> None:
    """Open the question whether ``host`` lives, and ask the witness."""
    enquiries = state.fleet.enquiries
    if host in enquiries:
        enquiries[host].lease_until_s = max(enquiries[host].lease_until_s, lease_until_s)
    else:
        enquiries[host] = Enquiry(lease_until_s=lease_until_s, ask_again_s=state.now_s)
        probe(state, host)


def probe(state: State, host: int) -> None:
    """Ask the witness, and plan to ask again, each time after twice as long a wait."""
    enquiry, ladder = state.fleet.enquiries[host], state.config.ladder
    enquiry.token = state.token()
    wait_s = ladder.heartbeat_s * 2.0 ** min(enquiry.num_probes, 20)
    enquiry.ask_again_s = state.now_s + min(wait_s, ladder.join_s)
    enquiry.num_probes += 1
    state.out.append(ProbeHost(token=enquiry.token, host=host))


def _launched(state: State, event: ev.Launched) -> None:
    if state.phase is not Phase.IDLE:
        state.ignore(Ignored.REPEATED)
        return
    state.fleet.allocate(event.hosts, event.spares)
    state.gang.generation = max(event.generation, 0)
    state.progress.num_steps = event.num_steps
    if event.committed_step is not None:
        state.progress.commit(event.committed_step)
    if not state.fleet.seats:
        state.is_failed = "the allocation holds no host to train on"
    state.turn(Turn.LAUNCH)


def _ticked(state: State, event: ev.Ticked) -> None:
    """Time passed, which `Controller.handle` has noted already."""


def _hosts_died(state: State, event: ev.HostsDied) -> None:
    for host in event.hosts:
        if not state.fleet.knows(host):
            state.ignore(Ignored.UNKNOWN_HOST)
        elif host not in state.fleet.casualties:
            state.fleet.condemn(host, event.cause, Condition.DEAD)


def _host_unreachable(state: State, event: ev.HostUnreachable) -> None:
    fleet, host = state.fleet, event.host
    if not fleet.knows(host):
        state.ignore(Ignored.UNKNOWN_HOST)
    elif fleet.conditions.get(host, 0) >= Condition.UNREACHABLE:
        state.ignore(Ignored.REPEATED)
    else:
        fleet.worsen(host, Condition.UNREACHABLE)
        enquire(state, host, lease_until_s=state.now_s + state.config.ladder.heartbeat_s)


def _host_reachable(state: State, event: ev.HostReachable) -> None:
    fleet, host = state.fleet, event.host
    if fleet.conditions.get(host) is not Condition.UNREACHABLE:
        state.ignore(Ignored.UNASKED)
    else:
        fleet.enquiries.pop(host, None)
        fleet.ease(host)


def _witness_spoke(state: State, event: ev.WitnessSpoke) -> None:
    enquiry = state.fleet.enquiries.get(event.host)
    if enquiry is None:
        state.ignore(Ignored.UNASKED)
    elif event.token is not None and event.token != enquiry.token:
        state.ignore(Ignored.STALE_TOKEN)
    else:
        enquiry.alive = event.alive


def _host_slow(state: State, event: ev.HostSlow) -> None:
    fleet, host = state.fleet, event.host
    if not fleet.knows(host):
        state.ignore(Ignored.UNKNOWN_HOST)
    elif event.slowdown > 1.0:
        fleet.worsen(host, Condition.SLOW)
    elif fleet.conditions.get(host) is Condition.SLOW:
        fleet.ease(host)


def _host_repaired(state: State, event: ev.HostRepaired) -> None:
    fleet, host = state.fleet, event.host
    if state.phase is Phase.HOLDING:
        state.held_since_s = state.now_s
    if host in fleet.casualties or host in fleet.conditions:
        fleet.acquit(host)
    elif fleet.knows(host):
        state.ignore(Ignored.REPEATED)
    else:
        fleet.stand_by(host)


def _maintenance(state: State, event: ev.MaintenanceAnnounced) -> None:
    fleet, host = state.fleet, event.host
    if not fleet.knows(host):
        state.ignore(Ignored.UNKNOWN_HOST)
        return
    by_s = event.by_s if math.isfinite(event.by_s) else state.now_s + state.config.ladder.join_s
    fleet.announce(host, by_s=by_s)


def _rank_exited(state: State, event: ev.RankExited) -> None:
    gang = state.gang
    if state.phase not in GOING:
        return
    if event.host in state.fleet.seat_of:
        state.fleet.worsen(event.host, Condition.SUSPECT)
    if event.exit is ev.Exit.CLEAN and gang.step >= state.progress.num_steps:
        return
    words = event.signature or f"{event.exit.value} on host {event.host}"
    state.break_gang(Break.PROCESS_EXIT, words)


def _gang_ready(state: State, event: ev.GangReady) -> None:
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
    _clear_suspects(state)


def _clear_suspects(state: State) -> None:
    fleet = state.fleet
    suspects = [host for host, known in fleet.conditions.items() if known is Condition.SUSPECT]
    for host in suspects:
        fleet.ease(host)


def _gang_stopped(state: State, event: ev.GangStopped) -> None:
    if state.phase not in LIVE:
        state.ignore(Ignored.REPEATED)
        return
    if state.gang.broken is None and not state.progress.is_done():
        state.break_gang(Break.VANISHED)
    state.turn(Turn.GONE)


def _steps_done(state: State, event: ev.StepsDone) -> None:
    gang = state.gang
    if not (event.finite and event.replicas_agree):
        _bad_step(state, event)
    elif event.step <= gang.step and gang.has_stepped:
        state.ignore(Ignored.REPEATED)
    elif gang.bad_step is None or event.step < gang.bad_step:
        gang.step = max(gang.step, event.step)
        gang.has_stepped, gang.moved_at_s = True, state.now_s
        if state.phase is Phase.STARTING and gang.broken is None:
            _ready(state)
        if state.progress.unconfirmed:
            state.progress.confirm(gang.step)
        if state.fleet.enquiries:
            _renew_leases(state)


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


def _renew_leases(state: State) -> None:
    """A step needs every rank: it is evidence that silent hosts of the gang live."""
    fleet = state.fleet
    for host, enquiry in fleet.enquiries.items():
        if host in fleet.seat_of and fleet.conditions.get(host) is Condition.UNREACHABLE:
            enquiry.lease_until_s = state.now_s + state.config.ladder.heartbeat_s
            enquiry.alive = None if enquiry.alive is False else enquiry.alive


def _checkpoint_committed(state: State, event: ev.CheckpointCommitted) -> None:
    gang, progress = state.gang, state.progress
    if gang.bad_step is not None and event.step >= gang.bad_step:
        state.ignore(Ignored.REFUSED_CHECKPOINT)
    elif event.step > gang.step:
        progress.wait(event.step)
    else:
        progress.commit(event.step)


def _checkpoint_lost(state: State, event: ev.CheckpointLost) -> None:
    state.progress.forget(event.step)
    if state.phase is Phase.STARTING and state.gang.restored_step == event.step:
        state.break_gang(Break.CHECKPOINT_LOST, f"the checkpoint of step {event.step} is lost")


def _hang_suspected(state: State, event: ev.HangSuspected) -> None:
    if state.phase not in GOING:
        return
    seated = [host for host in dict.fromkeys(event.hosts) if host in state.fleet.seat_of]
    state.break_gang(Break.HANG, f"{len(seated)} hosts fell silent")
    if len(seated) > state.config.max_accused:
        return
    _second_accusations(state, seated)
    for host in seated:
        if host not in state.fleet.casualties:
            state.fleet.worsen(host, Condition.HUNG)
            enquire(state, host, lease_until_s=state.now_s)
            state.fleet.accused[host] = (state.gang.generation, state.now_s)


def _second_accusations(state: State, hosts: list[int]) -> None:
    """Two generations hung at the same host: each is the other's witness.

    The whole set leaves or none of it, and only where spares can take the seats.
    """
    fleet, generation = state.fleet, state.gang.generation
    since_s = state.now_s - state.config.accusation_s
    fleet.accused = {host: said for host, said in fleet.accused.items() if said[1] >= since_s}
    again = [host for host in hosts if fleet.accused.get(host, (generation,))[0] != generation]
    if len(again) <= len(fleet.usable_spares()):
        for host in again:
            first = fleet.accused[host][0]
            fleet.condemn(host, f"hung in generations {first} and {generation}")


def _corruption_found(state: State, event: ev.CorruptionFound) -> None:
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
    state.progress.forget_beyond(event.clean_step)
    first_bad = event.clean_step + 1
    gang.bad_step = first_bad if gang.bad_step is None else min(gang.bad_step, first_bad)
    gang.step = min(gang.step, event.clean_step)
    if state.phase in GOING:
        state.break_gang(Break.CORRUPTION, f"host {event.host}")


def _action_failed(state: State, event: ev.ActionFailed) -> None:
    gang = state.gang
    if event.token == gang.start_token and state.phase is Phase.STARTING:
        state.break_gang(Break.START_FAILED, event.reason)
    elif event.token in state.evictions:
        state.out.append(state.evictions.pop(event.token))
    elif event.token.generation != gang.generation:
        state.ignore(Ignored.STALE_TOKEN)


def _stop_requested(state: State, event: ev.StopRequested) -> None:
    state.num_stop_requests += 1


def _resume_requested(state: State, event: ev.ResumeRequested) -> None:
    state.progress.num_restarts = 0
    state.progress.everything_lost = False
    if state.phase is not Phase.HOLDING:
        state.ignore(Ignored.UNASKED)


OBSERVERS: dict[type[ev.Event], Callable[[State, Any], None]] = {
    ev.Launched: _launched,
    ev.Ticked: _ticked,
    ev.HostsDied: _hosts_died,
    ev.HostUnreachable: _host_unreachable,
    ev.HostReachable: _host_reachable,
    ev.WitnessSpoke: _witness_spoke,
    ev.HostSlow: _host_slow,
    ev.HostRepaired: _host_repaired,
    ev.MaintenanceAnnounced: _maintenance,
    ev.RankExited: _rank_exited,
    ev.GangReady: _gang_ready,
    ev.GangStopped: _gang_stopped,
    ev.StepsDone: _steps_done,
    ev.CheckpointCommitted: _checkpoint_committed,
    ev.CheckpointLost: _checkpoint_lost,
    ev.HangSuspected: _hang_suspected,
    ev.CorruptionFound: _corruption_found,
    ev.ActionFailed: _action_failed,
    ev.StopRequested: _stop_requested,
    ev.ResumeRequested: _resume_requested,
}

#: Events about the gang itself: only those of the current generation count.
FENCED = (
    ev.RankExited,
    ev.GangReady,
    ev.GangStopped,
    ev.StepsDone,
    ev.CheckpointCommitted,
    ev.HangSuspected,
)
