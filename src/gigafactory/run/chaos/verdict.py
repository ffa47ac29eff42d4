"""What a run that was shot at must have kept, read from its book alone: a pure function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from gigafactory.control.actions import DropReplicas, JoinReplica, StartGang, Token
from gigafactory.control.config import config_from_json
from gigafactory.ledger.entries import (
    ActionTaken,
    CheckpointKept,
    Closed,
    Entry,
    Opened,
    PaceFrom,
    Rollback,
    StateAt,
    Steps,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One injury, as its director wrote it down."""

    at_s: float
    """Of the last line of the book before it."""
    struck_s: float = 0.0
    """By the director's clock, in the time of the book."""
    kind: str
    replicas: tuple[int, ...] = ()
    ends_driver: bool = False
    ends_all: bool = False
    may_end_all: bool = False
    """A bit that flips while a step is taken shows only by comparison, and of two members
    neither is the majority: both go back to the checkpoint then."""

    @property
    def excuses_start(self) -> bool:
        """Everybody may have to start again after it."""
        return self.ends_all or self.may_end_all


@dataclass(slots=True)
class Findings:
    """Figures, and laws that were broken."""

    num_steps: int = 0
    num_redone_steps: int = 0
    """Taken back and done again, after everybody was killed at once."""
    num_starts: int = 0
    num_joins: int = 0
    longest_stall_s: float = 0.0
    ladder_s: float = 0.0
    """No stall may be longer: silence until it is noticed, and the step done again."""
    stalls_s: list[float] = field(default_factory=list)
    """From the last step before a group left to the next, less a usual step."""
    broken: list[str] = field(default_factory=list)
    """In words; empty: all laws were kept."""


def judge(entries: Sequence[Entry], blows: Iterable[Blow]) -> Findings:
    """Hold the book of a run against what was done to it."""
    blows, found = list(blows), Findings()
    _steps_are_kept(entries, blows, found)
    _states_are_one(entries, found)
    _nobody_well_ends(entries, blows, found)
    _stalls_are_short(entries, blows, found)
    return found


def states_of(entries: Iterable[Entry]) -> dict[int, str]:
    """Checksum by step."""
    return {e.content.step: e.content.checksum for e in entries if isinstance(e.content, StateAt)}


def _steps_are_kept(entries: Sequence[Entry], blows: list[Blow], found: Findings) -> None:
    """A step is taken back only where all processes were killed, and never a committed one.

    Whoever stops the run gives up what was done since the checkpoint that was made for the stop.
    """
    reached = committed = 0
    for entry, after in zip(entries, [*entries[1:], None], strict=True):
        is_stop = after is not None and isinstance(after.content, Closed)
        match entry.content:
            case Steps(step=step):
                reached = max(reached, step)
            case CheckpointKept(step=step):
                committed = max(committed, step)
            case Rollback(step=step) if step < reached:
                found.num_redone_steps += 0 if is_stop else reached - step
                if step < committed and not _was_torn(blows, entry.at_s):
                    found.broken.append(f"step {committed} was committed, and lost at {step}")
                elif not is_stop and not any(
                    b.excuses_start and b.at_s <= entry.at_s for b in blows
                ):
                    found.broken.append(f"steps {step + 1} to {reached} were lost")
                reached = step
    found.num_steps = reached


def _was_torn(blows: list[Blow], at_s: float) -> bool:
    return any(blow.kind == "torn" and blow.at_s <= at_s for blow in blows)


def _states_are_one(entries: Sequence[Entry], found: Findings) -> None:
    seen: dict[int, str] = {}
    for entry in entries:
        if isinstance(entry.content, StateAt):
            step, checksum = entry.content.step, entry.content.checksum
            if seen.setdefault(step, checksum) != checksum:
                found.broken.append(f"step {step} came out differently when it was done again")


def _nobody_well_ends(entries: Sequence[Entry], blows: list[Blow], found: Findings) -> None:
    """Every group that was dropped was struck before, and never twice for one blow."""
    credit: Counter[int] = Counter()
    waiting = sorted(blows, key=lambda blow: blow.at_s)
    all_ended, done = 0, set[Token]()
    for entry in entries:
        while waiting and waiting[0].at_s <= entry.at_s:
            blow = waiting.pop(0)
            credit.update(blow.replicas)
            all_ended += blow.excuses_start
        match entry.content:
            case ActionTaken(action=DropReplicas(token=token, replicas=replicas)):
                if token in done:
                    continue  # asked for again by a driver that took over
                done.add(token)
                for replica in replicas:
                    credit[replica] -= 1
                    if credit[replica] < 0:
                        found.broken.append(
                            f"group {replica} was well and was dropped at {entry.at_s:.1f} s"
                        )
                        credit[replica] = 0
            case ActionTaken(action=JoinReplica()):
                found.num_joins += 1
            case ActionTaken(action=StartGang()):
                found.num_starts += 1
                if found.num_starts > 1 + all_ended:
                    found.broken.append(f"all were started again at {entry.at_s:.1f} s")


def _stalls_are_short(entries: Sequence[Entry], blows: list[Blow], found: Findings) -> None:
    """Between two steps lies at most the rung that notices silence, and the work done again.

    Where all were killed at once, or no driver was there to act, nothing is promised.
    """
    opened = entries[0].content
    assert isinstance(opened, Opened)
    ladder = config_from_json(opened.controller).ladder
    times = [(e.at_s, e.content) for e in entries if isinstance(e.content, Steps | PaceFrom)]
    usual_s = median([c.step_s for _, c in times if isinstance(c, Steps)] or [0.0])
    most_work = max(1, opened.num_gpus)
    found.ladder_s = ladder.collective_s + ladder.heartbeat_s + 2 * most_work * usual_s
    away = [blow.at_s for blow in blows if blow.ends_driver or blow.excuses_start]
    before_s: float | None = None
    for at_s, content in times:
        if not isinstance(content, Steps):
            continue
        if before_s is not None and not any(before_s - 1.0 <= s <= at_s for s in away):
            stall_s = max(0.0, at_s - before_s - usual_s)
            found.longest_stall_s = max(found.longest_stall_s, stall_s)
            if any(before_s <= blow.at_s < at_s for blow in blows if blow.replicas):
                found.stalls_s.append(stall_s)
        before_s = at_s
    if found.longest_stall_s > found.ladder_s:
        found.broken.append(
            f"a stall of {found.longest_stall_s:.1f} s is longer than the ladder's "
            f"{found.ladder_s:.1f} s"
        )
