"""The world side of the twin: ground truth, what is seen of it, and what actions do to it.

The controller hears of a fault only after its detection time, and everything it asks for takes
time. Conventions of the ground truth:

- failures come by the wall clock, also while the job recovers (a host that dies during a start
  breaks that start);
- a broken gang makes no progress from the instant of the fault, and a checkpoint that was still
  being written then is lost with it;
- spares fail like all hosts, without an interruption; a host in repair does not fail;
- progress is reported when the controller is next spoken to, with the time at which it happened
  (heartbeats are virtual); a commit is reported with a step, so at most one step late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.describe.faults import FaultClass
from gigafactory.ledger.entries import Bucket
from gigafactory.simulate import faults as fl
from gigafactory.simulate.book import Book
from gigafactory.simulate.fleet import Fleet, HostState
from gigafactory.simulate.gang import Gang, Phase, Run
from gigafactory.simulate.kernel import Kernel, Priority
from gigafactory.simulate.workload import Workload

Happening = Callable[[], None]
#: One turn of the controller, entered in the ledger: an event in, actions out.
Brain = Callable[[ev.Event], list[act.Action]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """How long the world takes for small things; assumptions where no source is named."""

    stop_s: float = 2.0
    """SIGKILL, and the confirmation that no process is left."""
    probe_s: float = 2.0
    """A second witness (BMC, switch) answers."""
    job_detect_s: float = 1.0
    """A process exits with an error of its own (ByteRobust, arXiv:2509.16293, table 3)."""
    notice_s: float = 3600.0
    """Between the announcement of maintenance and the host being taken."""
    flap_s: float = 20.0
    """Heartbeats of a healthy host are back this long after a false alarm."""
    person_s: float = 1800.0
    """A person who was called lifts a hold."""


#: Holds that only a person lifts.
_FOR_A_PERSON = {act.HoldReason.NO_PROGRESS, act.HoldReason.NO_CLEAN_CHECKPOINT}
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
        self.workload = workload
        self.kernel = kernel
        self.fleet = fleet
        self.gang = Gang()
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
        self._drill_step: int | None = None
        self._corruption_found = False
        self._is_time_up = False

    # --- the beginning -------------------------------------------------------------------

    def begin(self) -> None:
        """Launch the campaign: the first hosts train, the others stand by."""
        num_hosts = self.workload.num_hosts
        self._book.turn(Bucket.INIT, at_s=0.0)
        self._tell(
            ev.Launched(
                at_s=0.0,
                hosts=tuple(range(num_hosts)),
                spares=tuple(range(num_hosts, self.fleet.num_hosts)),
                num_steps=self.workload.num_steps,
            )
        )

    def plan_drill(self, step: int) -> None:
        """Kill one process when the run first reaches ``step``."""
        self._drill_step = step

    # --- faults: the truth changes -------------------------------------------------------

    def strike(self, strike: fl.Strike) -> None:
        """A fault happens to its hosts, as far as they are there to be hit."""
        hosts = tuple(host for host in strike.hosts if self.fleet.is_up(host))
        if not hosts:
            return
        cause = strike.cause
        self._catch_up()
        self.fleet.num_faults[list(hosts)] += 1
        self._book.struck(cause.name, fault=cause.fault.value, hosts=hosts, at_s=self._now_s)
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

    def strike_job(self, _: fl.JobStrike) -> None:
        """The job itself fails, wherever it is."""
        if not self.gang.is_alive:
            return
        host = self.gang.seats[int(self._dice.integers(len(self.gang.seats)))]
        fault = FaultClass.PROCESS.value
        self._catch_up()
        self._book.struck("job", fault=fault, hosts=(host,), at_s=self._now_s)
        self._crash(host, "job", detect_s=self._delays.job_detect_s)

    def alarm(self, alarm: fl.FalseAlarm) -> None:
        """A host that is well falls silent for a moment."""
        if self.fleet.is_up(alarm.host):
            self._tell(ev.HostUnreachable(at_s=self._now_s, host=alarm.host))
            self._after(self._delays.flap_s, partial(self._back_in_sight, alarm.host))

    def _lose(
        self, hosts: tuple[int, ...], cause: str, fault: FaultClass, *, detect_s: float
    ) -> None:
        self.fleet.state[list(hosts)] = HostState.DOWN
        if not self.gang.members.isdisjoint(hosts):
            self._break()
        self._after(detect_s, partial(self._see_lost, hosts, cause, fault))

    def _crash(
        self, host: int, cause: str, *, detect_s: float, how: ev.Exit = ev.Exit.ERROR
    ) -> None:
        if host not in self.gang.members or not self.gang.is_alive:
            return
        self._break()
        self._num_crashes += 1
        # two bugs of one kind seldom leave the same stack trace, so each has its own number
        signature = f"{cause} {self._num_crashes}"
        see = partial(self._see_exit, self.gang.generation, host, how, signature)
        self._after(detect_s, see)

    def _hang(self, host: int, *, detect_s: float) -> None:
        if host in self.gang.members and self.gang.is_alive:
            self._break()
            self._after(detect_s, partial(self._see_hang, self.gang.generation, host))

    def _corrupt(self, host: int, *, detect_s: float) -> None:
        run = self.gang.run
        if host in self.gang.members and run is not None:
            clean_step = run.step_at(self._now_s)
            self._after(detect_s, partial(self._see_corruption, host, clean_step))

    def _break(self) -> None:
        """The gang makes no progress from now on."""
        if self.gang.is_alive:
            self._catch_up()
            self.gang.run = None
            self.gang.phase = Phase.BROKEN
            self._book.turn(Bucket.DETECT, at_s=self._now_s)

    # --- observations: what is seen of the truth -----------------------------------------

    def _see_lost(self, hosts: tuple[int, ...], cause: str, fault: FaultClass) -> None:
        still = tuple(h for h in hosts if self.fleet.state[h] == HostState.DOWN)
        if still and fault is FaultClass.HOST:
            self._tell(ev.HostsDied(at_s=self._now_s, hosts=still, cause=cause))
        elif still:
            # a broken link silences the host; that it is lost, a witness must say
            for host in still:
                self._tell(ev.HostUnreachable(at_s=self._now_s, host=host))

    def _see_exit(self, generation: int, host: int, how: ev.Exit, signature: str) -> None:
        self._tell(
            ev.RankExited(
                at_s=self._now_s, generation=generation, host=host, exit=how, signature=signature
            )
        )

    def _see_hang(self, generation: int, host: int) -> None:
        self._tell(ev.HangSuspected(at_s=self._now_s, generation=generation, hosts=(host,)))

    def _see_corruption(self, host: int, clean_step: int) -> None:
        """A replay finds it, if what is being trained still carries it."""
        run = self.gang.run
        if run is None or run.step_at(self._now_s) < clean_step:
            return
        self._corruption_found = True
        self._tell(
            ev.CorruptionFound(
                at_s=self._now_s,
                generation=self.gang.generation,
                host=host,
                clean_step=clean_step,
            )
        )
        self._corruption_found = False

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

    # --- progress of the run -------------------------------------------------------------

    def _catch_up(self) -> None:
        """Report stalls, steps and the newest commit since the last report."""
        gang, run = self.gang, self.gang.run
        if run is None:
            return
        now_s, since_s = self._now_s, gang.reported_s
        gang.reported_s = now_s
        self._book.stalled(run.stalled_s(now_s) - run.stalled_s(since_s), since_s=since_s)
        step, committed = run.step_at(now_s), run.committed_at(now_s)
        if step > gang.reported_step:
            self._report_steps(run, step)
        if committed and committed[0] != gang.committed_step and gang.run is run:
            end_s = run.end_of_s(step) if step > run.begin_step else run.begin_s
            self._report_commit(committed[0], at_s=max(committed[1], end_s))

    def _report_steps(self, run: Run, step: int) -> None:
        gang, num_steps = self.gang, step - self.gang.reported_step
        gang.reported_step = step
        # what has been worked on the next step must stay behind the entry: it may get lost
        done_s = self._now_s - run.unfinished_s(self._now_s)
        self._book.steps(step, num_steps=num_steps, at_s=done_s)
        end_s = min(run.end_of_s(step), self._now_s)
        self._decide(ev.StepsDone(at_s=end_s, generation=gang.generation, step=step))

    def _report_commit(self, step: int, *, at_s: float) -> None:
        gang = self.gang
        gang.committed_step = step
        at_s = min(at_s, self._now_s)
        self._book.committed(step, at_s=at_s)
        self._decide(ev.CheckpointCommitted(at_s=at_s, generation=gang.generation, step=step))

    def _follow(self, run: Run) -> None:
        """Let ``run`` go on until something else happens."""
        gang = self.gang
        gang.run, gang.phase = run, Phase.RUNNING
        gang.reported_s, gang.reported_step = self._now_s, run.begin_step
        last = self.workload.num_steps
        self._at(run.end_of_s(last), Priority.PHYSICS, partial(self._reach_end, run))
        if self._drill_step is not None and self._drill_step > run.begin_step:
            kill = partial(self._drill, run)
            self._at(run.end_of_s(self._drill_step), Priority.PHYSICS, kill)

    def _reach_end(self, run: Run) -> None:
        """The last step of the job is done."""
        if self.gang.run is run:
            self._catch_up()
            self._save_last()

    def _drill(self, run: Run) -> None:
        if self.gang.run is run:
            self._drill_step = None
            host = self.gang.seats[-1]
            fault = FaultClass.PROCESS.value
            self._catch_up()
            self._book.struck("drill", fault=fault, hosts=(host,), at_s=self._now_s)
            detect_s = self._delays.job_detect_s
            self._crash(host, "drill", detect_s=detect_s, how=ev.Exit.KILLED)

    # --- actions: what the controller asks for -------------------------------------------

    def _carry_out(self, action: act.Action) -> None:
        match action:
            case act.StartGang():
                self._start(action)
            case act.StopGang():
                self._stop(action)
            case act.EvictHosts():
                self._evict(action)
            case act.ProbeHost(host=host):
                self._after(self._delays.probe_s, partial(self._witness, host), Priority.ANSWER)
            case act.SaveNow():
                self._save_soon()
            case act.WakeAt(at_s=at_s):
                self._wake_at(at_s)
            case act.Hold(why=why):
                self._hold(why)
            case act.Finish():
                self.outcome = action

    def _start(self, action: act.StartGang) -> None:
        gang = self.gang
        gang.generation = action.token.generation
        gang.take_seats(action.hosts, action.seated)
        gang.phase, gang.committed_step = Phase.STARTING, action.step
        if self._book.bucket is not Bucket.INIT:
            self._book.turn(Bucket.RENDEZVOUS, at_s=self._now_s)
        if not gang.members.isdisjoint(self.fleet.hosts_not_up()):
            self._break()
            return
        joined = partial(self._join, gang.generation, action.step)
        self._after(self.workload.start_s, joined, Priority.ANSWER)

    def _join(self, generation: int, step: int | None) -> None:
        gang = self.gang
        if gang.generation == generation and gang.phase is Phase.STARTING:
            gang.phase = Phase.RESTORING
            restore_s = 0.0
            if step is not None:
                restore_s = self.workload.restore_s
                self._book.turn(Bucket.RESTORE, at_s=self._now_s)
            self._after(restore_s, partial(self._go, generation, step or 0), Priority.ANSWER)

    def _go(self, generation: int, step: int) -> None:
        gang = self.gang
        if gang.generation != generation or gang.phase is not Phase.RESTORING:
            return
        self._book.rolled_back(step, at_s=self._now_s)
        self._book.turn(Bucket.PRODUCTIVE, at_s=self._now_s)
        self._follow(Run(self._now_s, step, self.workload.cadence))
        self._tell(ev.GangReady(at_s=self._now_s, generation=generation, step=step))

    def _stop(self, action: act.StopGang) -> None:
        gang = self.gang
        if action.token.generation != gang.generation or gang.phase is Phase.ABSENT:
            return
        self._book.turn(self._bucket_of_stop(), at_s=self._now_s)
        gang.run, gang.phase = None, Phase.STOPPING
        self._after(self._delays.stop_s, partial(self._end, gang.generation), Priority.ANSWER)

    def _bucket_of_stop(self) -> Bucket:
        match self.gang.phase:
            case Phase.ENDING:
                return Bucket.OTHER
            case Phase.RUNNING if not self._announced.isdisjoint(self.gang.members):
                return Bucket.PLANNED
            case Phase.RUNNING if self._corruption_found:
                return Bucket.SDC_REPLAY
            case _:
                return Bucket.REPLACE

    def _end(self, generation: int) -> None:
        if self.gang.generation == generation and self.gang.phase is Phase.STOPPING:
            self.gang.phase = Phase.ABSENT
            self._tell(ev.GangStopped(at_s=self._now_s, generation=generation))

    def _evict(self, action: act.EvictHosts) -> None:
        for host in action.hosts:
            if self.fleet.state[host] == HostState.REPAIR:
                continue
            self.fleet.state[host] = HostState.REPAIR
            self._announced.discard(host)
            self._after(next(self._repairs_s), partial(self._repair, host), Priority.ANSWER)
        if self.gang.phase is not Phase.STOPPING and not self.gang.members.isdisjoint(action.hosts):
            self._break()

    def _repair(self, host: int) -> None:
        self.fleet.state[host] = HostState.UP
        self.fleet.repaired_at_s[host] = self._now_s
        self._tell(ev.HostRepaired(at_s=self._now_s, host=host))

    def _witness(self, host: int) -> None:
        alive = self.fleet.is_up(host)
        self._tell(ev.WitnessSpoke(at_s=self._now_s, host=host, alive=alive))

    def _save_soon(self) -> None:
        """A checkpoint at the next boundary of a step, which the running step decides."""
        run = self.gang.run
        if run is None:
            return
        step = run.step_at(self._now_s) + 1
        if step > self.workload.num_steps:
            self._save_last()
        else:
            self._at(run.end_of_s(step), Priority.PHYSICS, partial(self._save, run, step))

    def _save(self, run: Run, step: int) -> None:
        if self.gang.run is not run or step >= self.workload.num_steps:
            return
        self._catch_up()
        if self.gang.run is not run:
            return
        cadence = self.workload.cadence
        self._book.turn(Bucket.CHECKPOINT, at_s=self._now_s)
        after = Run(self._now_s + cadence.blocking_s, step, cadence)
        self._follow(after)
        self._at(after.begin_s, Priority.PHYSICS, partial(self._go_on, after))
        safe = partial(self._commit, self.gang.generation, step)
        self._at(after.begin_s + cadence.write_s, Priority.OBSERVATION, safe)

    def _save_last(self) -> None:
        """All that is left is the checkpoint of the last step; nothing hides its writing."""
        gang, cadence = self.gang, self.workload.cadence
        if gang.run is None:
            return
        gang.run, gang.phase = None, Phase.ENDING
        self._book.turn(Bucket.CHECKPOINT, at_s=self._now_s)
        safe = partial(self._commit, gang.generation, self.workload.num_steps)
        self._after(cadence.blocking_s + cadence.write_s, safe)

    def _go_on(self, run: Run) -> None:
        if self.gang.run is run:
            self._book.turn(Bucket.PRODUCTIVE, at_s=self._now_s)

    def _commit(self, generation: int, step: int) -> None:
        if self.gang.generation == generation and self.gang.phase in {Phase.RUNNING, Phase.ENDING}:
            self._catch_up()
            self._report_commit(step, at_s=self._now_s)

    def _wake_at(self, at_s: float) -> None:
        """Only the earliest wake-up matters; the controller asks again for those after it."""
        at_s = max(at_s, self._now_s)
        if self._wake_s is None or at_s < self._wake_s:
            self._wake_s = at_s
            self._at(at_s, Priority.TICK, partial(self._tick, at_s))

    def _tick(self, at_s: float) -> None:
        if self._wake_s == at_s:
            self._wake_s = None
            self._tell(ev.Ticked(at_s=self._now_s))

    def _hold(self, why: act.HoldReason) -> None:
        self._book.turn(Bucket.HOLD, at_s=self._now_s)
        if why in _FOR_A_PERSON:
            self._after(self._delays.person_s, self._person, Priority.ANSWER)

    def _person(self) -> None:
        if self._book.bucket is Bucket.HOLD:
            self._tell(ev.ResumeRequested(at_s=self._now_s))

    # --- time and speech -----------------------------------------------------------------

    @property
    def _now_s(self) -> float:
        return self.kernel.now_s

    def _at(self, at_s: float, priority: Priority, happening: Happening) -> None:
        self.kernel.schedule(happening, at_s=at_s, priority=priority)

    def _after(
        self, wait_s: float, happening: Happening, priority: Priority = Priority.OBSERVATION
    ) -> None:
        self._at(self._now_s + wait_s, priority, happening)

    def _tell(self, event: ev.Event) -> None:
        """Speak to the controller, progress first."""
        self._catch_up()
        if self._book.bucket is Bucket.DETECT and isinstance(event, _BAD_NEWS):
            self._book.turn(Bucket.DECIDE, at_s=self._now_s)
        self._decide(event)

    def _decide(self, event: ev.Event) -> None:
        for action in self._brain(event):
            self._carry_out(action)

    @property
    def is_over(self) -> bool:
        """True when the controller is finished or the time is up."""
        return self.outcome is not None or self._is_time_up

    def reach_horizon(self) -> None:
        """The twin follows the campaign no further."""
        self._catch_up()
        self._is_time_up = True
