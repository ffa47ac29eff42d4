"""Hosts away, spares, lemons, stragglers and start curves of published fleets."""

from __future__ import annotations

import re

import numpy as np

from gigafactory.cost.checkpoint import stall_s
from gigafactory.cost.frailty import worst_share
from gigafactory.cost.reliability import binomial_at_most, hosts_away
from gigafactory.cost.spares import away_quantile, away_variance
from gigafactory.cost.start import communicators_s
from gigafactory.cost.stragglers import gang_slowdown, wasted_share
from gigafactory.plan import outcome_assumed as assumed
from gigafactory.plan.outcome_answer import Answer, Ask, Part, exactly
from gigafactory.plan.outcome_failures import host_rate
from gigafactory.plan.outcome_reading import GPUS_PER_HOST, Range, point
from gigafactory.plan.outcome_value import in_brackets, tail_band
from gigafactory.plan.reading import UnscorableError

INDEPENDENT = "hosts fail and are repaired independently"
FAT = "batches and months of their own; the number away is negative binomial"
_REPAIR = "mean repair 5.54 days (StepFun trace)"
_RATE = "failure rate 2.3 to 6.5 per 1,000 host-days"


def availability(ask: Ask) -> Answer:
    """Share of time: of a host between repairs, or of a system that is only set anew."""
    rate, hosts = host_rate(ask.stated), ask.stated.hosts
    if rate is None:
        return _availability_of_system(ask)
    assert hosts is not None
    r, N = rate.middle, hosts.middle
    share = 1.0 - float(hosts_away(1, host_rate_per_s=r, repair_s=assumed.REPAIR_S))
    return exactly(
        share, unit="share", method="1 / (1 + r MTTR)", convention=f"{INDEPENDENT}; only means",
        inputs={"host_rate_per_s": r, "num_hosts": N, "repair_s": assumed.REPAIR_S},
        assumed=(f"{_REPAIR}, batches and variation of the same trace",), parts=_away(ask, N, r),
    )  # fmt: skip


def over_provisioning(ask: Ask) -> Answer:
    """Spares over hosts of the job: from the mean share away to its 99th percentile."""
    hosts = ask.stated.hosts
    if hosts is None:
        raise UnscorableError("states no number of hosts")
    stated_rate = host_rate(ask.stated)
    rate = stated_rate or assumed.HOST_RATE_PER_S
    usual = stated_rate.middle if stated_rate else assumed.USUAL_HOST_RATE_PER_S
    confidence = ask.stated.confidence or assumed.CONFIDENCE

    def at(rate_per_s: float, probability: float) -> float:
        mean, variance = _away_moments(hosts.middle, rate_per_s)
        away = away_quantile(probability, mean_away=mean, variance=variance)
        return away / hosts.middle

    return Answer(
        predicted=at(usual, confidence), unit="share",
        span=Range(_mean_share(rate.low), at(rate.high, 0.99)),
        method=f"hosts away with {confidence:.0%} confidence, over hosts", convention=FAT,
        inputs={"num_hosts": hosts, "host_rate_per_s": rate, "confidence": confidence},
        assumed=(_REPAIR, *(() if stated_rate else (_RATE,)), "from the mean to 99 % confidence"),
    )  # fmt: skip


def healthy_units(ask: Ask) -> Answer:
    """Units of so many that are whole with the stated confidence.

    The most k with P(at least k of n whole) >= confidence, binomial. Where the availability of a
    unit is not stated it is solved for from the published k, which then shows no more than that
    some availability gives it; beside it stands what the hosts' failures give.
    """
    n, confidence = ask.stated.num_units, ask.stated.confidence
    if n is None or confidence is None:
        raise UnscorableError("states no number of units or no confidence")
    stated_p, solved = ask.stated.availability, None
    if stated_p is None:
        solved = _solved_availability(n, confidence, healthy=int(ask.published or 0))
    p = stated_p or solved
    assert p is not None
    low, middle, high = (_healthy(n, x, confidence) for x in (p.low, p.middle, p.high))
    return Answer(
        predicted=float(middle), span=Range(low, high), unit="count",
        method="most k with P(at least k of n whole) >= confidence", convention=INDEPENDENT,
        inputs={"num_units": n, "confidence": confidence, "availability": p},
        by_construction=solved is not None, parts=_from_hosts(ask, n, confidence),
        assumed=("availability of a unit solved for from the published number",) if solved else (),
    )  # fmt: skip


def lemons_removed(ask: Ask) -> Answer:
    """Share of large jobs that fail once the worst hosts are out, from that before.

    -ln(1 - p) is the job's expected failures; what stays of them is 1 - the share of the worst.
    """
    if len(ask.values) < 2:
        raise UnscorableError("tells no value before and after")
    before, after = ask.values[0].number, ask.values[1].number
    hazard = -np.log1p(-before)

    def at(worst: float, shape: float) -> float:
        return float(-np.expm1(-hazard * (1.0 - worst_share(worst, shape=shape))))

    q, k = assumed.LEMON_SHARE, assumed.FRAILTY_SHAPE
    told = [at(x, y) for x in (q.low, q.high) for y in (k.low, k.high)]
    drop = ask.band.drop
    accepted = Range(0.0, before - drop) if drop is not None else ask.band.around(after)
    return Answer(
        predicted=at(q.middle, k.low), span=Range(min(told), max(told)), unit="share",
        method="1 - exp(ln(1 - p)(1 - share of the worst)), gamma frailty", measured=after,
        accepted=accepted, convention="hosts keep their rates; the worst are known",
        inputs={"before": before, "worst": q, "shape": k},
        assumed=("2 to 10 % of hosts are taken out, shape of their rates 0.15 to 0.93",),
    )  # fmt: skip


def completion_time(ask: Ask) -> Answer:
    """Mean completion time with slow hosts, over that without."""
    hosts = ask.stated.hosts
    if hosts is None:
        raise UnscorableError("states no number of hosts")
    rho, s = assumed.SLOW_HOST_SHARE, assumed.SLOWDOWN
    told = [float(gang_slowdown(hosts.low, slow_share=x, slowdown=y))
            for x in (rho.low, rho.high) for y in (s.low, s.high)]  # fmt: skip
    usual = float(gang_slowdown(hosts.low, slow_share=rho.high, slowdown=s.middle))
    return Answer(
        predicted=usual, span=Range(min(told), max(told)), unit="times",
        method="1 + (1 - (1 - rho)^N)(s - 1)", convention="the gang waits for its slowest host",
        inputs={"num_hosts": hosts, "slow_host_share": rho, "slowdown": s},
        assumed=("0.05 to 0.5 % of hosts slow at a time, by 10 to 50 %",),
    )  # fmt: skip


def stragglers(ask: Ask) -> Answer:
    """GPU time wasted, from the share of jobs that are so much slower."""
    threshold = re.search(r">=?\s*(\d+)\s*%\s*slower", ask.row["metric"])
    if threshold is None or len(ask.values) < 2:
        raise UnscorableError("tells no share of jobs slower by a stated amount, or no waste")
    share, wasted = ask.values[0].number, ask.values[1].number
    return exactly(
        wasted_share(share, threshold=float(threshold[1]) / 100.0), unit="share", measured=wasted,
        accepted=ask.band.around(wasted), method="mean of x/(1 + x), x exponential",
        convention="slowdowns of jobs are exponential; the share of slow jobs is an input",
        inputs={"straggling_share": share},
    )  # fmt: skip


def start_curve(ask: Ask) -> Answer:
    """Cold start and, in brackets, forming communicators, by the number of GPUs."""
    sizes, found = ask.stated.num_gpus, [value.number for value in ask.values]
    if not sizes or len(sizes) != len(found):
        raise UnscorableError("tells not one start for each number of GPUs")
    inner = in_brackets(ask.row["published_value"])
    parts = [
        Part(f"cold start, {int(n):,} GPUs", "base + per GPU x GPUs",
             float(ask.faults.start_s(n)), told, ask.band.around(told))
        for n, told in zip(sizes, found, strict=True)
    ]  # fmt: skip
    if len(inner) == len(sizes):
        parts += [
            Part(f"communicators, {int(n):,} ranks", "17 s (ranks / 16,000)^1.36",
                 float(communicators_s(n)), told, ask.band.around(told))
            for n, told in zip(sizes, inner, strict=True)
        ]  # fmt: skip
    return exactly(
        parts[len(sizes) - 1].predicted, unit="s", measured=found[-1], method="start curves",
        convention="a curve through these very figures", by_construction=True,
        inputs={"num_gpus": Range(min(sizes), max(sizes))}, parts=tuple(parts),
        accepted=ask.band.around(found[-1]),
    )  # fmt: skip


def checkpoint_stall(ask: Ask) -> Answer:
    """How long an asynchronous checkpoint stops the job."""
    if not ask.stated.num_gpus:
        raise UnscorableError("states no number of GPUs, which the stall grows with")
    gpus = ask.stated.num_gpus[0]
    return exactly(
        float(stall_s(gpus)), unit="s", method="0.34 s (GPUs / 1,488)^0.307", by_construction=True,
        convention="blocking part alone; a power law through two published points, this is one",
        inputs={"num_gpus": gpus},
    )  # fmt: skip


def _availability_of_system(ask: Ask) -> Answer:
    """Up but for the moments in which the switches lead around a failed host."""
    hosts = ask.stated.hosts
    if hosts is None:
        raise UnscorableError("states neither a failure rate nor a number of hosts")
    if (ask.stated.gpus_per_host or GPUS_PER_HOST) == GPUS_PER_HOST:
        raise UnscorableError("states neither failures nor repairs")
    rate, stop = assumed.TPU_RATE_PER_S, assumed.RECONFIGURE_S
    told = [1.0 / (1.0 + hosts.middle * r * s)
            for r in (rate.low, rate.high) for s in (stop.low, stop.high)]  # fmt: skip
    return Answer(
        predicted=1.0 / (1.0 + hosts.middle * rate.low * stop.low), unit="share",
        span=Range(min(told), max(told)), method="1 / (1 + N r R)",
        convention="uptime between failures; a failure stops the pod until it is set anew",
        inputs={"num_hosts": hosts, "host_rate_per_s": rate, "stop_s": stop},
        assumed=("0.8 to 2.3 failures per 1,000 host-days", "10 s to 2 min to set switches anew"),
    )  # fmt: skip


def _away(ask: Ask, num_hosts: float, rate_per_s: float) -> tuple[Part, ...]:
    """Median and 99th percentile of the hosts away, where the row tells them."""
    if not re.search(r"P50|P99|down", ask.row["metric"]) or len(ask.values) < 3:
        return ()
    mean, variance = _away_moments(num_hosts, rate_per_s)
    p50, p99 = (away_quantile(p, mean_away=mean, variance=variance) for p in (0.5, 0.99))
    thin = away_quantile(0.99, mean_away=mean, variance=mean)
    tail = tail_band(ask.row)
    return (
        Part("hosts away, median", FAT, float(p50), ask.values[1].number, unit="count"),
        Part("hosts away, P99", FAT, float(p99), ask.values[2].number, tail, unit="count"),
        Part("negative control: P99 of independent repairs", "Poisson", float(thin),
             ask.values[2].number, tail, counts=False, unit="count"),
    )  # fmt: skip


def _away_moments(num_hosts: float, rate_per_s: float) -> tuple[float, float]:
    mean = float(hosts_away(num_hosts, host_rate_per_s=rate_per_s, repair_s=assumed.REPAIR_S))
    variance = away_variance(
        mean, batch_share=assumed.BATCH_SHARE, batch_hosts=assumed.BATCH_HOSTS,
        together=assumed.TOGETHER, rate_variation=assumed.RATE_VARIATION,
    )  # fmt: skip
    return mean, float(variance)


def _mean_share(rate_per_s: float) -> float:
    return float(hosts_away(1, host_rate_per_s=rate_per_s, repair_s=assumed.REPAIR_S))


def _healthy(n: int, availability_share: float, confidence: float) -> int:
    """Most k with P(at least k of n whole) >= confidence."""
    away = 1.0 - availability_share
    enough = (x for x in range(n + 1)
              if binomial_at_most(x, trials=n, probability=away) >= confidence)  # fmt: skip
    return n - next(enough)


def _solved_availability(n: int, confidence: float, *, healthy: int) -> Range:
    """The availabilities that give just so many whole units."""
    if not 0 < healthy < n:
        raise UnscorableError(f"tells no number of whole units between 0 and {n}")
    return Range(_least_availability(n, confidence, healthy),
                 _least_availability(n, confidence, healthy + 1) - 1e-9)  # fmt: skip


def _least_availability(n: int, confidence: float, healthy: int) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        enough = binomial_at_most(n - healthy, trials=n, probability=1.0 - middle) >= confidence
        low, high = (low, middle) if enough else (middle, high)
    return high


def _from_hosts(ask: Ask, n: int, confidence: float) -> tuple[Part, ...]:
    """What the hosts' own failures and repairs give, without the published number."""
    hosts = ask.stated.hosts
    if hosts is None:
        return ()
    rate = assumed.TPU_RATE_PER_S if ask.stated.gpus_per_host == 4 else assumed.HOST_RATE_PER_S
    up = (1.0 - _mean_share(rate.low)) ** (hosts.middle / n)
    name = f"from {rate.low * 86400 * 1000:.1f} failures per 1,000 host-days and {_REPAIR}"
    found = float(_healthy(n, up, confidence))
    return (Part(name, "binomial", found, ask.published, point(ask.published or 0.0), False),)
