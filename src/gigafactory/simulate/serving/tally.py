"""Taking note while the twin runs, and the figures of what the followed requests met."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gigafactory.describe.serve import FleetStudy, Role
from gigafactory.describe.serving import Slo
from gigafactory.plan.fleet import Fleet
from gigafactory.simulate.serving.clock import SECOND, picoseconds, seconds
from gigafactory.simulate.serving.fleet import Spent, WholeFleet
from gigafactory.simulate.serving.outcome import Met, Moment, Outcome, Spending, bill_of
from gigafactory.simulate.serving.people import Requests
from gigafactory.simulate.serving.sample import Sample
from gigafactory.simulate.traffic import Series
from gigafactory.units import HOUR_S

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
_NEVER = -1
_NO_LIMIT_S = 1e9
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


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
    _spoke: array[int] = field(init=False)
    _done: array[int] = field(init=False)
    _num_resent: int = 0
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
        self._spoke, self._done = array("q", [_NEVER]) * num, array("q", [_NEVER]) * num
        self._is_followed, self._is_left = bytearray(num), bytearray(num)
        self._ttft = picoseconds(self.slo.ttft_s or _NO_LIMIT_S)
        self._tpot = picoseconds(self.slo.tpot_s or _NO_LIMIT_S)

    # ---- requests ----

    def asked(self, index: int) -> None:
        """It was sent to the fleet."""
        self._is_followed[index] = 1

    def resent(self, index: int) -> None:
        """It was sent again; whoever asked waits since the first time."""
        self._num_resent += self._counts(index)

    def spoke(self, index: int, at: int) -> None:
        """Its first token is with whoever asked; computed again after it was displaced, it is no
        news."""
        if self._spoke[index] != _NEVER:
            return
        self._spoke[index] = at
        judged = self._judged[True]
        judged[0] += at - self.requests.at[index] > self._ttft
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
        duration_s = seconds(self._end - self.begin_at)
        spent = self._spending(fleet)
        return Outcome(
            duration_s=duration_s,
            is_disaggregated=plan.is_split,
            met=self._met(),
            spent=spent,
            bill=bill_of(
                self.study, plan, spent, requests=self._num_asked(), duration_s=duration_s
            ),
            moments=tuple(self.moments),
        )

    def _met(self) -> Met:
        asked, spoke, done = map(np.array, (self.requests.at, self._spoke, self._done))
        more = np.array(self.requests.answer_tokens) - 1
        is_followed, is_left = _flags(self._is_followed), _flags(self._is_left)
        is_counted = is_followed & (asked >= self.begin_at)
        is_broken, is_refused = self._lost_ones(True), self._lost_ones(False)
        told = is_counted & (spoke != _NEVER) & ~is_refused
        ended = told & (done != _NEVER) & ~is_broken
        settled, paced = ended | (told & (is_left | is_broken)), ended & (more > 0)
        ttft, pace = spoke - asked, (done - spoke) / np.maximum(more, 1)
        in_time, at_pace = ttft <= self._ttft, pace <= self._tpot
        good = settled & ~is_broken & in_time & (~paced | at_pace)
        num_refused = int((is_counted & is_refused).sum())
        num = int(settled.sum()) + num_refused
        tokens = float(np.array(self.requests.prompt_tokens)[settled].sum())
        return Met(
            num_requests=num,
            num_answers=int(paced.sum()),
            num_refused=num_refused,
            num_broken=int((is_counted & is_broken).sum()),
            num_resent=self._num_resent,
            ttft_s=_quantiles(ttft[settled]),
            tpot_s=_quantiles(pace[paced]),
            e2e_s=_quantiles((done - asked)[ended]),
            goodput=float(good.sum()) / max(1, num),
            ttft_kept_share=_share(in_time[settled]),
            tpot_kept_share=_share(at_pace[paced]),
            cached_share=self._cached_tokens / max(1.0, tokens),
            outcome_hash=hashlib.sha256(spoke.tobytes() + done.tobytes()).hexdigest(),
        )

    def _counts(self, index: int) -> bool:
        return self.requests.at[index] >= self.begin_at

    def _lost_ones(self, is_broken: bool) -> Flags:
        flags = np.zeros(len(self.requests), dtype=np.bool_)
        flags[[index for index, broke in self._lost.items() if broke is is_broken]] = True
        return flags

    def _spending(self, fleet: WholeFleet) -> Spending:
        gpu_h = {spent.value: 0.0 for spent in Spent}
        for (_, spent), ps in fleet.gpu_ps.items():
            gpu_h[spent.value] += seconds(ps) / HOUR_S
        looks = max(1, len(self.moments))
        serving_s = self._serving_gpu_s
        return Spending(
            followed_replicas=self._followed,
            mean_replicas={role.value: num / looks for role, num in self._replica_s.items()},
            busy_share=self._busy_gpu_s / serving_s if serving_s else 0.0,
            gpu_h=gpu_h,
            total_gpu_h=math.fsum(gpu_h.values()),
            most_gpus=fleet.most_gpus,
            num_starts=fleet.num_starts,
            num_deaths=fleet.num_deaths,
            broken_answers=self.broken_answers,
        )

    def _num_asked(self) -> float:
        """By all people, within the window."""
        first = round(seconds(self.begin_at) / self.demand.every_s)
        return float(self.demand.requests_per_s[first:].sum() * self.demand.every_s)


def _cached(samples: Mapping[Role, Sample]) -> int:
    return sum(
        s.cached_tokens + sum(f.engine.num_cached_tokens for f in s.followed.values())
        for s in samples.values()
    )


def _flags(marks: bytearray) -> Flags:
    return np.frombuffer(marks, np.uint8).astype(np.bool_)


def _quantiles(times: NDArray[np.int64] | NDArray[np.float64]) -> dict[str, float]:
    """Of times in picoseconds, in seconds."""
    if not len(times):
        return dict.fromkeys((*QUANTILES, "mean"), 0.0)
    found = {name: float(np.quantile(times, share)) / SECOND for name, share in QUANTILES.items()}
    return found | {"mean": float(times.mean()) / SECOND}


def _share(kept: Flags) -> float:
    return float(kept.mean()) if len(kept) else 0.0
