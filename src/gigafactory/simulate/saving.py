"""Checkpoints of the twin that follow no rhythm: somebody asked for them, or training is done."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gigafactory.control import actions as act
from gigafactory.ledger.entries import Bucket
from gigafactory.simulate.gang import Phase, Run
from gigafactory.simulate.kernel import Priority

if TYPE_CHECKING:
    from gigafactory.simulate.training import Training

_MAY_COMMIT = frozenset({Phase.RUNNING, Phase.ENDING})


class Saving:
    """The last checkpoint, and those of SaveNow."""

    def __init__(self, training: Training) -> None:
        self._training = training

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
        training.follow(Run(training.kernel.now_s, step, cadence, lead_s=cadence.blocking_s))
        self._commit_after(cadence.blocking_s + cadence.write_s, step)

    def save_last(self) -> None:
        """All that is left is the checkpoint of the last step; nothing hides its writing."""
        training, gang = self._training, self._training.gang
        cadence = training.workload.cadence
        gang.run, gang.phase, gang.num_commits = None, Phase.ENDING, 0
        training.book.turn(Bucket.CHECKPOINT, at_s=training.kernel.now_s)
        self._commit_after(cadence.blocking_s + cadence.write_s, training.workload.num_steps)

    def _commit_after(self, wait_s: float, step: int) -> None:
        commit = partial(self._commit, self._training.gang.generation, step)
        self._training.kernel.after(commit, wait_s=wait_s, priority=Priority.OBSERVATION)

    def _commit(self, generation: int, step: int) -> None:
        training, gang = self._training, self._training.gang
        if gang.generation == generation and gang.phase in _MAY_COMMIT:
            training.catch_up()
            training.book.committed(step, training.kernel.now_s)
            training.tell_commit(step, at_s=training.kernel.now_s)


def _nothing() -> None:
    """Being asked is enough: progress is reported."""
