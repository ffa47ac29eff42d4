"""`giga run --on` a scheduler that runs the whole job by itself: ask, watch, take back.

What a job needs to be found again lies in the run's folder, so the same command goes on watching
it. What was rented is given back however the job ends, and when whoever watches gives up.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from gigafactory.describe.errors import InputError, JobError
from gigafactory.run.errand import Errand
from gigafactory.run.launchers.registry import Order, Place, connect, render
from gigafactory.run.launchers.rental import Quote, Rental
from gigafactory.run.launchers.scheduler import JobState, JobStatus, Rendered, Scheduler
from gigafactory.run.signals import stop_signals

_LOOK_S = 5.0
_WAKE_S = 0.25
_END_LINES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A job that another scheduler carried out, as it ended."""

    place: Place
    engine: str
    num_hosts: int
    status: JobStatus

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "on": self.place.value,
            "engine": str(self.engine),
            "num_hosts": self.num_hosts,
            "job_id": self.status.job_id,
            "state": self.status.state.value,
            "hosts": list(self.status.hosts),
            "exit_status": self.status.exit_status,
            "reason": self.status.reason,
            "facts": dict(self.status.facts),
        }


def write(rendered: Rendered, folder: Path) -> list[Path]:
    """Every file of what would be asked for; JobError where the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, text in rendered.files.items():
            written.append(folder / name)
            written[-1].write_text(text, encoding="utf-8")
    except OSError as error:
        raise JobError(f"{error.filename or folder}: {error.strerror or error}") from None
    return written


def send(
    order: Order,
    *,
    place: Place,
    folder: Path,
    tell: Callable[[str], object],
    yes_usd_per_h: float | None = None,
    confirm: Callable[[Quote], bool] | None = None,
    look_s: float = _LOOK_S,
) -> Sent:
    """Ask for the job, or take up the one that ``folder`` asked for before; watch it to its end.

    ``tell`` gets a sentence whenever something changes. Money is spent only with ``yes_usd_per_h``
    or where ``confirm`` says yes to the quote. Ctrl-C cancels the job. JobError where it fails.
    """
    rendered = render(place, order)
    scheduler = connect(place, order.study)
    errand = Errand(folder / place.value)
    job_id = _known(errand, scheduler)
    try:
        if job_id is None:
            _agree(scheduler, rendered, yes_usd_per_h, confirm)
            tell(f"asking {place} for {order.program.num_hosts} hosts")
            with _terminated_is_interrupted():
                job_id = scheduler.submit(rendered)
            errand.folder.mkdir(parents=True, exist_ok=True)
            errand.name_job(job_id)
        status = _until_over(scheduler, job_id, tell=tell, look_s=look_s)
    except KeyboardInterrupt:
        _take_back(scheduler, job_id)
        raise JobError(f"stopped; what was asked of {place} is cancelled") from None
    return _ended(scheduler, Sent(place=place, engine=order.program.engine,
                                  num_hosts=order.program.num_hosts, status=status))  # fmt: skip


def _known(errand: Errand, scheduler: Scheduler) -> str | None:
    """The job that this folder asked for, where it is not over."""
    job_id = errand.job_id()
    if job_id is None:
        return None
    try:
        return None if scheduler.watch(job_id).state.is_over else job_id
    except (InputError, JobError):
        return None


def _agree(
    scheduler: Scheduler,
    rendered: Rendered,
    yes_usd_per_h: float | None,
    confirm: Callable[[Quote], bool] | None,
) -> None:
    """The yes that rented hosts need; without one the scheduler refuses, and says the price."""
    if not isinstance(scheduler, Rental):
        return
    quote = scheduler.quote(rendered)
    if yes_usd_per_h is None and confirm is not None and confirm(quote):
        yes_usd_per_h = quote.usd_per_h
    if yes_usd_per_h is not None:
        scheduler.allow(yes_usd_per_h)


def _until_over(
    scheduler: Scheduler, job_id: str, *, tell: Callable[[str], object], look_s: float
) -> JobStatus:
    """KeyboardInterrupt where a person or the system wants it to stop."""
    said = ""
    with stop_signals() as (requests, _):
        while True:
            status = scheduler.watch(job_id)
            words = f"job {job_id} is {status.state}" + (
                f": {status.reason}" if status.reason else ""
            )
            if words != said:
                tell(words)
            said = words
            if status.state.is_over:
                return status
            until_s = time.monotonic() + look_s
            while time.monotonic() < until_s:
                if requests:
                    raise KeyboardInterrupt
                time.sleep(min(_WAKE_S, look_s))


def _ended(scheduler: Scheduler, sent: Sent) -> Sent:
    status = sent.status
    last: list[str] = []
    try:
        if status.state is not JobState.DONE:
            last = _last_lines(scheduler, status.job_id)
    finally:
        if isinstance(scheduler, Rental):
            scheduler.cancel(status.job_id)  # over or not, hosts that are kept cost money
    if status.state is not JobState.DONE:
        words = [f"job {status.job_id} on {sent.place} is {status.state}", status.reason, *last]
        raise JobError("\n  ".join(filter(None, words)))
    return sent


def _last_lines(scheduler: Scheduler, job_id: str) -> list[str]:
    try:
        return list(scheduler.logs(job_id))[-_END_LINES:]
    except (InputError, JobError) as error:
        return [f"its logs cannot be read: {error}"]


@contextlib.contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """SIGTERM raises as Ctrl-C does, so that what is half asked for is taken back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _take_back(scheduler: Scheduler, job_id: str | None) -> None:
    if job_id is not None:
        scheduler.cancel(job_id)
