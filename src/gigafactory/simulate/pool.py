"""The serving pool in the twin: its brain against its traffic, and the hosts that go and come.

The pool decides by itself (`control.lending`); training is a borrower to which hosts are handed,
who is told when they are wanted back, and who hands them over. What the users get is accounted
between any two changes: while the demand exceeds what the serving hosts keep within the limits, the
excess is late. A pool with less than that is a pool that turns the excess away; nothing piles up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import numpy as np

from gigafactory.control.actions import Action
from gigafactory.control.events import Event
from gigafactory.control.lending import (
    DemandSeen,
    HostBack,
    HostLost,
    Lend,
    LendingConfig,
    LendingController,
    PoolOpened,
    Post,
    Recall,
    TrainingReleased,
)
from gigafactory.cost.staffing import ReplicaCapacity, rate_kept_per_s, replica_capacity
from gigafactory.describe.errors import InputError
from gigafactory.describe.pool import Pool
from gigafactory.describe.study import Study
from gigafactory.ledger.pool import PoolResult
from gigafactory.simulate.kernel import Happening, Kernel, Priority
from gigafactory.simulate.lifetimes import repair_times_s
from gigafactory.simulate.pool_account import PoolAccount
from gigafactory.simulate.traffic import Series, demand_series


class Borrower(Protocol):
    """Training, as the pool sees it."""

    def borrow(self, hosts: tuple[int, ...]) -> None:
        """These hosts stand by for training from now on."""

    def give_back(self, hosts: tuple[int, ...], *, by_s: float) -> int:
        """They are wanted by ``by_s``; how many of them compute just now."""


#: Told at every change: (hosts lent, requests a second).
Scribe = Callable[[int, float], None]


class SharedPool:
    """Runs on the twin's kernel from `begin` on."""

    def __init__(
        self,
        pool: Pool,
        *,
        capacity: ReplicaCapacity,
        hosts: tuple[int, ...],
        series: Series,
        kernel: Kernel[Happening],
        repairs_s: Iterator[float],
        borrower: Borrower,
        scribe: Scribe = lambda num_lent, rate: None,
    ) -> None:
        self.hosts = frozenset(hosts)
        self.brain = LendingController(lending_config(pool, capacity=capacity))
        self._pool = pool
        self._capacity = capacity
        self._kernel = kernel
        self._series = series
        self._repairs_s = repairs_s
        self._borrower = borrower
        self._scribe = scribe
        self._with_training: set[int] = set()
        """Handed over; a host that still drains is not among them."""
        self._num_told: int | None = None
        self._is_recalling = False
        self._visits: dict[int, int] = {}
        """Counts a host's moves, so that a timer of an earlier visit does nothing."""
        self._rate_per_s = 0.0
        self._account = PoolAccount(self._kept_per_s)
        self.line: Callable[[Event], None] = self.hear
        """Carries what happens to the brain."""
        self.watch: Callable[[Event, list[Action]], None] = _nobody
        """Sees every turn of the brain."""

    def begin(self) -> None:
        """Open the pool and look at the demand for the first time."""
        self.line(PoolOpened(at_s=self._now_s, hosts=tuple(sorted(self.hosts))))
        self._look(0)

    # --- what the world tells --------------------------------------------------------------

    def strike(self, hosts: tuple[int, ...]) -> None:
        """Hosts break while they serve or load; the world minds those that are with training."""
        for host in hosts:
            if host in self.hosts and host not in self._with_training:
                self._break(host)

    def take(self, host: int, *, is_broken: bool) -> None:
        """Training let go of a host: it loads, or it is repaired first."""
        if host not in self._with_training:
            return
        self._settle()
        self._with_training.discard(host)
        if is_broken:
            self._break(host)
        else:
            self.line(TrainingReleased(at_s=self._now_s, hosts=(host,)))
            self._load(host)
        self._note()

    def result(self) -> PoolResult:
        """What it came to until now."""
        self._settle()
        sums, now_s = self._account.sums, max(self._now_s, 1e-9)
        return PoolResult(
            num_hosts=len(self.hosts),
            requests_per_s_per_host=self.brain.config.rates_per_s[-1] / len(self.hosts),
            peak_requests_per_s=float(np.max(self._series.requests_per_s, initial=0.0)),
            num_requests=sums.num_requests,
            slo_kept_share=1.0 - sums.num_late / max(sums.num_requests, 1e-9),
            slo_kept_time_share=1.0 - sums.short_s / now_s,
            short_while_lent_s=sums.short_while_lent_s,
            lent_host_s=sums.lent_host_s,
            mean_serving_hosts=sums.serving_host_s / now_s,
            num_loans=sums.num_loans,
            num_recalls=sums.num_recalls,
            num_hosts_recalled=sums.num_hosts_recalled,
            num_recalls_that_hurt=sums.num_recalls_that_hurt,
            hours=tuple(hour.means() for hour in self._account.hours if hour.lasted_s > 0),
        )

    # --- the brain's turn ------------------------------------------------------------------

    def _look(self, number: int) -> None:
        self._settle()
        self._rate_per_s = float(self._series.requests_per_s[number])
        if self._pool.lending.is_on:
            self.line(DemandSeen(at_s=self._now_s, requests_per_s=self._rate_per_s))
        self._note()
        if number + 1 < len(self._series.at_s):
            at_s = float(self._series.at_s[number + 1])
            look = partial(self._look, number + 1)
            self._kernel.schedule(look, at_s=at_s, priority=Priority.OBSERVATION)

    def hear(self, event: Event) -> None:
        """The brain takes an event in, and what it asks for is done."""
        actions = self.brain.handle(event)
        self.watch(event, actions)
        for action in actions:
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Lend(hosts=hosts):
                self._account.sums.num_loans += 1
                visits = tuple(self._visit(host) for host in hosts)
                drained = partial(self._hand_over, hosts, visits)
                self._after(self._pool.lending.drain_s, drained)
            case Recall(hosts=hosts, by_s=by_s):
                self._recall(hosts, by_s=by_s)

    def _recall(self, hosts: tuple[int, ...], *, by_s: float) -> None:
        self._account.sums.num_recalls += 1
        self._account.sums.num_hosts_recalled += len(hosts)
        away = tuple(host for host in hosts if host in self._with_training)
        for host in hosts:
            if host not in self._with_training:
                # it still drains: its weights are there, and it goes on
                self._visit(host)
                self.line(HostBack(at_s=self._now_s, host=host))
        self._is_recalling = True
        if away and self._borrower.give_back(away, by_s=by_s):
            self._account.sums.num_recalls_that_hurt += 1
        self._is_recalling = False
        self._note()

    def _hand_over(self, hosts: tuple[int, ...], visits: tuple[int, ...]) -> None:
        still = tuple(
            host for host, visit in zip(hosts, visits, strict=True) if self._visits[host] == visit
        )
        if still:
            self._settle()
            self._with_training.update(still)
            self._borrower.borrow(still)
            self._note()

    def _break(self, host: int) -> None:
        if self.brain.post(host) is Post.AWAY:
            return
        self._settle()
        self.line(HostLost(at_s=self._now_s, host=host))
        self._after(next(self._repairs_s), partial(self._repaired, host, self._visit(host)))

    def _repaired(self, host: int, visit: int) -> None:
        if self._visits[host] == visit:
            self._load(host)

    def _load(self, host: int) -> None:
        loaded = partial(self._loaded, host, self._visit(host))
        self._after(self._pool.lending.cold_start_s, loaded)

    def _loaded(self, host: int, visit: int) -> None:
        if self._visits[host] == visit:
            self._settle()
            self.line(HostBack(at_s=self._now_s, host=host))

    # --- time and accounts -----------------------------------------------------------------

    @property
    def _now_s(self) -> float:
        return self._kernel.now_s

    def _visit(self, host: int) -> int:
        self._visits[host] = self._visits.get(host, 0) + 1
        return self._visits[host]

    def _after(self, wait_s: float, happening: Happening) -> None:
        self._kernel.after(happening, wait_s=wait_s, priority=Priority.ANSWER)

    def _kept_per_s(self, num_hosts: int) -> float:
        rates = self.brain.config.rates_per_s
        return rates[min(num_hosts // self._pool.replica_hosts, len(rates) - 1)]

    def _settle(self) -> None:
        """Account for the time since the last change, in which nothing changed."""
        if self._now_s <= self._account.settled_s:
            return
        num_in = self.brain.num_in
        self._account.settle(
            until_s=self._now_s,
            rate_per_s=self._rate_per_s,
            num_serving=num_in(Post.SERVING),
            num_lent=len(self._with_training),
            num_gone=num_in(Post.LENT) + num_in(Post.RECALLED) + num_in(Post.LOADING),
        )

    def _note(self) -> None:
        """Tell the scribe, once for all hosts that a recall brings back at the same instant."""
        num_lent = len(self._with_training)
        if num_lent != self._num_told and not self._is_recalling:
            self._num_told = num_lent
            self._scribe(num_lent, self._rate_per_s)


def _nobody(event: Event, actions: list[Action]) -> None:
    """Watches."""


def lending_config(pool: Pool, *, capacity: ReplicaCapacity) -> LendingConfig:
    """What the pool's brain must know; the rate that each number of replicas keeps."""
    lending = pool.lending
    replicas = np.arange(pool.num_hosts // pool.replica_hosts + 1)
    rates = rate_kept_per_s(
        replicas, capacity=capacity, wait_s=pool.wait_s, late=1.0 - pool.slo_share
    )
    return LendingConfig(
        rates_per_s=tuple(rates.tolist()),
        min_hosts=lending.min_hosts,
        replica_hosts=pool.replica_hosts,
        headroom=lending.headroom,
        notice_s=lending.notice_s,
        cold_start_s=lending.cold_start_s,
        lease_s=lending.lease_s,
        cooldown_s=lending.cooldown_s,
        watch_s=lending.watch_s,
    )


def shared_pool(
    study: Study,
    *,
    kernel: Kernel[Happening],
    borrower: Borrower,
    scribe: Scribe,
    seed: int,
) -> SharedPool:
    """The pool of ``study``, on the last hosts of its cluster, with the traffic of ``seed``.

    ValueError where the study has none, InputError where its replicas keep no limit.
    """
    pool, num_hosts = study.pool, study.cluster.num_hosts
    if pool is None:
        raise ValueError(f"study {study.study} has no pool")
    return SharedPool(
        pool,
        capacity=capacity_of(study, pool),
        hosts=tuple(range(num_hosts - pool.num_hosts, num_hosts)),
        series=demand_series(
            pool.demand,
            duration_s=study.campaign.duration_s,
            every_s=pool.lending.watch_s,
            seed=seed,
        ),
        kernel=kernel,
        repairs_s=repair_times_s(study.faults.repair, seed=seed, name="repair.pool"),
        borrower=borrower,
        scribe=scribe,
    )


def capacity_of(study: Study, pool: Pool) -> ReplicaCapacity:
    """As the study states it, else by the equations of serving; InputError where no load will do.

    The limit on TTFT is shared: ``wait_share`` of it for the queue, the rest for the prompt.
    """
    if pool.capacity is not None:
        stated = pool.capacity
        num_gpus = pool.replica_hosts * study.cluster.host.num_gpus
        return ReplicaCapacity(
            num_gpus=num_gpus,
            requests_per_s=stated.requests_per_s,
            concurrency=stated.concurrency,
        )
    model, gpu = pool.serves or study.model, study.cluster.host.gpu
    limit_s = (pool.slo.ttft_s or 0.0) - pool.wait_s
    slo = pool.slo.model_copy(update={"ttft_s": limit_s})
    try:
        found = replica_capacity(
            model, gpu=gpu, replica=pool.replica, traffic=pool.request, slo=slo
        )
    except ValueError as error:
        raise InputError(f"pool.replica: {error}") from None
    if found is None:
        raise InputError(
            f"pool.slo: one replica of {model.name} on {pool.replica.num_gpus} {gpu.name} keeps "
            f"these limits at no load; allow more than ttft {pool.slo.ttft_s:g} s"
            + (f" or tpot {pool.slo.tpot_s:g} s" if pool.slo.tpot_s else "")
        )
    return found
