"""One pass over the book gives the figures of a campaign, real or simulated.

Conventions, named because the field has several:

- goodput: kept productive time of the training allocation over all wall time since the start;
- ETTR: the same over wall time less announced maintenance (`ETTR_CONVENTION`);
- an interruption: the gang stops computing for any other reason than announced maintenance, the
  end or a person; a second failure during the recovery belongs to the same interruption, and a
  silence that ends by itself is none;
- MTBF: wall time over interruptions (not uptime); MTTR: mean time from the end of computing
  until computing again;
- MFU: model FLOPs of the kept steps over the dense peak during their time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from gigafactory.describe.errors import InputError
from gigafactory.ledger.codec import runs_tuple
from gigafactory.ledger.entries import (
    WORKING,
    ActionTaken,
    Bucket,
    BucketFrom,
    CheckpointKept,
    Closed,
    Entry,
    EventSeen,
    FaultStruck,
    Opened,
    PowerFrom,
    Resumed,
    Rollback,
    Steps,
)
from gigafactory.units import DAY_S

ETTR_CONVENTION = (
    "kept productive time over wall-clock time less announced maintenance; waiting for hosts "
    "counts as lost, failures may strike during recovery"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a campaign came to; `fold` says how each figure is defined."""

    world: str
    study: str
    seed: int | None
    wall_s: float
    days: float
    num_gpus: int
    """The training allocation."""
    allocation_gpu_s: float
    """GPU-seconds of everything, spares included; the buckets sum to it."""
    buckets_gpu_s: dict[str, float]
    goodput: float
    ettr: float
    ettr_convention: str = ETTR_CONVENTION
    num_interruptions: int
    mtbf_s: float | None
    mttr_s: float | None
    mfu: float | None
    num_steps: int
    """Kept steps."""
    num_lost_steps: int
    last_step: int
    last_checkpoint_step: int | None
    tokens: float
    energy_j: float
    """At the meter: IT load times PUE."""
    electricity_usd: float
    cost_usd: float
    """Rent of the whole allocation over the wall time; it includes electricity."""
    num_faults: int
    num_starts: int
    num_evicted_hosts: int
    num_checkpoints: int
    outcome: str | None
    """None: the book was never closed (a crash)."""
    reason: str
    losses: tuple[tuple[int, float], ...] = ()
    """(step, loss) of the kept steps; after a rollback the last write wins."""
    step_times: tuple[tuple[int, float], ...] = ()
    """(step, step_s) of the kept steps, one pair an entry."""

    def to_json(self, *, series: bool = False) -> dict[str, Any]:
        """A JSON object whose keys end in their unit; ``series`` adds losses and step times."""
        found = asdict(self)
        if not series:
            del found["losses"], found["step_times"]
        return found


@dataclass(slots=True)
class _Stretch:
    """Consecutive kept steps that one entry reported."""

    last: int
    num: int
    step_s: float
    bucket: Bucket
    loss: float | None


@dataclass(slots=True)
class Account:
    """What one pass has to remember."""

    opened: Opened
    begin_s: float
    now_s: float
    bucket: Bucket = Bucket.INIT
    gpu_s: dict[Bucket, float] = field(default_factory=lambda: dict.fromkeys(Bucket, 0.0))
    tail_s: float = 0.0
    """Computing time since the last reported step: an unfinished step, lost at a rollback."""
    stretches: list[_Stretch] = field(default_factory=list)
    num_lost_steps: int = 0
    draw_w: float | None = None
    it_energy_j: float = 0.0
    down_since_s: float | None = None
    is_broken: bool = False
    """Since computing ended, more has happened than silence."""
    repairs_s: list[float] = field(default_factory=list)
    num_interruptions: int = 0
    num_faults: int = 0
    num_starts: int = 0
    num_evicted_hosts: int = 0
    num_checkpoints: int = 0
    last_checkpoint_step: int | None = None
    closed: Closed | None = None


def fold(entries: Iterable[Entry]) -> Summary:
    """The figures of a campaign; InputError where the book does not begin with `Opened`."""
    account: Account | None = None
    for entry in entries:
        if account is None:
            account = opened_account(entry)
        pass_time(account, entry.at_s)
        enter(account, entry)
    if account is None:
        raise InputError("the ledger has no entry; the first must be 'opened'")
    return _summary(account)


def opened_account(entry: Entry) -> Account:
    """An account that begins with this entry; InputError where it is not `Opened`."""
    if not isinstance(entry.content, Opened):
        raise InputError(f"entry {entry.seq}: the first entry of a ledger must be 'opened'")
    return Account(entry.content, entry.at_s, entry.at_s)


def pass_time(account: Account, at_s: float) -> None:
    """Book the time since the last entry to the bucket that was open."""
    span_s = at_s - account.now_s
    if span_s <= 0:
        return
    account.now_s = at_s
    account.gpu_s[account.bucket] += span_s * account.opened.num_gpus
    account.it_energy_j += span_s * _draw_w(account)
    if account.bucket in WORKING:
        account.tail_s += span_s


def _draw_w(account: Account) -> float:
    if account.draw_w is not None:
        return account.draw_w
    opened = account.opened
    working = account.bucket in WORKING
    each_w = opened.training_w_per_gpu if working else opened.idle_w_per_gpu
    return each_w * opened.num_gpus + opened.idle_w_per_gpu * opened.num_spare_gpus


def enter(account: Account, entry: Entry) -> None:
    """What an entry changes, after the time up to it was passed."""
    match entry.content:
        case Steps() as steps:
            _steps(account, steps)
        case BucketFrom(bucket=bucket):
            _turn(account, bucket)
        case Rollback(step=step):
            _roll_back(account, step)
        case ActionTaken(action=action):
            account.num_starts += action.get("type") == "StartGang"
            account.num_evicted_hosts += _num_evicted(action)
        case CheckpointKept(step=step):
            account.num_checkpoints += 1
            account.last_checkpoint_step = step
        case FaultStruck():
            account.num_faults += 1
        case PowerFrom(draw_w=draw_w):
            account.draw_w = draw_w
        case Closed() as closed:
            account.closed = closed
        case Resumed():
            account.closed = None
        case EventSeen() | Opened():
            pass


def _num_evicted(action: dict[str, Any]) -> int:
    return len(runs_tuple(action["hosts"])) if action.get("type") == "EvictHosts" else 0


def _steps(account: Account, steps: Steps) -> None:
    first = steps.step - steps.num_steps
    if account.stretches and account.stretches[-1].last > first:
        _lose_beyond(account, first)
    account.tail_s = 0.0
    account.stretches.append(
        _Stretch(steps.step, steps.num_steps, steps.step_s, account.bucket, steps.loss)
    )


def _roll_back(account: Account, step: int) -> None:
    """Move the time of the lost steps, and of the unfinished one, to rework."""
    _to_rework(account, account.bucket, account.tail_s)
    account.tail_s = 0.0
    _lose_beyond(account, step)


def _lose_beyond(account: Account, step: int) -> None:
    stretches = account.stretches
    while stretches and stretches[-1].last > step:
        top = stretches[-1]
        num_lost = min(top.num, top.last - step)
        account.num_lost_steps += num_lost
        _to_rework(account, top.bucket, num_lost * top.step_s)
        if num_lost == top.num:
            stretches.pop()
        else:
            top.last, top.num, top.loss = step, top.num - num_lost, None


def _to_rework(account: Account, bucket: Bucket, lost_s: float) -> None:
    """Never more than was booked: the buckets keep their sum whatever a writer claims."""
    source = bucket if bucket in WORKING else Bucket.PRODUCTIVE
    moved = min(lost_s * account.opened.num_gpus, account.gpu_s[source])
    account.gpu_s[source] -= moved
    account.gpu_s[Bucket.REWORK] += moved


def _turn(account: Account, bucket: Bucket) -> None:
    was_working, works = account.bucket in WORKING, bucket in WORKING
    was_silent, account.bucket = account.bucket is Bucket.DETECT, bucket
    if was_working and not works and bucket not in _NO_INTERRUPTION:
        account.num_interruptions += 1
        account.down_since_s = account.now_s
    elif works and account.down_since_s is not None:
        if was_silent and not account.is_broken:
            account.num_interruptions -= 1
        else:
            account.repairs_s.append(account.now_s - account.down_since_s)
        account.down_since_s = None
    account.is_broken = not works and (account.is_broken or bucket is not Bucket.DETECT)


_NO_INTERRUPTION = frozenset({Bucket.PLANNED, Bucket.INIT, Bucket.OTHER})


def _summary(account: Account) -> Summary:
    opened, wall_s = account.opened, account.now_s - account.begin_s
    training_gpu_s = opened.num_gpus * wall_s
    account.gpu_s[Bucket.IDLE_SPARE] += opened.num_spare_gpus * wall_s
    allocation_gpu_s = (opened.num_gpus + opened.num_spare_gpus) * wall_s
    energy_j = account.it_energy_j * opened.pue
    num_steps = sum(stretch.num for stretch in account.stretches)
    closed = account.closed
    return Summary(
        world=opened.world.value,
        study=opened.study,
        seed=opened.seed,
        wall_s=wall_s,
        days=wall_s / DAY_S,
        num_gpus=opened.num_gpus,
        allocation_gpu_s=allocation_gpu_s,
        buckets_gpu_s={bucket.value: gpu_s for bucket, gpu_s in account.gpu_s.items()},
        goodput=_share(account, training_gpu_s),
        ettr=_share(account, training_gpu_s - account.gpu_s[Bucket.PLANNED]),
        num_interruptions=account.num_interruptions,
        mtbf_s=wall_s / account.num_interruptions if account.num_interruptions else None,
        mttr_s=_mean(account.repairs_s),
        mfu=_mfu(account, num_steps),
        num_steps=num_steps,
        num_lost_steps=account.num_lost_steps,
        last_step=account.stretches[-1].last if account.stretches else opened.first_step,
        last_checkpoint_step=account.last_checkpoint_step,
        tokens=float(num_steps * opened.tokens_per_step),
        energy_j=energy_j,
        electricity_usd=energy_j * opened.electricity_usd_per_j,
        cost_usd=allocation_gpu_s * opened.rent_usd_per_gpu_s,
        num_faults=account.num_faults,
        num_starts=account.num_starts,
        num_evicted_hosts=account.num_evicted_hosts,
        num_checkpoints=account.num_checkpoints,
        outcome=closed.outcome if closed else None,
        reason=closed.reason if closed else "",
        losses=tuple((s.last, s.loss) for s in account.stretches if s.loss is not None),
        step_times=tuple((s.last, s.step_s) for s in account.stretches),
    )


def _share(account: Account, of_gpu_s: float) -> float:
    return account.gpu_s[Bucket.PRODUCTIVE] / of_gpu_s if of_gpu_s > 0 else 0.0


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _mfu(account: Account, num_steps: int) -> float | None:
    opened = account.opened
    kept_s = sum(stretch.num * stretch.step_s for stretch in account.stretches)
    peak_flops = kept_s * opened.num_gpus * opened.peak_flops_per_s
    return num_steps * opened.flops_per_step / peak_flops if peak_flops else None
