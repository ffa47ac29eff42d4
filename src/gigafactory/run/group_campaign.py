"""Replica groups: how the controller's actions are carried out while the others train on."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.states import Membership
from gigafactory.describe import group as told
from gigafactory.describe.rank import CheckpointCommitted, Finished
from gigafactory.ledger import entries as book
from gigafactory.ledger.entries import Bucket
from gigafactory.run import checkpoints
from gigafactory.run.engines import ours
from gigafactory.run.group_drive import GroupDrive
from gigafactory.run.launchers.groups import Gone, Heard, Seat
from gigafactory.run.progress import Stage
from gigafactory.run.sensors.gang import DRILL_CAUSE

#: Processes that live are given so long to call a new driver.
_CALL_BACK_S = 5.0
#: Who does not answer a halt within this share of the heartbeat's rung is ended.
_HALT_SHARE = 0.8


@dataclass(slots=True)
class _Stopping:
    token: act.Token
    until_s: float
    missing: set[Seat]


@dataclass(slots=True, kw_only=True)
class GroupCampaign(GroupDrive):
    """Groups that start together, and leave and join one by one."""

    _seats: dict[int, int] = field(default_factory=dict)
    """Replica by host."""
    _stopping: _Stopping | None = None
    _starting: act.StartGang | None = None

    # -- begin -----------------------------------------------------------------------------

    def reattach(self, step: int) -> bool:
        """Go on with processes of an earlier driver, whose brain was rebuilt; False: none lives.

        ``step``: the last one in the book.
        """
        if not self.launcher.adopt():
            return False
        self._begin(step)
        # they trained while nobody drove
        self._origin_s -= self.common.away_s
        self.common.is_new = False
        self.took_over_at = self.sight.step = step
        for seat in self.launcher.seats:
            self.sight.watch(
                seat.replica, incarnation=seat.incarnation, num_ranks=self._num_ranks,
                at_s=self.now_s(),
            )  # fmt: skip
        heard = self._hear_from_all()
        self._show(Stage.TRAINING, f"{len(self.launcher.seats)} workers went on meanwhile")
        self._take_over()
        for item in heard:
            self._take(item)
        return True

    def _hear_from_all(self) -> list[Heard | Gone]:
        """Wait until everybody called; whoever does not is ended."""
        heard: list[Heard | Gone] = []
        silent = set(self.launcher.seats)
        deadline_s = time.monotonic() + _CALL_BACK_S
        while silent and time.monotonic() < deadline_s:
            for item in self.launcher.poll(0.05):
                silent.discard(item.seat)
                if isinstance(item, Heard) and isinstance(item.report, told.Here):
                    self._hear(item)
                else:
                    heard.append(item)
        self.launcher.kill(silent)
        alive = {seat.replica for seat in self.launcher.seats}
        self.sight.forget([r for r in self.sight.groups if r not in alive])
        return heard

    def _take_over(self) -> None:
        """What the brain believes, compared with what is there."""
        known = self.controller.replicas
        for replica, (_, incarnation) in known.items():
            self.sight.incarnation_of[replica] = incarnation
        for replica, host in enumerate(self.controller.hosts[:: self._replica_hosts]):
            self._sit(replica, host)
        self.sight.generation = self.controller.generation
        groups = self.sight.groups
        training = {r for r, (m, _) in known.items() if m is Membership.TRAINING}
        joining = {r: i for r, (m, i) in known.items() if m is Membership.JOINING and r in groups}
        self.epochs.adopt(groups, training=training, joining=joining)
        self._newest = act.Token(self.controller.generation, -1)
        self._tell(ev.Reattached(at_s=self.now_s()))
        for replica in sorted(training - groups.keys()):
            self.sight.watch(replica, incarnation=0, num_ranks=1, at_s=self.now_s())
            self._note(self.sight.end(replica, None, self.now_s()))

    @property
    def _num_ranks(self) -> int:
        return ours.group_ranks(self.common.plan.best.layout)

    @property
    def _replica_hosts(self) -> int:
        return max(1, self.controller.config.prices.replica_hosts)

    # -- observe ---------------------------------------------------------------------------

    def _observe(self, timeout_s: float) -> None:
        for item in self.launcher.poll(timeout_s):
            self._take(item)

    def _take(self, item: Heard | Gone) -> None:
        replica, group = item.seat.replica, self.sight.groups.get(item.seat.replica)
        if group is None or group.incarnation != item.seat.incarnation:
            return
        if isinstance(item, Heard):
            self._hear(item)
            self._show_report(item.report)
        elif replica in self.epochs.joining:
            self._lose_joining(replica)
        else:
            self._note(self.sight.end(replica, item.status, self.now_s()))

    def _hear(self, item: Heard) -> None:
        replica, rank, report = item.seat.replica, item.seat.rank, item.report
        self._note(self.sight.hear(replica, rank, report, self.now_s()))
        match report:
            case told.Here():
                self.epochs.go_on()
            case told.Regrouped():
                if self.epochs.met(replica, report):
                    self._complete()
            case told.Discarded(why=told.Why.PEER_LOST):
                self.epochs.part_from_peer(replica, report.epoch, self.now_s())
            case told.Halted(token=attempt):
                self._halted(item.seat, attempt)
            case told.Stepped():
                self._drill(report)
                self._leave_behind(report.step)
            case told.Held() if rank == 0:
                self._hold(replica, report)
            case told.Compared() if rank == 0:
                self._weigh(replica, report)

    def _look(self) -> None:
        self._note(self.sight.look(self.now_s(), wants_processor=self.launcher.wants_processor))
        self.epochs.look(self.now_s())
        self._go_on_if_cleared()
        stopping = self._stopping
        if stopping is not None and self.now_s() >= stopping.until_s:
            self._end(stopping.missing)
            stopping.missing.clear()
            self._stopped(stopping)

    def _lose_joining(self, replica: int) -> None:
        incarnation = self.epochs.joining.pop(replica)
        failure = self.sight.groups[replica].failure
        self.sight.forget([replica])
        lost = ev.ReplicaLost(
            at_s=self.now_s(),
            generation=self.sight.generation,
            replica=replica,
            incarnation=incarnation,
            reason=failure.signature if failure else "its process ended",
        )
        self._tell(lost)

    def _drill(self, report: told.Stepped) -> None:
        """The failure made on purpose, once a campaign."""
        drill = self.common.study.drill
        if not self.common.is_drill_due or drill is None or report.step < drill.kill_at_step:
            return
        self.common.is_drill_due = False
        replica, rank = divmod(drill.kill_rank, self._num_ranks)
        if replica in self.sight.groups:
            cause = f"{DRILL_CAUSE}: SIGKILL for replica {replica}"
            fault = book.FaultStruck(cause=cause, fault="process", hosts=())
            self.common.ledger.write(fault, at_s=self.now_s())
            seat = Seat(replica, rank, self.sight.groups[replica].incarnation)
            self.launcher.signal(seat, signal.SIGKILL)

    # -- epochs ----------------------------------------------------------------------------

    def _complete(self) -> None:
        """All members of the newest epoch met: training goes on."""
        at_s, step, epochs = self.now_s(), self.epochs.met_step, self.epochs
        starting, self._starting = self._starting, None
        if starting is not None:
            self._ready(starting, step)
        elif epochs.joining.keys() & epochs.members:
            # they waited for the newcomer since the end of the last step
            self.common.ledger.write(
                book.BucketFrom(bucket=Bucket.RENDEZVOUS), at_s=self.sight.stepped_s
            )
        self.common.ledger.write(book.Rollback(step=self.sight.step), at_s=at_s)
        self._bucket(Bucket.PRODUCTIVE)
        num_gpus = len(epochs.members) * self._num_ranks
        self.common.ledger.write(book.PaceFrom(num_gpus=num_gpus), at_s=at_s)
        self._note(self.sight.go_on(step, at_s))
        for replica in sorted(epochs.members & epochs.joining.keys()):
            incarnation = epochs.joining.pop(replica)
            self.sight.incarnation_of[replica] = incarnation
            generation = self.sight.generation
            self._tell(
                ev.ReplicaReady(
                    at_s=at_s, generation=generation, replica=replica, incarnation=incarnation
                )
            )
        self._show(Stage.TRAINING, f"{len(epochs.members)} groups train after step {step}")
        epochs.go_on()

    def _ready(self, starting: act.StartGang, step: int) -> None:
        """The gang stands at the step that was asked for, or further: then that is told next."""
        asked = starting.step or 0
        self.sight.go_back(min(asked, step))
        self._tell(
            ev.GangReady(at_s=self.now_s(), generation=starting.token.generation, step=asked)
        )
        self.common.is_new = False

    # -- act -------------------------------------------------------------------------------

    def _act(self, action: act.Action) -> None:
        match action:
            case act.StartGang():
                self._start(action)
            case act.StopGang():
                self._stop(action)
            case act.DropReplicas():
                self._drop(action)
            case act.JoinReplica():
                self._join(action)
            case act.SaveNow(tier=act.Tier.STORE):
                self._tell_all(told.Save())
            case act.ReplaySteps():
                self.opinion.asked = action
                self._ask()
            case act.EvictHosts(hosts=hosts):
                self._end(self._seats_on(hosts))
                self._act_in_common(action)
            case _:
                self._act_in_common(action)

    def _start(self, action: act.StartGang) -> None:
        self._stopping = None
        is_cold = action.how is act.Start.COLD or action.step is None
        if action.step is not None and action.tier is act.Tier.STORE:
            damage = checkpoints.why_damaged(self.common.place.checkpoints, action.step)
            if damage is not None:
                self._show(None, f"checkpoint of step {action.step}: {damage}")
                self._tell(ev.CheckpointLost(at_s=self.now_s(), step=action.step))
                return
        if is_cold:
            self._end(self._older_than(action.token, is_blank=action.step is None))
        elif action.tier is act.Tier.PEER and not self._is_held(action.step):
            lost = ev.CheckpointLost(at_s=self.now_s(), step=action.step or 0, tier=act.Tier.PEER)
            self._tell(lost)
            return
        self._seat_all(action)
        self._bucket(Bucket.INIT if self.common.is_new else Bucket.RENDEZVOUS)
        where = "from nothing" if action.step is None else f"after step {action.step}"
        stage = Stage.STARTING if self.common.is_new else Stage.RECOVERING
        self._show(stage, f"starting {len(self.sight.host_of)} groups, {where}")
        try:
            self._start_missing(action)
        except OSError as error:
            failed = ev.ActionFailed(at_s=self.now_s(), token=action.token, reason=str(error))
            self._tell(failed)

    def _older_than(self, token: act.Token, *, is_blank: bool) -> list[Seat]:
        """Processes that an earlier action started; ``is_blank``: those with nothing in memory,
        which a start from nothing can use, excepted."""
        return [
            seat
            for seat in self.launcher.seats
            if seat.incarnation < token.attempt
            and not (is_blank and self.sight.groups[seat.replica].step <= 0)
        ]

    def _seat_all(self, action: act.StartGang) -> None:
        self._starting = action
        self._seats.clear()
        self.sight.host_of.clear()
        self.sight.generation = action.token.generation
        for replica, host in enumerate(action.hosts[:: self._replica_hosts]):
            self._sit(replica, host)
            self.sight.incarnation_of[replica] = 0

    def _sit(self, replica: int, host: int) -> None:
        self._seats = {h: r for h, r in self._seats.items() if r != replica} | {host: replica}
        self.sight.host_of[replica] = host

    def _start_missing(self, action: act.StartGang) -> None:
        is_from_store = action.tier is act.Tier.STORE
        if is_from_store:
            checkpoints.remove_unfit(self.common.place.checkpoints, restore_step=action.step)
        for replica in self.sight.host_of:
            if replica not in self.sight.groups:
                self._spawn(replica, action.token.attempt)
        self.epochs.begin(
            len(self.sight.host_of), restore_step=(action.step or 0) if is_from_store else None
        )

    def _is_held(self, step: int | None) -> bool:
        """Whether a process that lives holds the state of ``step``, or of a later one."""
        return any(group.step >= (step or 0) for group in self.sight.groups.values())

    def _spawn(self, replica: int, incarnation: int) -> None:
        layout = self.common.plan.best.layout
        commands = ours.render_group(
            layout,
            replica=replica,
            host=self.sight.host_of[replica],
            task_file=self.common.place.task,
        )
        self.launcher.start(commands, replica=replica, incarnation=incarnation)
        self.sight.watch(
            replica, incarnation=incarnation, num_ranks=len(commands), at_s=self.now_s()
        )

    def _stop(self, action: act.StopGang) -> None:
        is_planned = self._shown is not None and self._shown.stage is Stage.STOPPING
        if self.finished is None:
            self._bucket(Bucket.PLANNED if is_planned else Bucket.DECIDE)
        self.epochs.part()
        self._starting = None
        stopping = _Stopping(action.token, self.now_s(), set())
        if action.how is act.Start.COLD:
            self._end(self.launcher.seats)
        else:
            self._end(self._broken())
            prepared = {r for r, group in self.sight.groups.items() if group.is_prepared}
            stopping.missing = {s for s in self.launcher.seats if s.replica in prepared}
            heartbeat_s = self.sight.ladder.heartbeat_s
            stopping.until_s += _HALT_SHARE * heartbeat_s
            for seat in stopping.missing:
                self.launcher.tell(seat, told.Halt(token=action.token.attempt))
        self._stopping = stopping
        self._stopped(stopping)
        self.last_failure = self.sight.last_failure

    def _broken(self) -> list[Seat]:
        """Of groups that were accused, or of which a process is missing."""
        alive = self.launcher.seats
        whole = {
            r for r, group in self.sight.groups.items()
            if not group.is_accused and group.failure is None
            and sum(s.replica == r for s in alive) == len(group.heard_s)
        }  # fmt: skip
        return [seat for seat in alive if seat.replica not in whole]

    def _halted(self, seat: Seat, attempt: int) -> None:
        stopping = self._stopping
        if stopping is not None and stopping.token.attempt == attempt:
            stopping.missing.discard(seat)
            self._stopped(stopping)

    def _stopped(self, stopping: _Stopping) -> None:
        if stopping.missing or self._stopping is None:
            return
        self._stopping = None
        alive = {seat.replica for seat in self.launcher.seats}
        self.sight.forget([r for r in self.sight.groups if r not in alive])
        generation = stopping.token.generation
        self._tell(ev.GangStopped(at_s=self.now_s(), generation=generation))

    def _drop(self, action: act.DropReplicas) -> None:
        older = self._older_than(action.token, is_blank=False)
        self._end([seat for seat in older if seat.replica in action.replicas])
        alive = {seat.replica for seat in self.launcher.seats}
        self.sight.forget(set(action.replicas) - alive)
        if self.epochs.leave(action.replicas):
            self._bucket(Bucket.REPLACE)
            names = ", ".join(map(str, action.replicas))
            self._show(Stage.RECOVERING, f"group {names} dropped, the others go on")

    def _join(self, action: act.JoinReplica) -> None:
        replica, attempt = action.replica, action.token.attempt
        for seat, host in action.seated:
            if seat % self._replica_hosts == 0:
                self._sit(seat // self._replica_hosts, host)
        self.epochs.joining[replica] = attempt
        group = self.sight.groups.get(replica)
        if group is not None and group.incarnation == attempt:
            self.epochs.go_on()
            return
        self._end([seat for seat in self.launcher.seats if seat.replica == replica])
        try:
            self._spawn(replica, attempt)
        except OSError as error:
            self.epochs.joining.pop(replica)
            failed = ev.ActionFailed(at_s=self.now_s(), token=action.token, reason=str(error))
            self._tell(failed)
            return
        self._show(None, f"starting group {replica} again")

    def _end(self, seats: list[Seat] | set[Seat]) -> None:
        """Leave no process in these seats."""
        self.launcher.kill(seats)
        alive = {seat.replica for seat in self.launcher.seats}
        self.sight.forget({seat.replica for seat in seats} - alive)

    def _seats_on(self, hosts: tuple[int, ...]) -> list[Seat]:
        replicas = {self._seats[host] for host in hosts if host in self._seats}
        return [seat for seat in self.launcher.seats if seat.replica in replicas]

    # -- show ------------------------------------------------------------------------------

    def _show_report(self, report: told.AnyGroupTold) -> None:
        """For the eye."""
        match report:
            case told.Stepped() if self._shown and report.step > self._shown.step:
                rate = report.tokens / report.step_s
                self._show(None, "", step=report.step, loss=report.loss, tokens_per_s=rate)
            case CheckpointCommitted(step=step):
                is_last = step == self.common.study.job.num_steps
                if is_last:
                    self._bucket(Bucket.PLANNED)
                self._show(
                    Stage.FINISHING if is_last else None,
                    f"checkpoint of step {step} committed",
                    committed_step=step,
                )
            case Finished():
                self.finished = report


def group_files(root: Path) -> tuple[Path, Path]:
    """(where the driver listens, who lives): files of a run directory."""
    return root / told.CONTROL_FILE, root / "members.json"
