"""Which replica a request goes to: where its conversation was before, unless that one is busier.

Sans-IO, without memory of conversations: a hash names two replicas for each, the less loaded one
takes the request (the power of two choices, Mitzenmacher 2001), with an inclination to the first,
which holds the earlier turns in its cache. Replicas stand on a ring (consistent hashing, Karger
et al. 1997), so that one that comes or goes moves its own conversations only. Several gateways
that see the same replicas agree without talking to each other.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from functools import lru_cache

#: Places of a replica on the ring; the more, the more even.
_PLACES = 64
_MASK = (1 << 64) - 1
#: The first choice may have so much more to do than the second: a hit in its cache is worth that.
_INCLINATION = 1.25
_INCLINATION_REQUESTS = 2


def mixed(value: int) -> int:
    """64 bits that depend on all bits of ``value`` (splitmix64, Steele et al. 2014)."""
    z = (value + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class Router:
    """The replicas that take requests, and how many requests each has."""

    def __init__(self) -> None:
        self._ring: list[tuple[int, int]] = []
        self._points: list[int] = []
        """Of the ring, without the replicas."""
        self._load: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._load)

    def __contains__(self, replica: int) -> bool:
        return replica in self._load

    def add(self, replica: int) -> None:
        """``replica`` takes requests from now on; one that is there already stays as it is."""
        if replica not in self._load:
            self._load[replica] = 0
            for place in _places(replica):
                insort(self._ring, place)
            self._points = [point for point, _ in self._ring]

    def remove(self, replica: int) -> None:
        """``replica`` takes no more; what it has, it may finish. Unknown ones are passed over."""
        if self._load.pop(replica, None) is not None:
            places = set(_places(replica))
            self._ring = [place for place in self._ring if place not in places]
            self._points = [point for point, _ in self._ring]

    def route(self, conversation: int) -> int | None:
        """The replica for the next request of ``conversation``, which it then has; None: no one
        takes requests."""
        ring, points, load = self._ring, self._points, self._load
        if not ring:
            return None
        first, second = _points_of(conversation)
        home = ring[bisect_left(points, first) % len(ring)][1]
        other = ring[bisect_left(points, second) % len(ring)][1]
        if load[home] > load[other] * _INCLINATION + _INCLINATION_REQUESTS:
            home = other
        load[home] += 1
        return home

    def ended(self, replica: int) -> None:
        """A request of ``replica`` is over; of one that was removed nothing is counted."""
        if replica in self._load:
            self._load[replica] = max(0, self._load[replica] - 1)

    def load(self, replica: int) -> int:
        """Requests that ``replica`` has."""
        return self._load.get(replica, 0)


@lru_cache(maxsize=1 << 16)
def _points_of(conversation: int) -> tuple[int, int]:
    """Its two places on any ring; most conversations soon come again."""
    first = mixed(conversation)
    return first, mixed(first)


def _places(replica: int) -> list[tuple[int, int]]:
    return [(mixed(mixed(replica) ^ number), replica) for number in range(_PLACES)]
