"""From the entries of a ledger to the course of its campaign."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gigafactory.control.actions import Action, Tier, WakeAt
from gigafactory.ledger.entries import (
    ActionTaken,
    Bucket,
    BucketFrom,
    CheckpointKept,
    Entry,
    FaultStruck,
    Opened,
    PaceFrom,
    PowerFrom,
    Resumed,
    Rollback,
    Steps,
)
from gigafactory.report.buckets import PRODUCTIVE
from gigafactory.report.trace import Loss, Mark, Span, Trace

#: Asked for all the time and without effect on the world.
_QUIET = WakeAt


@dataclass(slots=True)
class _Writing:
    """The trace so far, and what is needed to close it."""

    pue: float = 1.0
    num_gpus: int = 0
    working: float = 1.0
    pace: float = 1.0
    bucket: Bucket = Bucket.INIT
    since_s: float = 0.0
    spans: list[Span] = field(default_factory=list)
    steps: list[tuple[float, Steps]] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    times_s: list[tuple[float, int]] = field(default_factory=list)
    faults: list[Mark] = field(default_factory=list)
    actions: list[Mark] = field(default_factory=list)
    checkpoints: list[tuple[float, int]] = field(default_factory=list)
    power_w: list[tuple[float, float]] = field(default_factory=list)


def trace_of(entries: Iterable[Entry]) -> Trace:
    """Lay the campaign out along time and along steps; sums are the business of ``fold``."""
    so_far, end_s = _Writing(), 0.0
    for entry in entries:
        end_s = entry.at_s
        _take(so_far, entry)
    _end_span(so_far, end_s)
    return Trace(
        end_s=end_s,
        spans=so_far.spans,
        faults=so_far.faults,
        actions=so_far.actions,
        losses=so_far.losses,
        checkpoints=so_far.checkpoints,
        step_times_s=so_far.times_s,
        power_w=so_far.power_w,
    )


def _take(so_far: _Writing, entry: Entry) -> None:
    at_s, content = entry.at_s, entry.content
    match content:
        case Opened():
            so_far.pue, so_far.num_gpus = content.pue, content.num_gpus
        case BucketFrom():
            _end_span(so_far, at_s)
            so_far.bucket = content.bucket
        case PaceFrom():
            _end_span(so_far, at_s)
            working = min(content.num_gpus, so_far.num_gpus) / max(1, so_far.num_gpus)
            so_far.working, so_far.pace = working, 1.0 / max(1.0, content.slowdown)
        case Steps():
            _take_steps(so_far, at_s, content)
        case Rollback():
            _roll_back(so_far, at_s, content.step)
        case CheckpointKept() if content.tier is Tier.STORE:
            so_far.checkpoints.append((at_s, content.step))
        case FaultStruck():
            so_far.faults.append(Mark(at_s, words(content.cause), _fault_text(content)))
        case ActionTaken() if not isinstance(content.action, _QUIET):
            so_far.actions.append(_action_mark(at_s, content.action))
        case Resumed():
            so_far.actions.append(Mark(at_s, "resume", "a new driver goes on with this ledger"))
        case PowerFrom():
            so_far.power_w.append((at_s, content.draw_w * so_far.pue))
        case _:
            pass


def _end_span(so_far: _Writing, at_s: float) -> None:
    if at_s > so_far.since_s:
        bucket, working, pace = str(so_far.bucket), so_far.working, so_far.pace
        so_far.spans.append(Span(so_far.since_s, at_s, bucket, working, pace))
    so_far.since_s = at_s


def _take_steps(so_far: _Writing, at_s: float, steps: Steps) -> None:
    first = steps.step - steps.num_steps
    if so_far.steps and so_far.steps[-1][1].step > first:
        _roll_back(so_far, at_s - steps.num_steps * steps.step_s, first)
    so_far.steps.append((at_s, steps))
    so_far.times_s.append((steps.step_s, steps.num_steps))
    if steps.loss is not None:
        so_far.losses.append(Loss(steps.step, steps.loss, redone=False))


def _roll_back(so_far: _Writing, at_s: float, step: int) -> None:
    """Work since ``step`` was reached is rework, and its losses are of lost steps."""
    _end_span(so_far, max(at_s, so_far.since_s))
    lost_from_s = so_far.steps[-1][0] if so_far.steps else 0.0
    while so_far.steps and so_far.steps[-1][1].step > step:
        done_s, last = so_far.steps.pop()
        lost = min(last.num_steps, last.step - step)
        lost_from_s = done_s - lost * last.step_s
        if lost < last.num_steps:
            kept = replace(last, step=step, num_steps=last.num_steps - lost)
            so_far.steps.append((lost_from_s, kept))
    _mark_rework(so_far.spans, lost_from_s)
    for index in range(len(so_far.losses) - 1, -1, -1):
        loss = so_far.losses[index]
        if loss.redone:
            continue
        if loss.step <= step:
            break
        so_far.losses[index] = replace(loss, redone=True)


def _mark_rework(spans: list[Span], since_s: float) -> None:
    index = len(spans)
    while index and spans[index - 1].end_s > since_s:
        index -= 1
        span = spans[index]
        if span.bucket == PRODUCTIVE:
            cut_s = max(since_s, span.begin_s)
            before = [replace(span, end_s=cut_s)] if cut_s > span.begin_s else []
            lost = replace(span, begin_s=cut_s, bucket=str(Bucket.REWORK))
            spans[index : index + 1] = [*before, lost]


def _fault_text(fault: FaultStruck) -> str:
    count = len(fault.hosts)
    where = f" on host {fault.hosts[0]}" if count == 1 else f" on {count:,} hosts" if count else ""
    return f"{words(fault.cause)}{where}"


def _action_mark(at_s: float, action: Action) -> Mark:
    name = _spaced(type(action).__name__)
    said = {key: getattr(action, key, None) for key in ("step", "host", "outcome", "reason")}
    told = [f"{key} {said[key]}" for key in ("step", "host") if said[key] is not None]
    told += [str(said[key]) for key in ("outcome", "reason") if said[key]]
    return Mark(at_s, name, f"{name} ({', '.join(told)})" if told else name)


def words(name: str) -> str:
    """``gpu-hbm3_memory`` -> ``gpu hbm3 memory``."""
    return name.replace("_", " ").replace("-", " ")


def _spaced(name: str) -> str:
    """``StartGang`` -> ``start gang``."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()
