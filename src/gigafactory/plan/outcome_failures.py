"""Time between failures, effective time and the interval it needs, for published campaigns."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import numpy as np

from gigafactory.cost.reliability import (
    Convention,
    expected_ettr,
    expected_goodput,
    job_mtbf_s,
)
from gigafactory.describe.faults import FaultClass
from gigafactory.plan import outcome_assumed as assumed
from gigafactory.plan.outcome_answer import Answer, Ask, Part, exactly
from gigafactory.plan.outcome_assumed import RECOVERING, Repairing
from gigafactory.plan.outcome_reading import MINUTE_S, UNITS_S, Range, Stated, point
from gigafactory.plan.reading import UnscorableError

POISSON = "Poisson failures by wall clock"
SHORT = "first order in the failure rate: (1 - N r (u0 + dt/2)) / (1 + w/dt)"
UNSTATED_HAZARD = "the job's own hazard is not stated: none up to that of RSC-1 (2.21 a day)"


def host_rate(stated: Stated) -> Range | None:
    """Failures of one host per second, as stated or from a count over host-days."""
    if stated.host_rate_per_s is not None:
        return stated.host_rate_per_s
    events = stated.num_unexpected or stated.num_events or stated.num_faults
    if events and stated.hosts and stated.period_s:
        return point(events / (stated.hosts.low * stated.period_s.middle))
    return None


def job_mttf(ask: Ask) -> Answer:
    """Mean time to failure of a job: hosts alone where projected, with its own hazard if stated."""
    hosts, rate = ask.stated.hosts, host_rate(ask.stated)
    if hosts is None or rate is None:
        raise UnscorableError("states no failure rate of its hosts, or no number of hosts")
    word, unit_s = time_unit(ask)
    alone = float(job_mtbf_s(hosts.middle, host_rate_per_s=rate.middle)) / unit_s
    inputs = {"num_hosts": hosts.middle, "host_rate_per_s": rate.middle}
    is_measured = bool(re.search(r"measured", ask.row["metric"], re.I))
    hazard = ask.stated.job_rate_per_s
    if hazard is None and not is_measured:
        return exactly(
            alone, unit=word, method="1 / (N r)", inputs=inputs,
            convention=f"{POISSON}; hosts alone, as the projection has it",
        )  # fmt: skip
    job_rate = hazard or assumed.JOB_RATE_PER_S
    low, high = (
        float(job_mtbf_s(hosts.middle, host_rate_per_s=rate.middle, job_rate_per_s=j)) / unit_s
        for j in (job_rate.high, job_rate.low)
    )
    control = Part(
        "negative control: hosts alone", "1 / (N r)", alone, ask.published,
        ask.band.around(ask.published or 0.0), counts=False,
    )  # fmt: skip
    return Answer(
        predicted=low, span=Range(low, high), unit=word, method="1 / (N r + hazard of the job)",
        convention=f"{POISSON} of the hosts and of the job itself", parts=(control,),
        inputs=inputs | {"job_rate_per_s": job_rate},
        assumed=() if hazard else (UNSTATED_HAZARD,),
    )  # fmt: skip


def interruptions(ask: Ask) -> Answer:
    """How many interruptions a campaign of this size and length has."""
    stated, rate = ask.stated, host_rate(ask.stated)
    if rate is None or stated.hosts is None or stated.period_s is None:
        raise UnscorableError("states no failure rate, number of hosts or length of the campaign")
    host_s = stated.hosts.middle * stated.period_s.middle
    unexpected = rate.middle * host_s
    published = stated.num_unexpected or ask.published
    parts: tuple[Part, ...] = ()
    if stated.num_events and stated.num_events != published:
        planned = sum(c.rate_per_s for c in ask.faults.causes if c.fault is FaultClass.PLANNED)
        spread = 2.0 * float(np.sqrt(stated.num_events))
        around = Range(stated.num_events - spread, stated.num_events + spread)
        parts = (
            Part("with the planned ones of the fault model", "(r + planned) N T",
                 unexpected + planned * host_s, stated.num_events, around),
        )  # fmt: skip
    return exactly(
        unexpected, unit="count", method="r N T", measured=published,
        accepted=ask.band.around(float(published or 0)), parts=parts,
        convention=f"{POISSON}; a count with two standard deviations",
        by_construction=stated.num_events is not None,
        inputs={"host_rate_per_s": rate, "num_hosts": stated.hosts, "period_s": stated.period_s},
    )  # fmt: skip


def effective_time(ask: Ask) -> Answer:
    """Kept work over wall time of one campaign."""
    stated = ask.stated
    if "slice" in f"{ask.row['published_inputs']} {ask.row['repro_method']}":
        return _with_slices(ask)
    if stated.spacing_s is not None and stated.restart_s is not None:
        return _three_conventions(ask)
    if re.search(r"E\[", ask.row["metric"]) or "closed form" in ask.row["repro_method"]:
        return _by_the_short_formula(ask)
    return _over_the_unstated(ask)


def needed_interval(ask: Ask) -> Answer:
    """Checkpoint interval and restart, taken alike, that reach a target of effective time.

    The short formula with u0 = dt and no blocking, solved: dt = (1 - target) / (1.5 N r).
    """
    stated, rate = ask.stated, host_rate(ask.stated)
    if rate is None or stated.hosts is None or stated.target is None:
        raise UnscorableError("states no failure rate, number of hosts or target")
    word, unit_s = time_unit(ask)
    job_rate = rate.middle * stated.hosts.middle
    interval_s = (1.0 - stated.target) / (1.5 * job_rate)
    return exactly(
        interval_s / unit_s, unit=word, method="(1 - ETTR) / (1.5 N r), from u0 = dt",
        convention=SHORT, inputs={
            "num_hosts": stated.hosts, "host_rate_per_s": rate, "target": stated.target,
        },
        parts=_at_the_published_interval(ask, job_rate=job_rate, unit_s=unit_s),
    )  # fmt: skip


def before_and_after(ask: Ask) -> Answer:
    """Effective time after a change of how failures are got over, from that before.

    With M the uptime between failures and L what each costs: g = M/(M + L), so that
    g' = 1/(1 + (1 - g)/g L'/L). Overheads are 1 - g.
    """
    is_overhead = bool(re.search(r"overhead|loss|wasted", ask.row["metric"], re.I))
    if len(ask.values) < 2:
        raise UnscorableError("tells no value before and after")
    before, after = ask.values[0].number, ask.values[1].number
    lost = before if is_overhead else 1.0 - before
    ratio, why = _loss_ratio(ask)
    lost_after = [lost * x / (lost * x + 1.0 - lost) for x in (ratio.low, ratio.middle, ratio.high)]
    told = lost_after if is_overhead else [1.0 - x for x in lost_after]
    return Answer(
        predicted=told[1], span=Range(min(told), max(told)), unit="share", measured=after,
        accepted=ask.band.around(after),
        method="1 / (1 + (1 - g)/g L'/L), g before, L the loss of an incident",
        convention=Convention.UPTIME.value, inputs={"before": before, "loss_ratio": ratio},
        assumed=(why,),
    )  # fmt: skip


def time_unit(ask: Ask) -> tuple[str, float]:
    """The unit of time that the metric names, and its seconds; hours where it names none."""
    found = re.findall(r"\((s|min|h|d)\)|\b(s|min|h)$", ask.row["metric"])
    word = next((a or b for a, b in found), "h")
    return word, UNITS_S[word]


def _three_conventions(ask: Ask) -> Answer:
    stated = ask.stated
    assert stated.spacing_s is not None
    assert stated.restart_s is not None
    M, R = stated.spacing_s.middle, stated.restart_s.middle
    formulas = {
        Convention.SPACED: "(M - R) / M",
        Convention.WALL_CLOCK: "exp(-R / M)",
        Convention.UPTIME: "M / (M + R)",
    }
    told = {c: float(expected_goodput(M, recovery_s=R, interval_s=0.0, convention=c))
            for c in formulas}  # fmt: skip
    named = _named_convention(ask)
    parts = [Part(c.value, formulas[c], told[c]) for c in formulas]
    if ask.walk is not None:
        walked = ((c, ask.walk(M, recovery_s=R, interval_s=0.0, convention=c)) for c in formulas)
        parts += [Part(f"{c.value}, Monte Carlo", "walk through failures", x) for c, x in walked]
    span = point(told[named]) if named else Range(min(told.values()), max(told.values()))
    convention = named or Convention.WALL_CLOCK
    return Answer(
        predicted=told[convention], span=span, unit="share", method=formulas[convention],
        convention=convention.value, inputs={"mtbf_s": M, "recovery_s": R}, parts=tuple(parts),
        assumed=() if named else ("the convention is not stated: all three",),
    )  # fmt: skip


def _named_convention(ask: Ask) -> Convention | None:
    """By the formula that the row gives."""
    text = ask.row["repro_method"]
    if re.search(r"\([\w.]+\s*-\s*[\w.]+\)\s*/", text) or "spac" in text:
        return Convention.SPACED
    if re.search(r"uptime", text, re.I):
        return Convention.UPTIME
    return Convention.WALL_CLOCK if re.search(r"exp|wall|Poisson|MC", text) else None


def _by_the_short_formula(ask: Ask) -> Answer:
    stated, rate = ask.stated, host_rate(ask.stated)
    if rate is None or stated.hosts is None or not stated.restart_s or not stated.interval_s:
        raise UnscorableError("states not all of hosts, failure rate, restart and interval")
    N, R, tau = stated.hosts.middle, stated.restart_s.middle, stated.interval_s.middle
    w = stated.blocking_s.middle if stated.blocking_s else 0.0
    M = float(job_mtbf_s(N, host_rate_per_s=rate.middle))
    short = expected_ettr(N, host_rate_per_s=rate.middle, restart_s=R, interval_s=tau, blocking_s=w)
    renewal = expected_goodput(M, recovery_s=R, interval_s=tau, blocking_s=w)
    accepted = ask.band.around(ask.published or 0.0)
    parts = [Part("renewal, wall clock", "tau/M exp(-R/M) / (exp(tau/M) - 1)", float(renewal),
                  ask.published, accepted)]  # fmt: skip
    if ask.walk is not None and w == 0.0:
        walked = ask.walk(M, recovery_s=R, interval_s=tau, convention=Convention.WALL_CLOCK)
        parts.append(Part("Monte Carlo, wall clock", "walk through failures", walked,
                          ask.published, accepted))  # fmt: skip
    return exactly(
        float(short), unit="share", method="expected_ettr", convention=SHORT, parts=tuple(parts),
        inputs={"num_hosts": N, "host_rate_per_s": rate.middle, "restart_s": R, "interval_s": tau},
    )  # fmt: skip


def _over_the_unstated(ask: Ask) -> Answer:
    """The renewal form over all corners of what the row leaves open."""
    stated, kind = ask.stated, assumed.repairing(ask.row)
    if stated.hosts is None:
        raise UnscorableError("states no number of hosts")
    stated_rate = host_rate(stated)
    rate = stated_rate or assumed.HOST_RATE_PER_S
    recovery = stated.restart_s or RECOVERING[kind].recovery_s
    interval = _interval_s(stated, kind)
    job_rate = stated.job_rate_per_s or _unstated_hazard(stated)
    open_ = _left_open(stated, kind)
    usual_rate = rate.middle if stated_rate else assumed.USUAL_HOST_RATE_PER_S
    usual_recovery = stated.restart_s.middle if stated.restart_s else RECOVERING[kind].usual_s

    def at(N: float, r: float, j: float, R: float, tau: float) -> float:
        mtbf_s = float(job_mtbf_s(N, host_rate_per_s=r, job_rate_per_s=j))
        blocking_s = tau * (stated.overhead or 0.0)
        return float(expected_goodput(mtbf_s, recovery_s=R, interval_s=tau, blocking_s=blocking_s))

    ranges = (stated.hosts, rate, job_rate, recovery, interval)
    return Answer(
        predicted=at(stated.hosts.middle, usual_rate, job_rate.middle, usual_recovery,
                     interval.middle),
        span=_corners(at, ranges), unit="share", method="renewal, kept work over wall time",
        convention=Convention.WALL_CLOCK.value, assumed=open_,
        inputs=dict(zip(
            ("num_hosts", "host_rate_per_s", "job_rate_per_s", "recovery_s", "interval_s"),
            ranges, strict=True,
        )),
    )  # fmt: skip


def _with_slices(ask: Ask) -> Answer:
    """A job of whole pods that goes on without the slice that failed, a little slower.

    goodput = (1 - lam T x) / (1 + lam R): R stops all, T the slice is away, x the work lost.
    """
    stated = ask.stated
    pods = assumed.NUM_PODS if re.search(r"x\s*n\b", ask.row["scale_gpus"]) else point(1)
    if stated.hosts is None:
        raise UnscorableError("states no number of chips")
    rate = host_rate(stated) or assumed.HOST_RATE_PER_S
    per_pod = stated.hosts.low
    stop = stated.restart_s or assumed.RECONFIGURE_S

    def at(n: float, r: float, R: float, T: float) -> float:
        lam = n * per_pod * r
        return (1.0 - min(1.0, lam * T * assumed.SLICE_WORK)) / (1.0 + lam * R)

    ranges = (pods, rate, stop, assumed.SLICE_AWAY_S)
    usual = at(2.0 if pods.high > 1 else 1.0, assumed.USUAL_HOST_RATE_PER_S, stop.middle / 1.5,
               assumed.SLICE_AWAY_S.middle)  # fmt: skip
    return Answer(
        predicted=usual, span=_corners(at, ranges), unit="share",
        method="(1 - lam T x) / (1 + lam R)", convention=Convention.UPTIME.value,
        inputs=dict(zip(("num_pods", "host_rate_per_s", "stop_s", "slice_away_s"), ranges,
                        strict=True)),
        assumed=("pods of the job, failure rate and stop are not stated; a slice away costs 3 % "
                 "of the work",),
    )  # fmt: skip


def _corners(at: Callable[..., float], ranges: tuple[Range, ...]) -> Range:
    """Least and most over the ends of all ranges; right where ``at`` is monotone in each."""
    told = [at(*ends) for ends in itertools.product(*({r.low, r.high} for r in ranges))]
    return Range(min(told), max(told))


def _interval_s(stated: Stated, kind: Repairing) -> Range:
    if stated.interval_s is not None:
        return stated.interval_s
    return assumed.STEP_S if stated.each_step or kind is Repairing.HOT else assumed.INTERVAL_S


def _unstated_hazard(stated: Stated) -> Range:
    """A counted rate holds every failure of the job; the rate of hosts alone does not."""
    return point(0.0) if host_rate(stated) is None or stated.num_events else assumed.JOB_RATE_PER_S


def _left_open(stated: Stated, kind: Repairing) -> tuple[str, ...]:
    recovering = RECOVERING[kind]
    told = (
        (host_rate(stated) is None, "failure rate 2.3 to 6.5 per 1,000 host-days"),
        (host_rate(stated) is not None and not stated.num_events and not stated.job_rate_per_s,
         UNSTATED_HAZARD),
        (stated.restart_s is None,
         f"recovery {recovering.recovery_s.low / MINUTE_S:g} to "
         f"{recovering.recovery_s.high / MINUTE_S:g} min ({kind.value}: {recovering.source})"),
        (stated.interval_s is None,
         "a checkpoint each step of 5 to 30 s" if _interval_s(stated, kind) is assumed.STEP_S
         else "5 to 20 min between checkpoints"),
    )  # fmt: skip
    return tuple(text for is_open, text in told if is_open)


def _loss_ratio(ask: Ask) -> tuple[Range, str]:
    """What an incident costs after over before."""
    stated, kind = ask.stated, assumed.repairing(ask.row)
    if stated.restart_s is not None and stated.restart_after_s is not None:
        a, b = stated.restart_after_s, stated.restart_s
        return Range(a.low / b.high, a.high / b.low), "both recoveries are stated"
    if kind is Repairing.HOT:
        return assumed.HOT_OVER_STORE, (
            "recovery with state in memory takes 7 to 20 % of that from the store "
            "(ByteRobust: 1/10.9 to 1/5.4; AWS: 80 to 93 % shorter)"
        )
    if kind is Repairing.DIAGNOSED:
        after, people = RECOVERING[kind], RECOVERING[Repairing.PEOPLE]
        a, b = after.recovery_s, people.recovery_s
        return Range(a.low / b.high, a.high / b.low), f"before: {people.source}; {after.source}"
    raise UnscorableError("says neither what changed nor both recoveries")


def _at_the_published_interval(ask: Ask, *, job_rate: float, unit_s: float) -> tuple[Part, ...]:
    """The effective time that the published figure itself gives."""
    if ask.published is None or ask.stated.target is None:
        return ()
    reached = 1.0 - 1.5 * job_rate * ask.published * unit_s
    name = f"effective time at the published {ask.published:g}"
    accepted = Range(ask.stated.target, 1.0)
    return (
        Part(
            name, "1 - 1.5 N r dt", reached, ask.stated.target, accepted, counts=False, unit="share"
        ),
    )
