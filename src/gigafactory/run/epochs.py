"""Who computes with whom: the epochs of replica groups, as orders to their processes.

An epoch begins with an order to every member and is complete when all said that they met. One
change at a time: while members meet, whoever else is to join waits; whoever leaves does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gigafactory.describe.group import Regroup, Regrouped
from gigafactory.run.launchers.groups import GroupLauncher, Seat
from gigafactory.run.sensors.groups import GroupSight, Sighted

#: Links that broke without a death are made again after so long.
_AGAIN_S = 0.5


@dataclass(slots=True)
class Epochs:
    """The newest epoch, who belongs to it, and who wants to."""

    launcher: GroupLauncher
    sight: GroupSight
    members: set[int] = field(default_factory=set)
    joining: dict[int, int] = field(default_factory=dict)
    """Attempt of the JoinReplica, by replica, until it computes with the others."""
    start: tuple[int, int | None] | None = None
    """(how many members, checkpoint to go back to) of a start that waits for its members."""
    _met: set[int] = field(default_factory=set)
    _met_step: int = 0
    _is_meeting: bool = False
    _parted_s: dict[int, float] = field(default_factory=dict)
    """When a member said that a peer is gone."""

    @property
    def is_meeting(self) -> bool:
        """An epoch was ordered and is not complete yet."""
        return self._is_meeting

    def leave(self, replicas: Iterable[int]) -> bool:
        """These are no longer there; whether that changes the epoch of the others."""
        gone = set(replicas)
        for replica in gone:
            self.joining.pop(replica, None)
        touched = bool(gone & self.members)
        self.members -= gone
        if touched and self.members and self.start is None:
            self._order(self.members, at_once=True)
        return touched

    def part(self) -> None:
        """No epoch any more; its processes stay."""
        self.members.clear()
        self.joining.clear()
        self.start, self._is_meeting = None, False
        self.sight.is_training = False

    def begin(self, num_members: int, *, restore_step: int | None) -> None:
        """Start as soon as so many groups are prepared."""
        self.part()
        self.start = (num_members, restore_step)
        self.go_on()

    def go_on(self) -> None:
        """Order what has become possible."""
        ready = {r for r, group in self.sight.groups.items() if group.is_prepared}
        if self.start is not None:
            num_members, restore_step = self.start
            if len(ready) == num_members:
                self.start = None
                self._order(ready, at_once=True, restore_step=restore_step)
        elif not self._is_meeting and self.members:
            coming = ready & self.joining.keys() - self.members
            if coming:
                self._order(self.members | coming, at_once=False)

    def met(self, replica: int, report: Regrouped) -> bool:
        """A member met the others; whether all did, and the epoch is complete."""
        if report.epoch != self.sight.epoch or not self._is_meeting:
            return False
        self._met.add(replica)
        self._met_step = report.step
        if not self._met >= self.members:
            return False
        self._is_meeting = False
        return True

    @property
    def met_step(self) -> int:
        """Whose state the members of the newest complete epoch hold."""
        return self._met_step

    def part_from_peer(self, replica: int, epoch: int, at_s: float) -> None:
        """A member lost a link of ``epoch``; nobody died, as far as is known."""
        if replica in self.members and epoch == self.sight.epoch:
            self._parted_s.setdefault(replica, at_s)

    def look(self, at_s: float) -> None:
        """Members whose links broke while everybody lives meet again."""
        if self._parted_s and at_s - min(self._parted_s.values()) > _AGAIN_S:
            self.again()

    def again(self) -> None:
        """The same members, in a new epoch."""
        if self.members and self.start is None:
            self._order(self.members, at_once=True)

    def adopt(
        self, groups: dict[int, Sighted], *, training: set[int], joining: dict[int, int]
    ) -> None:
        """Take over from an earlier driver: ``training`` as the brain knows, who lives as seen.

        An epoch of exactly these members goes on; any other is made anew.
        """
        self.joining = dict(joining)
        self.members = {replica for replica in training if replica in groups}
        self.sight.regroup(max((g.epoch for g in groups.values()), default=0), self.members)
        wanted = tuple(sorted(self.members))
        if all(groups[r].members == wanted for r in self.members):
            self._is_meeting, self.sight.is_training = False, True
        elif self.members:
            self.again()

    def _order(
        self, members: Iterable[int], *, at_once: bool, restore_step: int | None = None
    ) -> None:
        self.members = set(members)
        self._met, self._is_meeting = set(), True
        self._parted_s.clear()
        self.sight.regroup(self.sight.epoch + 1, self.members)
        groups = self.sight.groups
        order = Regroup(
            epoch=self.sight.epoch,
            addresses={
                replica: tuple(groups[replica].addresses[rank] for rank in sorted(
                    groups[replica].addresses))
                for replica in sorted(self.members)
            },
            at_once=at_once,
            restore_step=restore_step,
        )  # fmt: skip
        for replica in self.members:
            for rank in groups[replica].addresses:
                self.launcher.tell(Seat(replica, rank, groups[replica].incarnation), order)
