"""Checkpoints in the store of the twin that the arithmetic of a run does not know.

Those that somebody asked for, the last one, and those that were being written when the pace, the
rhythm or the store changed. A run that goes on keeps the beat of its checkpoints: the next is due
as many steps after the last one as it would have been. Nobody takes a checkpoint while the one
before it is still being written, and nobody takes one for a store that does not answer.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from gigafactory.control import actions as act
from gigafactory.ledger.entries import Bucket
from gigafactory.simulate.gang import Cadence, Phase, Run
from gigafactory.simulate.kernel import Priority
from gigafactory.simulate.store import Store

if TYPE_CHECKING:
    from gigafactory.simulate.training import Training

_MAY_COMMIT = frozenset({Phase.RUNNING, Phase.ENDING})


class Saving:
    """What lies in the store, is on the way there, and is due."""

    def __init__(self, training: Training, *, store: Store) -> None:
        self.store = store
        self.checkpoint_steps: int | None = training.workload.cadence.checkpoint_steps
        """Between two of them; None: the controller wants none."""
        self._training = training
        self._saved_step = 0
        """Of the newest state that was copied for the store."""
        self._writing: int | None = None
        """Its step, while it is being written."""
        self._is_due = False
        """Another one waits until that is written."""

    # --- the store -------------------------------------------------------------------------

    def slow_down(self, slowdown: float) -> None:
        """From now on the store takes so many times as long, inf: does not answer."""
        self._training.change_run(partial(self.store.slow_down, slowdown))

    def recover(self, slowdown: float) -> None:
        """That is over."""
        self._training.change_run(partial(self.store.recover, slowdown))

    def end_all(self) -> None:
        """Nothing is wrong with the store any more."""
        self._training.change_run(self.store.end_all)

    def let_go(self) -> None:
        """Whatever was on its way is lost."""
        self.store.let_go()
        self._writing, self._is_due = None, False

    # --- the rhythm ------------------------------------------------------------------------

    def change_rhythm(self, every_s: float | None) -> None:
        """From now on a checkpoint every so much work; None: none."""
        step_s = self._training.workload.cadence.step_s
        steps = None if every_s is None else max(1, round(every_s / step_s))
        if steps != self.checkpoint_steps:
            self._training.change_run(partial(self._set_rhythm, steps))

    def _set_rhythm(self, steps: int | None) -> None:
        self.checkpoint_steps = steps

    @property
    def is_as_planned(self) -> bool:
        """The store is well, and the controller wants what the job began with."""
        planned = self._training.workload.cadence.checkpoint_steps
        return self.store.slowdown == 1.0 and self.checkpoint_steps == planned

    def every_steps(self, *, step_s: float) -> int:
        """Steps between two checkpoints now, never faster than the store writes."""
        slowdown, never = self.store.slowdown, self._training.workload.num_steps + 1
        if self.checkpoint_steps is None or math.isinf(slowdown):
            return never
        if slowdown == 1.0:
            return self.checkpoint_steps
        write_s = self._training.workload.cadence.write_s * slowdown
        return max(self.checkpoint_steps, math.ceil(write_s / step_s))

    def write_s(self) -> float:
        """What a checkpoint takes now, from the end of its stall; as usual where none is taken."""
        usual_s, slowdown = self._training.workload.cadence.write_s, self.store.slowdown
        return usual_s if math.isinf(slowdown) else usual_s * slowdown

    def begin(self, step: int) -> None:
        """A gang begins with ``step``, which counts as its last checkpoint."""
        self._saved_step = step

    def take_over(self, run: Run) -> None:
        """``run`` is about to be replaced: what it was writing is written on."""
        now_s = self._training.kernel.now_s
        num_saved = run.cycles_at(now_s)
        if num_saved:
            self._saved_step, until_s = run.commit(num_saved)
            if until_s > now_s:
                self._write(self._saved_step, (until_s - now_s) / self._of_run(run.cadence))

    def _of_run(self, cadence: Cadence) -> float:
        """How slow the store was for it."""
        usual_s = self._training.workload.cadence.write_s
        return cadence.write_s / usual_s if usual_s else 1.0

    def keep_beat(self, run: Run) -> None:
        """``run`` replaced another: its first checkpoint comes when that of the other was due."""
        due = max(self._saved_step + run.cadence.checkpoint_steps, run.begin_step + 1)
        if due < run.begin_step + run.cadence.checkpoint_steps:
            self._training.when_done(run, due, partial(self._save_due, due))

    def _save_due(self, step: int) -> None:
        if self._writing is None:
            self._save(step)
        else:
            self._is_due = True

    # --- checkpoints -----------------------------------------------------------------------

    def save_soon(self, tier: act.Tier = act.Tier.STORE) -> None:
        """A checkpoint at the next boundary of a step; copies in memory are made there anyway."""
        training, run = self._training, self._training.gang.run
        if run is None:
            return
        step = run.step_at(training.kernel.now_s) + 1
        if step > training.workload.num_steps:
            self.save_last()
        elif tier is not act.Tier.STORE:
            training.when_done(run, step, _nothing)
        else:
            training.when_done(run, step, partial(self._save, step))

    def _save(self, step: int) -> None:
        """Stall now; the rhythm of the checkpoints begins anew after it."""
        training, cadence = self._training, self._training.cadence
        self._saved_step = step
        training.follow(Run(training.kernel.now_s, step, cadence, lead_s=cadence.blocking_s))
        self._write(step, training.workload.cadence.write_s, lead_s=cadence.blocking_s)

    def save_last(self) -> None:
        """All that is left is the checkpoint of the last step; nothing hides its writing."""
        training, gang = self._training, self._training.gang
        cadence = training.workload.cadence
        gang.run, gang.phase, gang.num_commits = None, Phase.ENDING, 0
        training.book.turn(Bucket.CHECKPOINT, at_s=training.kernel.now_s)
        self._write(training.workload.num_steps, cadence.write_s, lead_s=cadence.blocking_s)

    def _write(self, step: int, usual_s: float, *, lead_s: float = 0.0) -> None:
        """Whatever else was being written is given up for it."""
        self.let_go()
        self._writing = step
        commit = partial(self._commit, step, self._training.kernel.now_s)
        self.store.carry(usual_s, commit, priority=Priority.OBSERVATION, lead_s=lead_s)

    def _commit(self, step: int, since_s: float) -> None:
        training = self._training
        self._writing = None
        if training.gang.phase in _MAY_COMMIT:
            training.catch_up()
            now_s = training.kernel.now_s
            training.book.committed(step, now_s, save_s=now_s - since_s)
            training.tell_commit(step, at_s=now_s)
        if self._is_due and self._writing is None:
            self._is_due = False
            self.save_soon()


def _nothing() -> None:
    """Being asked is enough: progress is reported."""
