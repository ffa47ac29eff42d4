"""The fleet that keeps a service's promise with the fewest GPUs, and what it costs.

Replicas come from `plan.fleet_replicas`; the fleet is as many of them as the demand of the hour,
with headroom, needs. Input and output tokens share the cost by the computing time that prompts and
answers take; tokens found in the cache are input tokens like all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gigafactory.cost.energy import site_power_w
from gigafactory.cost.money import owned_usd
from gigafactory.cost.reliability import spares_needed
from gigafactory.describe.cluster import Host
from gigafactory.describe.errors import InputError
from gigafactory.describe.exposure import losses_per_host_s
from gigafactory.describe.pool import Demand
from gigafactory.describe.serve import Disaggregation, FleetStudy, Role
from gigafactory.describe.serving import Replica
from gigafactory.plan.fleet_replicas import (
    ReplicaPlan,
    decode_replica,
    prefill_replica,
    replicas,
    whole_replica,
    wide_replicas,
)
from gigafactory.units import DAY_S, KWH_J

_HOURS = 24
_MILLION = 1e6
#: Spares suffice with this probability.
_CONFIDENCE = 0.99


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Replicas of one or two roles that answer all demand together."""

    roles: tuple[ReplicaPlan, ...]
    peak_replicas: tuple[int, ...]
    """At the busiest hour, by role."""
    peak_gpus: int
    mean_gpus: float
    """Over a weekday, as many as each hour needs."""
    spare_hosts: int
    """Owned: so that broken hosts never leave too few, with 99 % probability."""
    bill: FleetBill

    @property
    def is_split(self) -> bool:
        """Whether prompts and answers have replicas of their own."""
        return len(self.roles) > 1

    @property
    def most_gpus(self) -> int:
        """Of its largest replica."""
        return max(plan.num_gpus for plan in self.roles)

    @property
    def prompt_cost_share(self) -> float:
        """Of the GPU time of a request, what its prompt takes."""
        parts = [r.gpus_per_request_per_s for r in self.roles]
        prompts = [r.gpus_per_request_per_s * r.prompt_share for r in self.roles]
        return math.fsum(prompts) / math.fsum(parts)


@dataclass(frozen=True, kw_only=True)
class FleetBill:
    """What a weekday costs, in dollars and joules, and what that is a token and an answer."""

    rent_usd_per_day: float
    """Of the GPUs of each hour."""
    rent_fixed_usd_per_day: float
    """Of the GPUs of the busiest hour, all day."""
    own_usd_per_day: float
    """Of the hosts of the busiest hour and the spares."""
    rent_usd_per_million_input_tokens: float
    rent_usd_per_million_output_tokens: float
    rent_usd_per_answer: float
    own_usd_per_answer: float
    energy_j_per_day: float
    energy_j_per_answer: float


@dataclass(frozen=True, kw_only=True)
class FleetPlan:
    """The chosen fleet, and the other way to build one."""

    study: str
    model: str
    gpu: str
    peak_requests_per_s: float
    mean_requests_per_s: float
    input_tokens: float
    cached_tokens: float
    output_tokens: float
    best: Fleet
    other: Fleet | None
    why_no_other: str
    num_candidates: int
    hosts_available: int
    gpus_per_host: int

    def to_json(self) -> dict[str, Any]:
        """Plain values, keys end in their unit."""
        plain = {k: getattr(self, k) for k in self.__dataclass_fields__ if k not in _FLEETS}
        other = _fleet_json(self.other) if self.other else None
        return plain | {"best": _fleet_json(self.best), "other": other}


_FLEETS = {"best", "other"}


def plan_fleet(study: FleetStudy) -> FleetPlan:
    """The cheapest fleet; InputError where no replica keeps the limits."""
    tried = [list(replicas(study)), list(wide_replicas(study))]
    whole, why_no_whole = _whole(study, tried)
    split, why_no_split = _split(study, tried)
    wish = study.serve.disaggregation
    allowed = [f for f in (whole, split) if f and wish is not _REFUSES[f.is_split]]
    if not allowed:
        reasons = {Disaggregation.NEVER: why_no_whole, Disaggregation.ALWAYS: why_no_split}
        both = "; ".join(filter(None, dict.fromkeys((why_no_whole, why_no_split))))
        raise InputError(f"{study.study}: no fleet keeps serve.slo: {reasons.get(wish) or both}")
    best = min(allowed, key=lambda fleet: fleet.peak_gpus)
    domain = study.cluster.host.scaleup_domain_gpus
    is_narrow = all(f is not None and f.most_gpus <= domain for f in (whole, split))
    traffic, demand = study.serve.traffic(), study.serve.demand
    return FleetPlan(
        study=study.study,
        model=study.model.name,
        gpu=study.cluster.host.gpu.name,
        peak_requests_per_s=demand.peak_per_s,
        mean_requests_per_s=float(hourly_per_s(demand).mean()),
        input_tokens=traffic.input_tokens,
        cached_tokens=traffic.input_tokens * traffic.cached_share,
        output_tokens=traffic.output_tokens,
        best=best,
        other=split if best is whole else whole,
        why_no_other=(why_no_split if best is whole else why_no_whole),
        num_candidates=len(tried[0]) if is_narrow else sum(map(len, tried)),
        hosts_available=study.cluster.num_hosts,
        gpus_per_host=study.cluster.host.num_gpus,
    )


#: The wish that rules a fleet out, by whether it is split.
_REFUSES = {False: Disaggregation.ALWAYS, True: Disaggregation.NEVER}


def hourly_per_s(demand: Demand) -> np.ndarray:
    """Requests a second in the middle of each hour of a weekday; shape (24,)."""
    at_s = (np.arange(_HOURS) + 0.5) * DAY_S / _HOURS
    wave = np.cos(2 * np.pi * (at_s - demand.peak_at_s) / DAY_S)
    low = demand.trough_share
    return np.asarray(demand.peak_per_s * ((1 + low) / 2 + (1 - low) / 2 * wave))


def _whole(study: FleetStudy, tried: Sequence[list[Replica]]) -> tuple[Fleet | None, str]:
    found, why = _best(study, tried, whole_replica)
    return (_fleet(study, (found,)), "") if found else (None, why)


def _split(study: FleetStudy, tried: Sequence[list[Replica]]) -> tuple[Fleet | None, str]:
    prefill, why_no_prefill = _best(study, tried, prefill_replica)
    decode, why_no_decode = _best(study, tried, decode_replica)
    if prefill and decode:
        return _fleet(study, (prefill, decode)), ""
    return None, why_no_decode if prefill else why_no_prefill


def _best(
    study: FleetStudy,
    tried: Sequence[list[Replica]],
    load: Callable[[FleetStudy, Replica], ReplicaPlan | None],
) -> tuple[ReplicaPlan | None, str]:
    """The replica of the first list with any that keeps the limits whose requests take fewest
    GPUs, or why there is none."""
    why: list[str] = []
    for some in tried:
        found: list[ReplicaPlan] = []
        for replica in some:
            try:
                plan = load(study, replica)
            except ValueError as error:
                why.append(str(error))
                continue
            if plan:
                found.append(plan)
        if found:
            return min(found, key=lambda plan: plan.gpus_per_request_per_s), ""
    # the widest replica comes closest
    return None, why[-1] if len(why) == sum(map(len, tried)) else _too_slow(study)


def _too_slow(study: FleetStudy) -> str:
    slo = study.serve.slo
    ttft, tpot = (slo.ttft_s or 0) * 1e3, (slo.tpot_s or 0) * 1e3
    return (
        f"{study.model.name} on {study.cluster.host.gpu.name} is too slow for TTFT {ttft:.0f} ms "
        f"and TPOT {tpot:.0f} ms even for a single request, at tensor parallelism up to "
        f"{study.cluster.host.scaleup_domain_gpus}, over as many hosts as hold it"
    )


def num_needed(plan: ReplicaPlan, requests_per_s: float, *, study: FleetStudy) -> int:
    """Replicas for a demand, with headroom."""
    scaling = study.serve.scaling
    wanted = requests_per_s * (1 + scaling.headroom) / plan.requests_per_s
    return max(scaling.min_replicas, math.ceil(wanted))


def _fleet(study: FleetStudy, roles: tuple[ReplicaPlan, ...]) -> Fleet:
    peak = tuple(num_needed(r, study.serve.demand.peak_per_s, study=study) for r in roles)
    peak_gpus = sum(n * r.num_gpus for n, r in zip(peak, roles, strict=True))
    by_hour = [
        sum(num_needed(r, rate, study=study) * r.num_gpus for r in roles)
        for rate in hourly_per_s(study.serve.demand).tolist()
    ]
    mean = math.fsum(by_hour) / _HOURS if study.serve.scaling.is_on else float(peak_gpus)
    hosts = math.ceil(peak_gpus / study.cluster.host.num_gpus)
    spares = _spares(study, hosts)
    return Fleet(
        roles=roles,
        peak_replicas=peak,
        peak_gpus=peak_gpus,
        mean_gpus=mean,
        spare_hosts=spares,
        bill=_bill(study, roles, peak_gpus=peak_gpus, mean_gpus=mean, num_hosts=hosts + spares),
    )


def _spares(study: FleetStudy, num_hosts: int) -> int:
    rate = losses_per_host_s(study.faults, cluster=study.cluster)
    repair_s = study.faults.repair.mean_s
    try:
        return spares_needed(
            num_hosts, host_rate_per_s=rate, repair_s=repair_s, confidence=_CONFIDENCE
        )
    except ValueError as error:
        raise InputError(f"{study.study}: faults: {error}") from None


def _bill(
    study: FleetStudy,
    roles: tuple[ReplicaPlan, ...],
    *,
    peak_gpus: int,
    mean_gpus: float,
    num_hosts: int,
) -> FleetBill:
    rate, traffic = float(hourly_per_s(study.serve.demand).mean()), study.serve.traffic()
    answers = rate * DAY_S
    rent = study.money.rent.price_usd_per_s * DAY_S
    busy = busy_share(study, roles, mean_gpus=mean_gpus)
    joules = gpu_w(study.cluster.host, busy=busy, pue=study.cluster.site.pue) * mean_gpus * DAY_S
    owned = own_usd(study, num_hosts=num_hosts, duration_s=DAY_S, energy_j=joules)
    prompts = _prompt_cost_share(roles)
    per_input, per_output = answers * traffic.input_tokens, answers * traffic.output_tokens
    rented = rent * mean_gpus
    return FleetBill(
        rent_usd_per_day=rented,
        rent_fixed_usd_per_day=rent * peak_gpus,
        own_usd_per_day=owned,
        rent_usd_per_million_input_tokens=rented * prompts / per_input * _MILLION,
        rent_usd_per_million_output_tokens=rented * (1 - prompts) / per_output * _MILLION,
        rent_usd_per_answer=rented / answers,
        own_usd_per_answer=owned / answers,
        energy_j_per_day=joules,
        energy_j_per_answer=joules / answers,
    )


def _prompt_cost_share(roles: tuple[ReplicaPlan, ...]) -> float:
    """Of the GPU time of a request, what its prompt takes."""
    parts = [r.gpus_per_request_per_s for r in roles]
    prompts = [r.gpus_per_request_per_s * r.prompt_share for r in roles]
    return math.fsum(prompts) / math.fsum(parts)


def busy_share(
    study: FleetStudy, roles: tuple[ReplicaPlan, ...], *, mean_gpus: float
) -> float:  # fmt: skip
    """Demand over what the fleet of the hour would bear, on the mean of the day."""
    needed = math.fsum(r.gpus_per_request_per_s for r in roles)
    return min(1.0, float(hourly_per_s(study.serve.demand).mean()) * needed / mean_gpus)


def gpu_w(host: Host, *, busy: float, pue: float) -> float:
    """What the site draws for one GPU: a host that computes draws as in training, else idles."""
    host_w = host.idle_w + busy * (host.training_w - host.idle_w)
    return float(site_power_w(host_w / host.num_gpus, pue=pue))


def own_usd(
    study: FleetStudy, *, num_hosts: float, duration_s: float, energy_j: float
) -> float:  # fmt: skip
    """Owning so many hosts, with their share of the building, for a time."""
    own, site = study.money.own, study.cluster.site
    share = num_hosts / study.cluster.num_hosts
    return float(
        owned_usd(
            num_hosts * own.host_all_in_usd,
            life_s=own.life_s,
            opex_share_per_year=own.opex_share_per_year,
            energy_usd_per_s=energy_j * site.electricity_usd_per_j / duration_s,
            duration_s=duration_s,
            build_usd=site.build_usd * share,
            build_life_s=site.build_life_s,
        )
    )


def _fleet_json(fleet: Fleet) -> dict[str, Any]:
    bill = {k: getattr(fleet.bill, k) for k in fleet.bill.__dataclass_fields__}
    return {
        "roles": [
            _replica_json(r) | {"peak_replicas": n}
            for r, n in zip(fleet.roles, fleet.peak_replicas, strict=True)
        ],
        "is_disaggregated": fleet.is_split,
        "peak_gpus": fleet.peak_gpus,
        "mean_gpus": fleet.mean_gpus,
        "spare_hosts": fleet.spare_hosts,
        "energy_kwh_per_day": fleet.bill.energy_j_per_day / KWH_J,
        **bill,
    }


def _replica_json(plan: ReplicaPlan) -> dict[str, Any]:
    fields: Iterator[str] = iter(k for k in plan.__dataclass_fields__ if k != "replica")
    plain = {k: getattr(plan, k) for k in fields}
    layout = plan.replica.model_dump(mode="json")
    keep = ("tp", "pp", "dp", "ep", "precision", "kv_precision", "max_num_tokens", "runtime")
    return plain | {"role": plan.role.value, "layout": {k: layout[k] for k in keep}}


def roles_of(fleet: Fleet) -> dict[Role, ReplicaPlan]:
    """Its replicas by role."""
    return {plan.role: plan for plan in fleet.roles}
