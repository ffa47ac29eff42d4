"""A gang that starts and ends as one: how the controller's actions are carried out."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace

from pydantic import ValidationError

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.describe import rank as told
from gigafactory.ledger import entries as book
from gigafactory.ledger.entries import Bucket
from gigafactory.run import checkpoints
from gigafactory.run.drive import Drive
from gigafactory.run.engines import ours
from gigafactory.run.launchers.launcher import (
    Ended,
    Launcher,
    Line,
    RankCommand,
    Seats,
    Seen,
)
from gigafactory.run.progress import Stage
from gigafactory.run.sensors.gang import GangSight
from gigafactory.run.sensors.hosts import seen_of_host


@dataclass(slots=True, kw_only=True)
class Campaign(Drive):
    """A gang that starts and ends as one."""

    launcher: Launcher
    sight: GangSight | None = None

    def _hosts(self, num_hosts: int) -> Seats:
        return self.launcher.seats(num_hosts)

    def _observe(self, timeout_s: float) -> None:
        for item in self.launcher.poll(timeout_s):
            self._take(item)

    def _look(self) -> None:
        if self.sight is not None:
            self._note(self.sight.look(self.now_s()))

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

    def _drill(self, report: told.AnyTold) -> None:
        """The failure made on purpose, once a campaign."""
        drill, sight = self.common.study.drill, self.sight
        if not (self.common.is_drill_due and drill and sight and isinstance(report, told.Step)):
            return
        if report.step >= drill.kill_at_step:
            self.common.is_drill_due = False
            sight.drilled_rank = drill.kill_rank
            self.launcher.signal(drill.kill_rank, signal.SIGKILL)

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
            case _:
                self._act_in_common(action)

    def _start(self, action: act.StartGang) -> None:
        generation = action.token.generation
        if action.step is not None:
            damage = checkpoints.why_damaged(self.common.place.checkpoints, action.step)
            if damage is not None:
                self._show(None, f"checkpoint of step {action.step}: {damage}")
                self._tell(ev.CheckpointLost(at_s=self.now_s(), step=action.step))
                return
        if not self.common.is_new:
            self.common.ledger.write(book.Rollback(step=action.step or 0), at_s=self.now_s())
        self._bucket(Bucket.INIT if self.common.is_new else Bucket.RENDEZVOUS)
        commands = self._render(action)
        self.sight = GangSight(
            generation=generation,
            host_of={command.rank: command.host for command in commands},
            num_steps=self.common.study.job.num_steps,
            policy=self.common.study.policy,
            is_first=self.common.is_new,
            begun_s=self.now_s(),
        )
        where = "from nothing" if action.step is None else f"after step {action.step}"
        stage = Stage.STARTING if self.common.is_new else Stage.RECOVERING
        self._show(stage, f"starting {len(commands)} workers, {where}")
        try:
            self.launcher.start(commands, generation=generation)
        except OSError as error:
            self._tell(ev.ActionFailed(at_s=self.now_s(), token=action.token, reason=str(error)))

    def _render(self, action: act.StartGang) -> list[RankCommand]:
        """Write the task of the generation and give each rank its command."""
        place, layout = self.common.place, self.common.plan.best.layout
        place.rendezvous.mkdir(exist_ok=True)
        for old in place.rendezvous.iterdir():
            old.unlink()
        task = ours.render_task(
            self.common.study,
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
        gpus_per_host = self.common.study.cluster.host.num_gpus
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

    def _show_report(self, report: told.AnyTold) -> None:
        """Rank 0's reports, for the eye."""
        match report:
            case told.Restoring():
                self._show(None if self.common.is_new else Stage.RESTORING, "")
            case told.Ready(step=step):
                self.common.is_new = False
                self._show(Stage.TRAINING, f"training after step {step}", step=step)
            case told.Step():
                rate = report.tokens / report.step_s
                self._show(None, "", step=report.step, loss=report.loss, tokens_per_s=rate)
            case told.CheckpointCommitted(step=step):
                is_last = step == self.common.study.job.num_steps
                if is_last:
                    self._bucket(Bucket.PLANNED)
                self._show(
                    Stage.FINISHING if is_last else None,
                    f"checkpoint of step {step} committed",
                    committed_step=step,
                )
            case told.Finished():
                self.finished = report
