"""Which way to go on: each choice is the cheaper one by the equations of `cost.recovery`."""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

from gigafactory.control.config import Prices
from gigafactory.control.state import State
from gigafactory.cost import recovery as cost
from gigafactory.describe.policy import Recovery
from gigafactory.units import DAY_S

#: How long a part goes on that announced its failure; an assumption, no source gives a law.
LIFE_OF_A_FAILING_PART_S = DAY_S


def restart_s(state: State) -> float:
    """Expected cost of stopping everybody and starting again as the job is able to."""
    return _restart_s(state.config.prices)


@lru_cache(maxsize=64)
def _restart_s(prices: Prices) -> float:
    if prices.recovery is Recovery.RESTART:
        lost_s = prices.store_every_s / 2.0
        found = cost.restart_cost_s(
            prices.cold_s, restore_s=prices.restore_store_s, lost_work_s=lost_s
        )
    else:
        near_s = prices.restore_peer_s if prices.peer_stride else prices.restore_store_s
        lost_s = prices.step_s / 2.0 if prices.peer_stride else prices.store_every_s / 2.0
        found = cost.restart_cost_s(prices.warm_s, restore_s=near_s, lost_work_s=lost_s)
    return float(found)


def may_drop(state: State, num_lost: int) -> bool:
    """Whether the others should go on without so many of the replicas that train."""
    prices, num_training = state.config.prices, state.num_training()
    if prices.recovery is not Recovery.REPLICAS or num_lost <= 0:
        return False
    if num_training - num_lost < max(1, prices.min_replicas):
        return False
    return _dropped_s(prices, num_training, num_lost) <= restart_s(state)


@lru_cache(maxsize=4096)
def _dropped_s(prices: Prices, num_training: int, num_lost: int) -> float:
    return float(
        cost.replica_cost_s(
            num_training, num_lost=num_lost, drop_s=prices.drop_s, join_s=prices.join_s
        )
    )


def num_seats(state: State) -> int:
    """Seats of the next gang: all, or fewer where training on beats waiting for hosts.

    0: too few hosts are left for any gang worth starting.
    """
    fleet, prices = state.fleet, state.config.prices
    have = len(fleet.seat_of) + fleet.num_usable()
    if have >= fleet.num_seats:
        return fleet.num_seats
    size = prices.replica_hosts
    if not prices.can_shrink or size <= 0:
        return 0
    whole = max(1, fleet.num_seats // size)
    left = _num_fillable(state, min(whole, have // size))
    if left < max(1, prices.min_replicas):
        return 0
    has_waited = state.wait_until_s is not None and state.now_s >= state.wait_until_s
    wait_s = _return_s(state, fleet.num_seats - have)
    return left * size if has_waited or _fewer_s(state, left, wait_s) < wait_s else 0


def shrunk_s(state: State) -> float:
    """Expected cost of going on with as many replicas as can be filled, and growing again."""
    fleet, size = state.fleet, state.config.prices.replica_hosts
    have = len(fleet.seat_of) + fleet.num_usable()
    if not state.config.prices.can_shrink or size <= 0:
        return math.inf
    left = max(1, min(max(1, fleet.num_seats // size), have // size))
    return _fewer_s(state, left, _return_s(state, fleet.num_seats - have))


def _return_s(state: State, num_missing: int) -> float:
    """Expected time until so many of the hosts that are away are back."""
    fleet = state.fleet
    return _wait_s(state.config.prices, max(num_missing, 0), len(fleet.away))


@lru_cache(maxsize=4096)
def _wait_s(prices: Prices, num_missing: int, num_away: int) -> float:
    return float(cost.wait_for_s(num_missing, num_away=num_away, repair_s=prices.repair_s))


def _fewer_s(state: State, left: int, wait_s: float) -> float:
    """Cost of training with ``left`` replicas until hosts are back, at the latest a repair on."""
    fleet, prices = state.fleet, state.config.prices
    whole = max(1, fleet.num_seats // prices.replica_hosts)
    found = cost.shrink_cost_s(
        whole, num_lost=whole - left, until_s=min(wait_s, prices.repair_s),
        regrow_s=restart_s(state),
    )  # fmt: skip
    return float(found)


def _num_fillable(state: State, most: int) -> int:
    """The most replicas, up to ``most``, all of whose seats will have a host."""
    fleet, size = state.fleet, state.config.prices.replica_hosts
    num_usable = fleet.num_usable()
    for left in range(most, 0, -1):
        num_seats = left * size
        missing = max(0, num_seats - len(fleet.seats)) + bisect_left(fleet.vacant, num_seats)
        if missing <= num_usable:
            return left
        # the hosts of seats given up help out, but not those about which something is open
        given_up = enumerate(fleet.seats[num_seats:], num_seats)
        helping = sum(
            fleet.seat_of.get(host) == seat and fleet.would_be_fit(host) for seat, host in given_up
        )
        if missing <= num_usable + helping:
            return left
    return 0


def growth_is_due(state: State) -> bool:
    """Whether hosts for at least one replica more stand by, and stopping to take them in pays."""
    fleet, size = state.fleet, state.config.prices.replica_hosts
    missing = fleet.num_seats - len(fleet.seats)
    if size <= 0 or missing <= 0:
        return False
    num_more = min(missing, fleet.num_usable() - len(fleet.vacant)) // size
    if num_more <= 0:
        return False
    gain_s = cost.growth_gain_s(
        state.num_training(), num_more=num_more, mtbf_s=state.config.prices.mtbf_s
    )
    return float(gain_s) > restart_s(state)


def exchange_s(state: State) -> float:
    """Expected cost of exchanging a host now: one replica's absence, or a start of them all."""
    if may_drop(state, 1):
        return _dropped_s(state.config.prices, state.num_training(), 1)
    return restart_s(state)


def exchange_is_due(state: State, host: int, *, planned_s: float) -> bool:
    """Whether a slow or failing host is worth a stop of its own, which costs ``planned_s``.

    At other stops it leaves anyway.
    """
    fleet, config = state.fleet, state.config
    if host in fleet.slow and _straggler_s(config.prices.mtbf_s, fleet.slow[host]) > planned_s:
        return True
    if host not in fleet.failing:
        return False
    # planned, nothing is lost but the start; unplanned, it must be noticed as well
    unplanned_s = planned_s + config.ladder.heartbeat_s
    return _risk_s(config.prices.mtbf_s, unplanned_s) > planned_s


@lru_cache(maxsize=1024)
def _straggler_s(mtbf_s: float, slowdown: float) -> float:
    return float(cost.straggler_gain_s(slowdown, mtbf_s=mtbf_s))


@lru_cache(maxsize=1024)
def _risk_s(mtbf_s: float, unplanned_s: float) -> float:
    life_s = LIFE_OF_A_FAILING_PART_S
    return float(cost.risk_cost_s(unplanned_s, mtbf_s=mtbf_s, life_s=life_s))


def cut_patience_s(state: State) -> float:
    """How long links may be down before their hosts are given up.

    A flap's time where spares can take the seats; where a whole leaf went, as long as going on
    without its hosts would cost, for a switch comes back sooner than so many hosts are found.
    """
    fleet, flap_s = state.fleet, state.config.ladder.flap_s
    num_cut = sum(host in fleet.seat_of for host in fleet.cuts)
    num_missing = num_cut - fleet.num_usable()
    if num_missing <= 0:
        return flap_s
    without_s = _without_s(
        state.config.prices, fleet.num_seats, num_missing, len(fleet.away) + num_cut
    )
    return max(flap_s, float(cost.patience_s(without_s)))


@lru_cache(maxsize=1024)
def _without_s(prices: Prices, num_seats: int, num_missing: int, num_away: int) -> float:
    """Stopping, and then training with fewer replicas or waiting for hosts, whichever is cheaper.

    Replica groups spare the start of the others.
    """
    wait_s = _wait_s(prices, num_missing, num_away)
    size, start_s = prices.replica_hosts or num_seats, _restart_s(prices)
    whole = max(1, num_seats // max(size, 1))
    lost = -(-num_missing // max(size, 1))
    is_able = prices.can_shrink or prices.recovery is Recovery.REPLICAS
    if not is_able or whole - lost < max(1, prices.min_replicas):
        return start_s + wait_s
    until_s = min(wait_s, prices.repair_s)
    if prices.recovery is Recovery.REPLICAS:
        drops_s = _dropped_s(prices, whole, lost)
        away_s = cost.shrink_cost_s(whole, num_lost=lost, until_s=until_s, regrow_s=drops_s)
        return min(start_s + wait_s, float(away_s))
    fewer_s = cost.shrink_cost_s(whole, num_lost=lost, until_s=until_s, regrow_s=start_s)
    return start_s + min(wait_s, float(fewer_s))


def store_every_s(state: State) -> float | None:
    """Work between checkpoints in the store as it is now; None: it takes none."""
    if math.isinf(state.storage):
        return None
    return float(cost.cadence_s(state.config.prices.store_every_s, slowdown=state.storage))
