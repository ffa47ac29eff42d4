"""The course of a campaign as staircases: power, GPUs at work, spares standing by and away."""

from __future__ import annotations

from collections.abc import Sequence

from gigafactory.control.actions import Action, EvictHosts, StartGang
from gigafactory.control.events import Event, HostRepaired, Launched
from gigafactory.ledger.entries import ActionTaken, Content, EventSeen, Opened, PoolFrom
from gigafactory.ledger.summary import Series


class _Stair:
    """(since when, level), one pair a change; the last level at one moment wins."""

    def __init__(self) -> None:
        self.pairs: list[tuple[float, float]] = []

    def hold(self, level: float, *, at_s: float) -> None:
        pairs = self.pairs
        if pairs and pairs[-1][1] == level:
            return
        if pairs and pairs[-1][0] == at_s:
            pairs.pop()
        if not pairs or pairs[-1][1] != level:
            pairs.append((at_s, level))


class Recorder:
    """What `fold.Tally` writes down where series are asked for."""

    def __init__(self) -> None:
        self._power_w, self._working = _Stair(), _Stair()
        self._away, self._standing_by = _Stair(), _Stair()
        self._num_hosts = 0
        self._num_seats = 0
        self._num_lent = 0
        self._own: frozenset[int] = frozenset()
        """Hosts of the launch; those that a serving pool lends are repaired by the pool."""
        self._gone: set[int] = set()

    def open(self, opened: Opened) -> None:
        """The allocation exists; until the first gang starts its hosts count as seated."""
        self._num_hosts = (opened.num_gpus + opened.num_spare_gpus) // opened.gpus_per_host
        self._num_seats = opened.num_gpus // opened.gpus_per_host

    def stand(self, *, at_s: float, draw_w: float, working_gpus: int) -> None:
        """How things are from ``at_s`` on."""
        self._power_w.hold(draw_w, at_s=at_s)
        self._working.hold(float(working_gpus), at_s=at_s)
        self._spares(at_s)

    def take(self, content: Content, *, at_s: float) -> None:
        """An entry that may be a turn of the controller, read from a book."""
        if isinstance(content, EventSeen):
            self.decide(content.event, (), at_s=at_s)
        elif isinstance(content, ActionTaken):
            self._act(content.action)
        elif isinstance(content, PoolFrom):
            self._num_lent = content.num_lent

    def decide(self, event: Event, actions: Sequence[Action], *, at_s: float) -> None:
        """A host comes back with its event, and goes with an action."""
        if isinstance(event, HostRepaired):
            self._gone.discard(event.host)
        elif isinstance(event, Launched):
            self._own = frozenset((*event.hosts, *event.spares))
        for action in actions:
            self._act(action)
        self._spares(at_s)

    def series(self) -> Series:
        """Everything up to now."""
        return Series(
            power_w=tuple(self._power_w.pairs),
            working_gpus=tuple(self._working.pairs),
            hosts_away=tuple(self._away.pairs),
            hosts_standing_by=tuple(self._standing_by.pairs),
        )

    def _act(self, action: Action) -> None:
        if isinstance(action, StartGang):
            self._num_seats = len(action.hosts)
        elif isinstance(action, EvictHosts):
            self._gone.update(self._own.intersection(action.hosts))

    def _spares(self, at_s: float) -> None:
        num_away = len(self._gone)
        self._away.hold(float(num_away), at_s=at_s)
        standing_by = max(0, self._num_hosts + self._num_lent - self._num_seats - num_away)
        self._standing_by.hold(float(standing_by), at_s=at_s)
