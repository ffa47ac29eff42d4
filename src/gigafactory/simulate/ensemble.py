"""Many campaigns of one study that differ in their dice alone: what to expect, and the bad case.

A quantile of N campaigns is one of a sample, interpolated between neighbours [Hyndman & Fan 1996,
type 7]; the campaigns of seeds s, s + 1, ... are independent, so with 1,000 of them the share of
campaigns below a stated P10 is known to +- 2 points.

Figures "of the whole job" carry the pace of the campaign on to the job's last token; where the
campaign reached it they are the campaign's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from gigafactory.describe.study import Study
from gigafactory.ledger.fold import Tally
from gigafactory.simulate.campaign import CONVENTION, CampaignResult, follow
from gigafactory.simulate.workload import Workload
from gigafactory.units import DAY_S

#: Quantiles that are told, by the name they are told under.
QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignFigures:
    """What one campaign came to, small enough to keep a thousand of them."""

    seed: int
    outcome: str
    """`control.actions.Outcome`, or ``horizon``."""
    goodput: float
    ettr: float
    days: float
    """Followed."""
    tokens: float
    """Kept."""
    job_days: float | None
    """Of the whole job at this pace; None where no step was kept."""
    job_usd: float | None
    """Rent of the whole job at this pace."""
    cost_usd: float
    energy_j: float
    carbon_kg: float
    num_interruptions: int
    mtbf_s: float | None
    mttr_s: float | None
    num_evicted_hosts: int
    lost_shares: Mapping[str, float]
    """Bucket -> share of the training allocation's time; they add up to 1 - goodput."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Campaigns of seeds ``first_seed``, ``first_seed`` + 1, ... of one study."""

    study: str
    first_seed: int
    campaigns: tuple[CampaignFigures, ...]

    def quantiles(self) -> dict[str, dict[str, float]]:
        """Figure -> {p10, p50, p90, mean, low, high}; figures that no campaign knows are left
        out."""
        return {name: _spread(values) for name in SPREAD if (values := self.known(name))}

    def known(self, name: str) -> list[float]:
        """The values of one figure in the campaigns that have it."""
        values = (getattr(campaign, name) for campaign in self.campaigns)
        return [float(value) for value in values if value is not None]

    def outcomes(self) -> dict[str, int]:
        """How many campaigns ended how."""
        found: dict[str, int] = {}
        for campaign in self.campaigns:
            found[campaign.outcome] = found.get(campaign.outcome, 0) + 1
        return dict(sorted(found.items()))

    def lost_shares(self) -> dict[str, float]:
        """Mean share of the training time that went into each bucket but productive."""
        names = dict.fromkeys(b for campaign in self.campaigns for b in campaign.lost_shares)
        count = len(self.campaigns)
        return {
            b: math.fsum(c.lost_shares.get(b, 0.0) for c in self.campaigns) / count for b in names
        }

    def worst(self) -> CampaignFigures:
        """The campaign that kept the least for its time: the seed to look at."""
        return min(self.campaigns, key=lambda campaign: (campaign.goodput, campaign.seed))

    def to_json(self) -> dict[str, Any]:
        """Quantiles first, then every campaign; keys end in their unit."""
        return {
            "study": self.study,
            "num_campaigns": len(self.campaigns),
            "first_seed": self.first_seed,
            "convention": CONVENTION,
            "quantiles": self.quantiles(),
            "lost_shares": self.lost_shares(),
            "outcomes": self.outcomes(),
            "worst_seed": self.worst().seed,
            "campaigns": [asdict(campaign) for campaign in self.campaigns],
        }


_NO_SPREAD = {"seed", "outcome", "lost_shares"}
#: Figures with quantiles.
SPREAD = tuple(f.name for f in fields(CampaignFigures) if f.name not in _NO_SPREAD)


def one_campaign(seed: int, *, study: Study, workload: Workload) -> CampaignFigures:
    """Follow one campaign and keep its figures alone; its ledger is not kept."""
    result = follow(study, workload=workload, seed=seed, ledger=Tally())
    return figures_of(result, seed=seed, num_job_steps=workload.num_steps)


def figures_of(result: CampaignResult, *, seed: int, num_job_steps: int) -> CampaignFigures:
    """The figures of a campaign of a job of ``num_job_steps``."""
    whole = num_job_steps / result.num_steps if result.num_steps else None
    training_gpu_s = result.num_gpus * result.wall_s
    lost = {
        name: gpu_s / training_gpu_s
        for name, gpu_s in result.buckets_gpu_s.items()
        if gpu_s > 0 and name not in _NOT_LOST
    }
    return CampaignFigures(
        seed=seed,
        outcome=result.outcome or "",
        goodput=result.goodput,
        ettr=result.ettr,
        days=result.days,
        tokens=result.tokens,
        job_days=whole * result.wall_s / DAY_S if whole else None,
        job_usd=whole * result.cost_usd if whole else None,
        cost_usd=result.cost_usd,
        energy_j=result.energy_j,
        carbon_kg=result.carbon_kg,
        num_interruptions=result.num_interruptions,
        mtbf_s=result.mtbf_s,
        mttr_s=result.mttr_s,
        num_evicted_hosts=result.num_evicted_hosts,
        lost_shares=lost,
    )


#: The spares' time is beside the training allocation's.
_NOT_LOST = {"productive", "idle_spare"}


def _spread(values: Sequence[float]) -> dict[str, float]:
    column = np.array(values, dtype=np.float64)
    told = {name: float(np.quantile(column, share)) for name, share in QUANTILES.items()}
    ends = {"mean": float(column.mean()), "low": float(column.min()), "high": float(column.max())}
    return told | ends
