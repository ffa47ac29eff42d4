"""Steps that the twin computes again, to learn whether they were right."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.ledger.entries import Bucket
from gigafactory.simulate.gang import Phase
from gigafactory.simulate.kernel import Priority

if TYPE_CHECKING:
    from gigafactory.simulate.training import Training

_CAN_REPLAY = frozenset({Phase.RUNNING, Phase.REPLAYING})


class Replaying:
    """The gang stands still, and a verdict follows."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def replay(self, action: act.ReplaySteps) -> None:
        """Stand still and compute again; the verdict follows."""
        training, gang = self._training, self._training.gang
        training.catch_up()
        if action.token.generation != gang.generation or gang.phase not in _CAN_REPLAY:
            return
        read_s, wait_s = self._replay_s(action)
        gang.run, gang.phase, gang.replay_token = None, Phase.REPLAYING, action.token
        training.saving.let_go()
        training.book.turn(Bucket.SDC_REPLAY, at_s=training.kernel.now_s)
        compute = partial(self._compute, action, wait_s)
        if read_s:
            training.saving.store.carry(read_s, compute, priority=Priority.ANSWER)
        else:
            compute()

    def _replay_s(self, action: act.ReplaySteps) -> tuple[float, float]:
        """(reading from the store as it usually is, everything else).

        From the newest state before the step; once it is there, in two groups of hosts. The groups
        cross each other, so that what differs in both names the host (ByteRobust,
        arXiv:2509.16293).
        """
        training, prices = self._training, self._training.prices
        run, step_s, store_s = (
            training.gang.run,
            training.cadence.step_s,
            training.workload.restore_s,
        )
        is_near = run is None or run.step_at(training.kernel.now_s) - action.step <= 1
        if prices.peer_stride and (action.localise or is_near):
            each_s = prices.restore_peer_s + step_s
            return 0.0, 2.0 * each_s if action.localise else each_s
        if action.localise:
            return 2.0 * store_s, 2.0 * step_s
        num_again = action.step - run.newest_saved(action.step) if run is not None else 0
        return store_s, (num_again + 1) * step_s

    def _compute(self, action: act.ReplaySteps, wait_s: float) -> None:
        tell = partial(self._replayed, action)
        self._training.kernel.after(tell, wait_s=wait_s, priority=Priority.ANSWER)

    def _replayed(self, action: act.ReplaySteps) -> None:
        """The verdict; unless the controller thinks otherwise, training goes on."""
        training, gang = self._training, self._training.gang
        if gang.phase is not Phase.REPLAYING or gang.replay_token != action.token:
            return
        wrong = [taint for taint in gang.taints if taint.clean_step <= action.step]
        found = {taint.host for taint in wrong} & gang.members if action.localise else ()
        verdict = ev.Replayed(
            at_s=training.kernel.now_s,
            token=action.token,
            differs=bool(wrong),
            hosts=tuple(sorted(found)),
            clean_step=min((taint.clean_step for taint in wrong), default=action.step),
        )
        gang.replay_token = None
        training.decide(verdict)
        if gang.phase is Phase.REPLAYING and gang.replay_token is None:
            training.resume_in_place(gang.generation)
