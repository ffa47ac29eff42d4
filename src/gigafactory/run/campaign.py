"""The driver's loop: observe, ask the controller, act, write it down."""

from __future__ import annotations

import signal
import time
from collections import deque
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.controller import Controller
from gigafactory.describe import rank as told
from gigafactory.describe.study import Study
from gigafactory.ledger import entries as book
from gigafactory.ledger.entries import Bucket
from gigafactory.ledger.writer import LedgerWriter
from gigafactory.plan.chosen import Plan
from gigafactory.run import checkpoints
from gigafactory.run.directory import RunDirectory
from gigafactory.run.engines import ours
from gigafactory.run.launchers.launcher import Ended, Launcher, Line, RankCommand, Seen
from gigafactory.run.opening import num_hosts_of
from gigafactory.run.progress import Observer, Progress, Stage
from gigafactory.run.sensors.gang import GangSight, Note
from gigafactory.run.sensors.hosts import seen_of_host

#: The longest the loop sleeps: silence is looked at this often.
_TICK_S = 0.1
_RESTART_STAGES = (Stage.RECOVERING, Stage.RESTORING)


@dataclass(slots=True)
class Campaign:
    """One driver's part of a campaign. ``drive`` returns when it is over."""

    study: Study
    plan: Plan
    place: RunDirectory
    controller: Controller
    launcher: Launcher
    ledger: LedgerWriter
    observer: Observer | None
    is_new: bool
    """No gang of this book ever trained."""
    is_drill_due: bool
    stop_requests: deque[int] = field(default_factory=deque)
    """Filled by the signal handlers, one entry a request."""
    sight: GangSight | None = None
    finish: act.Finish | None = None
    finished: told.Finished | None = None
    held: str = ""
    """Why the brain held, the last time it did."""
    last_failure: str = ""
    """What the last failed worker said."""
    _origin_s: float = 0.0
    _inbox: deque[ev.Event] = field(default_factory=deque)
    _wake_s: float | None = None
    _newest: act.Token = field(default=act.Token(0, 0))
    _shown: Progress | None = None

    def drive(self, *, committed_step: int | None) -> act.Finish:
        """From the allocation to the end; ``committed_step`` is where training goes on."""
        self._origin_s = time.monotonic() - self.ledger.at_s
        seats = self.launcher.seats(num_hosts_of(self.study, self.plan))
        self._shown = Progress(
            at_s=self.ledger.at_s,
            stage=Stage.STARTING,
            step=committed_step or 0,
            num_steps=self.study.job.num_steps,
            generation=self.ledger.generation,
            committed_step=committed_step,
        )
        self._tell(
            ev.Launched(
                at_s=self.now_s(),
                hosts=seats.hosts,
                spares=seats.spares,
                committed_step=committed_step,
                num_steps=self.study.job.num_steps,
                generation=self.ledger.generation,
            )
        )
        while self.finish is None:
            self._turn()
        return self.finish

    def _turn(self) -> None:
        """Look once at everything that can be seen."""
        for item in self.launcher.poll(self._patience_s()):
            self._take(item)
        while self.stop_requests:
            self.stop_requests.popleft()
            self._show(Stage.STOPPING, "stopping at the next checkpoint; once more: at once")
            self._tell(ev.StopRequested(at_s=self.now_s()))
        if self.sight is not None:
            self._note(self.sight.look(self.now_s()))
        if self._wake_s is not None and self.now_s() >= self._wake_s:
            self._wake_s = None
            self._tell(ev.Ticked(at_s=self.now_s()))

    @property
    def reason(self) -> str:
        """Why the campaign ended, in words for a person; empty where it is done."""
        if self.finish is None or self.finish.outcome is not act.Outcome.FAILED:
            return self.finish.reason if self.finish else ""
        words = [self.held or self.finish.reason, self.last_failure]
        words.append(f"the workers' output is in {self.place.logs}")
        return "; ".join(filter(None, words))

    def now_s(self) -> float:
        """Seconds since the campaign began, drivers that ended not counted."""
        return time.monotonic() - self._origin_s

    def _patience_s(self) -> float:
        if self._wake_s is None:
            return _TICK_S
        return max(0.0, min(_TICK_S, self._wake_s - self.now_s()))

    # -- observe ---------------------------------------------------------------------------

    def _take(self, item: Seen) -> None:
        """One line or one end, for the gang that is there; or news of a host."""
        sight = self.sight
        if not isinstance(item, Line | Ended):
            self._note(seen_of_host(item, self.now_s()))
            return
        if sight is None:
            return
        if isinstance(item, Ended):
            self._note(sight.end(item.rank, item.status, self.now_s()))
            return
        try:
            report = told.read_told(item.text)
        except ValidationError:
            return  # not ours: a library printed into the pipe, or the line was cut by a kill
        self._note(sight.hear(item.rank, report, self.now_s()))
        if item.rank == 0:
            self._show_report(report)
            self._drill(report)

    def _note(self, seen: list[Note | ev.Event]) -> None:
        """Entries to the book, events to the brain, in the order they were seen."""
        for one in seen:
            if isinstance(one, ev.Event):
                self._tell(one)
                continue
            self.ledger.write(one.content, at_s=one.at_s)
            if isinstance(one.content, book.FaultStruck):
                self._show(None, one.content.cause)

    def _drill(self, report: told.AnyTold) -> None:
        """The failure made on purpose, once a campaign."""
        drill, sight = self.study.drill, self.sight
        if not (self.is_drill_due and drill and sight and isinstance(report, told.Step)):
            return
        if report.step >= drill.kill_at_step:
            self.is_drill_due = False
            sight.drilled_rank = drill.kill_rank
            self.launcher.signal(drill.kill_rank, signal.SIGKILL)

    # -- decide ----------------------------------------------------------------------------

    def _tell(self, event: ev.Event) -> None:
        """Put ``event`` to the brain, after those that wait already.

        An action may end in a new event at once; that one waits until all actions of this turn
        are done, or their tokens would overtake each other.
        """
        self._inbox.append(event)
        if len(self._inbox) > 1:
            return
        while self._inbox:
            self._decide(self._inbox[0])
            self._inbox.popleft()

    def _decide(self, event: ev.Event) -> None:
        """One turn of the brain; what it asks for is written down first, then done."""
        actions = self.controller.handle(event)
        self.ledger.decide(
            event,
            actions,
            state_hash=self.controller.state_hash,
            generation=self.controller.generation,
        )
        for action in actions:
            if action.token > self._newest:
                self._newest = action.token
                self._act(action)

    # -- act -------------------------------------------------------------------------------

    def _act(self, action: act.Action) -> None:
        match action:
            case act.StartGang():
                self._start(action)
            case act.StopGang():
                self._stop(action)
            case act.SaveNow():
                if self.sight is not None and self.sight.is_ready:
                    self.launcher.signal(0, signal.SIGUSR1)
            case act.ProbeHost(host=host):
                self.launcher.probe(host)
            case act.EvictHosts(hosts=hosts, reason=reason):
                self.launcher.set_aside(hosts, reason=reason)
            case act.WakeAt(at_s=at_s):
                self._wake_s = at_s
            case act.Hold(reason=reason):
                self.held = reason
                self._bucket(Bucket.HOLD)
                self._show(Stage.STOPPING, f"held: {reason}")
            case act.Finish():
                self.finish = action

    def _start(self, action: act.StartGang) -> None:
        generation = action.token.generation
        if action.step is not None:
            damage = checkpoints.why_damaged(self.place.checkpoints, action.step)
            if damage is not None:
                self._show(None, f"checkpoint of step {action.step}: {damage}")
                self._tell(ev.CheckpointLost(at_s=self.now_s(), step=action.step))
                return
        if not self.is_new:
            self.ledger.write(book.Rollback(step=action.step or 0), at_s=self.now_s())
        self._bucket(Bucket.INIT if self.is_new else Bucket.RENDEZVOUS)
        commands = self._render(action)
        self.sight = GangSight(
            generation=generation,
            host_of={command.rank: command.host for command in commands},
            num_steps=self.study.job.num_steps,
            policy=self.study.policy,
            is_first=self.is_new,
            begun_s=self.now_s(),
        )
        where = "from nothing" if action.step is None else f"after step {action.step}"
        stage = Stage.STARTING if self.is_new else Stage.RECOVERING
        self._show(stage, f"starting {len(commands)} workers, {where}")
        try:
            self.launcher.start(commands, generation=generation)
        except OSError as error:
            self._tell(ev.ActionFailed(at_s=self.now_s(), token=action.token, reason=str(error)))

    def _render(self, action: act.StartGang) -> list[RankCommand]:
        """Write the task of the generation and give each rank its command."""
        place, layout = self.place, self.plan.best.layout
        place.rendezvous.mkdir(exist_ok=True)
        for old in place.rendezvous.iterdir():
            old.unlink()
        task = ours.render_task(
            self.study,
            layout,
            generation=action.token.generation,
            restore_step=action.step,
            directory=place.root.resolve(),
        )
        meet = self.launcher.rendezvous(
            place.root.resolve(), generation=action.token.generation, host=action.hosts[0]
        )
        task = task.model_copy(update={"rendezvous": meet})
        place.task.write_text(task.model_dump_json(indent=2) + "\n")
        gpus_per_host = self.study.cluster.host.num_gpus
        commands = ours.render_commands(layout, task_file=place.task, gpus_per_host=gpus_per_host)
        # an engine numbers hosts by seat; which host sits there is the brain's to say
        return [replace(command, host=action.hosts[command.host]) for command in commands]

    def _stop(self, action: act.StopGang) -> None:
        is_planned = self._shown is not None and self._shown.stage is Stage.STOPPING
        if self.finished is None:
            self._bucket(Bucket.PLANNED if is_planned else Bucket.DECIDE)
        self.launcher.stop()
        if self.sight is not None and self.sight.failure is not None:
            self.last_failure = self.sight.failure.message
        self.sight = None
        if self.finished is None and not is_planned:
            self._show(Stage.RECOVERING, "")
        self._tell(ev.GangStopped(at_s=self.now_s(), generation=action.token.generation))

    # -- show ------------------------------------------------------------------------------

    def _bucket(self, bucket: Bucket) -> None:
        self.ledger.write(book.BucketFrom(bucket=bucket), at_s=self.now_s())

    def _show_report(self, report: told.AnyTold) -> None:
        """Rank 0's reports, for the eye."""
        match report:
            case told.Restoring():
                self._show(None if self.is_new else Stage.RESTORING, "")
            case told.Ready(step=step):
                self.is_new = False
                self._show(Stage.TRAINING, f"training after step {step}", step=step)
            case told.Step():
                rate = report.tokens / report.step_s
                self._show(None, "", step=report.step, loss=report.loss, tokens_per_s=rate)
            case told.CheckpointCommitted(step=step):
                is_last = step == self.study.job.num_steps
                if is_last:
                    self._bucket(Bucket.PLANNED)
                self._show(
                    Stage.FINISHING if is_last else None,
                    f"checkpoint of step {step} committed",
                    committed_step=step,
                )
            case told.Finished():
                self.finished = report

    def _show(self, stage: Stage | None, message: str, **changes: float | None) -> None:
        assert self._shown is not None
        stage = stage or self._shown.stage
        if self._shown.stage is Stage.STOPPING:
            stage = Stage.STOPPING
        self._shown = replace(
            self._shown,
            at_s=self.now_s(),
            stage=stage,
            generation=self.controller.generation,
            message=message,
            **changes,  # type: ignore[arg-type]
        )
        if self.observer is not None:
            self.observer(self._shown)
