"""The start of the next generation: who sits where, how it comes to life, what it restores."""

from __future__ import annotations

import math

from gigafactory.control.actions import Start, StartGang, Tier
from gigafactory.control.choices import num_seats
from gigafactory.control.fleet import Condition
from gigafactory.control.progress import survives
from gigafactory.control.state import EXPLAINED, Gang, Slot, State
from gigafactory.control.states import Turn
from gigafactory.describe.policy import Recovery

#: After so many starts in a row without a step, processes are no longer kept; then copies in
#: memory are no longer trusted, then those on the hosts' disks.
COLD_FROM, NO_PEER_FROM, NO_LOCAL_FROM = 2, 2, 3


def counts(state: State) -> bool:
    """Whether the next start is an attempt after a failure that nothing explains."""
    return state.gang.broken is not None and state.gang.broken not in EXPLAINED


def may_start_from(state: State) -> list[tuple[Tier, int]]:
    """Where a restore may come from now: the nearest tier of the newest step comes first."""
    is_out, gone = math.isinf(state.storage), _gone_tiers(state)
    found = [
        (tier, step)
        for tier, step in state.progress.in_tiers()
        if tier not in gone and not (tier is Tier.STORE and is_out)
    ]
    return sorted(found, key=lambda place: -place[1])


def _gone_tiers(state: State) -> set[Tier]:
    """Near tiers that the next start must do without, though nobody forgot them yet."""
    fleet = state.fleet
    have, num_failed = len(fleet.seats), state.num_failed_starts + _is_failed_start(state)
    is_resized = (num_seats(state) or have) != have
    gone = set()
    if num_failed >= NO_PEER_FROM or not _are_copies_whole(state):
        gone.add(Tier.PEER)
    if num_failed >= NO_LOCAL_FROM or fleet.lost_seats or is_resized:
        gone.add(Tier.LOCAL)
    return gone


def _are_copies_whole(state: State) -> bool:
    """Whether no seat was lost with the keeper of its copy since copies were made."""
    fleet = state.fleet
    return not fleet.lost_seats or survives(
        fleet.lost_seats, num_seats=fleet.num_copied,
        stride=state.config.prices.peer_stride, absent=fleet.uncopied,
    )  # fmt: skip


def _is_failed_start(state: State) -> bool:
    """Whether the last start never took a step, and nothing explains why."""
    return not state.gang.has_stepped and state.has_started and counts(state)


def start(state: State) -> None:
    """Spares on vacant seats, the newest checkpoint that survived, processes kept if they may."""
    fleet = state.fleet
    places = may_start_from(state)
    _count(state)
    seated, is_resized = _take_seats(state)
    tier, step = places[0] if places else (Tier.STORE, None)
    how = _how(state)
    state.progress.unconfirmed = []
    _let_off(state)
    state.suspicion = state.replay = None
    state.gang = Gang(
        generation=state.gang.generation + 1,
        restored_step=step or 0,
        step=step or 0,
        started_at_s=state.now_s,
        moved_at_s=state.now_s,
        how=how,
        tier=tier,
    )
    state.turn(Turn.START)
    token = state.gang.start_token = state.token()
    state.close_all()
    state.wait_until_s = None
    is_new = not state.has_started or is_resized
    action = StartGang(
        token=token, hosts=fleet.hosts(), step=step, seated=None if is_new else seated, how=how,
        tier=tier,
    )  # fmt: skip
    state.ask(action, Slot.GANG)
    state.has_started = True


def _count(state: State) -> None:
    if counts(state):
        state.progress.num_restarts += 1
    if _is_failed_start(state):
        state.num_failed_starts += 1
    if state.num_failed_starts >= NO_PEER_FROM:
        state.progress.forget_tier(Tier.PEER)
    if state.num_failed_starts >= NO_LOCAL_FROM:
        state.progress.forget_tier(Tier.LOCAL)


def _take_seats(state: State) -> tuple[tuple[tuple[int, int], ...], bool]:
    """(seats that changed, whether there are more or fewer than before)."""
    fleet, progress = state.fleet, state.progress
    if fleet.lost_seats:
        # until the next copies are made: whoever steps in keeps nothing for anybody yet
        progress.lose_near(are_copies_whole=_are_copies_whole(state))
        if progress.peer is None:
            # no copy is left that could be lost
            fleet.copied()
    is_resized = fleet.resize(num_seats(state) or len(fleet.seats))
    if is_resized:
        # shards change hosts, and a disk serves its own host alone
        progress.forget_tier(Tier.LOCAL)
    return fleet.fill(), is_resized


def _how(state: State) -> Start:
    """Kept processes are worth nothing where they fail to start, or nobody saw them stop."""
    gang, recovery = state.gang, state.config.prices.recovery
    is_kept = state.has_started and gang.stop_how is Start.WARM and gang.is_gone
    if recovery is Recovery.RESTART or not is_kept or state.num_failed_starts >= COLD_FROM:
        return Start.COLD
    return Start.WARM


def _let_off(state: State) -> None:
    """Hosts that hung and were not condemned get another chance."""
    fleet = state.fleet
    for host in [h for h, known in fleet.conditions.items() if known is Condition.HUNG]:
        fleet.settle(host)
        fleet.let_off(host)
