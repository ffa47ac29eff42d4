"""What events about hosts, their links and their witnesses teach."""

from __future__ import annotations

import math

from gigafactory.control import events as ev
from gigafactory.control.actions import ProbeHost
from gigafactory.control.fleet import Condition, Enquiry
from gigafactory.control.state import Ignored, State
from gigafactory.control.states import Phase


def enquire(state: State, host: int, *, lease_until_s: float) -> None:
    """Open the question whether ``host`` lives, and ask the witness."""
    fleet = state.fleet
    enquiry = fleet.enquiries.get(host)
    if enquiry is not None:
        enquiry.lease_until_s = max(enquiry.lease_until_s, lease_until_s)
        fleet.ask_about(host, enquiry)
    else:
        fleet.ask_about(host, Enquiry(lease_until_s=lease_until_s, ask_again_s=state.now_s))
        probe(state, host)


def probe(state: State, host: int) -> None:
    """Ask the witness, and plan to ask again, each time after twice as long a wait."""
    enquiry, ladder = state.fleet.enquiries[host], state.config.ladder
    enquiry.token = state.token()
    wait_s = ladder.heartbeat_s * 2.0 ** min(enquiry.num_probes, 20)
    enquiry.ask_again_s = state.now_s + min(wait_s, ladder.join_s)
    enquiry.num_probes += 1
    state.fleet.ask_about(host, enquiry)
    state.out.append(ProbeHost(token=enquiry.token, host=host))


def renew_all(state: State, *, until_s: float) -> None:
    """No lease runs out before ``until_s``: nobody listened. Every question is asked again."""
    fleet = state.fleet
    for host, enquiry in fleet.enquiries.items():
        enquiry.lease_until_s = max(enquiry.lease_until_s, until_s)
        enquiry.ask_again_s = state.now_s
        fleet.ask_about(host, enquiry)
    fleet.renew_cuts(now_s=state.now_s)


def renew_leases(state: State) -> None:
    """A step needs every rank: it is evidence that silent hosts of the gang live."""
    fleet = state.fleet
    for host, enquiry in fleet.enquiries.items():
        if _is_needed(state, host) and fleet.conditions.get(host) is Condition.UNREACHABLE:
            fleet.renew(host, until_s=state.now_s + state.config.ladder.heartbeat_s)
            if enquiry.alive is False:
                fleet.hear(host, alive=None, now_s=state.now_s)


def _is_needed(state: State, host: int) -> bool:
    """Whether a step of the gang cannot be without this host."""
    seat = state.fleet.seat_of.get(host)
    return seat is not None and state.replica_of(seat) not in state.gang.replicas


def died(state: State, event: ev.HostsDied) -> None:
    """Explicit evidence: they must leave."""
    for host in event.hosts:
        if not state.fleet.knows(host):
            state.fleet.is_surely_lost(host)
            state.ignore(Ignored.UNKNOWN_HOST)
        elif host not in state.fleet.casualties or host in state.fleet.revocable:
            state.fleet.condemn(host, event.cause, Condition.DEAD)


def unreachable(state: State, event: ev.HostUnreachable) -> None:
    """A lease begins to run, and a witness is asked."""
    fleet, host = state.fleet, event.host
    if not fleet.knows(host):
        state.ignore(Ignored.UNKNOWN_HOST)
    elif fleet.conditions.get(host, 0) >= Condition.UNREACHABLE:
        state.ignore(Ignored.REPEATED)
    else:
        fleet.worsen(host, Condition.UNREACHABLE)
        enquire(state, host, lease_until_s=state.now_s + state.config.ladder.heartbeat_s)


def reachable(state: State, event: ev.HostReachable) -> None:
    """It was the way to it, or the listener; nothing is held against the host."""
    fleet, host = state.fleet, event.host
    if fleet.revoke(host, Condition.UNREACHABLE):
        _take_back(state)
    elif fleet.conditions.get(host) is not Condition.UNREACHABLE:
        state.ignore(Ignored.UNASKED)
    else:
        fleet.settle(host)
        fleet.ease(host, Condition.CUT if host in fleet.cuts else None)


def witness_spoke(state: State, event: ev.WitnessSpoke) -> None:
    """The answer to the latest question counts."""
    enquiry = state.fleet.enquiries.get(event.host)
    if enquiry is None:
        state.ignore(Ignored.UNASKED)
    elif event.token is not None and event.token != enquiry.token:
        state.ignore(Ignored.STALE_TOKEN)
    else:
        state.fleet.hear(event.host, alive=event.alive, now_s=state.now_s)


def slow(state: State, event: ev.HostSlow) -> None:
    """Below the policy's threshold a host is as fast as its peers."""
    if not state.fleet.knows(event.host):
        state.ignore(Ignored.UNKNOWN_HOST)
    elif math.isfinite(event.slowdown):
        is_slow = event.slowdown >= max(state.config.prices.slow_from, 1.0)
        state.fleet.slows(event.host, event.slowdown if is_slow else 1.0)


def failing(state: State, event: ev.HostFailing) -> None:
    """It goes on; when to exchange it is a matter of cost."""
    if not state.fleet.knows(event.host):
        state.ignore(Ignored.UNKNOWN_HOST)
    else:
        state.fleet.fails_soon(event.host, event.cause)


def links_down(state: State, event: ev.LinksDown) -> None:
    """Everybody waits in place; how long is a matter of number and cost."""
    for host in event.hosts:
        if not state.fleet.knows(host):
            state.ignore(Ignored.UNKNOWN_HOST)
        elif host not in state.fleet.casualties:
            state.fleet.cut(host, since_s=state.now_s)


def links_up(state: State, event: ev.LinksUp) -> None:
    """The hosts take part again, and the gang's patience begins anew."""
    fleet = state.fleet
    mended = [h for h in event.hosts if fleet.mend(h) or fleet.revoke(h, Condition.CUT)]
    _take_back(state)
    if not mended:
        state.ignore(Ignored.UNASKED)
    elif state.gang.broken is None:
        state.gang.moved_at_s = state.now_s


def _take_back(state: State) -> None:
    """Evictions that were refused and not asked for again yet."""
    for token, due_s in list(state.refused.items()):
        if due_s < math.inf and token in state.evictions:
            state.take_back(token)


def repaired(state: State, event: ev.HostRepaired) -> None:
    """A host passed acceptance."""
    fleet, host = state.fleet, event.host
    state.forget_eviction(host)
    if state.phase is Phase.HOLDING:
        state.held_since_s = state.now_s
    if host in fleet.casualties or host in fleet.conditions or host in fleet.failing:
        fleet.acquit(host)
    elif fleet.knows(host):
        state.ignore(Ignored.REPEATED)
    else:
        fleet.stand_by(host)


def maintenance(state: State, event: ev.MaintenanceAnnounced) -> None:
    """The host will be taken."""
    fleet, host = state.fleet, event.host
    if not fleet.knows(host):
        state.ignore(Ignored.UNKNOWN_HOST)
        return
    by_s = event.by_s if math.isfinite(event.by_s) else state.now_s + state.config.ladder.join_s
    fleet.announce(host, by_s=by_s)
