"""What the reports, exits and silences of replica groups mean, as events and book entries.

No clock and no process is touched here: times come in with what was seen, so every rule has a
plain test. A step counts as done when every member of its epoch committed it; whoever is stuck is
told apart from those that wait for it, for each says what it is at.
"""

from __future__ import annotations

import signal
import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gigafactory.control import events as ev
from gigafactory.control.timeouts import STEP_FACTOR, Ladder
from gigafactory.describe import group as told
from gigafactory.describe.faults import FaultClass
from gigafactory.describe.group import Doing, Why
from gigafactory.describe.rank import (
    CheckpointBegun,
    CheckpointCommitted,
    CheckpointFailed,
    Failed,
    Finished,
)
from gigafactory.ledger import entries as book
from gigafactory.ledger.entries import Bucket
from gigafactory.run.sensors.gang import Note, Seen

#: StepsDone is told no more often than this while all is well.
TELL_STEPS_EVERY_S = 0.5
#: Importing torch may keep a process from its heartbeat, so a start is given more time.
_START_PATIENCE = 10.0
#: What may take as long as a start does.
_SLOW_WORK = frozenset({Doing.PREPARING, Doing.SAVING, Doing.ENDING})
#: Below the rung of the controller itself, which would end the whole gang.
_BELOW_THE_RUNG = 0.8
_SILENT = "silent"


@dataclass(slots=True)
class Sighted:
    """What is known of the processes of one group, the least of all its ranks."""

    incarnation: int
    """Attempt of the action that started them."""
    heard_s: dict[int, float]
    """By rank."""
    addresses: dict[int, str] = field(default_factory=dict)
    """Of ranks that are prepared."""
    doing: dict[int, Doing] = field(default_factory=dict)
    beats: dict[int, int] = field(default_factory=dict)
    changed_s: dict[int, float] = field(default_factory=dict)
    starved_s: dict[int, tuple[float, float]] = field(default_factory=dict)
    """How long the main thread had waited for a processor: at its newest beat, and by now."""
    step: int = -1
    epoch: int = 0
    members: tuple[int, ...] = ()
    failure: Failed | None = None
    is_accused: bool = False

    @property
    def is_prepared(self) -> bool:
        """Every rank waits for an epoch, or is in one."""
        return len(self.addresses) == len(self.heard_s)


@dataclass(slots=True)
class GroupSight:
    """What is known of all groups of one run."""

    generation: int
    ladder: Ladder
    num_steps: int
    step: int
    """The last one in the book."""
    groups: dict[int, Sighted] = field(default_factory=dict)
    members: frozenset[int] = frozenset()
    """Of the epoch that trains, or is to."""
    epoch: int = 0
    host_of: dict[int, int] = field(default_factory=dict)
    """Host by replica (its first)."""
    incarnation_of: dict[int, int] = field(default_factory=dict)
    """By replica, as the controller counts; 0: it came with the gang."""
    is_training: bool = False
    """All members of the epoch met."""
    finished: Finished | None = None
    last_failure: str = ""
    step_times_s: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    _said: dict[int, dict[int, told.Stepped]] = field(default_factory=dict)
    """By step and replica, of steps not yet in the book."""
    _told_step: int = 0
    _told_s: float = 0.0
    stepped_s: float = 0.0
    """When the last step was done, or training went on."""
    _gap_s: float = 0.0
    """The longest between two beats of somebody who worked."""
    _looked_s: float | None = None
    _is_detecting: bool = False
    _judged: set[tuple[int, Why]] = field(default_factory=set)
    _committed: set[int] = field(default_factory=set)
    _held: list[Seen] = field(default_factory=list)

    # -- what the driver does

    def watch(self, replica: int, *, incarnation: int, num_ranks: int, at_s: float) -> None:
        """Processes of ``replica`` were started."""
        self.groups[replica] = Sighted(incarnation, dict.fromkeys(range(num_ranks), at_s))

    def forget(self, replicas: Iterable[int]) -> None:
        """Their processes were ended."""
        for replica in replicas:
            self.groups.pop(replica, None)

    def regroup(self, epoch: int, members: Iterable[int]) -> None:
        """A new epoch was ordered."""
        self.epoch, self.members = epoch, frozenset(members)

    def go_on(self, step: int, at_s: float) -> list[Seen]:
        """All members met, and hold the state of ``step``."""
        self.is_training, self._is_detecting = True, False
        seen = self._book_until(step, at_s)
        self.step = step
        self._said = {s: by for s, by in self._said.items() if s > step}
        self.stepped_s = at_s
        return seen

    def go_back(self, step: int) -> None:
        """Training goes on after ``step``, which is earlier than what is in the book."""
        self.step = min(self.step, step)
        self._told_step = min(self._told_step, step)
        self._said.clear()

    # -- what is seen

    def hear(self, replica: int, rank: int, report: told.AnyGroupTold, at_s: float) -> list[Seen]:
        """One report; of a process that is watched."""
        group = self.groups[replica]
        group.heard_s[rank] = at_s
        match report:
            case told.Here():
                self._meet(group, report)
            case told.Alive():
                self._feel(group, rank, report, at_s)
            case told.Stepped() if rank == 0:
                group.step = report.step
                return self._hear_step(replica, report, at_s)
            case told.Regrouped(step=step) | told.Halted(step=step):
                group.step = step
            case told.Discarded():
                return self._hear_discard(report, at_s)
            case Failed():
                group.failure = group.failure or report
            case CheckpointBegun() | CheckpointCommitted() | CheckpointFailed() | Finished():
                return self._hear_save(replica, report, at_s)
        return []

    def end(self, replica: int, status: int | None, at_s: float) -> list[Seen]:
        """A process of ``replica`` is gone, and nobody asked for that."""
        group, host = self.groups[replica], self.host_of[replica]
        failure = group.failure
        if failure is not None:
            how, signature = ev.Exit.ERROR, failure.signature
            self.last_failure = failure.message
        elif status is None or status < 0:
            how, signature = ev.Exit.KILLED, _signal_name(-(status or 0))
        elif status == 0:
            how, signature = ev.Exit.CLEAN, ""
        else:
            how, signature = ev.Exit.ERROR, f"status {status}"
        cause = f"replica {replica}: {signature or 'ended early'}"
        seen = self.flush(at_s) + self._detect(replica, at_s)
        seen.append(_fault(cause, FaultClass.PROCESS, host, at_s))
        event = ev.RankExited(
            at_s=at_s, generation=self.generation, host=host, exit=how, signature=signature,
            incarnation=self.incarnation_of.get(replica, 0),
        )  # fmt: skip
        return [*seen, event]

    def look(
        self, at_s: float, *, wants_processor: Callable[[int], bool] = lambda _replica: False
    ) -> list[Seen]:
        """What the passing of time itself shows.

        ``wants_processor``: whether a thread of a replica runs, or would if it got a processor.
        """
        self._excuse_own_absence(at_s)
        seen: list[Seen] = []
        for replica, group in self.groups.items():
            why = self._why_accused(replica, group, at_s)
            if why == _SILENT and self._may_be_busy(group, at_s) and wants_processor(replica):
                continue
            if why is not None and self.finished is None:
                group.is_accused = True
                seen += self._accuse(replica, why, at_s)
        return seen

    @property
    def usual_step_s(self) -> float | None:
        """Median of the last steps."""
        return statistics.median(self.step_times_s) if self.step_times_s else None

    # -- processes

    def _meet(self, group: Sighted, here: told.Here) -> None:
        group.step, group.epoch, group.members = here.step, here.epoch, here.members
        if here.address:
            group.addresses[here.rank] = here.address

    def _feel(self, group: Sighted, rank: int, pulse: told.Alive, at_s: float) -> None:
        if group.beats.get(rank) != pulse.beats or group.doing.get(rank) is not pulse.doing:
            since_s = group.changed_s.get(rank)
            if since_s is not None and group.doing.get(rank) is Doing.COMPUTING:
                self._gap_s = max(self._gap_s, at_s - since_s)
            group.beats[rank], group.doing[rank] = pulse.beats, pulse.doing
            group.changed_s[rank] = at_s
            group.starved_s[rank] = pulse.starved_s, pulse.starved_s
        else:
            group.starved_s[rank] = group.starved_s[rank][0], pulse.starved_s

    def _excuse_own_absence(self, at_s: float) -> None:
        """Nobody listened for a while: no silence of that time means anything."""
        before_s, self._looked_s = self._looked_s, at_s
        if before_s is None or at_s - before_s < self.ladder.heartbeat_s / 2:
            return
        away_s = at_s - before_s
        for group in self.groups.values():
            group.heard_s = {r: min(at_s, s + away_s) for r, s in group.heard_s.items()}
            group.changed_s = {r: min(at_s, s + away_s) for r, s in group.changed_s.items()}

    @property
    def hang_s(self) -> float:
        """So long a main thread may be at one piece of work."""
        longest_s = max(self.ladder.heartbeat_s, STEP_FACTOR * self._gap_s)
        return min(longest_s, _BELOW_THE_RUNG * self.ladder.collective_s)

    def _why_accused(self, replica: int, group: Sighted, at_s: float) -> str | None:
        if group.is_accused:
            return None
        heartbeat_s = self.ladder.heartbeat_s * (1.0 if group.is_prepared else _START_PATIENCE)
        if any(at_s - heard_s > heartbeat_s for heard_s in group.heard_s.values()):
            return _SILENT
        for rank, doing in group.doing.items():
            if doing is Doing.AMONG and set(group.doing.values()) != {Doing.AMONG}:
                continue  # the one that it waits for is looked at
            if doing is Doing.AMONG and not self._waits(replica):
                continue  # it waits for orders, as all do
            limit_s = self.ladder.join_s if doing in _SLOW_WORK else self.hang_s
            before_s, now_s = group.starved_s[rank]
            # who gets no processor on a busy machine does not hang
            if at_s - group.changed_s[rank] - (now_s - before_s) > limit_s:
                return f"stuck while {doing.value}"
        return None

    def _may_be_busy(self, group: Sighted, at_s: float) -> bool:
        """Whether it was silent for no longer than a machine full of work may keep it so."""
        bound_s = _BELOW_THE_RUNG * self.ladder.collective_s
        return group.is_prepared and at_s - min(group.heard_s.values()) <= bound_s

    def _waits(self, replica: int) -> bool:
        """Whether somebody of another group waits."""
        others = (group for other, group in self.groups.items() if other != replica)
        return any(Doing.WAITING in group.doing.values() for group in others)

    def _accuse(self, replica: int, why: str, at_s: float) -> list[Seen]:
        host = self.host_of[replica]
        waiting = tuple(
            self.host_of[other]
            for other, group in self.groups.items()
            if other != replica and Doing.WAITING in group.doing.values()
        )
        seen = self.flush(at_s) + self._detect(replica, at_s)
        seen.append(_fault(f"replica {replica}: {why}", FaultClass.HANG, host, at_s))
        event = ev.HangSuspected(
            at_s=at_s, generation=self.generation, hosts=(host,), waiting=waiting
        )
        return [*seen, event]

    def _detect(self, replica: int, at_s: float) -> list[Seen]:
        """From the end of the last step on nothing is kept."""
        if self._is_detecting or not self.is_training or replica not in self.members:
            return []
        self._is_detecting = True
        return [Note(min(at_s, self.stepped_s), book.BucketFrom(bucket=Bucket.DETECT))]

    # -- steps

    def _hear_step(self, replica: int, report: told.Stepped, at_s: float) -> list[Seen]:
        if report.step <= self.step:
            return []  # said again to a new driver
        self._said.setdefault(report.step, {})[replica] = report
        seen: list[Seen] = []
        while self.is_training and self._is_complete(self.step + 1):
            said = self._said[self.step + 1]
            wrong = self._disagreement(said, at_s)
            if wrong:
                return [*seen, *wrong]
            seen += self._book_until(self.step + 1, at_s)
        return seen

    def _is_complete(self, step: int) -> bool:
        return self.members <= self._said.get(step, {}).keys()

    def _book_until(self, step: int, at_s: float) -> list[Seen]:
        """Enter steps up to ``step``, and tell of them now and then."""
        seen: list[Seen] = []
        while self.step < step:
            self.step += 1
            reports = list(self._said.pop(self.step, {}).values())
            if reports:
                self.step_times_s.append(reports[0].step_s)
                entry = book.Steps(step=self.step, step_s=reports[0].step_s, loss=reports[0].loss)
            else:  # whoever said so is gone, with the words
                entry = book.Steps(step=self.step, step_s=self.usual_step_s or 0.0)
            seen.append(Note(at_s, entry))
            if (checksum := _common([report.checksum for report in reports])) is not None:
                seen.append(Note(at_s, book.StateAt(step=self.step, checksum=checksum)))
            self.stepped_s = at_s
        if seen and self._is_detecting:
            self._is_detecting = False
            seen.insert(0, Note(at_s, book.BucketFrom(bucket=Bucket.PRODUCTIVE)))
        is_due = at_s - self._told_s >= TELL_STEPS_EVERY_S or self.step >= self.num_steps - 1
        return seen + (self.flush(at_s) if is_due else [])

    def flush(self, at_s: float) -> list[Seen]:
        """Tell of the newest step, so that whatever is told next finds it known.

        The last one is held back until all that follows it is done: the brain would end the
        campaign, while the model is still to be exported.
        """
        step = self.step
        lease_s = 0.0
        if step >= self.num_steps - 1 and self.finished is None:
            step, lease_s = min(step, self.num_steps - 1), self.ladder.join_s
        if step <= self._told_step:
            return []
        self._told_step, self._told_s = step, at_s
        return [
            ev.StepsDone(
                at_s=at_s, generation=self.generation, step=step, peer_step=step, lease_s=lease_s
            )
        ]

    def _disagreement(self, said: dict[int, told.Stepped], at_s: float) -> list[Seen]:
        """All members committed the step, and not all hold the same state."""
        counts = Counter(report.checksum for report in said.values()).most_common()
        step = self.step + 1
        if len(counts) == 1 or step < self.num_steps:
            return []  # before the last step the gate of the next one sees to it
        value, num = counts[0]
        if 2 * num <= len(said):
            return self._bad(at_s, step, finite=True)
        odd = tuple(r for r, report in said.items() if report.checksum != value)
        return self._corrupt(odd, step - 1, at_s)

    def _bad(self, at_s: float, step: int, *, finite: bool) -> list[Seen]:
        what = "states differ" if finite else "values are not finite"
        note = Note(
            at_s, book.FaultStruck(cause=f"step {step}: {what}", fault=FaultClass.CORRUPTION.value)
        )
        event = ev.StepsDone(
            at_s=at_s,
            generation=self.generation,
            step=step,
            finite=finite,
            replicas_agree=not finite,
        )
        return [*self.flush(at_s), note, event]

    def _hear_discard(self, report: told.Discarded, at_s: float) -> list[Seen]:
        """All members come to the same ruling; the first who says so counts."""
        known = (report.epoch, report.why)
        if report.why is Why.PEER_LOST or report.epoch != self.epoch or known in self._judged:
            return []
        self._judged.add(known)
        seen = self._book_until(report.step, at_s)
        match report.why:
            case Why.CORRUPT:
                return seen + self._corrupt(report.replicas, report.step, at_s)
            case Why.DISAGREE:
                return seen + self._bad(at_s, report.step, finite=True)
            case Why.SUMS_DIFFER:
                return seen + self._bad(at_s, report.step + 1, finite=True)
            case _:
                return seen + self._bad(at_s, report.step + 1, finite=False)

    def _corrupt(self, replicas: Iterable[int], clean_step: int, at_s: float) -> list[Seen]:
        seen = self.flush(at_s)
        for replica in replicas:
            host = self.host_of[replica]
            seen += [*self._detect(replica, at_s), self.blame(replica, at_s)]
            seen.append(
                ev.CorruptionFound(
                    at_s=at_s,
                    generation=self.generation,
                    host=host,
                    clean_step=clean_step,
                    is_contained=True,
                )
            )
        return seen

    def blame(self, replica: int, at_s: float) -> Note:
        """This one computed wrongly."""
        cause = f"replica {replica}: wrong values"
        return _fault(cause, FaultClass.CORRUPTION, self.host_of[replica], at_s)

    # -- checkpoints and the end

    def _hear_save(
        self,
        replica: int,
        report: CheckpointBegun | CheckpointCommitted | CheckpointFailed | Finished,
        at_s: float,
    ) -> list[Seen]:
        match report:
            case CheckpointBegun() if self.is_training and not self._is_detecting:
                begun_s = at_s - report.blocking_s
                return [
                    Note(begun_s, book.BucketFrom(bucket=Bucket.CHECKPOINT)),
                    Note(at_s, book.BucketFrom(bucket=Bucket.PRODUCTIVE)),
                ]
            case CheckpointCommitted():
                return self._hear_commit(report, at_s)
            case CheckpointFailed():
                cause = f"checkpoint of step {report.step} not saved: {report.reason}"
                return [_fault(cause, FaultClass.STORAGE, self.host_of[replica], at_s)]
            case Finished():
                self.finished = report
                held, self._held = self._held, []
                return [*self.flush(at_s), *held]
        return []

    def _hear_commit(self, report: CheckpointCommitted, at_s: float) -> list[Seen]:
        if report.step in self._committed:
            return []
        self._committed.add(report.step)
        kept = book.CheckpointKept(
            step=report.step, save_s=report.write_s, num_bytes=report.num_bytes
        )
        event = ev.CheckpointCommitted(at_s=at_s, generation=self.generation, step=report.step)
        if report.step >= self.num_steps and self.finished is None:
            self._held.append(event)
            return [Note(at_s, kept)]
        return [Note(at_s, kept), *self.flush(at_s), event]


def _fault(cause: str, fault: FaultClass, host: int, at_s: float) -> Note:
    return Note(at_s, book.FaultStruck(cause=cause, fault=fault.value, hosts=(host,)))


def _common(checksums: list[str]) -> str | None:
    """Of more than half of the members: one whose memory was hit in that moment differs, which
    the gate of the next step sees. None where there is no such."""
    for checksum, num in Counter(checksums).most_common(1):
        return checksum if 2 * num > len(checksums) else None
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "killed" if number == 0 else f"signal {number}"
