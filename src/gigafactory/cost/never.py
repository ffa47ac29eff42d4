"""Campaigns that never end: the inequality that says so, with its numbers, before they begin.

Legend
    M      mean time between failures of the job        R      recovery
    tau    work between two checkpoints                 delta  blocking part of one
    c      background write until a checkpoint counts
    N      hosts of the job, or the fewest that it shrinks to
    r      losses of one host per second    D  mean repair    S  hosts beyond N

Sources: the renewal form of cost.reliability (Daly 2006, Kokolis et al., arXiv:2410.21680) and the
mean of an alternating renewal process, r D/(1 + r D) of all hosts away.

Each function takes numbers in SI units and returns one sentence, or None where all is well.
"""

from __future__ import annotations

import math

from gigafactory.cost.reliability import expected_goodput, hosts_away
from gigafactory.units import show_time

#: Less kept work than this over the wall time is no progress.
LEAST_GOODPUT = 1e-3
#: Standard deviations of the number away that no luck makes up for.
_SURE = 5.0


def too_short(duration_s: float, *, start_s: float, step_s: float) -> str | None:
    """The campaign is over before its first step can be: duration < start + step."""
    if duration_s >= start_s + step_s:
        return None
    return (
        f"{show_time(duration_s)} is over before the first step is: the job starts for "
        f"{show_time(start_s)}, and a step takes {show_time(step_s)}; follow it for longer"
    )


def no_progress(
    mtbf_s: float,
    *,
    recovery_s: float,
    interval_s: float,
    blocking_s: float = 0.0,
    commit_s: float = 0.0,
) -> str | None:
    """Hardly an attempt lives long enough to keep work: goodput below 1 in 1,000."""
    if math.isinf(mtbf_s):
        return None
    kept = float(
        expected_goodput(
            mtbf_s,
            recovery_s=recovery_s,
            # beyond exp(700) a float has no room; nothing is kept long before that
            interval_s=min(interval_s, 500.0 * mtbf_s),
            blocking_s=min(blocking_s, 100.0 * mtbf_s),
            commit_s=commit_s,
        )
    )
    if kept >= LEAST_GOODPUT:
        return None
    need_s = recovery_s + interval_s + blocking_s + commit_s
    return (
        f"the campaign never ends: an attempt must live {show_time(need_s)} (recovery "
        f"{show_time(recovery_s)}, {show_time(interval_s + blocking_s)} to a checkpoint, "
        f"{show_time(commit_s)} to write it), but the job fails every {show_time(mtbf_s)}; "
        f"(R + tau + delta + c)/M = {need_s / mtbf_s:.3g}, and {kept:.2g} of the time would be "
        f"kept work, less than {LEAST_GOODPUT:g}; checkpoint more often, recover faster, or "
        "lower the failure rates"
    )


def no_checkpoint(mtbf_s: float, *, write_s: float, blocking_s: float = 0.0) -> str | None:
    """A checkpoint takes as long as failures are apart: write + blocking >= MTBF."""
    whole_s = write_s + blocking_s
    if whole_s < mtbf_s:
        return None
    return (
        f"the campaign hardly ever keeps a checkpoint: writing one takes {show_time(whole_s)} and "
        f"the job fails every {show_time(mtbf_s)}; write + blocking >= MTBF; widen the store, "
        "write smaller checkpoints, keep copies in memory, or lower the failure rates"
    )


def no_hosts(
    num_hosts: int,
    *,
    num_spares: int,
    host_rate_per_s: float,
    repair_s: float,
    shrink: bool,
    least_hosts: int = 1,
) -> str | None:
    """More hosts are away than the job can do without, with certainty.

    A job that may ``shrink`` can do without all but ``least_hosts``, another one without its
    spares. Certain: the mean away of job and spares exceeds these by five standard deviations of
    independent failures.
    """
    fleet = num_hosts + num_spares
    dispensable = max(fleet - least_hosts, num_spares) if shrink else num_spares
    away = float(hosts_away(fleet, host_rate_per_s=host_rate_per_s, repair_s=repair_s))
    spread = math.sqrt(away * (1.0 - away / fleet))
    if away - _SURE * spread <= dispensable:
        return None
    have, remedy = (
        (f"the job trains on no fewer than {least_hosts:,}", "let it (policy.min_replicas_share)")
        if shrink
        else (f"there are {num_spares:,} spares", "let the job shrink (policy.shrink)")
    )
    return (
        f"the campaign never ends: of {fleet:,} hosts {away:,.0f} are away on average (each is "
        f"lost {host_rate_per_s * 86_400_000:.3g} times in 1,000 days and repaired for "
        f"{show_time(repair_s)}), and {have}; (N + S) r MTTR/(1 + r MTTR) > S; "
        f"add spares, repair faster, or {remedy}"
    )


def why_never(
    mtbf_s: float,
    *,
    recovery_s: float,
    interval_s: float,
    blocking_s: float,
    commit_s: float,
    num_hosts: int,
    num_spares: int,
    host_rate_per_s: float,
    repair_s: float,
    shrink: bool,
    least_hosts: int = 1,
    copies_in_memory: bool = False,
) -> str | None:
    """The first inequality that a campaign breaks, as a sentence with its numbers, or None.

    ``interval_s``, ``blocking_s``, ``commit_s`` are of the tier that most failures return to.
    ``copies_in_memory``: a slow store then stops nobody, and is not asked about.
    """
    told = no_hosts(
        num_hosts,
        num_spares=num_spares,
        host_rate_per_s=host_rate_per_s,
        repair_s=repair_s,
        shrink=shrink,
        least_hosts=least_hosts,
    )
    if told is None and not copies_in_memory:
        told = no_checkpoint(mtbf_s, write_s=commit_s, blocking_s=blocking_s)
    return told or no_progress(
        mtbf_s,
        recovery_s=recovery_s,
        interval_s=interval_s,
        blocking_s=blocking_s,
        commit_s=commit_s,
    )
