"""What a serving pool beside training came to: figures that the twin counts and the page shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolHour:
    """Means of an hour; the last one may be shorter."""

    requests_per_s: float
    kept_per_s: float
    """Of these within the limits."""
    serving_hosts: float
    lent_hosts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolResult:
    """What the pool came to."""

    num_hosts: int
    requests_per_s_per_host: float
    """The most within the limits."""
    peak_requests_per_s: float
    num_requests: float
    slo_kept_share: float
    """Of the requests."""
    slo_kept_time_share: float
    """Of the time: enough hosts served for the whole demand."""
    short_while_lent_s: float
    """The part of the rest in which hosts away for training would have been enough."""
    lent_host_s: float
    """Host-seconds with training, from the handing over to the hand-back."""
    mean_serving_hosts: float
    num_loans: int
    num_recalls: int
    num_hosts_recalled: int
    num_recalls_that_hurt: int
    """Recalls that took at least one host out of a gang that computed."""
    hours: tuple[PoolHour, ...] = ()
