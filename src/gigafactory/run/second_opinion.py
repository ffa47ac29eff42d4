"""A step that is held because its gradient is out of band: who computes it again, and who erred.

Every member holds the step and says so. The controller decides whether it is computed again; then
each member computes the shards of another one and says what came out, as checksums. The first
time it is the next member's turn, the second time that of the one after: then three have computed
every shard, and who differs from the other two is known (the groups that cross each other of
ByteRobust, arXiv:2509.16293).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gigafactory.control.actions import ReplaySteps, Token
from gigafactory.describe.group import Compare, Compared, Held

#: By how many members the work is shifted, the first and the second time.
_NEXT, _ONE_AFTER = 1, 2
_LEAST_TO_LOCALISE = 3
_MAJORITY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What came out."""

    differs: bool
    replicas: tuple[int, ...] = ()
    """Whose values are others than those of the rest."""


@dataclass(slots=True)
class SecondOpinion:
    """At most one step is held at a time, by all members of an epoch."""

    epoch: int = 0
    step: int = -1
    """The last committed one."""
    asked: ReplaySteps | None = None
    """What the controller wants to know; it stays asked until it is answered, also where the
    members of the epoch change meanwhile."""
    token: Token | None = None
    """Of the comparison under way."""
    members: frozenset[int] = frozenset()
    is_wrong: bool = False
    """Somebody's values differ: the step is not to be committed as it is."""
    _held: set[int] = field(default_factory=set)
    _prints: dict[int, dict[int, str]] = field(default_factory=dict)
    """Checksum by shard and by who computed it."""
    _answered: set[int] = field(default_factory=set)

    def hear(self, replica: int, said: Held, members: Iterable[int]) -> bool:
        """A member holds; True once all of them do."""
        if (said.epoch, said.step) != (self.epoch, self.step):
            self.epoch, self.step, self.token = said.epoch, said.step, None
            self.members = frozenset(members)
            self._held, self._prints, self._answered = set(), {}, set()
            self.is_wrong = False
        is_new = replica not in self._held
        self._held.add(replica)
        return is_new and self._held == self.members

    def is_of(self, epoch: int) -> bool:
        """Whether all members of ``epoch`` hold a step."""
        return self.epoch == epoch and bool(self._held) and self._held == self.members

    @property
    def can_answer(self) -> bool:
        """Whether there are enough members for what is asked."""
        localises = self.asked is not None and self.asked.localise
        return not localises or len(self.members) >= _LEAST_TO_LOCALISE

    def order(self) -> Compare | None:
        """For every member, once; None where nothing new is asked of the step that they hold."""
        asked = self.asked
        if asked is None or asked.step != self.step or self.token == asked.token:
            return None
        self.token = asked.token
        self._answered.clear()
        shift = _ONE_AFTER if asked.localise else _NEXT
        return Compare(token=asked.token.attempt, step=self.step, shift=shift)

    def answer(self, replica: int, said: Compared) -> Opinion | None:
        """A member's checksums; the opinion once all have spoken."""
        token = self.token
        if token is None or said.token != token.attempt or said.step != self.step:
            return None
        for prints in (said.own, said.others):
            for shard, print_ in prints.items():
                self._prints.setdefault(shard, {})[replica] = print_
        self._answered.add(replica)
        if self._answered != self.members:
            return None
        self.asked = self.token = None
        found = compare(self._prints)
        self.is_wrong = self.is_wrong or found.differs
        return found

    def end(self) -> None:
        """The step is no longer held."""
        self._held.clear()
        self.token = None


def compare(prints: Mapping[int, Mapping[int, str]]) -> Opinion:
    """``prints``: checksum by shard and by who computed it."""
    odd: set[int] = set()
    differs = False
    for by_replica in prints.values():
        counts = Counter(by_replica.values()).most_common()
        differs = differs or len(counts) > 1
        value, num = counts[0]
        if len(counts) > 1 and num >= _MAJORITY:
            odd |= {replica for replica, what in by_replica.items() if what != value}
    return Opinion(differs=differs, replicas=tuple(sorted(odd)))
