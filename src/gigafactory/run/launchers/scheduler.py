"""Where jobs are asked for: what a cluster's scheduler can do, in one interface.

Two levels meet in a real run. A *scheduler* (Slurm, Kubernetes, Ray, a cloud) gives a job its
hosts and takes them back; inside of what it gave, a ``Launcher`` starts the ranks of one gang
after the other, as the controller decides. So a lost host costs a new gang, never a new job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class JobState(StrEnum):
    """Where a job stands, in the words that all schedulers share."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"

    @property
    def is_over(self) -> bool:
        """Whether it will not change any more, unless it is requeued."""
        return self not in (JobState.WAITING, JobState.RUNNING)


class Ability(StrEnum):
    """What a scheduler may or may not be able to do; asked for before it is tried."""

    SUBMIT = "submit"
    WATCH = "watch"
    CANCEL = "cancel"
    DRAIN = "drain"
    REQUEUE = "requeue"
    LOGS = "logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What a scheduler is asked for, as text: pure to make, so it is kept as golden files.

    ``files`` are to be written into the job's folder, by relative name; ``main`` is the one that
    is submitted.
    """

    name: str
    main: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job as its scheduler tells it."""

    job_id: str
    state: JobState
    hosts: tuple[str, ...] = ()
    reason: str = ""
    """Why it waits, failed or was cancelled, in the scheduler's words."""
    exit_status: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else the scheduler says, for a person to read."""


class Scheduler(Protocol):
    """One cluster's front door.

    Every method raises JobError with the scheduler's own words where it refuses or cannot be
    reached, and InputError where what was asked for makes no sense there.
    """

    abilities: frozenset[Ability]

    def submit(self, job: Rendered) -> str:
        """Ask for the job; its identity at the scheduler. Where this raises, nothing was asked."""

    def watch(self, job_id: str) -> JobStatus:
        """Where the job stands now; jobs that the scheduler forgot are read from its records."""

    def cancel(self, job_id: str) -> None:
        """End the job and wait until nothing of it runs; no effect where it is over."""

    def drain(self, host: str, *, reason: str) -> None:
        """Let nothing new start on ``host``; running work goes on."""

    def requeue(self, job_id: str) -> str:
        """Ask for the same job again, after it is over; its new identity (it may be the old)."""

    def logs(self, job_id: str) -> Iterator[str]:
        """What the job printed so far, line by line."""
