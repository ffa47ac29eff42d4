"""The same faults in the twin that a real run went through: how long does it say all stand still?

A hit is told by the time since the one before and by how far the step in flight had come, because
the twin's steps all take the planned time, and whoever was replaced takes its own. What a fault
costs follows from the study: how soon it is noticed from the timeout ladder, and how long the
others regroup from `faults.regroup`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gigafactory.control.actions import DropReplicas
from gigafactory.control.timeouts import Ladder
from gigafactory.describe.faults import Cause, FaultClass
from gigafactory.describe.study import Study
from gigafactory.ledger.entries import ActionTaken, Entry, PaceFrom, Steps
from gigafactory.ledger.writer import LedgerWriter
from gigafactory.simulate import faults as fl
from gigafactory.simulate.campaign import Stage, config_of, follow
from gigafactory.simulate.kernel import Priority
from gigafactory.simulate.workload import workload_of
from gigafactory.simulate.world import World

#: Who is silent is missed after its lease, and a heart beats four times within it.
BEATS_A_LEASE = 4
_LOOK_AGAIN_S = 0.05
#: After the end of a step, so that it counts as done.
_AT_ONCE_S = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One fault of a real run."""

    after_s: float
    """From the fault before, or from the beginning of the job, to this one."""
    since_s: float
    """From the end of the last step to the fault."""
    fault: FaultClass
    """PROCESS (a death) or HANG (silence)."""
    hosts: tuple[int, ...]
    heart_beats: bool = False
    """Of a HANG: the main thread alone stands still."""


def stalls_s(
    study: Study, *, plan: Any, step_s: float, hits: Sequence[Hit], handed_over_share: float = 1.0
) -> list[float]:
    """Seconds without a step for each hit, beyond the step that was due.

    ``step_s``: of a step as the real run had it. ``handed_over_share``: so much of a step is over
    when the others have what a group computed for it; whoever is lost later harms the next step.
    Other faults than ``hits`` do not happen.
    """
    calm = study.model_copy(
        update={"faults": study.faults.model_copy(update={"causes": ()}), "drill": None}
    )
    workload = workload_of(calm, plan=plan)
    cadence = replace(workload.cadence, step_s=step_s)
    workload = replace(workload, cadence=cadence)
    ladder = config_of(calm, workload=workload).ladder
    with LedgerWriter(keep=True) as ledger:
        stage = _Replayed([_met(hit, step_s * handed_over_share) for hit in hits], ladder)
        follow(calm, workload=workload, seed=0, ledger=ledger, stage=stage)
        return [stall_s(ledger.entries, at_s) for at_s in stage.struck_s]


def stall_s(entries: Sequence[Entry], struck_s: float) -> float:
    """How long all stand still for what was struck at ``struck_s``.

    From the last step before it to the first one without those that were struck, less what these
    steps took by themselves: the one in flight may still have been done, and then the next one was
    cut short.
    """
    after_s = regrouped_after_s(entries, struck_s)
    resumed_s = struck_s + (after_s or 0.0)
    before_s = worked_s = 0.0
    for entry in entries:
        steps = entry.content
        if not isinstance(steps, Steps):
            continue
        if entry.at_s <= struck_s:
            before_s = entry.at_s
            continue
        worked_s += steps.num_steps * steps.step_s
        if entry.at_s > resumed_s:
            return max(0.0, entry.at_s - before_s - worked_s)
    return 0.0


def regrouped_after_s(entries: Sequence[Entry], struck_s: float) -> float | None:
    """From the blow until training goes on without those that were struck; None: it did not."""
    after = iter([e for e in entries if e.at_s >= struck_s])
    if not any(_is_drop(entry) for entry in after):
        return None
    return next((e.at_s - struck_s for e in after if isinstance(e.content, PaceFrom)), None)


def was_done(entries: Sequence[Entry], struck_s: float) -> bool:
    """Whether the step in flight at ``struck_s`` was done in spite of the blow."""
    resumed_s = struck_s + (regrouped_after_s(entries, struck_s) or 0.0)
    steps_s = (entry.at_s for entry in entries if isinstance(entry.content, Steps))
    return any(struck_s < at_s <= resumed_s for at_s in steps_s)


def _is_drop(entry: Entry) -> bool:
    content = entry.content
    return isinstance(content, ActionTaken) and isinstance(content.action, DropReplicas)


def _met(hit: Hit, handed_over_s: float) -> Hit:
    """As the step in flight meets it, or the beginning of the next one does."""
    return replace(hit, since_s=_AT_ONCE_S) if hit.since_s > handed_over_s else hit


def noticed_after_s(hit: Hit, ladder: Ladder) -> float:
    """A death is seen at once; a silence when the lease is over, counted from the last beat, which
    was half a beat ago. A heart that beats shows half a beat later that nothing is done any more.
    """
    if hit.fault is not FaultClass.HANG:
        return 0.0
    half_a_beat = 0.5 / BEATS_A_LEASE
    return ladder.heartbeat_s * (1.0 + half_a_beat if hit.heart_beats else 1.0 - half_a_beat)


class _Replayed(Stage):
    """Lets the hits happen after their steps."""

    def __init__(self, hits: Sequence[Hit], ladder: Ladder) -> None:
        self._hits = hits
        self._ladder = ladder
        self.struck_s: list[float] = []

    def set_up(self, world: World) -> None:
        """One hit after the other, each by its time."""
        if self._hits:
            self._arm(world, 0, since_s=0.0)

    def _arm(self, world: World, number: int, *, since_s: float) -> None:
        at_s = since_s + self._hits[number].after_s
        aim = partial(self._aim, world, number)
        world.kernel.schedule(aim, at_s=max(at_s, world.kernel.now_s), priority=Priority.PHYSICS)

    def _aim(self, world: World, number: int) -> None:
        """Wait for the end of the step in flight; a gang that stands still is waited for."""
        run, now_s = world.training.gang.run, world.kernel.now_s
        if run is None:
            again = partial(self._aim, world, number)
            world.kernel.after(again, wait_s=_LOOK_AGAIN_S, priority=Priority.PHYSICS)
            return
        wait_s = run.end_of_s(run.step_at(now_s) + 1) - now_s + self._hits[number].since_s
        strike = partial(self._strike, world, number)
        world.kernel.after(strike, wait_s=wait_s, priority=Priority.PHYSICS)

    def _strike(self, world: World, number: int) -> None:
        at_s, hit = world.kernel.now_s, self._hits[number]
        self.struck_s.append(at_s)
        cause = Cause(
            name=f"again: {hit.fault.value}",
            fault=hit.fault,
            rate_per_s=0.0,
            detect_s=noticed_after_s(hit, self._ladder),
            source="a real run",
        )
        for host in hit.hosts:
            world.troubles.strike(fl.Strike(at_s, cause, (host,)))
        if number + 1 < len(self._hits):
            self._arm(world, number + 1, since_s=at_s)
