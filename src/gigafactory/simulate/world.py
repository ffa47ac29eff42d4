"""The world side of the twin: hosts that fail, what is seen of it, and what actions do to them.

The controller hears of a fault only after its detection time, and everything it asks for takes
time. Failures come by the wall clock, also while the job recovers (a host that dies during a
start breaks that start). Spares fail like all hosts, without an interruption; a host in repair
does not fail. Training itself is in training.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat

import numpy as np

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.fence import Fences
from gigafactory.describe.faults import FaultClass
from gigafactory.ledger.entries import Bucket
from gigafactory.simulate import faults as fl
from gigafactory.simulate.book import Book
from gigafactory.simulate.delays import Delays
from gigafactory.simulate.fleet import Fleet, HostState
from gigafactory.simulate.gang import Phase, Taint
from gigafactory.simulate.kernel import Happening, Kernel, Priority
from gigafactory.simulate.loans import Loans
from gigafactory.simulate.pool import SharedPool
from gigafactory.simulate.training import Training
from gigafactory.simulate.workload import Workload
from gigafactory.units import HOUR_S

#: One turn of the controller, entered in the ledger: an event in, actions out.
Brain = Callable[[ev.Event], list[act.Action]]
#: Holds that only a person lifts.
_FOR_A_PERSON = {act.HoldReason.NO_PROGRESS, act.HoldReason.NO_CLEAN_CHECKPOINT}
#: Faults that name no host.
_OF_ALL = {FaultClass.CAPACITY, FaultClass.STORAGE, FaultClass.CONTROL}
#: A repair in peace.
_SOON_S = 60.0
#: News of one host; of a spare it is nothing to the gang.
_OF_A_HOST = (
    ev.HostRepaired,
    ev.HostUnreachable,
    ev.HostReachable,
    ev.HostFailing,
    ev.HostSlow,
    ev.MaintenanceAnnounced,
    ev.WitnessSpoke,
)
#: News that ends the time in which nobody knew.
_BAD_NEWS = (ev.HostsDied, ev.HostUnreachable, ev.RankExited, ev.HangSuspected)


class World:
    """Ground truth and its clock. ``begin`` starts it; after that the kernel drives it."""

    def __init__(
        self,
        *,
        workload: Workload,
        kernel: Kernel[Happening],
        fleet: Fleet,
        repairs_s: Iterator[float],
        dice: np.random.Generator,
        brain: Brain,
        book: Book,
        delays: Delays,
    ) -> None:
        self.kernel = kernel
        self.fleet = fleet
        self.training = Training(
            workload=workload, kernel=kernel, book=book, delays=delays, decide=self._decide
        )
        self.outcome: act.Finish | None = None
        self._repairs_s = repairs_s
        self._dice = dice
        self._brain = brain
        self._book = book
        self._delays = delays
        self._wake_s: float | None = None
        self._announced: set[int] = set()
        """Hosts that maintenance will take."""
        self._num_crashes = 0
        self._is_time_up = False
        self._pressing: list[float] = []
        """Slowdowns of the links and switches above the leaves that are gone."""
        self._slow_hosts: dict[int, float] = {}
        self._is_deaf = False
        """The control plane is out."""
        self._pent_up: list[ev.Event] = []
        self._fences = Fences()
        self._loans: Loans | None = None

    # --- beginning and end ---------------------------------------------------------------

    def begin(self) -> None:
        """Launch the campaign: the first hosts train, the others stand by."""
        workload = self.training.workload
        num_own = self.fleet.num_hosts - self.fleet.num_in(HostState.POOL)
        self._book.turn(Bucket.INIT, at_s=0.0)
        self._tell(
            ev.Launched(
                at_s=0.0,
                hosts=tuple(range(workload.num_hosts)),
                spares=tuple(range(workload.num_hosts, num_own)),
                num_steps=workload.num_steps,
            )
        )
        if self._loans is not None:
            self._loans.begin()

    def share(self, pool_of: Callable[[Loans], SharedPool]) -> None:
        """The last hosts of the fleet are a serving pool's, which lends them; before `begin`."""
        self._loans = Loans(
            fleet=self.fleet,
            kernel=self.kernel,
            training=self.training,
            tell=self._tell,
            lose=partial(self._lose, fault=FaultClass.HOST, detect_s=0.0),
            pool_of=pool_of,
        )

    @property
    def is_over(self) -> bool:
        """True when the controller is finished or the time is up."""
        return self.outcome is not None or self._is_time_up

    def heal(self) -> None:
        """Every host is well again, nothing is slow, all are heard, and whoever still leaves is
        back soon; what happens then shows whether the controller finds back."""
        self._repairs_s = repeat(_SOON_S)
        if self._is_deaf:
            self._hear_again()
        for host in sorted(self.fleet.hosts_not_up()):
            if self._loans is None or not self._loans.owns(host):
                # in answer to the steps until now it may still be sent away
                self.training.catch_up()
                self._repair(host)
        for host, slowdown in list(self._slow_hosts.items()):
            self._quicken(host, slowdown)
        self.training.gang.taints.clear()
        self._pressing.clear()
        self._set_pace()
        self._see_storage(1.0)

    def reach_horizon(self) -> None:
        """The twin follows the campaign no further."""
        self.training.catch_up()
        self._book.enter_copies(at_s=self._now_s)
        self._is_time_up = True

    # --- faults: the truth changes -------------------------------------------------------

    def strike(self, strike: fl.Strike) -> None:
        """A fault happens to its hosts, as far as they are there to be hit."""
        cause = strike.cause
        if cause.fault in _OF_ALL:
            self._strike_all(strike)
            return
        if self._loans is not None:
            self._loans.strike(strike)
        hosts = tuple(host for host in strike.hosts if self.fleet.is_up(host))
        if not hosts:
            return
        self._enter(cause.name, cause.fault, hosts)
        match cause.fault:
            case FaultClass.HOST | FaultClass.NETWORK:
                self._lose(hosts, cause.name, cause.fault, detect_s=cause.detect_s)
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
        if not self.training.gang.is_alive:
            return
        seats = self.training.gang.seats
        host = seats[int(self._dice.integers(len(seats)))]
        self._enter("job", FaultClass.PROCESS, (host,))
        self._crash(host, "job", detect_s=self._delays.job_detect_s)

    def drill(self) -> None:
        """SIGKILL for a process on the last seat, on purpose."""
        host = self.training.gang.seats[-1]
        self._enter("drill", FaultClass.PROCESS, (host,))
        detect_s = self._delays.job_detect_s
        self._crash(host, "drill", detect_s=detect_s, how=ev.Exit.KILLED)

    def alarm(self, alarm: fl.FalseAlarm) -> None:
        """A host that is well falls silent for a moment."""
        if self.fleet.is_up(alarm.host):
            self._tell(ev.HostUnreachable(at_s=self._now_s, host=alarm.host))
            self._after(self._delays.flap_s, partial(self._back_in_sight, alarm.host))

    def odd_text(self, _: fl.FalseAnomaly) -> None:
        """Loss or gradient are odd, and nothing is wrong."""
        run = self.training.gang.run
        if run is not None and (step := run.step_at(self._now_s)) > run.begin_step:
            self._tell_anomaly(step)

    def _enter(self, cause: str, fault: FaultClass, hosts: tuple[int, ...]) -> None:
        # what happened before the fault stands before it in the book
        self.training.catch_up()
        self._book.struck(cause, fault=fault.value, hosts=hosts, at_s=self._now_s)

    def _lose(
        self, hosts: tuple[int, ...], cause: str, fault: FaultClass, *, detect_s: float
    ) -> None:
        self.fleet.turn(hosts, HostState.DOWN)
        if not self.training.gang.members.isdisjoint(hosts):
            self.training.break_down()
        self._after(detect_s, partial(self._see_lost, hosts, cause, fault))

    def _crash(
        self, host: int, cause: str, *, detect_s: float, how: ev.Exit = ev.Exit.ERROR
    ) -> None:
        gang = self.training.gang
        if host not in gang.members or not gang.is_alive:
            return
        self.training.break_down()
        self._num_crashes += 1
        # two bugs of one kind seldom leave the same stack trace, so each has its own number
        signature = f"{cause} {self._num_crashes}"
        process = gang.generation, host, gang.incarnation_of(host)
        self._after(detect_s, partial(self._see_exit, process, how, signature))

    def _hang(self, host: int, *, detect_s: float) -> None:
        gang = self.training.gang
        if host in gang.members and gang.is_alive:
            self.training.break_down()
            self._after(detect_s, partial(self._see_hang, gang.generation, host))

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
                self._after(cause.detect_s, partial(self._see_storage, slowdown))
                self._after(cause.detect_s + strike.lasts_s, partial(self._see_storage, 1.0))
            case FaultClass.CONTROL:
                if not self._is_deaf:
                    self._is_deaf = True
                    self._after(strike.lasts_s, self._hear_again)

    def _press(self, slowdown: float) -> None:
        self._pressing.append(slowdown)
        self._set_pace()

    def _relieve(self, slowdown: float) -> None:
        if slowdown in self._pressing:
            self._pressing.remove(slowdown)
        self._set_pace()

    def _set_pace(self) -> None:
        """All wait for the slowest host, and traffic above the leaves for what is left of them."""
        members = self.training.gang.members
        slowest = max((s for host, s in self._slow_hosts.items() if host in members), default=1.0)
        # the worst-hit leaf counts (network.py); two losses under one leaf are rare
        self.training.change_pace(slowest * max(self._pressing, default=1.0))

    def _see_storage(self, slowdown: float) -> None:
        self._tell(ev.StorageSeen(at_s=self._now_s, slowdown=slowdown))

    def _hear_again(self) -> None:
        """The control plane is back: it is told so, and then all that happened meanwhile."""
        self._is_deaf = False
        pent_up, self._pent_up = self._pent_up, []
        for event in (ev.Reattached(at_s=self._now_s), *pent_up):
            self._decide(event)

    def _flap(self, hosts: tuple[int, ...], strike: fl.Strike) -> None:
        """Links are down for a while; everybody waits, and goes on when they are back."""
        gang = self.training.gang
        if gang.phase is not Phase.RUNNING or gang.members.isdisjoint(hosts):
            return
        self.training.break_down()
        generation = gang.generation
        self._tell(ev.LinksDown(at_s=self._now_s, hosts=hosts, cause=strike.cause.name))
        self._after(strike.lasts_s, partial(self._end_flap, hosts, generation))

    def _end_flap(self, hosts: tuple[int, ...], generation: int) -> None:
        self.training.resume_in_place(generation)
        still = tuple(host for host in hosts if self.fleet.is_up(host))
        if still:
            self._tell(ev.LinksUp(at_s=self._now_s, hosts=still))

    def _slow(self, host: int, strike: fl.Strike) -> None:
        """One host is slow, for a while or until it is exchanged."""
        self._slow_hosts[host] = strike.slowdown
        self._set_pace()
        see = partial(self._see_slow, host, strike.slowdown)
        self._after(strike.cause.detect_s, see)
        if strike.lasts_s > 0:
            self._after(strike.lasts_s, partial(self._quicken, host, strike.slowdown))

    def _see_slow(self, host: int, slowdown: float) -> None:
        if self._slow_hosts.get(host) == slowdown and self.fleet.is_up(host):
            self._tell(ev.HostSlow(at_s=self._now_s, host=host, slowdown=slowdown))

    def _quicken(self, host: int, slowdown: float) -> None:
        if self._slow_hosts.get(host) == slowdown:
            del self._slow_hosts[host]
            self._set_pace()
            self._tell(ev.HostSlow(at_s=self._now_s, host=host, slowdown=1.0))

    def _corrupt(self, host: int, *, detect_s: float) -> None:
        gang = self.training.gang
        if host in gang.members and gang.run is not None:
            taint = Taint(host, gang.run.step_at(self._now_s))
            gang.taints.append(taint)
            shown_s = gang.run.end_of_s(taint.clean_step + 1) - self._now_s
            self._after(max(detect_s, shown_s), partial(self._see_anomaly, taint))

    # --- observations: what is seen of the truth -----------------------------------------

    def _see_lost(self, hosts: tuple[int, ...], cause: str, fault: FaultClass) -> None:
        still = tuple(h for h in hosts if self.fleet.state_of(h) is HostState.DOWN)
        if still and fault is FaultClass.HOST:
            self._tell(ev.HostsDied(at_s=self._now_s, hosts=still, cause=cause))
        elif still:
            # a broken link silences the host; that it is lost, a witness must say
            for host in still:
                self._tell(ev.HostUnreachable(at_s=self._now_s, host=host))

    def _see_failing(self, host: int, cause: str) -> None:
        if self.fleet.is_up(host):
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
        self._tell(ev.HangSuspected(at_s=self._now_s, generation=generation, hosts=(host,)))

    def _see_anomaly(self, taint: Taint) -> None:
        """Loss or gradient are odd, and stay so as long as the state carries what went wrong."""
        gang = self.training.gang
        if gang.run is not None and taint in gang.taints:
            self._tell_anomaly(taint.clean_step + 1)
        if taint in gang.taints:
            self._after(HOUR_S, partial(self._see_anomaly, taint))

    def _tell_anomaly(self, step: int) -> None:
        generation = self.training.gang.generation
        self._tell(ev.AnomalySeen(at_s=self._now_s, generation=generation, step=step))

    def _back_in_sight(self, host: int) -> None:
        if self.fleet.is_up(host):
            self._tell(ev.HostReachable(at_s=self._now_s, host=host))

    def _announce(self, host: int) -> None:
        if self.fleet.is_up(host) and host not in self._announced:
            self._announced.add(host)
            by_s = self._now_s + self._delays.notice_s
            self._tell(ev.MaintenanceAnnounced(at_s=self._now_s, host=host, by_s=by_s))
            self._after(self._delays.notice_s, partial(self._take, host))

    def _take(self, host: int) -> None:
        """Maintenance takes the host, drained or not."""
        if host in self._announced:
            self._announced.discard(host)
            self._lose((host,), "maintenance", FaultClass.HOST, detect_s=0.0)

    # --- actions: what the controller asks for -------------------------------------------

    def _carry_out(self, action: act.Action) -> None:
        training = self.training
        match action:
            case act.StartGang():
                training.start(action, unfit=self.fleet.hosts_not_up())
                self._set_pace()
            case act.StopGang():
                training.stop(action, why=self._bucket_of_stop())
            case act.EvictHosts():
                self._evict(action)
            case act.DropReplicas():
                training.drop(action)
            case act.JoinReplica():
                training.join(action, is_up=self.fleet.is_up)
            case act.SetCadence(every_s=every_s):
                training.change_rhythm(every_s)
            case act.ReplaySteps():
                training.replay(action)
            case act.ProbeHost(host=host):
                self._answer(self._delays.probe_s, partial(self._witness, host))
            case act.SaveNow(tier=tier):
                training.save_soon(tier)
            case act.WakeAt(at_s=at_s):
                self._wake_at(max(at_s, self._now_s))
            case act.Hold(why=why):
                self._hold(why)
            case act.Finish():
                self._book.enter_copies(at_s=self._now_s)
                self.outcome = action

    def _bucket_of_stop(self) -> Bucket:
        gang = self.training.gang
        if gang.phase is Phase.REPLAYING:
            return Bucket.SDC_REPLAY
        leaving = self._announced | (self._loans.wanted if self._loans else set())
        if gang.phase is Phase.RUNNING and not leaving.isdisjoint(gang.members):
            return Bucket.PLANNED
        return Bucket.REPLACE

    def _evict(self, action: act.EvictHosts) -> None:
        for host in action.hosts:
            if self._loans is not None and self._loans.owns(host):
                self._announced.discard(host)
                self._slow_hosts.pop(host, None)
                self._loans.let_go(host)
            elif self.fleet.state_of(host) is not HostState.REPAIR:
                self.fleet.turn((host,), HostState.REPAIR)
                self._announced.discard(host)
                self._answer(next(self._repairs_s), partial(self._repair, host))

    def _repair(self, host: int) -> None:
        self._slow_hosts.pop(host, None)
        self.fleet.turn((host,), HostState.UP)
        self._tell(ev.HostRepaired(at_s=self._now_s, host=host))

    def _witness(self, host: int) -> None:
        alive = self.fleet.is_up(host)
        self._tell(ev.WitnessSpoke(at_s=self._now_s, host=host, alive=alive))

    def _wake_at(self, at_s: float) -> None:
        """Only the newest request counts."""
        self._wake_s = at_s
        self.kernel.schedule(partial(self._tick, at_s), at_s=at_s, priority=Priority.TICK)

    def _tick(self, at_s: float) -> None:
        if self._wake_s == at_s:
            self._wake_s = None
            self._tell(ev.Ticked(at_s=self._now_s))

    def _hold(self, why: act.HoldReason) -> None:
        self._book.turn(Bucket.HOLD, at_s=self._now_s)
        if why in _FOR_A_PERSON:
            self._answer(self._delays.person_s, self._person)

    def _person(self) -> None:
        if self._book.bucket is Bucket.HOLD:
            self._tell(ev.ResumeRequested(at_s=self._now_s))

    # --- time and speech -----------------------------------------------------------------

    @property
    def _now_s(self) -> float:
        return self.kernel.now_s

    def _after(self, wait_s: float, happening: Happening) -> None:
        self.kernel.after(happening, wait_s=wait_s, priority=Priority.OBSERVATION)

    def _answer(self, wait_s: float, happening: Happening) -> None:
        self.kernel.after(happening, wait_s=wait_s, priority=Priority.ANSWER)

    def _tell(self, event: ev.Event) -> None:
        """Speak to the controller, progress first where it may bear on the answer."""
        if isinstance(event, _OF_A_HOST) and not self._is_training_touched(event.host):
            self.training.enter_stalls()
        else:
            self.training.catch_up()
        self._decide(event)
        if self._book.bucket is Bucket.DETECT and isinstance(event, _BAD_NEWS):
            # it knows and has not acted yet: it wants more evidence
            self._book.turn(Bucket.DECIDE, at_s=self._now_s)

    def _is_training_touched(self, host: int) -> bool:
        """Whether ``host`` computes, or anybody waits for a spare."""
        gang, fleet = self.training.gang, self.fleet
        is_whole = gang.num_working == self.training.workload.num_hosts
        num_spares = fleet.num_in(HostState.UP) - gang.num_working
        return host in gang.members or not is_whole or num_spares <= 1

    def _decide(self, event: ev.Event) -> None:
        if not self.keeps(event):
            self.carry_out(self._brain(event))

    def keeps(self, event: ev.Event) -> bool:
        """Whether nobody can be told now: the event waits for the end of the outage."""
        if self._is_deaf:
            self._pent_up.append(event)
        return self._is_deaf

    def carry_out(self, actions: list[act.Action]) -> None:
        """Do what was asked for, now."""
        for asked in actions:
            if (action := self._fences.left_of(asked)) is not None:
                self._carry_out(action)
        evicted = [h for a in actions if isinstance(a, act.EvictHosts) for h in a.hosts]
        if not self.training.gang.members.isdisjoint(evicted):
            # taken out from under a gang that nobody stopped; otherwise this changes nothing
            self.training.break_down()
