"""The gang in the twin: it starts, trains, saves, breaks and stops, and reports its progress.

Conventions of this ground truth:

- a broken gang makes no progress from the instant of the fault, and a checkpoint that was still
  being written then is lost with it;
- progress is reported when the controller is next spoken to, with the time at which it happened
  (heartbeats are virtual); a commit is reported with a step, so at most one step late.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from functools import partial

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.ledger.entries import Bucket
from gigafactory.simulate.book import Book
from gigafactory.simulate.delays import Delays
from gigafactory.simulate.fleet import Fleet
from gigafactory.simulate.gang import Cadence, Gang, Phase, Run
from gigafactory.simulate.kernel import Happening, Kernel, Priority
from gigafactory.simulate.saving import Saving
from gigafactory.simulate.store import Store
from gigafactory.simulate.workload import Workload


class Training:
    """The gang of a campaign, through all its generations."""

    def __init__(
        self,
        *,
        workload: Workload,
        kernel: Kernel[Happening],
        book: Book,
        delays: Delays,
        decide: Callable[[ev.Event], None],
        fleet: Fleet,
    ) -> None:
        """``decide`` tells the controller."""
        self.workload = workload
        self.prices = workload.known_prices
        self.gang = Gang(replica_hosts=self.prices.replica_hosts)
        self.slowdown = 1.0
        """Of a step, by slow hosts and lost capacity."""
        self.report_every_s: float | None = None
        """Report at least this often, besides whenever the controller is spoken to."""
        self.kernel = kernel
        self.book = book
        self.decide = decide
        self._fleet = fleet
        self.saving = Saving(self, store=Store(kernel))
        self._delays = delays
        self._step_hooks: list[tuple[int, Callable[[], None]]] = []
        self.settle_pace: Callable[[], None] = _nothing
        """Asks the world for the pace of those that compute now."""
        self._cadences: dict[tuple[float, int, float, int], Cadence] = {}

    def at_step(self, step: int, hook: Callable[[], None]) -> None:
        """Call ``hook`` once, when the run first reaches ``step``."""
        self._step_hooks.append((step, hook))

    # --- progress ------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Report stalls, steps and the newest commit since the last report."""
        gang, run, now_s = self.gang, self.gang.run, self.kernel.now_s
        if run is None or now_s <= gang.reported_s:
            return
        gang.reported_s = now_s
        self.enter_stalls()
        step, num_commits = run.step_at(now_s), run.num_commits_at(now_s)
        if num_commits > gang.num_commits:
            newest, at_s = run.commit(num_commits)
            save_s = run.cadence.blocking_s + run.cadence.write_s
            self.book.committed(newest, at_s, save_s=save_s, num=num_commits - gang.num_commits)
        if step > gang.reported_step:
            self._report_steps(run, step)
        # the controller may have ended this run in answer to its steps
        if num_commits > gang.num_commits and gang.run is run:
            gang.num_commits = num_commits
            committed_step, committed_s = run.commit(num_commits)
            self.tell_commit(committed_step, at_s=max(committed_s, run.end_of_s(step)))

    def enter_stalls(self) -> None:
        """What checkpoints held up since they were last entered, before something else is."""
        gang, run, now_s = self.gang, self.gang.run, self.kernel.now_s
        if run is not None and now_s > gang.booked_s:
            stalled_s = run.stalled_s(now_s)
            self.book.stalled(stalled_s - gang.stalled_s, since_s=gang.booked_s)
            gang.booked_s, gang.stalled_s = now_s, stalled_s

    def break_down(self) -> None:
        """The gang makes no progress from now on."""
        if self.gang.is_alive:
            self.catch_up()
        if self.gang.is_alive:
            self.gang.run = None
            self.gang.phase, self.gang.waits = Phase.BROKEN, False
            self.saving.let_go()
            self.book.turn(Bucket.DETECT, at_s=self.kernel.now_s)

    def wait_for_links(self) -> None:
        """The gang goes on when they are back."""
        self.break_down()
        # in answer to its steps the controller may have ended it
        self.gang.waits = self.gang.phase is Phase.BROKEN

    def _report_steps(self, run: Run, step: int) -> None:
        gang, now_s = self.gang, self.kernel.now_s
        # work on the next step stays behind the entry, for it may get lost
        done_s = now_s - run.unfinished_s(now_s)
        num_steps, step_s = step - gang.reported_step, run.cadence.step_s
        self.book.steps(step, num_steps=num_steps, step_s=step_s, at_s=done_s)
        gang.reported_step = step
        if self.prices.peer_stride:
            self.book.copied(act.Tier.PEER, step, num=num_steps, at_s=done_s)
        self.decide(
            ev.StepsDone(
                at_s=min(run.end_of_s(step), now_s),
                generation=gang.generation,
                step=step,
                peer_step=step if self.prices.peer_stride else None,
                local_step=self._local_step(run, at_s=done_s) if self.prices.has_local else None,
                lease_s=self._lease_s,
            )
        )

    def _local_step(self, run: Run, *, at_s: float) -> int | None:
        """The newest step on the own disk of every host; None while a replica is away."""
        gang = self.gang
        if gang.out:
            return None
        num, newest = run.locals_at(self.kernel.now_s)
        if num > gang.num_locals:
            self.book.copied(act.Tier.LOCAL, newest, num=num - gang.num_locals, at_s=at_s)
            gang.num_locals = num
            gang.on_disks = (gang.on_disks[0] if gang.on_disks else newest, newest)
        return gang.on_disks[1] if gang.on_disks else None

    @property
    def _lease_s(self) -> float:
        """The next report comes within this, and a step later at the most."""
        return (self.report_every_s or 0.0) + 2.0 * self.cadence.step_s

    @property
    def cadence(self) -> Cadence:
        """The rhythm at the pace of those that compute; the global batch stays what it was."""
        gang, cadence = self.gang, self.workload.cadence
        fewer = self.workload.num_hosts / max(gang.num_working, 1)
        if fewer == 1.0 and self.slowdown == 1.0 and self.saving.is_as_planned:
            return cadence
        step_s = cadence.step_s * fewer * self.slowdown
        every, write_s = self.saving.every_steps(step_s=step_s), self.saving.write_s()
        # disks of some hosts alone restore nothing
        local_steps = 0 if gang.out else cadence.local_steps
        key = (step_s, every, write_s, local_steps)
        if key not in self._cadences:
            self._cadences[key] = replace(
                cadence,
                step_s=step_s,
                checkpoint_steps=every,
                write_s=write_s,
                local_steps=local_steps,
            )
        return self._cadences[key]

    def change_pace(self, slowdown: float) -> None:
        """Slow hosts or lost capacity: from now on a step takes so many times as long."""
        if slowdown != self.slowdown:
            self.change_run(partial(self._set_pace, slowdown))

    def _set_pace(self, slowdown: float) -> None:
        self.slowdown = slowdown

    def change_run(self, change: Callable[[], None]) -> None:
        """Let ``change`` happen; a run goes on under it, in the middle of its step."""
        self.catch_up()
        run = self.gang.run
        if run is None:
            change()
            return
        self.saving.take_over(run)
        change()
        self._carry_on(run)

    def _carry_on(self, was: Run) -> None:
        """The part of a step that is done stays done, and so does what is wrong in the state."""
        gang, now_s, cadence, taints = self.gang, self.kernel.now_s, self.cadence, self.gang.taints
        done_s = was.unfinished_s(now_s) / was.cadence.beat_s * cadence.beat_s
        lead_s = max(0.0, was.begin_s + was.lead_s - now_s)
        self._enter_pace()
        run = Run(now_s - done_s, gang.reported_step, cadence, lead_s)
        self.follow(run)
        gang.reported_s = gang.booked_s = now_s
        gang.taints = taints
        # somebody may wait for a sign of life
        self.when_done(run, run.begin_step + 1, _nothing)
        self.saving.keep_beat(run)

    def _enter_pace(self) -> None:
        num_gpus = self.gang.num_working * self.workload.host_gpus
        self.book.pace(num_gpus, slowdown=self.slowdown, at_s=self.kernel.now_s)

    def tell_commit(self, step: int, *, at_s: float) -> None:
        """The checkpoint of ``step`` is safe since ``at_s``."""
        at_s = min(at_s, self.kernel.now_s)
        generation = self.gang.generation
        self.decide(ev.CheckpointCommitted(at_s=at_s, generation=generation, step=step))

    def follow(self, run: Run) -> None:
        """Let ``run`` go on until something else happens."""
        gang = self.gang
        gang.run, gang.phase, gang.num_commits, gang.num_locals = run, Phase.RUNNING, 0, 0
        if gang.taints:
            gang.taints = [taint for taint in gang.taints if taint.clean_step < run.begin_step]
        gang.reported_s, gang.reported_step = run.begin_s, run.begin_step
        gang.booked_s, gang.stalled_s = run.begin_s, 0.0
        self.when_done(run, self.workload.num_steps, self.saving.save_last)
        for step, hook in self._step_hooks:
            self.when_done(run, step, partial(self._reach, step, hook))
        # a cycle's checkpoint is safe when it has been written, and then it is news
        self._report_from(run, run.begin_s + run.lead_s + run.cadence.write_s)

    def when_done(self, run: Run, step: int, happening: Happening) -> None:
        """Let something happen at the end of ``step``, if ``run`` gets there."""
        if step > run.begin_step:
            happen = partial(self._if_still, run, happening)
            # a step that is nearly done may end now
            at_s = max(run.end_of_s(step), self.kernel.now_s)
            self.kernel.schedule(happen, at_s=at_s, priority=Priority.PHYSICS)

    def _if_still(self, run: Run, happening: Happening) -> None:
        if self.gang.run is run:
            self.catch_up()
        if self.gang.run is run:
            happening()

    def _reach(self, step: int, hook: Callable[[], None]) -> None:
        self._step_hooks = [other for other in self._step_hooks if other != (step, hook)]
        hook()

    def _report_from(self, run: Run, since_s: float) -> None:
        """Reports that nobody has to ask for, at an even pace."""
        if self.report_every_s is not None and self.gang.run is run:
            at_s = since_s + self.report_every_s
            happen = partial(self._if_still, run, partial(self._report_from, run, at_s))
            self.kernel.schedule(happen, at_s=at_s, priority=Priority.PHYSICS)

    # --- start and stop ------------------------------------------------------------------

    def start(self, action: act.StartGang) -> None:
        """Begin a generation; with a host among its seats that is not up it is never ready."""
        gang = self.gang
        # changes count from the generation before, whose start may have been lost on the way
        is_next = action.token.generation == gang.generation + 1
        gang.generation = action.token.generation
        gang.take_seats(action.hosts, action.seated if is_next else None)
        if not is_next or action.seated != ():
            gang.on_disks = None
        self.saving.let_go()
        gang.phase = Phase.STARTING
        if self.book.bucket is not Bucket.INIT:
            self.book.turn(Bucket.RENDEZVOUS, at_s=self.kernel.now_s)
        if not self.is_whole(gang.members):
            self.break_down()
            return
        joined = partial(self._join, gang.generation, action.step, action.tier)
        is_warm = action.how is act.Start.WARM
        start_s = self.prices.warm_s if is_warm else self.workload.start_s
        self.kernel.after(joined, wait_s=start_s, priority=Priority.ANSWER)

    def _join(self, generation: int, step: int | None, tier: act.Tier) -> None:
        gang = self.gang
        if gang.generation != generation or gang.phase is not Phase.STARTING:
            return
        gang.phase = Phase.RESTORING
        if step is not None:
            self.book.turn(Bucket.RESTORE, at_s=self.kernel.now_s)
        if tier is act.Tier.LOCAL and not gang.has_on_disks(step):
            self.break_down()
            lost = ev.CheckpointLost(at_s=self.kernel.now_s, step=step or 0, tier=tier)
            self.decide(lost)
            return
        go = partial(self._go, generation, step or 0)
        if step is not None and tier is act.Tier.STORE:
            self.saving.store.carry(self.workload.restore_s, go, priority=Priority.ANSWER)
            return
        prices = self.prices
        near_s = prices.restore_peer_s if tier is act.Tier.PEER else prices.restore_local_s
        restore_s = 0.0 if step is None else near_s
        self.kernel.after(go, wait_s=restore_s, priority=Priority.ANSWER)

    def _go(self, generation: int, step: int) -> None:
        gang, now_s = self.gang, self.kernel.now_s
        if gang.generation != generation or gang.phase is not Phase.RESTORING:
            return
        gang.forget_on_disks_beyond(step)
        self._begin_run(step)
        self.decide(ev.GangReady(at_s=now_s, generation=generation, step=step))

    def stop(self, action: act.StopGang, *, why: Bucket) -> None:
        """End the generation of the action's token; a stale or repeated request does no harm."""
        gang = self.gang
        if action.token.generation != gang.generation or gang.phase is Phase.ABSENT:
            return
        is_ending = gang.phase is Phase.ENDING
        self.book.turn(Bucket.PLANNED if is_ending else why, at_s=self.kernel.now_s)
        gang.run, gang.phase = None, Phase.STOPPING
        self.saving.let_go()
        end = partial(self._end, gang.generation)
        self.kernel.after(end, wait_s=self._delays.stop_s, priority=Priority.ANSWER)

    def _end(self, generation: int) -> None:
        if self.gang.generation == generation and self.gang.phase is Phase.STOPPING:
            self.gang.phase = Phase.ABSENT
            self.decide(ev.GangStopped(at_s=self.kernel.now_s, generation=generation))

    def resume_in_place(self, generation: int) -> None:
        """What held everybody up is over, and nobody was stopped meanwhile."""
        gang = self.gang
        waits = gang.phase is Phase.REPLAYING or (gang.phase is Phase.BROKEN and gang.waits)
        if gang.generation == generation and waits:
            self.go_on()

    def is_whole(self, hosts: Set[int]) -> bool:
        """All of them are up."""
        return hosts.isdisjoint(self._fleet.hosts_not_up())

    def go_on(self) -> None:
        """After the last step that was reported; what was computed of the next one is lost.

        Nobody does while one of those that compute is lost, stuck or cut off.
        """
        gang = self.gang
        if gang.is_held_up or not self.is_whole(gang.members):
            if gang.phase is not Phase.BROKEN:
                self.book.turn(Bucket.DETECT, at_s=self.kernel.now_s)
            gang.phase, gang.waits = Phase.BROKEN, gang.is_cut
            return
        run = self._begin_run(self.gang.reported_step)
        # somebody may wait for a sign of life
        self.when_done(run, run.begin_step + 1, _nothing)

    def _begin_run(self, step: int) -> Run:
        now_s = self.kernel.now_s
        self.book.rolled_back(step, at_s=now_s)
        self.book.turn(Bucket.PRODUCTIVE, at_s=now_s)
        self._enter_pace()
        self.saving.begin(step)
        run = Run(now_s, step, self.cadence)
        self.follow(run)
        return run


def _nothing() -> None:
    """Being asked is enough: progress is reported."""
