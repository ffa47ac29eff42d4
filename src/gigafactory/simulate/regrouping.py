"""Replicas in the twin: they leave and join, and the others stand still for a moment."""

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

_HAS_PARTED = frozenset({Phase.BROKEN, Phase.RUNNING, Phase.REGROUPING})


class Regrouping:
    """Changes of who belongs to a gang that goes on."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._since_s = 0.0
        """When the newest change began."""
        self._joining: dict[int, int] = {}
        """Replica -> attempt of the JoinReplica whose processes are starting."""

    def drop(self, action: act.DropReplicas) -> None:
        """The others part from these, discard the step in flight, and go on."""
        gang = self._training.gang
        self._training.catch_up()
        # in answer to its steps the controller may have ended the gang
        if action.token.generation != gang.generation or gang.phase not in _HAS_PARTED:
            return
        for replica in action.replicas:
            self._joining.pop(replica, None)
        if gang.out.issuperset(action.replicas):
            # none of them computed: nobody stands still, and the next step shows it
            self._training.saving.save_soon(act.Tier.PEER)
            return
        gang.leave_out(action.replicas)
        self._regroup(Bucket.REPLACE)

    def join(self, action: act.JoinReplica) -> None:
        """Its processes start; the others go on meanwhile."""
        gang = self._training.gang
        if action.token.generation == gang.generation and action.replica in gang.out:
            gang.reseat(action.seated)
            self._joining[action.replica] = action.token.attempt
            if action.seated:
                gang.on_disks = None
            self._come_after(self._training.prices.join_s, action)

    def _come_after(self, wait_s: float, action: act.JoinReplica) -> None:
        come = partial(self._come, action)
        self._training.kernel.after(come, wait_s=wait_s, priority=Priority.ANSWER)

    def _come(self, action: act.JoinReplica) -> None:
        training, gang, token = self._training, self._training.gang, action.token
        training.catch_up()
        is_wanted = self._joining.get(action.replica) == token.attempt
        if token.generation != gang.generation or not is_wanted:
            return
        if gang.phase is Phase.REGROUPING:
            # one after the other
            self._come_after(training.prices.drop_s, action)
            return
        now_s = training.kernel.now_s
        named = {"generation": token.generation, "replica": action.replica}
        if gang.run is None or not training.is_whole(gang.hosts_of(action.replica)):
            lost = ev.ReplicaLost(at_s=now_s, incarnation=token.attempt, reason="not up", **named)
            training.decide(lost)
            return
        del self._joining[action.replica]
        gang.take_in(action.replica, incarnation=token.attempt)
        self._regroup(Bucket.RENDEZVOUS)
        training.decide(ev.ReplicaReady(at_s=now_s, incarnation=token.attempt, **named))

    def _regroup(self, bucket: Bucket) -> None:
        training, gang = self._training, self._training.gang
        gang.run, gang.phase = None, Phase.REGROUPING
        training.saving.let_go()
        # whoever everybody waited for may have left, or come
        training.settle_pace()
        now_s = self._since_s = training.kernel.now_s
        training.book.turn(bucket, at_s=now_s)
        done = partial(self._regrouped, gang.generation, now_s)
        training.kernel.after(done, wait_s=training.prices.drop_s, priority=Priority.ANSWER)

    def _regrouped(self, generation: int, since_s: float) -> None:
        training, gang = self._training, self._training.gang
        is_newest = gang.generation == generation and self._since_s == since_s
        if is_newest and gang.phase is Phase.REGROUPING:
            training.go_on()
