"""What a serving pool comes to: requests kept and late, hosts that serve and hosts on loan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gigafactory.ledger.pool import PoolHour
from gigafactory.units import HOUR_S


@dataclass(slots=True)
class Hour:
    """Sums over what has passed of it."""

    lasted_s: float = 0.0
    num_requests: float = 0.0
    num_kept: float = 0.0
    serving_host_s: float = 0.0
    lent_host_s: float = 0.0

    def means(self) -> PoolHour:
        """It is over."""
        return PoolHour(
            requests_per_s=self.num_requests / self.lasted_s,
            kept_per_s=self.num_kept / self.lasted_s,
            serving_hosts=self.serving_host_s / self.lasted_s,
            lent_hosts=self.lent_host_s / self.lasted_s,
        )


@dataclass(slots=True)
class Sums:
    """Of the whole time."""

    num_requests: float = 0.0
    num_late: float = 0.0
    short_s: float = 0.0
    short_while_lent_s: float = 0.0
    lent_host_s: float = 0.0
    serving_host_s: float = 0.0
    num_loans: int = 0
    num_recalls: int = 0
    num_hosts_recalled: int = 0
    num_recalls_that_hurt: int = 0


@dataclass(slots=True)
class PoolAccount:
    """Adds up what passes between any two changes."""

    kept_per_s: Callable[[int], float]
    """The most requests a second that so many hosts keep within the limits."""
    sums: Sums = field(default_factory=Sums)
    hours: list[Hour] = field(default_factory=list)
    settled_s: float = 0.0

    def settle(
        self, *, until_s: float, rate_per_s: float, num_serving: int, num_lent: int, num_gone: int
    ) -> None:
        """Since the last change all this held; ``num_gone``: away for training, or loading."""
        wait_s, sums = until_s - self.settled_s, self.sums
        hour = self._hour(self.settled_s)
        self.settled_s = until_s
        kept = self.kept_per_s(num_serving)
        hour.lasted_s += wait_s
        hour.num_requests += wait_s * rate_per_s
        hour.num_kept += wait_s * min(kept, rate_per_s)
        hour.serving_host_s += wait_s * num_serving
        hour.lent_host_s += wait_s * num_lent
        sums.num_requests += wait_s * rate_per_s
        sums.serving_host_s += wait_s * num_serving
        sums.lent_host_s += wait_s * num_lent
        if rate_per_s > kept:
            sums.num_late += wait_s * (rate_per_s - kept)
            sums.short_s += wait_s
            if self.kept_per_s(num_serving + num_gone) >= rate_per_s:
                sums.short_while_lent_s += wait_s

    def _hour(self, at_s: float) -> Hour:
        """The hour to which time from ``at_s`` on goes; the looks are minutes apart."""
        while len(self.hours) <= at_s // HOUR_S:
            self.hours.append(Hour())
        return self.hours[-1]
