"""The brain of a serving pool: when it lends hosts to training, and when it wants them back.

Sans-IO like the controller of a campaign: observations in, fenced actions out, the same for the
same events, and no sequence of events raises. Its goal is the service; training gets what is
left over:

- it keeps what the limits need now, and what they will need until a recall could help (notice to
  training, and the cold start of a serving host), with headroom;
- when that is not enough, it recalls what half a lease will need as well, so that a morning is a
  few recalls and not one every look;
- it lends only what will not be needed for a whole lease. The three horizons are the hysteresis;
- what is expected is what the same time of the previous day and of the same weekday brought,
  whichever is more, scaled by how today compares. Before it has seen a whole day it lends nothing;
- loans wait for each other, and for the last recall, so that flapping is bounded. Recalls never
  wait.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from gigafactory.control.actions import Action, Token
from gigafactory.control.events import Event
from gigafactory.units import DAY_S, HOUR_S

#: The demand is remembered by quarters of an hour, for a week and a day.
_BIN_S = 900.0
_BINS_A_DAY = round(DAY_S / _BIN_S)
_NUM_BINS = 8 * _BINS_A_DAY
#: Today may differ by so much from the days it is compared with; more is a burst, not a trend.
_LEAST_TREND, _MOST_TREND = 0.8, 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOpened(Event):
    """The pool serves with these hosts. An earlier driver's newest generation fences it off."""

    hosts: tuple[int, ...]
    generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandSeen(Event):
    """Requests a second since the last look; ``is_late``: more of them were late than allowed."""

    requests_per_s: float
    is_late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLost(Event):
    """A host of the pool broke, while it served or while it was lent."""

    host: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostBack(Event):
    """The host serves (again): its weights are loaded."""

    host: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReleased(Event):
    """Training handed these hosts back; they begin to load."""

    hosts: tuple[int, ...]


#: Every kind of event that the pool's brain knows.
LENDING_EVENTS = (PoolOpened, DemandSeen, HostLost, HostBack, TrainingReleased)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lend(Action):
    """Take no new requests on these hosts, end those under way, hand the hosts to training."""

    hosts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall(Action):
    """Training gives these hosts back by ``by_s``; asked for again where it did not."""

    hosts: tuple[int, ...]
    by_s: float


class Post(StrEnum):
    """Where a host of the pool is; it is in exactly one place."""

    SERVING = "serving"
    LENT = "lent"
    RECALLED = "recalled"
    """Lent, and asked back."""
    LOADING = "loading"
    AWAY = "away"
    """Broken or in repair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LendingConfig:
    """What the pool's brain must know; `cost.staffing` gives the rates."""

    rates_per_s: tuple[float, ...]
    """The most requests a second within the limits, by number of serving replicas (0, 1, ...)."""
    min_hosts: int = 0
    replica_hosts: int = 1
    headroom: float = 0.1
    notice_s: float = 600.0
    cold_start_s: float = 300.0
    lease_s: float = 4 * HOUR_S
    cooldown_s: float = 2 * HOUR_S
    watch_s: float = 300.0

    @property
    def lead_s(self) -> float:
        """From seeing the need until a recalled host serves."""
        return self.watch_s + self.notice_s + self.cold_start_s


@dataclass(slots=True)
class Expectation:
    """What was asked for, by quarter of an hour, and what that says about the time to come."""

    rates: dict[int, float] = field(default_factory=dict)
    """The highest rate seen in the quarter, by its number since the beginning; oldest first."""
    first: int | None = None

    def note(self, at_s: float, rate_per_s: float) -> None:
        """Remember an observation; time never runs backwards here."""
        now = int(at_s // _BIN_S)
        self.first = now if self.first is None else self.first
        self.rates[now] = max(rate_per_s, self.rates.get(now, 0.0))
        while (oldest := next(iter(self.rates))) < now - _NUM_BINS:
            del self.rates[oldest]

    def most_until(self, now_s: float, *, wait_s: float) -> float | None:
        """The highest rate to be expected within ``wait_s``; None: not a day is known yet."""
        now, end = int(now_s // _BIN_S), int((now_s + wait_s) // _BIN_S)
        if self.first is None or now - self.first < _BINS_A_DAY:
            return None
        before = max((self._before(number) for number in range(now + 1, end + 1)), default=0.0)
        today = self.rates.get(now, 0.0)
        usual = self._before(now)
        trend = today / usual if usual > 0 else _MOST_TREND
        return max(today, before * min(max(trend, _LEAST_TREND), _MOST_TREND))

    def _before(self, number: int) -> float:
        """What yesterday and the same weekday brought at this time of the day."""
        rates = self.rates
        week = number - 7 * _BINS_A_DAY
        return max(rates.get(number - _BINS_A_DAY, 0.0), rates.get(week, 0.0))


class LendingController:
    """Decides about one pool: `handle` is its one door."""

    def __init__(self, config: LendingConfig) -> None:
        self.config = config
        self.ignored: Counter[str] = Counter()
        """Events, or parts of one, that changed nothing."""
        self._posts: dict[int, Post] = {}
        self._num_in: Counter[Post] = Counter()
        self._moved_s: dict[int, float] = {}
        """When a host last changed its post."""
        self._lent: dict[int, float] = {}
        """Lent hosts in the order of their loans, and when they are due; inf: not recalled."""
        self._expected = Expectation()
        self._now_s = 0.0
        self._loan_from_s = 0.0
        """The next loan waits until then."""
        self._generation = 0
        self._attempt = 0

    def handle(self, event: Event) -> list[Action]:
        """Take one observation in; what is to be done about it."""
        if math.isfinite(event.at_s):
            self._now_s = max(self._now_s, event.at_s)
        match event:
            case PoolOpened(hosts=hosts, generation=generation):
                self._open(hosts, generation)
            case DemandSeen(requests_per_s=rate, is_late=late):
                return self._demand(rate, is_late=late)
            case HostLost(host=host):
                self._move(host, Post.AWAY, at_s=event.at_s)
            case HostBack(host=host):
                self._move(host, Post.SERVING, at_s=event.at_s)
            case TrainingReleased(hosts=hosts):
                for host in hosts:
                    only_from = (Post.LENT, Post.RECALLED)
                    self._move(host, Post.LOADING, at_s=event.at_s, only_from=only_from)
            case _:
                self.ignored["unknown_event"] += 1
        return []

    def num_in(self, post: Post) -> int:
        """Hosts at ``post``."""
        return self._num_in[post]

    def post(self, host: int) -> Post | None:
        """Where the host is; None: it is not the pool's."""
        return self._posts.get(host)

    def hosts_in(self, post: Post) -> tuple[int, ...]:
        """Hosts at ``post``, by number."""
        return tuple(sorted(host for host, where in self._posts.items() if where is post))

    def state_hash(self) -> str:
        """sha256 over everything it knows, in hexadecimal."""
        known = (
            [(host, post.value) for host, post in sorted(self._posts.items())],
            list(self._lent.items()),
            sorted(self._moved_s.items()),
            self._expected.first,
            list(self._expected.rates.items()),
            (self._now_s, self._loan_from_s, self._generation, self._attempt),
            sorted(self.ignored.items()),
        )
        return hashlib.sha256(repr(known).encode()).hexdigest()

    def _open(self, hosts: tuple[int, ...], generation: int) -> None:
        if self._posts:
            self.ignored["opened_twice"] += 1
            return
        self._posts = dict.fromkeys(hosts, Post.SERVING)
        self._num_in[Post.SERVING] = len(self._posts)
        self._generation = generation + 1

    def _move(
        self, host: int, post: Post, *, at_s: float, only_from: tuple[Post, ...] = ()
    ) -> None:
        where = self._posts.get(host)
        if at_s < self._moved_s.get(host, -math.inf):
            # an old word, told again: since then the host was lent, or came back
            self.ignored["stale"] += 1
            return
        if where is None or where is post or (only_from and where not in only_from):
            self.ignored["unknown_host" if where is None else "repeated"] += 1
            return
        self._put(host, post)
        self._lent.pop(host, None)

    def _put(self, host: int, post: Post) -> None:
        self._num_in[self._posts[host]] -= 1
        self._num_in[post] += 1
        self._posts[host] = post
        self._moved_s[host] = self._now_s

    def _demand(self, rate_per_s: float, *, is_late: bool) -> list[Action]:
        if not rate_per_s >= 0 or not self._posts:
            self.ignored["no_rate" if self._posts else "not_open"] += 1
            return []
        if math.isfinite(rate_per_s):
            self._expected.note(self._now_s, rate_per_s)
        wanted = self._hosts_for(rate_per_s, wait_s=self.config.lead_s)
        if is_late:
            # the equations promise too much just now: one tenth more than serves
            wanted = max(wanted, math.ceil(1.1 * self.num_in(Post.SERVING)))
        coming = self.num_in(Post.SERVING) + self.num_in(Post.LOADING)
        return self._recall(wanted, rate_per_s, coming=coming) or self._lend(rate_per_s)

    def _hosts_for(self, rate_per_s: float, *, wait_s: float) -> int:
        """Hosts that the limits need within ``wait_s``, headroom included."""
        most = self._expected.most_until(self._now_s, wait_s=wait_s)
        # before a day is known, only what is asked for now counts for a recall
        expected = rate_per_s if most is None else max(most, rate_per_s)
        asked = expected * (1.0 + self.config.headroom)
        replicas = bisect_left(self.config.rates_per_s, asked)
        return max(self.config.min_hosts, replicas * self.config.replica_hosts)

    def _recall(self, wanted: int, rate_per_s: float, *, coming: int) -> list[Action]:
        if wanted <= coming:
            return []
        due = [host for host, by_s in self._lent.items() if self._now_s < by_s < math.inf]
        if wanted - coming - len(due) <= 0 or len(due) == len(self._lent):
            return []
        soon_s = self.config.lead_s + self.config.lease_s / 2
        missing = max(wanted, self._hosts_for(rate_per_s, wait_s=soon_s)) - coming - len(due)
        # the latest loans first: training has built least on them; those overdue once more
        waiting = set(due)
        others = [host for host in self._lent if host not in waiting]
        block = self.config.replica_hosts
        hosts = tuple(sorted(others[-(-(-missing // block) * block) :]))
        by_s = self._now_s + self.config.notice_s
        for host in hosts:
            self._lent[host] = by_s
            self._put(host, Post.RECALLED)
        self._loan_from_s = self._now_s + self.config.cooldown_s
        return [Recall(token=self._token(), hosts=hosts, by_s=by_s)]

    def _lend(self, rate_per_s: float) -> list[Action]:
        config = self.config
        horizon_s = config.lead_s + config.lease_s
        if self._now_s < self._loan_from_s:
            return []
        if self._expected.most_until(self._now_s, wait_s=horizon_s) is None:
            return []
        spare = self.num_in(Post.SERVING) - self._hosts_for(rate_per_s, wait_s=horizon_s)
        spare -= spare % config.replica_hosts
        if spare <= 0:
            return []
        hosts = self.hosts_in(Post.SERVING)[-spare:]
        for host in hosts:
            self._put(host, Post.LENT)
            self._lent[host] = math.inf
        self._loan_from_s = self._now_s + config.cooldown_s
        return [Lend(token=self._token(), hosts=hosts)]

    def _token(self) -> Token:
        self._attempt += 1
        return Token(self._generation, self._attempt)
