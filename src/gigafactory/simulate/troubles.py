"""Faults in the twin: what they do to the truth, and what is seen of it.

The controller hears of a fault only after its detection time. Failures come by the wall clock, also
while the job recovers (a host that dies during a start breaks that start). Spares fail like all
hosts, without an interruption; a host in repair does not fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from gigafactory.control import events as ev
from gigafactory.describe.faults import FaultClass
from gigafactory.simulate import faults as fl
from gigafactory.simulate.book import Book
from gigafactory.simulate.delays import Delays
from gigafactory.simulate.fleet import Fleet, HostState
from gigafactory.simulate.gang import Phase, Taint
from gigafactory.simulate.kernel import Happening, Kernel, Priority
from gigafactory.simulate.loans import Loans
from gigafactory.simulate.sight import seen_of, sight_of
from gigafactory.simulate.training import Training
from gigafactory.units import HOUR_S

#: Everybody waits for links that are down, or for something else already.
_MAY_WAIT = frozenset({Phase.RUNNING, Phase.BROKEN})
#: Faults that name no host.
_OF_ALL = {FaultClass.CAPACITY, FaultClass.STORAGE, FaultClass.CONTROL}


class Troubles:
    """Everything that goes wrong, and ends by itself."""

    def __init__(
        self,
        *,
        kernel: Kernel[Happening],
        fleet: Fleet,
        training: Training,
        dice: np.random.Generator,
        book: Book,
        delays: Delays,
        tell: Callable[[ev.Event], None],
        deafen: Callable[[float], None],
    ) -> None:
        """``tell`` speaks to the controller; ``deafen`` keeps it from hearing for so long."""
        self.loans: Loans | None = None
        """Where a serving pool shares the fleet."""
        self.sight = sight_of(training.workload.layout)
        """What is seen of a hang."""
        self.announced: dict[int, float] = {}
        """Hosts that maintenance will take, and when."""
        self.taken_by: dict[int, str] = {}
        """Host -> the last cause that struck it, since it was repaired."""
        self._kernel = kernel
        self._fleet = fleet
        self._training = training
        self._dice = dice
        self._book = book
        self._delays = delays
        self._tell = tell
        self._deafen = deafen
        self._num_crashes = 0
        self._pressing: list[float] = []
        """Slowdowns of the links and switches above the leaves that are gone."""
        self._slow_hosts: dict[int, float] = {}
        self._told_storage = 1.0
        """How many times its usual time the store took at the last look."""

    def forget(self, host: int) -> None:
        """The host is taken away, or comes back: its slowness is over."""
        self.announced.pop(host, None)
        self._slow_hosts.pop(host, None)

    def end(self) -> None:
        """Nothing is slow, tainted or out any more."""
        for host, slowdown in list(self._slow_hosts.items()):
            self._quicken(host, slowdown)
        self._training.gang.taints.clear()
        self._pressing.clear()
        self.set_pace()
        self._training.saving.end_all()
        self._tell_storage(1.0)

    # --- faults: the truth changes -------------------------------------------------------

    def strike(self, strike: fl.Strike) -> None:
        """A fault happens to its hosts, as far as they are there to be hit."""
        cause = strike.cause
        if cause.fault in _OF_ALL:
            self._strike_all(strike)
            return
        if self.loans is not None:
            self.loans.strike(strike)
        hosts = tuple(host for host in strike.hosts if self._fleet.is_up(host))
        if not hosts:
            return
        self._enter(cause.name, cause.fault, hosts)
        self.taken_by.update(dict.fromkeys(hosts, cause.name))
        match cause.fault:
            case FaultClass.HOST | FaultClass.NETWORK:
                self.lose(hosts, cause.name, cause.fault, detect_s=cause.detect_s)
            case FaultClass.PROCESS:
                self._crash(hosts[0], cause.name, detect_s=cause.detect_s)
            case FaultClass.HANG:
                self._hang(hosts[0], detect_s=cause.detect_s)
            case FaultClass.CORRUPTION:
                self._corrupt(hosts[0], detect_s=cause.detect_s)
            case FaultClass.PLANNED:
                self._after(cause.detect_s, partial(self._announce, hosts[0]))
            case FaultClass.CONTAINED:
                self._crash(hosts[0], cause.name, detect_s=cause.detect_s)
                self._after(cause.detect_s, partial(self._see_failing, hosts[0], cause.name))
            case FaultClass.FAILING:
                self._after(cause.detect_s, partial(self._see_failing, hosts[0], cause.name))
            case FaultClass.FLAP:
                self._flap(hosts, strike)
            case FaultClass.SLOW:
                self._slow(hosts[0], strike)

    def strike_job(self, _: fl.JobStrike) -> None:
        """The job itself fails, wherever it is."""
        if not self._training.gang.is_alive:
            return
        seats = self._training.gang.seats
        host = seats[int(self._dice.integers(len(seats)))]
        self._enter("job", FaultClass.PROCESS, (host,))
        self._crash(host, "job", detect_s=self._delays.job_detect_s)

    def drill(self) -> None:
        """SIGKILL for a process on the last seat, on purpose."""
        host = self._training.gang.seats[-1]
        self._enter("drill", FaultClass.PROCESS, (host,))
        detect_s = self._delays.job_detect_s
        self._crash(host, "drill", detect_s=detect_s, how=ev.Exit.KILLED)

    def alarm(self, alarm: fl.FalseAlarm) -> None:
        """A host that is well falls silent for a moment."""
        if self._fleet.is_up(alarm.host):
            self._tell(ev.HostUnreachable(at_s=self._now_s, host=alarm.host))
            self._after(self._delays.flap_s, partial(self._back_in_sight, alarm.host))

    def odd_text(self, _: fl.FalseAnomaly) -> None:
        """Loss or gradient are odd, and nothing is wrong."""
        run = self._training.gang.run
        if run is not None and (step := run.step_at(self._now_s)) > run.begin_step:
            self._tell_anomaly(step)

    def _enter(self, cause: str, fault: FaultClass, hosts: tuple[int, ...]) -> None:
        # what happened before the fault stands before it in the book
        self._training.catch_up()
        self._book.struck(cause, fault=fault.value, hosts=hosts, at_s=self._now_s)

    def lose(
        self, hosts: tuple[int, ...], cause: str, fault: FaultClass, *, detect_s: float
    ) -> None:
        """The hosts are down, and that is seen after ``detect_s``."""
        self._fleet.turn(hosts, HostState.DOWN)
        if not self._training.gang.members.isdisjoint(hosts):
            self._training.break_down()
        self._after(detect_s, partial(self._see_lost, hosts, cause, fault))

    def _crash(
        self, host: int, cause: str, *, detect_s: float, how: ev.Exit = ev.Exit.ERROR
    ) -> None:
        gang = self._training.gang
        if not self._stick(host):
            return
        self._num_crashes += 1
        # two bugs of one kind seldom leave the same stack trace, so each has its own number
        signature = f"{cause} {self._num_crashes}"
        process = gang.generation, host, gang.incarnation_of(host)
        self._after(detect_s, partial(self._see_exit, process, how, signature))

    def _hang(self, host: int, *, detect_s: float) -> None:
        if self._stick(host):
            generation = self._training.gang.generation
            self._after(detect_s, partial(self._see_hang, generation, host))

    def _stick(self, host: int) -> bool:
        """The processes of ``host`` take part no more; False where it had none that did."""
        gang = self._training.gang
        if host not in gang.members or not (gang.is_alive or gang.phase is Phase.BROKEN):
            return False
        self._training.break_down()
        gang.stuck.add(host)
        return True

    def _strike_all(self, strike: fl.Strike) -> None:
        """What concerns everybody, for as long as it lasts."""
        cause = strike.cause
        self._enter(cause.name, cause.fault, ())
        match cause.fault:
            case FaultClass.CAPACITY:
                self._press(strike.slowdown)
                self._after(strike.lasts_s, partial(self._relieve, strike.slowdown))
            case FaultClass.STORAGE:
                slowdown = strike.slowdown if strike.slowdown > 1.0 else math.inf
                self._training.saving.slow_down(slowdown)
                self._after(cause.detect_s, self._see_storage)
                self._after(strike.lasts_s, partial(self._mend_storage, strike, slowdown))
            case FaultClass.CONTROL:
                self._deafen(strike.lasts_s)

    def _press(self, slowdown: float) -> None:
        self._pressing.append(slowdown)
        self.set_pace()

    def _relieve(self, slowdown: float) -> None:
        if slowdown in self._pressing:
            self._pressing.remove(slowdown)
        self.set_pace()

    def set_pace(self) -> None:
        """All wait for the slowest host, and traffic above the leaves for what is left of them."""
        members = self._training.gang.members
        slowest = max((s for host, s in self._slow_hosts.items() if host in members), default=1.0)
        # the worst-hit leaf counts (network.py); two losses under one leaf are rare
        self._training.change_pace(slowest * max(self._pressing, default=1.0))

    def _mend_storage(self, strike: fl.Strike, slowdown: float) -> None:
        self._training.saving.recover(slowdown)
        self._after(strike.cause.detect_s, self._see_storage)

    def _see_storage(self) -> None:
        """What a look at the store shows now, where that is news."""
        slowdown = self._training.saving.store.slowdown
        if slowdown != self._told_storage:
            self._tell_storage(slowdown)

    def _tell_storage(self, slowdown: float) -> None:
        self._told_storage = slowdown
        self._tell(ev.StorageSeen(at_s=self._now_s, slowdown=slowdown))

    def _flap(self, hosts: tuple[int, ...], strike: fl.Strike) -> None:
        """Links are down for a while; everybody waits, and goes on when they are back."""
        gang = self._training.gang
        if gang.phase not in _MAY_WAIT or gang.members.isdisjoint(hosts):
            return
        if gang.phase is Phase.RUNNING:
            self._training.wait_for_links()
        gang.cuts.append(hosts)
        generation = gang.generation
        self._tell(ev.LinksDown(at_s=self._now_s, hosts=hosts, cause=strike.cause.name))
        self._after(strike.lasts_s, partial(self._end_flap, hosts, generation))

    def _end_flap(self, hosts: tuple[int, ...], generation: int) -> None:
        gang = self._training.gang
        if hosts in gang.cuts:
            gang.cuts.remove(hosts)
        self._training.resume_in_place(generation)
        still = tuple(h for h in hosts if self._fleet.is_up(h) and not gang.is_cut_off(h))
        if still:
            self._tell(ev.LinksUp(at_s=self._now_s, hosts=still))

    def _slow(self, host: int, strike: fl.Strike) -> None:
        """One host is slow, for a while or until it is exchanged."""
        self._slow_hosts[host] = strike.slowdown
        self.set_pace()
        see = partial(self._see_slow, host, strike.slowdown)
        self._after(strike.cause.detect_s, see)
        if strike.lasts_s > 0:
            self._after(strike.lasts_s, partial(self._quicken, host, strike.slowdown))

    def _see_slow(self, host: int, slowdown: float) -> None:
        if self._slow_hosts.get(host) == slowdown and self._fleet.is_up(host):
            self._tell(ev.HostSlow(at_s=self._now_s, host=host, slowdown=slowdown))

    def _quicken(self, host: int, slowdown: float) -> None:
        if self._slow_hosts.get(host) == slowdown:
            del self._slow_hosts[host]
            self.set_pace()
            self._tell(ev.HostSlow(at_s=self._now_s, host=host, slowdown=1.0))

    def _corrupt(self, host: int, *, detect_s: float) -> None:
        gang = self._training.gang
        if host in gang.members and gang.run is not None:
            taint = Taint(host, gang.run.step_at(self._now_s))
            gang.taints.append(taint)
            shown_s = gang.run.end_of_s(taint.clean_step + 1) - self._now_s
            self._after(max(detect_s, shown_s), partial(self._see_anomaly, taint))

    # --- observations: what is seen of the truth -----------------------------------------

    def _see_lost(self, hosts: tuple[int, ...], cause: str, fault: FaultClass) -> None:
        still = tuple(h for h in hosts if self._fleet.state_of(h) is HostState.DOWN)
        if still and fault is FaultClass.HOST:
            self._tell(ev.HostsDied(at_s=self._now_s, hosts=still, cause=cause))
        elif still:
            # a broken link silences the host; that it is lost, a witness must say
            for host in still:
                self._tell(ev.HostUnreachable(at_s=self._now_s, host=host))

    def _see_failing(self, host: int, cause: str) -> None:
        if self._fleet.is_up(host):
            self._tell(ev.HostFailing(at_s=self._now_s, host=host, cause=cause))

    def _see_exit(self, process: tuple[int, int, int], how: ev.Exit, signature: str) -> None:
        generation, host, incarnation = process
        self._tell(
            ev.RankExited(
                at_s=self._now_s, generation=generation, host=host, exit=how, signature=signature,
                incarnation=incarnation,
            )
        )  # fmt: skip

    def _see_hang(self, generation: int, host: int) -> None:
        """Those who wait are seen, as long as they wait."""
        gang = self._training.gang
        if gang.generation != generation or host not in gang.stuck & gang.members:
            return
        seen = seen_of(gang, host, sight=self.sight)
        self._tell(
            ev.HangSuspected(
                at_s=self._now_s, generation=generation, hosts=seen.hosts, groups=seen.groups,
                waiting=seen.waiting,
            )
        )  # fmt: skip

    def _see_anomaly(self, taint: Taint) -> None:
        """Loss or gradient are odd, and stay so as long as the state carries what went wrong."""
        gang = self._training.gang
        if gang.run is not None and taint in gang.taints:
            self._tell_anomaly(taint.clean_step + 1)
        if taint in gang.taints:
            self._after(HOUR_S, partial(self._see_anomaly, taint))

    def _tell_anomaly(self, step: int) -> None:
        generation = self._training.gang.generation
        self._tell(ev.AnomalySeen(at_s=self._now_s, generation=generation, step=step))

    def _back_in_sight(self, host: int) -> None:
        if self._fleet.is_up(host):
            self._tell(ev.HostReachable(at_s=self._now_s, host=host))

    def _announce(self, host: int) -> None:
        if self._fleet.is_up(host) and host not in self.announced:
            by_s = self.announced[host] = self._now_s + self._delays.notice_s
            self._tell(ev.MaintenanceAnnounced(at_s=self._now_s, host=host, by_s=by_s))
            self._after(self._delays.notice_s, partial(self._take, host, by_s))

    def _take(self, host: int, by_s: float) -> None:
        """Maintenance takes the host, drained or not; one that left meanwhile has a new date."""
        if self.announced.get(host) == by_s:
            del self.announced[host]
            self.lose((host,), "maintenance", FaultClass.HOST, detect_s=0.0)

    # --- time ------------------------------------------------------------------------------

    @property
    def _now_s(self) -> float:
        return self._kernel.now_s

    def _after(self, wait_s: float, happening: Happening) -> None:
        self._kernel.after(happening, wait_s=wait_s, priority=Priority.OBSERVATION)
