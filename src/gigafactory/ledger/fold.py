"""One pass over the book gives the figures of a campaign, real or simulated.

Conventions, named because the field has several:

- productive: computing steps that were kept. The time of steps that were lost, and of a step that
  was not finished when the gang broke, is rework; a checkpoint that held the run up stays
  checkpoint, waiting for data stays data wait;
- degraded, straggler: of productive time what GPUs that are missing, and slow ones, took from it
  (`entries.PaceFrom`). It stays there when the steps are lost: it was lost already;
- goodput: kept productive time of the training allocation over all wall time since the start;
- ETTR: the same over wall time less announced maintenance (`summary.ETTR_CONVENTION`);
- an interruption: the gang stops computing for any other reason than announced maintenance, the
  end or a person; a second failure during the recovery belongs to the same interruption. None is
  a silence that ends by itself, none a replay that finds nothing, and none the pause in which
  replicas leave or join while the generation goes on: going on with fewer GPUs counts as a
  degraded spell;
- MTBF: wall time over interruptions (not uptime); MTTR: mean time from the end of computing
  until computing again;
- MFU: model FLOPs of the kept steps over the dense peak, during their time, of the GPUs that
  computed them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gigafactory.control.actions import (
    Action,
    DropReplicas,
    EvictHosts,
    JoinReplica,
    StartGang,
    Tier,
)
from gigafactory.control.events import Event, ReplicaReady
from gigafactory.describe.errors import InputError
from gigafactory.ledger.entries import (
    KIND_OF,
    WORKING,
    ActionTaken,
    Bucket,
    BucketFrom,
    CheckpointKept,
    Closed,
    Content,
    Entry,
    EventSeen,
    FaultStruck,
    Opened,
    PaceFrom,
    PoolFrom,
    PowerFrom,
    Resumed,
    Rollback,
    StateAt,
    Steps,
)
from gigafactory.ledger.series import Recorder
from gigafactory.ledger.summary import ETTR_CONVENTION, Series, Summary
from gigafactory.units import DAY_S

__all__ = ["ETTR_CONVENTION", "Series", "Summary", "Tally", "fold"]

#: A silence may end by itself, and a replay find nothing.
_MAY_PASS = frozenset({Bucket.DETECT, Bucket.SDC_REPLAY})
_NO_INTERRUPTION = frozenset({Bucket.PLANNED, Bucket.INIT, Bucket.OTHER})


def fold(entries: Iterable[Entry], *, series: bool = False) -> Summary:
    """The figures of a campaign; InputError where the book does not begin with `Opened`."""
    tally = Tally(series=series)
    for entry in entries:
        tally.write(entry.content, at_s=entry.at_s)
    return tally.summary()


@dataclass(slots=True)
class _Stretch:
    """Consecutive kept steps that one entry reported."""

    last: int
    num: int
    step_s: float
    work_gpu_s: float
    """Productive time booked while they were computed."""
    num_gpus: int
    loss: float | None


class Tally:
    """A `Sink` that keeps sums alone; ``series`` keeps the course of the campaign as well."""

    def __init__(self, *, series: bool = False) -> None:
        self._opened: Opened | None = None
        self._recorder: Recorder | None = Recorder() if series else None
        self._begin_s = self._now_s = 0.0
        self._closed: Closed | None = None
        # time, booked up to _booked_s
        self._booked_s = 0.0
        self._gpu_s = dict.fromkeys(Bucket, 0.0)
        self._it_energy_j = 0.0
        self._tail_gpu_s = 0.0
        """Productive since the last reported step: an unfinished step, lost at a rollback."""
        # how things stand
        self._bucket = Bucket.INIT
        self._num_gpus = 0
        self._working_gpus = 0
        self._pace = 1.0
        self._draw_w = 0.0
        self._is_metered = False
        self._lent_gpus = 0
        self._lent_gpu_s = 0.0
        """Of hosts that a serving pool lent: spares of the allocation meanwhile."""
        # the run
        self._stretches: list[_Stretch] = []
        self._num_lost_steps = 0
        self._checkpoints: Counter[Tier] = Counter()
        self._last_checkpoint_step: int | None = None
        # interruptions
        self._down_since_s: float | None = None
        self._is_broken = False
        """Since computing ended, more has happened than silence."""
        self._starts_before = 0
        """Starts when computing ended."""
        self._regrouped_s = -1.0
        """When replicas were last told to leave or to join, or when one joined."""
        self._repairs_s: list[float] = []
        self._num_interruptions = 0
        self._num_degraded_spells = 0
        self._num_faults = 0
        self._num_starts = 0
        self._num_evicted_hosts = 0

    def write(self, content: Content, *, at_s: float, generation: int | None = None) -> None:
        """One entry; InputError where the first is not `Opened`."""
        self._now_s = max(self._now_s, at_s)
        if self._opened is None:
            self._open(content)
        _ENTER[type(content)](self, content)
        if self._recorder is not None:
            self._recorder.take(content, at_s=self._now_s)
            self._record()

    def decide(
        self,
        event: Event,
        actions: Sequence[Action],
        *,
        state_hash: Callable[[], str],
        generation: int,
    ) -> None:
        """One turn of the controller; ``state_hash`` is not called."""
        self._now_s = max(self._now_s, event.at_s)
        self._hear(event)
        for action in actions:
            self._act(action)
        if self._recorder is not None:
            self._recorder.decide(event, actions, at_s=self._now_s)

    @property
    def opened(self) -> Opened | None:
        """The first entry."""
        return self._opened

    @property
    def num_interruptions(self) -> int:
        """Up to now; one that ends by itself is taken back then."""
        return self._num_interruptions

    @property
    def bucket(self) -> Bucket:
        """The one that is open."""
        return self._bucket

    def spent_gpu_s(self, *, at_s: float) -> Mapping[Bucket, float]:
        """What every bucket holds at ``at_s``, which must not lie in the past; spares left out."""
        self._now_s = max(self._now_s, at_s)
        self._book()
        return self._gpu_s

    @property
    def ledger_hash(self) -> str:
        """Empty: no line is written."""
        return ""

    def summary(self) -> Summary:
        """The figures so far; InputError before the first entry."""
        if self._opened is None:
            raise InputError("the ledger has no entry; the first must be 'opened'")
        self._book()
        return _summary(self, self._opened)

    # -- entries ---------------------------------------------------------------------------

    def _open(self, content: Content) -> None:
        if not isinstance(content, Opened):
            kind = KIND_OF[type(content)]
            raise InputError(f"the first entry of a ledger must be 'opened', not {kind!r}")
        self._opened = content
        self._begin_s = self._booked_s = self._now_s
        self._num_gpus = self._working_gpus = content.num_gpus
        self._draw()
        if self._recorder is not None:
            self._recorder.open(content)

    def _act(self, action: Action) -> None:
        kind = type(action)
        if kind is StartGang:
            self._num_starts += 1
        elif kind is DropReplicas or kind is JoinReplica:
            self._regrouped_s = self._now_s
        elif isinstance(action, EvictHosts):
            self._num_evicted_hosts += len(action.hosts)

    def _steps(self, steps: Steps) -> None:
        self._book()
        first = steps.step - steps.num_steps
        if self._stretches and self._stretches[-1].last > first:
            self._lose_beyond(first)
        self._stretches.append(
            _Stretch(
                steps.step, steps.num_steps, steps.step_s,
                self._tail_gpu_s, self._working_gpus, steps.loss,
            )
        )  # fmt: skip
        self._tail_gpu_s = 0.0

    def _roll_back(self, rollback: Rollback) -> None:
        """Move the time of the lost steps, and of the unfinished one, to rework."""
        self._book()
        self._to_rework(self._tail_gpu_s)
        self._tail_gpu_s = 0.0
        self._lose_beyond(rollback.step)

    def _lose_beyond(self, step: int) -> None:
        stretches = self._stretches
        while stretches and stretches[-1].last > step:
            top = stretches[-1]
            num_lost = min(top.num, top.last - step)
            # an entry of no step at all marks where work on the next one began
            lost_share = num_lost / top.num if top.num else 1.0
            lost_gpu_s = top.work_gpu_s * lost_share
            self._num_lost_steps += num_lost
            self._to_rework(lost_gpu_s)
            if num_lost == top.num:
                stretches.pop()
            else:
                top.last, top.num, top.loss = step, top.num - num_lost, None
                top.work_gpu_s -= lost_gpu_s

    def _to_rework(self, lost_gpu_s: float) -> None:
        moved = min(lost_gpu_s, self._gpu_s[Bucket.PRODUCTIVE])
        self._gpu_s[Bucket.PRODUCTIVE] -= moved
        self._gpu_s[Bucket.REWORK] += moved

    def _turn(self, entry: BucketFrom) -> None:
        self._book()
        bucket, was = entry.bucket, self._bucket
        was_working, works = was in WORKING, bucket in WORKING
        self._bucket = bucket
        if was_working and not works and bucket not in _NO_INTERRUPTION:
            self._begin_interruption()
        elif works and self._down_since_s is not None:
            self._end_interruption(self._down_since_s, was_silent=was in _MAY_PASS)
        self._is_broken = not works and (self._is_broken or bucket not in _MAY_PASS)
        if was_working != works:
            self._draw()

    def _begin_interruption(self) -> None:
        self._num_interruptions += 1
        self._down_since_s = self._now_s
        self._starts_before = self._num_starts

    def _end_interruption(self, since_s: float, *, was_silent: bool) -> None:
        """Computing again. It was an interruption unless it ended by itself, or by regrouping."""
        has_regrouped = self._regrouped_s >= since_s and self._num_starts == self._starts_before
        if has_regrouped or (was_silent and not self._is_broken):
            self._num_interruptions -= 1
        else:
            self._repairs_s.append(self._now_s - since_s)
        self._down_since_s = None

    def _keep_pace(self, pace: PaceFrom) -> None:
        self._book()
        was_whole = self._working_gpus == self._num_gpus
        self._working_gpus = max(0, min(pace.num_gpus, self._num_gpus))
        self._pace = 1.0 / max(1.0, pace.slowdown)
        if was_whole and self._working_gpus < self._num_gpus:
            self._num_degraded_spells += 1

    def _keep(self, kept: CheckpointKept) -> None:
        self._checkpoints[kept.tier] += kept.num
        if kept.tier is Tier.STORE:
            self._last_checkpoint_step = kept.step

    def _strike(self, fault: FaultStruck) -> None:
        self._num_faults += 1

    def _meter(self, power: PowerFrom) -> None:
        self._book()
        self._draw_w, self._is_metered = power.draw_w, True

    def _lend(self, pool: PoolFrom) -> None:
        self._book()
        per_host = self._opened.gpus_per_host if self._opened else 0
        was_gpus, self._lent_gpus = self._lent_gpus, pool.num_lent * per_host
        # who leaves a loan was evicted before, and goes to the pool
        self._num_evicted_hosts -= max(0, was_gpus - self._lent_gpus) // max(1, per_host)

    def _close(self, closed: Closed) -> None:
        self._closed = closed

    def _resume(self, resumed: Resumed) -> None:
        self._closed = None

    def _do(self, taken: ActionTaken) -> None:
        self._act(taken.action)

    def _see(self, seen: EventSeen) -> None:
        self._hear(seen.event)

    def _hear(self, event: Event) -> None:
        if type(event) is ReplicaReady:
            self._regrouped_s = self._now_s

    def _begin(self, opened: Opened) -> None:
        """Nothing to sum."""

    def _compare(self, state: StateAt) -> None:
        """Nothing to sum."""

    # -- time ------------------------------------------------------------------------------

    def _book(self) -> None:
        """Time up to now goes to the bucket that is open."""
        span_s = self._now_s - self._booked_s
        if span_s <= 0.0:
            return
        self._booked_s = self._now_s
        self._it_energy_j += span_s * self._draw_w
        self._lent_gpu_s += span_s * self._lent_gpus
        gpu_s, bucket = self._gpu_s, self._bucket
        if bucket is not Bucket.PRODUCTIVE:
            gpu_s[bucket] += span_s * self._num_gpus
            return
        working_gpu_s = span_s * self._working_gpus
        work_gpu_s = working_gpu_s * self._pace
        gpu_s[bucket] += work_gpu_s
        self._tail_gpu_s += work_gpu_s
        if work_gpu_s != working_gpu_s:
            gpu_s[Bucket.STRAGGLER] += working_gpu_s - work_gpu_s
        if self._working_gpus != self._num_gpus:
            gpu_s[Bucket.DEGRADED] += span_s * (self._num_gpus - self._working_gpus)

    def _draw(self) -> None:
        """What everything draws where no entry says it."""
        opened = self._opened
        if self._is_metered or opened is None:
            return
        each_w = opened.training_w_per_gpu if self._bucket in WORKING else opened.idle_w_per_gpu
        self._draw_w = each_w * opened.num_gpus + opened.idle_w_per_gpu * opened.num_spare_gpus

    def _record(self) -> None:
        if self._recorder is not None:
            working = self._working_gpus if self._bucket in WORKING else 0
            self._recorder.stand(at_s=self._now_s, draw_w=self._draw_w, working_gpus=working)


_ENTER: dict[type[Any], Callable[[Tally, Any], None]] = {
    Opened: Tally._begin,
    Resumed: Tally._resume,
    EventSeen: Tally._see,
    ActionTaken: Tally._do,
    BucketFrom: Tally._turn,
    PaceFrom: Tally._keep_pace,
    Steps: Tally._steps,
    StateAt: Tally._compare,
    Rollback: Tally._roll_back,
    CheckpointKept: Tally._keep,
    FaultStruck: Tally._strike,
    PowerFrom: Tally._meter,
    PoolFrom: Tally._lend,
    Closed: Tally._close,
}


def _summary(tally: Tally, opened: Opened) -> Summary:
    wall_s = tally._now_s - tally._begin_s
    training_gpu_s = opened.num_gpus * wall_s
    gpu_s = {bucket.value: found for bucket, found in tally._gpu_s.items()}
    spare_gpu_s = opened.num_spare_gpus * wall_s + tally._lent_gpu_s
    gpu_s[Bucket.IDLE_SPARE.value] += spare_gpu_s
    allocation_gpu_s = training_gpu_s + spare_gpu_s
    productive_gpu_s = gpu_s[Bucket.PRODUCTIVE.value]
    energy_j = tally._it_energy_j * opened.pue
    stretches, repairs_s, closed = tally._stretches, tally._repairs_s, tally._closed
    num_steps = sum(stretch.num for stretch in stretches)
    interruptions = tally._num_interruptions
    return Summary(
        world=opened.world.value,
        study=opened.study,
        seed=opened.seed,
        wall_s=wall_s,
        days=wall_s / DAY_S,
        num_gpus=opened.num_gpus,
        allocation_gpu_s=allocation_gpu_s,
        buckets_gpu_s=gpu_s,
        goodput=_share(productive_gpu_s, training_gpu_s),
        ettr=_share(productive_gpu_s, training_gpu_s - gpu_s[Bucket.PLANNED.value]),
        num_interruptions=interruptions,
        num_degraded_spells=tally._num_degraded_spells,
        mtbf_s=wall_s / interruptions if interruptions else None,
        mttr_s=math.fsum(repairs_s) / len(repairs_s) if repairs_s else None,
        mfu=_mfu(opened, stretches),
        num_steps=num_steps,
        num_lost_steps=tally._num_lost_steps,
        last_step=stretches[-1].last if stretches else opened.first_step,
        last_checkpoint_step=tally._last_checkpoint_step,
        tokens=float(num_steps * opened.tokens_per_step),
        energy_j=energy_j,
        electricity_usd=energy_j * opened.electricity_usd_per_j,
        cost_usd=allocation_gpu_s * opened.rent_usd_per_gpu_s,
        num_faults=tally._num_faults,
        num_starts=tally._num_starts,
        num_evicted_hosts=tally._num_evicted_hosts,
        num_checkpoints=tally._checkpoints[Tier.STORE],
        checkpoints_by_tier={tier.value: tally._checkpoints[tier] for tier in Tier},
        outcome=closed.outcome if closed else None,
        reason=closed.reason if closed else "",
        losses=tuple((s.last, s.loss) for s in stretches if s.loss is not None),
        step_times=tuple((s.last, s.step_s) for s in stretches),
        series=tally._recorder.series() if tally._recorder else None,
    )


def _share(productive_gpu_s: float, of_gpu_s: float) -> float:
    return productive_gpu_s / of_gpu_s if of_gpu_s > 0 else 0.0


def _mfu(opened: Opened, stretches: list[_Stretch]) -> float | None:
    kept_gpu_s = math.fsum(stretch.num * stretch.step_s * stretch.num_gpus for stretch in stretches)
    num_steps = sum(stretch.num for stretch in stretches)
    peak_flops = kept_gpu_s * opened.peak_flops_per_s
    return num_steps * opened.flops_per_step / peak_flops if peak_flops else None
