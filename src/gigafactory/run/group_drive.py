"""Replica groups and a step that all of them hold: what the driver does about it.

Common to whatever the groups do besides (`group_campaign`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.describe import group as told
from gigafactory.ledger.entries import Bucket
from gigafactory.run.drive import Drive
from gigafactory.run.epochs import Epochs
from gigafactory.run.launchers.groups import GroupLauncher
from gigafactory.run.second_opinion import SecondOpinion
from gigafactory.run.sensors.groups import GroupSight


@dataclass(slots=True, kw_only=True)
class GroupDrive(Drive):
    """Who the groups are, what is seen of them, and the step that they hold."""

    launcher: GroupLauncher
    sight: GroupSight
    epochs: Epochs
    opinion: SecondOpinion = field(default_factory=SecondOpinion)

    def _hold(self, replica: int, said: told.Held) -> None:
        """Once all hold the step, the brain decides whether it is worth a second opinion."""
        if self.epochs.is_meeting or said.epoch != self.sight.epoch:
            return
        if self.opinion.hear(replica, said, self.epochs.members):
            at_s, step = self.now_s(), said.step + 1
            self._note(self.sight.flush(at_s))
            self._bucket(Bucket.SDC_REPLAY)
            self._show(None, f"step {step} is held: its gradient ({said.norm:.3g}) is unusual")
            self._tell(ev.AnomalySeen(at_s=at_s, generation=self.sight.generation, step=step))
            self._ask()

    def _ask(self) -> None:
        """What the brain wants to know, of those who hold the step; again where they changed."""
        opinion, asked = self.opinion, self.opinion.asked
        if asked is None or not opinion.is_of(self.sight.epoch):
            return
        if not opinion.can_answer:
            self._answer_as_seen(asked)
        elif (order := opinion.order()) is not None:
            self._tell_all(order)

    def _answer_as_seen(self, asked: act.ReplaySteps) -> None:
        """Nobody can tell who errs, or nobody holds the step any more."""
        self.opinion.asked = None
        self._tell(ev.Replayed(at_s=self.now_s(), token=asked.token, differs=asked.localise))

    def _leave_behind(self, step: int) -> None:
        """``step`` was committed: nobody holds an earlier one any more."""
        if (asked := self.opinion.asked) is not None and step > asked.step:
            self._answer_as_seen(asked)

    def _weigh(self, replica: int, said: told.Compared) -> None:
        token, found = self.opinion.token, self.opinion.answer(replica, said)
        if token is None or found is None:
            return
        at_s = self.now_s()
        self._note(self.sight.blame(wrong, at_s) for wrong in found.replicas)
        self._tell(
            ev.Replayed(
                at_s=at_s,
                token=token,
                differs=found.differs,
                hosts=tuple(self.sight.host_of[wrong] for wrong in found.replicas),
                clean_step=said.step,
                is_contained=True,
            )
        )

    def _go_on_if_cleared(self) -> None:
        opinion = self.opinion
        is_held = opinion.is_of(self.sight.epoch) and self.epochs.members == opinion.members
        if is_held and not opinion.is_wrong and not self.controller.doubts_step:
            self._tell_all(told.Proceed(step=opinion.step))
            opinion.end()
            self._bucket(Bucket.PRODUCTIVE)

    def _tell_all(self, order: told.Order) -> None:
        for seat in self.launcher.seats:
            self.launcher.tell(seat, order)
