"""Hosts that the serving pool lent to training: how they come, how they leave, who repairs them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gigafactory.control import events as ev
from gigafactory.describe.faults import FaultClass
from gigafactory.simulate.faults import Strike
from gigafactory.simulate.fleet import Fleet, HostState
from gigafactory.simulate.kernel import Happening, Kernel, Priority
from gigafactory.simulate.pool import SharedPool
from gigafactory.simulate.training import Training

#: Faults that a serving host does not survive either; a process is started again at once.
_TAKES_HOSTS = {FaultClass.HOST, FaultClass.NETWORK, FaultClass.CONTAINED}
#: How the world loses hosts: (hosts, what for).
Lose = Callable[[tuple[int, ...], str], None]


class Loans:
    """Training's side of the pool (a `pool.Borrower`), as the world sees it.

    The controller knows nothing of loans: a host that arrives is a host that was repaired, and a
    recall is an announced maintenance. What it lets go of returns to the pool.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        kernel: Kernel[Happening],
        training: Training,
        tell: Callable[[ev.Event], None],
        lose: Lose,
        pool_of: Callable[[Loans], SharedPool],
    ) -> None:
        self.wanted: dict[int, float] = {}
        """Hosts that training was told to give back, and still has; until when."""
        self._fleet = fleet
        self._kernel = kernel
        self._training = training
        self._tell = tell
        self._lose = lose
        self._reclaimed: set[int] = set()
        """Taken by the pool, because training had not let go in time."""
        self._pool = pool_of(self)
        fleet.turn(self._pool.hosts, HostState.POOL)

    def begin(self) -> None:
        """The pool opens."""
        self._pool.begin()

    def owns(self, host: int) -> bool:
        """Whether it is one of the pool's, lent or not."""
        return host in self._pool.hosts

    def strike(self, strike: Strike) -> None:
        """A fault meets hosts that serve; the world minds those that are with training."""
        if strike.cause.fault in _TAKES_HOSTS:
            self._pool.strike(strike.hosts)

    def borrow(self, hosts: tuple[int, ...]) -> None:
        """The pool lends ``hosts``: each stands by as a spare."""
        self._fleet.turn(hosts, HostState.UP)
        for host in hosts:
            self._tell(ev.HostRepaired(at_s=self._kernel.now_s, host=host))

    def give_back(self, hosts: tuple[int, ...], *, by_s: float) -> int:
        """The pool wants them by ``by_s``, and takes them then; how many of them compute now."""
        num_computing = len(self._training.gang.members.intersection(hosts))
        now_s = self._kernel.now_s
        # a brain that has not looked for a while may ask for what is past
        by_s = max(by_s, now_s)
        for host in hosts:
            if self._fleet.is_up(host) and host not in self.wanted:
                self.wanted[host] = by_s
                self._tell(ev.MaintenanceAnnounced(at_s=now_s, host=host, by_s=by_s))
                take = partial(self._take, host, by_s)
                self._kernel.schedule(take, at_s=by_s, priority=Priority.OBSERVATION)
        return num_computing

    def let_go(self, host: int) -> None:
        """The controller evicted a host of the pool."""
        if self._fleet.state_of(host) is HostState.POOL:
            return
        is_well = self._fleet.is_up(host) and host in self.wanted
        is_broken = not (is_well or host in self._reclaimed)
        self._fleet.turn((host,), HostState.POOL)
        self.wanted.pop(host, None)
        self._reclaimed.discard(host)
        self._pool.take(host, is_broken=is_broken)

    def _take(self, host: int, by_s: float) -> None:
        """The pool takes the host, drained or not; one that was lent anew has a new date."""
        if self.wanted.get(host) == by_s:
            del self.wanted[host]
            if self._fleet.is_up(host):
                self._reclaimed.add(host)
                self._lose((host,), "recalled")
