"""A serving pool inside the cluster, which lends hosts to training while few people ask."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from gigafactory.describe.model import Model
from gigafactory.describe.serving import Replica, Slo, Traffic
from gigafactory.describe.spec import Spec
from gigafactory.units import DAY_S, HOUR_S, People, PerS, Ratio, Seconds


class Demand(Spec):
    """How many requests come, by the hour of the day and the day of the week.

    Either ``peak_requests_per_s``, or ``users`` and ``requests_per_user_per_s``, whose product is
    the mean of a weekday.
    """

    peak_requests_per_s: PerS | None = Field(default=None, gt=0)
    """At the busiest hour of a weekday."""
    users: People | None = Field(default=None, gt=0)
    requests_per_user_per_s: PerS | None = Field(default=None, gt=0)
    """Mean of a weekday over all ``users``, those included who do not ask that day."""
    trough_share: Ratio = Field(default=0.4, gt=0, le=1)
    """Quietest hour over busiest hour."""
    peak_at_s: Seconds = Field(default=20 * HOUR_S, ge=0, lt=DAY_S)
    """Busiest time, in seconds since midnight; the campaign begins on a Monday at midnight."""
    weekend_factor: Ratio = Field(default=0.85, gt=0, le=2)
    """Saturday and Sunday over a weekday."""
    noise_share: Ratio = Field(default=0.03, ge=0, lt=1)
    """Standard deviation of the slow deviation from the curve."""
    noise_memory_s: Seconds = Field(default=HOUR_S, gt=0)
    """Time after which a deviation has faded to 1/e."""
    bursts_per_s: PerS = Field(default=0.0, ge=0)
    """News, launches: how often something makes many people ask at once."""
    burst_factor: float = Field(default=1.5, ge=1)
    """Demand at the top of a burst over the usual."""
    burst_lasts_s: Seconds = Field(default=HOUR_S, gt=0)
    """Time in which a burst fades to 1/e."""
    source: str

    @model_validator(mode="after")
    def _one_measure(self) -> Demand:
        by_users = self.users is not None and self.requests_per_user_per_s is not None
        half = (self.users is None) != (self.requests_per_user_per_s is None)
        if half or by_users == (self.peak_requests_per_s is not None):
            raise ValueError(
                "give peak_requests, or users and requests_per_user_per (for example 1.2 /d)"
                if half
                else "give either peak_requests, or users and requests_per_user, not both or none"
            )
        return self

    @property
    def peak_per_s(self) -> float:
        """Requests a second at the busiest hour of a weekday; the daily curve is a cosine."""
        if self.peak_requests_per_s is not None:
            return self.peak_requests_per_s
        mean_per_s = (self.users or 0.0) * (self.requests_per_user_per_s or 0.0)
        return 2.0 * mean_per_s / (1.0 + self.trough_share)


class Capacity(Spec):
    """What one replica was measured, or is stated, to serve within the limits."""

    requests_per_s: PerS = Field(gt=0)
    concurrency: float = Field(gt=0)
    """Requests inside at that rate."""
    source: str


class Lending(Spec):
    """When hosts go to training, and how they come back."""

    is_on: bool = True
    """False: the pool keeps all its hosts, whatever the demand."""
    min_hosts: NonNegativeInt = 0
    """Never lend so many that fewer serve."""
    headroom: Ratio = Field(default=0.1, ge=0)
    """Hosts are kept for so much more than the demand that is expected."""
    notice_s: Seconds = Field(default=10 * 60.0, gt=0)
    """What training gets between the recall of a host and its loss."""
    drain_s: Seconds = Field(default=60.0, ge=0)
    """Requests under way end before a host is lent."""
    cold_start_s: Seconds = Field(default=300.0, ge=0)
    """Loading the weights, from the return of a host until it serves."""
    lease_s: Seconds = Field(default=4 * HOUR_S, gt=0)
    """A host is lent only if it is expected not to be needed for so long."""
    cooldown_s: Seconds = Field(default=2 * HOUR_S, gt=0)
    """Between two loans, and between a recall and the next loan."""
    watch_s: Seconds = Field(default=300.0, ge=30.0)
    """The demand is looked at so often."""


class Pool(Spec):
    """Hosts that answer people, the last ``num_hosts`` of the cluster."""

    num_hosts: PositiveInt
    """Within ``cluster.num_spare_hosts``: the plan leaves them alone."""
    demand: Demand
    request: Traffic
    """What a mean request brings and wants."""
    slo: Slo
    slo_share: Ratio = Field(default=0.99, gt=0, lt=1)
    """Share of the requests that must find a slot within ``wait_share`` of the limit on TTFT."""
    wait_share: Ratio = Field(default=0.25, gt=0, lt=1)
    """Part of the limit on TTFT that may go by in the queue; the rest is for the prompt."""
    replica_hosts: PositiveInt = 1
    """Hosts that answer together; they are lent and recalled together."""
    capacity: Capacity | None = None
    """Of one replica; default: by the equations of serving, for ``serves`` and ``replica``."""
    serves: Model | None = None
    """The model that answers; default: the study's."""
    replica: Replica = Replica(tp=8)
    lending: Lending = Lending()
    source: str

    @model_validator(mode="after")
    def _limits_agree(self) -> Pool:
        if self.slo.ttft_s is None:
            raise ValueError("slo.ttft is missing: without it any queue would do")
        if self.lending.min_hosts > self.num_hosts:
            raise ValueError(
                f"lending.min_hosts {self.lending.min_hosts} is more than num_hosts "
                f"{self.num_hosts}"
            )
        if self.num_hosts % self.replica_hosts:
            raise ValueError(
                f"num_hosts {self.num_hosts} is not a multiple of replica_hosts "
                f"{self.replica_hosts}"
            )
        return self

    @property
    def wait_s(self) -> float:
        """How long a request may wait for a slot."""
        return self.wait_share * (self.slo.ttft_s or 0.0)
