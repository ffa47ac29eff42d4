"""What the reports and exits of one generation mean, as events for the brain and book entries.

No clock and no process is touched here: times come in with what was seen, so every rule has a
plain test. Which of several broken ranks is to blame is decided here too: whoever was killed or
failed by itself, never one that merely lost its peer.
"""

from __future__ import annotations

import signal
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from gigafactory.control import events as ev
from gigafactory.describe import rank as told
from gigafactory.describe.faults import FaultClass
from gigafactory.describe.policy import Policy
from gigafactory.ledger import entries as book
from gigafactory.ledger.entries import Bucket

#: Exits of one incident arrive within this; a peer's complaint may come before the victim's end.
GRACE_S = 0.5
#: StepsDone is told no more often than this while all is well.
TELL_STEPS_EVERY_S = 0.5
#: Importing torch may keep a process from its heartbeat, so a start is given more time.
_START_PATIENCE = 3.0
_SILENT_STEPS = 10.0
_SILENT_LEAST_S = 2.0
DRILL_CAUSE = "drill"


@dataclass(frozen=True, slots=True)
class Note:
    """Something for the book, true since ``at_s``."""

    at_s: float
    content: book.Content


Seen = ev.Event | Note


@dataclass(slots=True)
class GangSight:
    """What is known of one generation of ranks."""

    generation: int
    host_of: Mapping[int, int]
    """Host by rank."""
    num_steps: int
    policy: Policy
    is_first: bool
    """The first start of the campaign, which the book counts apart from restarts."""
    begun_s: float
    step: int = 0
    finished: told.Finished | None = None
    drilled_rank: int | None = None
    """This rank was killed on purpose."""
    step_times_s: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    _ready: set[int] = field(default_factory=set)
    _restoring: set[int] = field(default_factory=set)
    _heard_s: dict[int, float] = field(default_factory=dict)
    _progress_s: float = 0.0
    _told_step: int = 0
    _told_s: float = 0.0
    _held: list[Seen] = field(default_factory=list)
    _ended: dict[int, int] = field(default_factory=dict)
    _failures: dict[int, told.Failed] = field(default_factory=dict)
    _ended_s: float | None = None
    _blamed: bool = False
    _is_detecting: bool = False

    @property
    def is_ready(self) -> bool:
        """Every rank trains."""
        return len(self._ready) == len(self.host_of)

    @property
    def failure(self) -> told.Failed | None:
        """The first exception told that no peer caused, else the first at all."""
        own = [f for f in self._failures.values() if not f.is_victim]
        return next(iter(own or self._failures.values()), None)

    def hear(self, rank: int, report: told.AnyTold, at_s: float) -> list[Seen]:
        """One report of ``rank``."""
        self._heard_s[rank] = at_s
        match report:
            case told.Restoring():
                return self._restore(rank, at_s)
            case told.Ready():
                return self._become_ready(rank, report, at_s)
            case told.Failed():
                self._failures[rank] = report
        return self._hear_first(report, at_s) if rank == 0 else []

    def end(self, rank: int, status: int, at_s: float) -> list[Seen]:
        """The process of ``rank`` is gone."""
        if self.finished is not None and status == 0:
            return []
        self._ended[rank] = status
        if self._ended_s is not None:
            return []
        self._ended_s = at_s
        return self._detect(at_s)

    def look(self, at_s: float) -> list[Seen]:
        """What the passing of time itself shows."""
        if self._blamed or self.finished is not None:
            return []
        if self._ended_s is not None:
            return self._blame(at_s)
        return self._notice_silence(at_s)

    def _restore(self, rank: int, at_s: float) -> list[Seen]:
        self._restoring.add(rank)
        if len(self._restoring) < len(self.host_of) or self.is_first:
            return []
        return [Note(at_s, book.BucketFrom(bucket=Bucket.RESTORE))]

    def _become_ready(self, rank: int, report: told.Ready, at_s: float) -> list[Seen]:
        self._ready.add(rank)
        if not self.is_ready:
            return []
        self.step = self._told_step = report.step
        self._progress_s = self._told_s = at_s
        ready = ev.GangReady(at_s=at_s, generation=self.generation, step=report.step)
        return [Note(at_s, book.BucketFrom(bucket=Bucket.PRODUCTIVE)), ready]

    def _hear_first(self, report: told.AnyTold, at_s: float) -> list[Seen]:
        """Rank 0 speaks for the gang in what all ranks agree on."""
        match report:
            case told.Step():
                return self._hear_step(report, at_s)
            case told.CheckpointBegun():
                begun_s = at_s - report.blocking_s
                return [
                    Note(begun_s, book.BucketFrom(bucket=Bucket.CHECKPOINT)),
                    Note(at_s, book.BucketFrom(bucket=Bucket.PRODUCTIVE)),
                ]
            case told.CheckpointCommitted():
                return self._hear_commit(report, at_s)
            case told.CheckpointFailed():
                cause = f"checkpoint of step {report.step} not saved: {report.reason}"
                return [self._fault(cause, FaultClass.PROCESS, (self.host_of[0],), at_s)]
            case told.Finished():
                self.finished = report
                held, self._held = self._held, []
                return held
        return []

    def _hear_step(self, report: told.Step, at_s: float) -> list[Seen]:
        self.step, self._progress_s = report.step, at_s
        self.step_times_s.append(report.step_s)
        loss = report.loss if report.finite else None
        seen: list[Seen] = []
        if self._is_detecting:
            self._is_detecting = False
            seen.append(Note(at_s, book.BucketFrom(bucket=Bucket.PRODUCTIVE)))
        seen.append(Note(at_s, book.Steps(step=report.step, step_s=report.step_s, loss=loss)))
        good = report.finite and report.replicas_agree
        if not good or at_s - self._told_s >= TELL_STEPS_EVERY_S:
            seen.append(self._steps_done(at_s, report.finite, report.replicas_agree))
        return seen

    def _hear_commit(self, report: told.CheckpointCommitted, at_s: float) -> list[Seen]:
        kept = book.CheckpointKept(
            step=report.step, save_s=report.write_s, num_bytes=report.num_bytes
        )
        seen: list[Seen] = [Note(at_s, kept)]
        if self._told_step < report.step:
            seen.append(self._steps_done(at_s, True, True))
        event = ev.CheckpointCommitted(at_s=at_s, generation=self.generation, step=report.step)
        if report.step == self.num_steps:
            # the brain would end the campaign, while the model is still to be exported
            self._held.append(event)
            return seen
        return [*seen, event]

    def _steps_done(self, at_s: float, finite: bool, agree: bool) -> ev.StepsDone:
        self._told_step, self._told_s = self.step, at_s
        return ev.StepsDone(
            at_s=at_s,
            generation=self.generation,
            step=self.step,
            finite=finite,
            replicas_agree=agree,
        )

    def _detect(self, at_s: float) -> list[Seen]:
        if self._is_detecting or not self.is_ready:
            return []
        self._is_detecting = True
        return [Note(at_s, book.BucketFrom(bucket=Bucket.DETECT))]

    def _blame(self, at_s: float) -> list[Seen]:
        """Name the culprits among the ended ranks, once."""
        assert self._ended_s is not None
        killed = [rank for rank, status in self._ended.items() if status < 0]
        if not killed and at_s - self._ended_s < GRACE_S:
            return []
        victims = {rank for rank, failure in self._failures.items() if failure.is_victim}
        own = [rank for rank in self._ended if rank not in victims]
        self._blamed = True
        seen: list[Seen] = []
        for rank in killed or own or list(self._ended)[:1]:
            seen += self._exit(rank, at_s)
        return seen

    def _exit(self, rank: int, at_s: float) -> list[Seen]:
        status, failure, host = self._ended[rank], self._failures.get(rank), self.host_of[rank]
        if status < 0:
            how, signature = ev.Exit.KILLED, _signal_name(-status)
        elif status == 0:
            how, signature = ev.Exit.CLEAN, ""
        else:
            how, signature = ev.Exit.ERROR, failure.signature if failure else f"status {status}"
        cause = f"rank {rank}: {signature or 'ended early'}"
        if rank == self.drilled_rank:
            cause = f"{DRILL_CAUSE}: {cause}"
        return [
            self._fault(cause, FaultClass.PROCESS, (host,), at_s),
            ev.RankExited(
                at_s=at_s, generation=self.generation, host=host, exit=how, signature=signature
            ),
        ]

    def _notice_silence(self, at_s: float) -> list[Seen]:
        """Ranks that neither beat nor, because the others wait for them, let a step end."""
        seen: list[Seen] = []
        idle_s = at_s - (self._progress_s if self.is_ready else self.begun_s)
        usual_s = statistics.median(self.step_times_s) if self.step_times_s else 0.0
        if self.is_ready and idle_s > max(_SILENT_LEAST_S, _SILENT_STEPS * usual_s):
            seen += self._detect(at_s)
        patience_s = self.policy.heartbeat_timeout_s * (1.0 if self.is_ready else _START_PATIENCE)
        silent = [r for r, heard_s in self._heard_s.items() if at_s - heard_s > patience_s]
        if not silent or idle_s <= patience_s:
            return seen
        self._blamed = True
        hosts = tuple(sorted({self.host_of[rank] for rank in silent}))
        names = ", ".join(str(rank) for rank in silent)
        seen.append(self._fault(f"silence of rank {names}", FaultClass.HANG, hosts, at_s))
        seen.append(ev.HangSuspected(at_s=at_s, generation=self.generation, hosts=hosts))
        return seen

    def _fault(self, cause: str, fault: FaultClass, hosts: tuple[int, ...], at_s: float) -> Note:
        return Note(at_s, book.FaultStruck(cause=cause, fault=fault.value, hosts=hosts))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
