"""The timeout ladder: how long each kind of silence may last, computed in one place.

A rung must outlast the one below it, so that the nearest observer speaks first: a link that flaps
heals before a heartbeat is missed, a lost host is known before its peers' collectives time out,
ranks that are missing at the start are named by the collective before the join gives up, and
the watchdog, which knows nothing, comes last. What a person sets in `describe.policy.Policy` is the
floor of a rung; the gang's size and step time may raise it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A rung is at least this many times the rung below.
RUNG_FACTOR = 2.0
#: Beats of a heart in one heartbeat timeout: two may be lost.
NUM_BEATS = 3
#: A step may take this many times its planned time before its silence means anything.
STEP_FACTOR = 4.0
#: A start may take this many times its expected time.
START_FACTOR = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Seconds of silence, shortest first."""

    flap_s: float
    """A link may be down: retried in place, nobody is told."""
    heartbeat_s: float
    """A host may be silent: its lease. Then it is UNREACHABLE, and again as long until the
    lease has run out."""
    collective_s: float
    """No step by any rank of a running gang."""
    join_s: float
    """From StartGang until every rank joined and restored."""
    watchdog_s: float
    """From StartGang until the first step, whatever else was reported."""


def ladder(
    *,
    heartbeat_floor_s: float,
    collective_floor_s: float,
    join_floor_s: float,
    report_s: float,
    start_s: float,
) -> Ladder:
    """The rungs of one gang.

    ``report_s``: time between two reports of progress (a step; in the twin, a checkpoint);
    ``start_s``: expected time of a cold start of this gang. ValueError unless all are positive.
    """
    if min(heartbeat_floor_s, collective_floor_s, join_floor_s) <= 0 or report_s < 0 or start_s < 0:
        raise ValueError("timeouts must be positive, report_s and start_s not negative")
    heartbeat_s = heartbeat_floor_s
    collective_s = max(collective_floor_s, RUNG_FACTOR * heartbeat_s, STEP_FACTOR * report_s)
    join_s = max(join_floor_s, RUNG_FACTOR * collective_s, START_FACTOR * start_s)
    return Ladder(
        flap_s=heartbeat_s / NUM_BEATS,
        heartbeat_s=heartbeat_s,
        collective_s=collective_s,
        join_s=join_s,
        watchdog_s=join_s + collective_s,
    )
