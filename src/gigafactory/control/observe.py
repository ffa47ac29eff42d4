"""What each event teaches: one short function an event, facts only.

No function here asks for recovery; what follows from the facts is `recovery.reconcile`'s. The one
exception is a question to a witness, which belongs to learning. Hosts are in `see_hosts`, the gang
and its replicas in `see_gang`, replays in `see_replays`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gigafactory.control import events as ev
from gigafactory.control import see_gang as gang
from gigafactory.control import see_hosts as hosts
from gigafactory.control import see_replays as replays
from gigafactory.control.actions import Start, Token
from gigafactory.control.replicas import join_failed, open_joins
from gigafactory.control.state import Break, Ignored, State
from gigafactory.control.states import Phase, Turn


def observe(state: State, event: ev.Event) -> None:
    """Take ``event`` in; an unknown kind of event changes nothing."""
    look = OBSERVERS.get(type(event))
    if look is None:
        state.ignore(Ignored.UNASKED)
    else:
        look(state, event)


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
    """Time passed, which `Controller.handle` has noted already.

    One that comes early may stand for a request that was replaced: what is due is asked for again.
    """
    state.wake_at_s = None


def _storage_seen(state: State, event: ev.StorageSeen) -> None:
    if event.slowdown != event.slowdown:
        state.ignore(Ignored.UNASKED)
        return
    is_back = event.slowdown <= 1.0 < state.storage
    state.storage = max(1.0, event.slowdown)
    if is_back and state.phase is Phase.DRAINING:
        # only now can it be written, and that takes its time
        state.gang.moved_at_s = state.now_s
        state.gang.drain_until_s = state.now_s + state.config.ladder.collective_s


def _action_failed(state: State, event: ev.ActionFailed) -> None:
    now, token = state.gang, event.token
    if token == now.start_token and state.phase is Phase.STARTING:
        state.break_gang(Break.START_FAILED, event.reason)
    elif token in state.evictions:
        _eviction_failed(state, token)
    elif token.generation != now.generation:
        state.ignore(Ignored.STALE_TOKEN)
    elif token == now.drop_token:
        state.break_gang(Break.REPLICA_STUCK, f"a replica cannot be dropped: {event.reason}")
    elif state.replay and token == state.replay.token:
        replays.give_up(state)
    else:
        for number, replica in now.replicas.items():
            if replica.incarnation == token.attempt:
                join_failed(state, number, event.reason)
                break


def _eviction_failed(state: State, token: Token) -> None:
    """Again at once, and after that with a pause: the next refusal may come as fast as this."""
    state.take_back(token)
    if token not in state.evictions:
        return
    if token not in state.refused:
        state.evict_again(token)
    else:
        state.refused[token] = state.now_s + state.config.ladder.join_s


def _reattached(state: State, event: ev.Reattached) -> None:
    """Nobody looked while the controller was away: no silence of that time means anything."""
    now_s, ladder = state.now_s, state.config.ladder
    now = state.gang
    now.moved_at_s = now.stopped_at_s = now_s
    if state.phase is Phase.STARTING:
        now.started_at_s = now_s
    for replica in now.replicas.values():
        replica.since_s = now_s
    hosts.renew_all(state, until_s=now_s + ladder.heartbeat_s)
    state.out += sorted(
        [*state.open.values(), *state.evictions.values(), *open_joins(state)],
        key=lambda action: action.token,
    )
    state.wake_at_s = None


def _stop_requested(state: State, event: ev.StopRequested) -> None:
    state.num_stop_requests += 1


def _resume_requested(state: State, event: ev.ResumeRequested) -> None:
    state.progress.num_restarts = 0
    state.progress.everything_lost = False
    if state.phase is not Phase.HOLDING:
        state.ignore(Ignored.UNASKED)
    else:
        # what the person changed, processes that stayed would not know
        state.gang.stop_how = Start.COLD


OBSERVERS: dict[type[ev.Event], Callable[[State, Any], None]] = {
    ev.Launched: _launched,
    ev.Ticked: _ticked,
    ev.HostsDied: hosts.died,
    ev.HostUnreachable: hosts.unreachable,
    ev.HostReachable: hosts.reachable,
    ev.WitnessSpoke: hosts.witness_spoke,
    ev.HostSlow: hosts.slow,
    ev.HostFailing: hosts.failing,
    ev.LinksDown: hosts.links_down,
    ev.LinksUp: hosts.links_up,
    ev.StorageSeen: _storage_seen,
    ev.HostRepaired: hosts.repaired,
    ev.MaintenanceAnnounced: hosts.maintenance,
    ev.RankExited: gang.rank_exited,
    ev.GangReady: gang.ready,
    ev.GangStopped: gang.stopped,
    ev.StepsDone: gang.steps_done,
    ev.CheckpointCommitted: gang.committed,
    ev.CheckpointLost: gang.checkpoint_lost,
    ev.HangSuspected: gang.hang_suspected,
    ev.ReplicaReady: gang.replica_ready,
    ev.ReplicaLost: gang.replica_lost,
    ev.AnomalySeen: replays.anomaly_seen,
    ev.Replayed: replays.replayed,
    ev.CorruptionFound: replays.corruption_found,
    ev.ActionFailed: _action_failed,
    ev.Reattached: _reattached,
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
    ev.ReplicaReady,
    ev.ReplicaLost,
    ev.AnomalySeen,
)
