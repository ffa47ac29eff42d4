"""`giga run --on slurm`: ask for the job, watch it, stop it, and read what it left."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import deque
from dataclasses import dataclass, fields
from pathlib import Path

from gigafactory.describe.errors import InputError, JobError
from gigafactory.describe.study import Study
from gigafactory.ledger.fold import fold
from gigafactory.ledger.reader import read_ledger
from gigafactory.plan.chosen import Plan
from gigafactory.run.directory import RunDirectory, check_identity, check_space, clear, locked
from gigafactory.run.driver import NUM_KEPT_CHECKPOINTS, past_of
from gigafactory.run.engines import ours
from gigafactory.run.errand import Errand, Reading
from gigafactory.run.launchers.scheduler import JobState, JobStatus, Rendered
from gigafactory.run.launchers.slurm import SlurmScheduler, check_installed
from gigafactory.run.launchers.slurm_text import HOPELESS, render_job
from gigafactory.run.opening import num_hosts_of
from gigafactory.run.progress import Observer, Progress, RunResult, Stage
from gigafactory.run.signals import stop_signals

NAME = "slurm"
_LOOK_S = 0.25
_ASK_S = 2.0
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
    with stop_signals() as (requests, _):
        watch = _Watch(errand, scheduler, job_id, study.job.num_steps, observer, requests)
        try:
            status = watch.until_over()
        except _RefusedError:
            _leave_nothing(place, errand, was_there=was_there)
            raise
    return _result(place, errand, scheduler, status)


def render(study: Study, plan: Plan, *, run_dir: Path) -> Rendered:
    """The batch script; paths in it are absolute."""
    folder = RunDirectory(run_dir).of_scheduler(NAME)
    return render_job(
        name=f"giga-{study.study}",
        slurm=study.slurm,
        num_hosts=num_hosts_of(study, plan),
        num_spares=study.own_cluster.num_spare_hosts,
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
            check_identity(place, study, plan.best.layout)
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


@dataclass(slots=True)
class _Watch:
    """Shows what the job tells until it is over."""

    errand: Errand
    scheduler: SlurmScheduler
    job_id: str
    num_steps: int
    observer: Observer | None
    requests: deque[int]
    _num_requests: int = 0
    _said: str = ""

    def until_over(self) -> JobStatus:
        """The job's last status; JobError where it was cancelled before it began."""
        reading, asked_s = Reading(self.errand.progress), 0.0
        status = self.scheduler.watch(self.job_id)
        while True:
            is_ended = self.errand.end.exists()
            for seen in reading.more():
                if self.observer is not None:
                    self.observer(seen)
            if is_ended or status.state.is_over:
                return status
            self._show_waiting(status)
            while self.requests:
                self._stop(self.requests.popleft(), status)
            time.sleep(_LOOK_S)
            if time.monotonic() - asked_s >= _ASK_S:
                asked_s = time.monotonic()
                status = self.scheduler.watch(self.job_id)

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

    def _stop(self, number: int, status: JobStatus) -> None:
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
    known = {field.name: document[field.name] for field in fields(RunResult)}
    model_dir = document["model_dir"]
    return RunResult(
        **known
        | {
            "model_dir": Path(model_dir) if model_dir else None,
            "run_dir": place.root,
            "summary": fold(read_ledger(place.ledger)),
        }
    )
