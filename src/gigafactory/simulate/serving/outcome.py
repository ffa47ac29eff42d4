"""What became of the requests that were followed, and what the whole fleet spent meanwhile.

Shares and times are those of the followed requests; GPU time, starts and deaths are the whole
fleet's; what is told a token or an answer is the fleet's money over the people's demand.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigafactory.control.scaling import Role
from gigafactory.cost.money import rent_usd
from gigafactory.describe.serve import FleetStudy
from gigafactory.describe.serving import Slo
from gigafactory.plan.fleet import Fleet, gpu_w, own_usd
from gigafactory.simulate.serving.clock import SECOND, picoseconds, seconds
from gigafactory.simulate.serving.fleet import Spent, WholeFleet
from gigafactory.simulate.serving.people import Requests
from gigafactory.simulate.serving.sample import Sample
from gigafactory.simulate.traffic import Series
from gigafactory.units import HOUR_S

Floats = NDArray[np.float64]
_NEVER = -1
_NO_LIMIT_S = 1e9
_MILLION = 1e6
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


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
class Outcome:
    """One run of the twin; seconds, joules, dollars."""

    duration_s: float
    is_disaggregated: bool
    num_requests: int
    """Asked within the window and followed."""
    num_answers: int
    """Of these, answers that were followed to their end."""
    num_refused: int
    num_broken: int
    """Broken off because a replica died, among the followed."""
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
    followed_replicas: Mapping[str, int]
    mean_replicas: Mapping[str, float]
    busy_share: float
    """Of the GPU time that takes requests, what computes."""
    gpu_h: Mapping[str, float]
    """Of the whole fleet, by what it was spent on; the parts add up to `total_gpu_h`."""
    total_gpu_h: float
    most_gpus: int
    num_starts: int
    num_deaths: int
    broken_answers: float
    """In the whole fleet, from the mean number inside those that died."""
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
    moments: tuple[Moment, ...]
    outcome_hash: str
    """Of every instant at which a followed request spoke first and ended."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, keys end in their unit; the day by the hour."""
        plain = {k: getattr(self, k) for k in self.__dataclass_fields__ if k != "moments"}
        return plain | {"hours": hours(self.moments)}


def hours(moments: tuple[Moment, ...]) -> list[dict[str, Any]]:
    """Means over hours since the beginning."""
    by_hour: dict[int, list[Moment]] = {}
    for moment in moments:
        by_hour.setdefault(int((moment.at_s - 1e-9) // HOUR_S), []).append(moment)
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


@dataclass(slots=True)
class Tally:
    """Takes note while the twin runs."""

    slo: Slo
    requests: Requests
    demand: Series
    study: FleetStudy
    begin_at: int = 0
    moments: list[Moment] = field(default_factory=list)
    broken_answers: float = 0.0
    _spoke: list[int] = field(init=False)
    _done: list[int] = field(init=False)
    _asked: list[int] = field(init=False)
    _is_followed: bytearray = field(init=False)
    _is_left: bytearray = field(init=False)
    _lost: dict[int, bool] = field(default_factory=dict)
    """Refused (False) or broken off (True)."""
    _judged: dict[bool, list[int]] = field(default_factory=lambda: {True: [0, 0], False: [0, 0]})
    """Since the last look, (late, all): of first tokens (True) and of the pace after them."""
    _ttft: int = 0
    _tpot: int = 0
    _looked_at: int = 0
    _computed: dict[Role, int] = field(default_factory=dict)
    _busy_gpu_s: float = 0.0
    _serving_gpu_s: float = 0.0
    _cached_before: int = 0
    _cached_tokens: int = 0
    _replica_s: dict[Role, float] = field(default_factory=dict)
    _followed: dict[str, int] = field(default_factory=dict)
    _end: int = 0

    def __post_init__(self) -> None:
        num = len(self.requests)
        self._asked = list(self.requests.at)
        self._spoke, self._done = [_NEVER] * num, [_NEVER] * num
        self._is_followed, self._is_left = bytearray(num), bytearray(num)
        self._ttft = picoseconds(self.slo.ttft_s or _NO_LIMIT_S)
        self._tpot = picoseconds(self.slo.tpot_s or _NO_LIMIT_S)

    # ---- requests ----

    def asked(self, index: int, at: int) -> None:
        """It was sent to the fleet at ``at``."""
        self._is_followed[index] = 1
        self._asked[index] = at

    def asked_at(self, index: int) -> int:
        """When it was first sent."""
        return self._asked[index]

    def spoke(self, index: int, at: int) -> None:
        """Its first token is with whoever asked."""
        self._spoke[index] = at
        judged = self._judged[True]
        judged[0] += at - self._asked[index] > self._ttft
        judged[1] += 1

    def has_spoken(self, index: int) -> bool:
        """Whether somebody has read part of the answer."""
        return self._spoke[index] != _NEVER

    def ended(self, index: int, at: int) -> None:
        """Its last token is there."""
        self._done[index] = at
        more = self.requests.answer_tokens[index] - 1
        judged = self._judged[False]
        judged[0] += at - self._spoke[index] > self._tpot * more
        judged[1] += 1

    def left(self, index: int) -> None:
        """The rest of it is computed by replicas that are not followed."""
        self._is_left[index] = 1

    def refused(self, index: int, at: int) -> None:
        """Its queue was full."""
        self._lost[index] = False
        self._done[index] = at
        judged = self._judged[not self.has_spoken(index)]
        judged[0] += 1
        judged[1] += 1

    def broke(self, index: int) -> None:
        """Its replica died in the middle of the answer."""
        self._lost[index] = True

    # ---- the fleet ----

    def deaths(self, role: Role, num_inside: float) -> None:
        """A replica with about so many requests died."""
        self.broken_answers += num_inside if role is not Role.PREFILL else 0.0

    def look(
        self, samples: Mapping[Role, Sample], fleet: WholeFleet, *, at: int
    ) -> tuple[tuple[Role, float], ...]:
        """What the replicas did since the last look; which share of it was late, by role."""
        passed = at - self._looked_at
        busy = serving_gpus = 0.0
        for role, sample in samples.items():
            computed = sample.computing
            share = (computed - self._computed.get(role, 0)) / (passed * len(sample.followed) or 1)
            self._computed[role] = computed
            gpus = len(fleet.serving[role]) * fleet.gpus[role]
            busy += min(1.0, share) * gpus
            serving_gpus += gpus
            self._replica_s[role] = self._replica_s.get(role, 0.0) + len(fleet.serving[role])
        self._busy_gpu_s += busy * seconds(passed)
        self._serving_gpu_s += serving_gpus * seconds(passed)
        self._looked_at = at
        late = {is_first: n / max(1, of) for is_first, (n, of) in self._judged.items()}
        self._judged = {True: [0, 0], False: [0, 0]}
        busy_share = busy / serving_gpus if serving_gpus else 0.0
        self._note(fleet, at=at, busy=busy_share, late=max(late.values()))
        late_of = {
            Role.WHOLE: max(late.values()),
            Role.PREFILL: late[True],
            Role.DECODE: late[False],
        }
        return tuple((role, late_of[role]) for role in samples)

    def _note(self, fleet: WholeFleet, *, at: int, busy: float, late: float) -> None:
        index = min(int(seconds(at - 1) / self.demand.every_s), len(self.demand.at_s) - 1)
        self.moments.append(
            Moment(
                at_s=seconds(at - self.begin_at),
                requests_per_s=float(self.demand.requests_per_s[index]),
                num_serving={role.value: len(each) for role, each in fleet.serving.items()},
                num_gpus=fleet.num_gpus_used,
                busy_share=busy,
                late_share=late,
            )
        )

    def begin(self, samples: Mapping[Role, Sample], *, at: int) -> None:
        """The warm-up is over: what follows counts."""
        self.begin_at = at
        self.moments.clear()
        self.broken_answers = self._busy_gpu_s = self._serving_gpu_s = 0.0
        self._replica_s.clear()
        self._cached_before = _cached(samples)

    def close(self, samples: Mapping[Role, Sample], *, at: int) -> None:
        """The window is over."""
        self._cached_tokens = _cached(samples) - self._cached_before
        self._followed = {role.value: s.num_replicas for role, s in samples.items()}
        self._end = at

    # ---- figures ----

    def outcome(self, plan: Fleet, fleet: WholeFleet) -> Outcome:
        """All of it."""
        c = self._columns()
        spread = {"ttft": c.ttft_s, "tpot": c.tpot_s, "e2e": c.e2e_s}
        quantiles = {f"{name}_s": _quantiles(values) for name, values in spread.items()}
        lost = [is_broken for n, is_broken in self._lost.items() if self._counts(n)]
        num = len(c.ttft_s) + sum(not is_broken for is_broken in lost)
        tokens = float(c.prompt_tokens.sum())
        return Outcome(
            duration_s=seconds(self._end - self.begin_at),
            is_disaggregated=plan.is_split,
            num_requests=num,
            num_answers=len(c.tpot_s),
            num_refused=sum(not is_broken for is_broken in lost),
            num_broken=sum(lost),
            goodput=c.num_good / num if num else 0.0,
            ttft_kept_share=_share(c.ttft_s <= (self.slo.ttft_s or math.inf)),
            tpot_kept_share=_share(c.tpot_s <= (self.slo.tpot_s or math.inf)),
            cached_share=self._cached_tokens / tokens if tokens else 0.0,
            followed_replicas=self._followed,
            outcome_hash=c.digest,
            moments=tuple(self.moments),
            **quantiles,
            **self._fleet_figures(fleet),
            **self._money(plan, fleet),
        )

    def _counts(self, index: int) -> bool:
        return bool(self._is_followed[index]) and self.requests.at[index] >= self.begin_at

    def _columns(self) -> _Columns:
        spoke, done = np.array(self._spoke), np.array(self._done)
        asked = np.array(self._asked)
        counted = np.frombuffer(self._is_followed, np.uint8).astype(bool)
        counted = counted & (np.array(self.requests.at) >= self.begin_at)
        lost = np.zeros(len(spoke), dtype=bool)
        lost[list(self._lost)] = True
        broken = np.zeros(len(spoke), dtype=bool)
        broken[[n for n, is_broken in self._lost.items() if is_broken]] = True
        told = counted & (spoke != _NEVER)
        ended = told & (done != _NEVER) & ~lost
        more = np.array(self.requests.answer_tokens) - 1
        paced = ended & (more > 0)
        ttft, tpot = spoke - asked, (done - spoke) / np.maximum(more, 1)
        is_left = np.frombuffer(self._is_left, np.uint8).astype(bool)
        settled = told & (ended | is_left | broken)
        good = settled & ~broken & (ttft <= self._ttft) & (~paced | (tpot <= self._tpot))
        sha = hashlib.sha256(spoke.tobytes())
        sha.update(done.tobytes())
        return _Columns(
            ttft_s=ttft[settled] / SECOND,
            tpot_s=tpot[paced] / SECOND,
            e2e_s=(done - asked)[ended] / SECOND,
            prompt_tokens=np.array(self.requests.prompt_tokens)[settled],
            num_good=int(good.sum()),
            digest=sha.hexdigest(),
        )

    def _fleet_figures(self, fleet: WholeFleet) -> dict[str, Any]:
        gpu_h = {spent.value: 0.0 for spent in Spent}
        for (_, spent), ps in fleet.gpu_ps.items():
            gpu_h[spent.value] += seconds(ps) / HOUR_S
        looks = max(1, len(self.moments))
        share = self._busy_gpu_s / self._serving_gpu_s if self._serving_gpu_s else 0.0
        return {
            "gpu_h": gpu_h,
            "total_gpu_h": math.fsum(gpu_h.values()),
            "busy_share": share,
            "mean_replicas": {role.value: s / looks for role, s in self._replica_s.items()},
            "most_gpus": fleet.most_gpus,
            "num_starts": fleet.num_starts,
            "num_deaths": fleet.num_deaths,
            "broken_answers": self.broken_answers,
        }

    def _money(self, plan: Fleet, fleet: WholeFleet) -> dict[str, float]:
        study, duration_s = self.study, seconds(self._end - self.begin_at)
        gpu_s = math.fsum(seconds(ps) for ps in fleet.gpu_ps.values())
        busy = self._busy_gpu_s / gpu_s if gpu_s else 0.0
        joules = gpu_w(study.cluster.host, busy=busy, pue=study.cluster.site.pue) * gpu_s
        rented = float(
            rent_usd(study.money.rent.price_usd_per_s, num_gpus=1.0, duration_s=gpu_s)
        )
        hosts = fleet.most_gpus / study.cluster.host.num_gpus + plan.spare_hosts
        owned = own_usd(study, num_hosts=hosts, duration_s=duration_s, energy_j=joules)
        answers = self._answers()
        traffic, prompts = study.serve.traffic(), plan.prompt_cost_share
        tokens_in, tokens_out = answers * traffic.input_tokens, answers * traffic.output_tokens
        return {
            "requests": answers,
            "rent_usd": rented,
            "own_usd": owned,
            "rent_usd_per_answer": rented / answers,
            "own_usd_per_answer": owned / answers,
            "rent_usd_per_million_input_tokens": rented * prompts / tokens_in * _MILLION,
            "rent_usd_per_million_output_tokens": rented * (1 - prompts) / tokens_out * _MILLION,
            "rent_usd_per_million_tokens": rented / (tokens_in + tokens_out) * _MILLION,
            "energy_j": joules,
            "energy_j_per_answer": joules / answers,
        }

    def _answers(self) -> float:
        """Of the whole service, within the window."""
        first = round(seconds(self.begin_at) / self.demand.every_s)
        return float(self.demand.requests_per_s[first:].sum() * self.demand.every_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats
    prompt_tokens: NDArray[np.int64]
    num_good: int
    digest: str


def _cached(samples: Mapping[Role, Sample]) -> int:
    return sum(
        s.cached_tokens + sum(f.engine.num_cached_tokens for f in s.followed.values())
        for s in samples.values()
    )


def _quantiles(values: Floats) -> dict[str, float]:
    if not len(values):
        return {name: 0.0 for name in (*QUANTILES, "mean")}
    found = {name: float(np.quantile(values, share)) for name, share in QUANTILES.items()}
    return found | {"mean": float(values.mean())}


def _share(kept: NDArray[np.bool_]) -> float:
    return float(kept.mean()) if len(kept) else 0.0
