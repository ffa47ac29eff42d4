"""What a run of the twin comes to: what people met, what the fleet spent, what that cost.

Shares and times are those of the followed requests; GPU time, starts and deaths are the whole
fleet's; what is told a token or an answer is the fleet's money over the people's demand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gigafactory.cost.money import rent_usd
from gigafactory.describe.serve import FleetStudy
from gigafactory.plan.fleet import Fleet, gpu_w, own_usd
from gigafactory.units import HOUR_S

_MILLION = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The fleet between two looks."""

    at_s: float
    requests_per_s: float
    num_serving: Mapping[str, int]
    """By role."""
    num_gpus: int
    busy_share: float
    late_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What the people met who were followed."""

    num_requests: int
    """Asked within the window, and settled within it."""
    num_answers: int
    """Of these, answers of more than a token that were followed to their end."""
    num_refused: int
    num_broken: int
    """Broken off because a replica died."""
    num_resent: int
    """Had no word yet from a replica that died, and were sent to another."""
    ttft_s: Mapping[str, float]
    tpot_s: Mapping[str, float]
    e2e_s: Mapping[str, float]
    goodput: float
    """Share of the requests that kept what was seen of both limits; refused and broken ones are
    not among them."""
    ttft_kept_share: float
    tpot_kept_share: float
    cached_share: float
    """Of the prompt tokens, those found in a cache."""
    outcome_hash: str
    """Of every instant at which a followed request spoke first and ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What the whole fleet did."""

    followed_replicas: Mapping[str, int]
    mean_replicas: Mapping[str, float]
    """By role, those that took requests."""
    busy_share: float
    """Of the GPU time that takes requests, what computes."""
    gpu_h: Mapping[str, float]
    """By what it was spent on; the parts add up to ``total_gpu_h``."""
    total_gpu_h: float
    most_gpus: int
    num_starts: int
    num_deaths: int
    broken_answers: float
    """From the mean number inside those that died."""

    @property
    def computing_share(self) -> float:
        """Of all GPU time, what computes."""
        serving = self.gpu_h["serving"]
        return self.busy_share * serving / self.total_gpu_h if self.total_gpu_h else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBill:
    """Joules and dollars of the window."""

    requests: float
    """Of the whole service."""
    rent_usd: float
    own_usd: float
    rent_usd_per_answer: float
    own_usd_per_answer: float
    rent_usd_per_million_input_tokens: float
    rent_usd_per_million_output_tokens: float
    rent_usd_per_million_tokens: float
    energy_j: float
    energy_j_per_answer: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run of the twin; seconds, joules, dollars."""

    duration_s: float
    is_disaggregated: bool
    met: Met
    spent: Spending
    bill: ServiceBill
    moments: tuple[Moment, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values in one level, keys end in their unit; the day by the hour."""
        plain: dict[str, Any] = {
            "duration_s": self.duration_s,
            "is_disaggregated": self.is_disaggregated,
        }
        for part in (self.met, self.spent, self.bill):
            plain |= {name: getattr(part, name) for name in part.__dataclass_fields__}
        return plain | {"hours": hours(self.moments)}


def hours(moments: tuple[Moment, ...]) -> list[dict[str, Any]]:
    """Means over hours since the beginning."""
    by_hour: dict[int, list[Moment]] = {}
    for moment in moments:
        by_hour.setdefault(math.ceil(moment.at_s / HOUR_S) - 1, []).append(moment)
    return [
        {
            "hour": hour,
            "requests_per_s": _mean([m.requests_per_s for m in each]),
            "num_gpus": _mean([m.num_gpus for m in each]),
            "busy_share": _mean([m.busy_share for m in each]),
            "late_share": _mean([m.late_share for m in each]),
        }
        for hour, each in sorted(by_hour.items())
    ]


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def bill_of(
    study: FleetStudy, plan: Fleet, spent: Spending, *, requests: float, duration_s: float
) -> ServiceBill:
    """Rent of every GPU-second, or owning the most hosts that were used and the spares."""
    gpu_s = spent.total_gpu_h * HOUR_S
    host, pue = study.cluster.host, study.cluster.site.pue
    joules = gpu_w(host, busy=spent.computing_share, pue=pue) * gpu_s
    price = study.money.rent.price_usd_per_s
    rented = float(rent_usd(price, num_gpus=1.0, duration_s=gpu_s))
    hosts = math.ceil(spent.most_gpus / host.num_gpus) + plan.spare_hosts
    owned = own_usd(study, num_hosts=hosts, duration_s=duration_s, energy_j=joules)
    traffic, prompts = study.serve.traffic(), plan.prompt_cost_share
    tokens_in, tokens_out = requests * traffic.input_tokens, requests * traffic.output_tokens
    return ServiceBill(
        requests=requests,
        rent_usd=rented,
        own_usd=owned,
        rent_usd_per_answer=rented / requests,
        own_usd_per_answer=owned / requests,
        rent_usd_per_million_input_tokens=rented * prompts / tokens_in * _MILLION,
        rent_usd_per_million_output_tokens=rented * (1 - prompts) / tokens_out * _MILLION,
        rent_usd_per_million_tokens=rented / (tokens_in + tokens_out) * _MILLION,
        energy_j=joules,
        energy_j_per_answer=joules / requests,
    )
