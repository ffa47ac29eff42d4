"""`giga run --on slurm`: ask for the job, watch it, stop it, and read what it left."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

from gigafactory.describe.errors import InputError, JobError
from gigafactory.describe.study import Study
from gigafactory.ledger.fold import fold
from gigafactory.ledger.reader import read_ledger
from gigafactory.plan.chosen import Plan
from gigafactory.run.directory import RunDirectory, check_space, clear, compare_identity, locked
from gigafactory.run.driver import NUM_KEPT_CHECKPOINTS, past_of
from gigafactory.run.engines import ours
from gigafactory.run.errand import Errand, Reading
from gigafactory.run.launchers.agent import Meeting, answers_at
from gigafactory.run.launchers.scheduler import JobState, JobStatus, Rendered
from gigafactory.run.launchers.slurm import SlurmScheduler, check_installed
from gigafactory.run.launchers.slurm_text import HOPELESS, render_job
from gigafactory.run.opening import num_hosts_of
from gigafactory.run.progress import Observer, Progress, RunResult, Stage
from gigafactory.run.signals import stop_signals

NAME = "slurm"
_LOOK_S = 0.25
_ASK_S = 2.0
_KNOCK_S = 1.0
_NUM_REFUSALS = 3
_MOST_EXCHANGES = 3
#: A scheduler that is silent for so long is gone.
_PATIENCE_S = 1800.0
_END_S = 3.0
_END_LINES = 12


def run_on_slurm(
    study: Study,
    *,
    plan: Plan,
    run_dir: Path,
    fresh: bool = False,
    observer: Observer | None = None,
) -> RunResult:
    """Train as a Slurm job of as many hosts as the plan takes and the cluster's spares.

    A job of the same study that this folder asked for before is watched, not asked for again.
    The first SIGINT or SIGTERM asks the driver in the job to stop at the next checkpoint (a job
    that still waits is cancelled), the second at once, the third cancels the job.
    InputError where the plan cannot be run, JobError with Slurm's words where it refuses.
    """
    ours.check(study, plan.best.layout)
    check_installed()
    run_dir = run_dir.resolve()
    place = RunDirectory(run_dir)
    errand = Errand(place.of_scheduler(NAME))
    scheduler = SlurmScheduler(errand.folder)
    was_there = run_dir.exists()
    job_id = _running(errand, scheduler)
    if job_id is None:
        job_id = _ask(study, plan, place, errand, scheduler, fresh=fresh)
    elif fresh or not errand.is_of(study, plan):
        what = "begun anew" if fresh else "another study or plan"
        raise InputError(
            f"{run_dir}: job {job_id} is still at work there, and this would be {what}; wait for "
            f"it, cancel it (scancel {job_id}), or choose another --dir"
        )

    def ask_again() -> str:
        # with one host less there may be no spare left, and training is worth more
        job = render(study, plan, run_dir=run_dir, may_lack_spares=True)
        errand.name_job(new := scheduler.submit(job))
        return new

    with stop_signals() as (requests, _):
        watch = _Watch(
            errand=errand, scheduler=scheduler, job_id=job_id, num_steps=study.job.num_steps,
            observer=observer, requests=requests, ask_again=ask_again,
        )  # fmt: skip
        try:
            status = watch.until_over()
        except _RefusedError:
            _leave_nothing(place, errand, was_there=was_there)
            raise
    return _result(place, errand, scheduler, status)


def render(study: Study, plan: Plan, *, run_dir: Path, may_lack_spares: bool = False) -> Rendered:
    """The batch script; paths in it are absolute."""
    folder = RunDirectory(run_dir).of_scheduler(NAME)
    return render_job(
        name=f"giga-{study.study}",
        slurm=study.slurm,
        num_hosts=num_hosts_of(study, plan),
        num_spares=study.own_cluster.num_spare_hosts,
        may_lack_spares=may_lack_spares,
        folder=str(folder),
        argv=(sys.executable, "-m", "gigafactory.run.inside", str(folder)),
    )


def _running(errand: Errand, scheduler: SlurmScheduler) -> str | None:
    """The job that this folder asked for, where it is not over."""
    job_id = errand.job_id()
    if job_id is None or errand.end.exists():
        return None
    return None if scheduler.watch(job_id).state.is_over else job_id


def _ask(
    study: Study,
    plan: Plan,
    place: RunDirectory,
    errand: Errand,
    scheduler: SlurmScheduler,
    *,
    fresh: bool,
) -> str:
    """Submit; where Slurm refuses, nothing is left."""
    was_there = place.root.exists()
    try:
        with locked(place.root):
            if fresh:
                clear(place)
            past_of(place)
            compare_identity(place, study, plan.best.layout)
            needed = ours.disk_bytes(study, num_kept=NUM_KEPT_CHECKPOINTS)
            check_space(place, needed_bytes=needed)
            errand.give(study, plan)
        job_id = scheduler.submit(render(study, plan, run_dir=place.root))
    except (InputError, JobError):
        _leave_nothing(place, errand, was_there=was_there)
        raise
    errand.name_job(job_id)
    return job_id


class _RefusedError(JobError):
    """The scheduler took the job and will never start it."""


def _leave_nothing(place: RunDirectory, errand: Errand, *, was_there: bool) -> None:
    """Of a job that never ran; an earlier run in the same folder stays."""
    shutil.rmtree(errand.folder if was_there else place.root, ignore_errors=True)


@dataclass(slots=True, kw_only=True)
class _Watch:
    """Shows what the job tells until it is over, and replaces a job whose driver is lost."""

    errand: Errand
    scheduler: SlurmScheduler
    job_id: str
    num_steps: int
    observer: Observer | None
    requests: deque[int]
    ask_again: Callable[[], str]
    _num_requests: int = 0
    _num_refused: int = 0
    _num_exchanges: int = 0
    _answered_s: float = field(default_factory=time.monotonic)
    _said: str = ""

    def until_over(self) -> JobStatus:
        """The job's last status; JobError where it was cancelled before it began."""
        reading, asked_s = Reading(self.errand.progress), time.monotonic()
        status = self.scheduler.watch(self.job_id)
        while True:
            is_ended = self.errand.end.exists()
            for seen in reading.more():
                if self.observer is not None:
                    self.observer(seen)
            if is_ended or (status.state.is_over and self._is_silent_after_end()):
                return status
            self._show_waiting(status)
            while self.requests:
                self._stop(self.requests.popleft())
            time.sleep(_LOOK_S)
            if time.monotonic() - asked_s >= _ASK_S:
                asked_s = time.monotonic()
                status = self._asked(status)
                if self._has_exchanged_lost_driver(status):
                    status = self._asked(status)

    def _asked(self, before: JobStatus) -> JobStatus:
        """The job's status; a scheduler that does not answer says nothing about the job."""
        try:
            status = self.scheduler.watch(self.job_id)
        except JobError as error:
            if time.monotonic() - self._answered_s > _PATIENCE_S:
                raise
            self._say(f"Slurm does not answer, which says nothing about the job: {error}")
            return before
        self._answered_s = time.monotonic()
        return status

    def _is_silent_after_end(self) -> bool:
        """A shared folder may show late what the job wrote last."""
        until_s = time.monotonic() + _END_S
        while not self.errand.end.exists():
            if time.monotonic() > until_s:
                return True
            time.sleep(_LOOK_S)
        return False

    def _has_exchanged_lost_driver(self, status: JobStatus) -> bool:
        """Neither slurmd nor the driver answers on the job's first host, again and again: it is
        gone, and Slurm would requeue the job minutes later. A new one goes on at once."""
        host = status.facts.get("BatchHost", "")
        is_gone = status.state is JobState.RUNNING and host and self._is_gone(host)
        self._num_refused = self._num_refused + 1 if is_gone else 0
        if self._num_refused < _NUM_REFUSALS or self._num_exchanges >= _MOST_EXCHANGES:
            return False
        self._num_refused, self._num_exchanges = 0, self._num_exchanges + 1
        self._say(f"{host}, where the driver of job {self.job_id} ran, is gone; asking for another")
        self.scheduler.give_up(self.job_id)
        self.job_id = self.ask_again()
        return True

    def _is_gone(self, host: str) -> bool:
        try:
            door = self.scheduler.door(host)
            ports = (door.port, Meeting.read(self.errand.meet).port)
        except (JobError, OSError, ValueError, KeyError):
            return False
        return all(answers_at(door.address, port, timeout_s=_KNOCK_S) is False for port in ports)

    def _show_waiting(self, status: JobStatus) -> None:
        if status.state is JobState.WAITING:
            if status.reason in HOPELESS:
                self.scheduler.cancel(self.job_id)
                raise _RefusedError(
                    f"job {self.job_id} would never start: {status.reason} (Slurm's word); it is "
                    "cancelled. The partition's limits: scontrol show partition"
                )
            why = f" ({status.reason})" if status.reason else ""
            self._say(f"job {self.job_id} waits for its hosts{why}")
        elif status.state is JobState.RUNNING:
            self._say(f"job {self.job_id} runs on {len(status.hosts)} hosts")

    def _stop(self, number: int) -> None:
        self._num_requests += 1
        is_waiting = self.scheduler.watch(self.job_id).state is JobState.WAITING
        if is_waiting or self._num_requests > 2:
            self._say(f"cancelling job {self.job_id}")
            self.scheduler.cancel(self.job_id)
            raise JobError(
                f"job {self.job_id} is cancelled; the same command asks for it again and goes on "
                "from the last checkpoint"
            )
        if self._num_requests == 1:
            self._say("stopping at the next checkpoint; once more: at once", Stage.STOPPING)
        self.scheduler.ask_to_stop(self.job_id, number)

    def _say(self, message: str, stage: Stage = Stage.STARTING) -> None:
        if self.observer is None or message == self._said:
            return
        self._said = message
        self.observer(
            Progress(
                at_s=0.0, stage=stage, step=0, num_steps=self.num_steps, generation=0,
                message=message,
            )
        )  # fmt: skip


def _result(
    place: RunDirectory, errand: Errand, scheduler: SlurmScheduler, status: JobStatus
) -> RunResult:
    """As the driver in the job wrote it; else the error that it ended with."""
    if not errand.end.exists():
        word = status.facts.get("JobState", status.state.value)
        last = list(scheduler.logs(status.job_id))[-_END_LINES:]
        words = [f"job {status.job_id} is {word}", status.reason, *last]
        raise JobError("\n  ".join(filter(None, words)))
    failure = errand.failure()
    if failure is not None:
        raise failure
    document = json.loads(place.result.read_text(encoding="utf-8"))
    known = {key.name: document[key.name] for key in fields(RunResult)}
    model_dir = document["model_dir"]
    return RunResult(
        **known
        | {
            "model_dir": Path(model_dir) if model_dir else None,
            "run_dir": place.root,
            "summary": fold(read_ledger(place.ledger)),
        }
    )
