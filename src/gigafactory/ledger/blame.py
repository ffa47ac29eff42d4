"""Which causes cost what.

An interruption belongs to the fault that struck when computing ended; else to the last fault of a
host that the brain was told of just before; and to `NO_FAULT` where there is none (a false alarm).
All that is lost until the gang computes again, rework included, is booked to it; the absence of a
replica, and the pause in which it returns, to what took it out; waiting for a checkpoint store that
is slow or out to the store; work with fewer seats to the interruption that left them empty, work
held up to the last cause that slows. So what is blamed and the upkeep (start, checkpoints,
maintenance) add up to all that was not productive.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.culprit import suspects
from gigafactory.describe.faults import FaultClass
from gigafactory.ledger.absent import Absent
from gigafactory.ledger.entries import (
    WORKING,
    ActionTaken,
    Bucket,
    BucketFrom,
    Entry,
    EventSeen,
    FaultStruck,
    Opened,
    PaceFrom,
)
from gigafactory.ledger.fold import Tally

NO_FAULT = "false alarm"
UNKNOWN_SLOW = "stragglers"
PLANNED = "maintenance"
#: Nobody's fault: these stand under their own name.
UPKEEP = (Bucket.INIT, Bucket.DATA_WAIT, Bucket.CHECKPOINT, Bucket.PLANNED, Bucket.OTHER)
_NO_STOP = {Bucket.INIT, Bucket.OTHER}
_NOT_LOST = {Bucket.PRODUCTIVE, Bucket.IDLE_SPARE}
_DRAINED = {FaultClass.PLANNED.value, FaultClass.FAILING.value}
_SLOWING = {FaultClass.SLOW.value, FaultClass.CAPACITY.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blamed:
    """What one cause did to the campaign."""

    cause: str
    num_faults: int
    """Times it struck, whether or not training noticed."""
    num_interruptions: int
    num_stops: int
    """Interruptions, and stops that were announced."""
    down_s: float
    """Training stood still, all stops together."""
    lost_gpu_s: float
    """Of the training allocation: standing still, work done again, work held up."""


@dataclass(slots=True)
class _Sum:
    num_faults: int = 0
    num_interruptions: int = 0
    num_stops: int = 0
    down_s: float = 0.0
    lost_gpu_s: float = 0.0


@dataclass(slots=True)
class Blame:
    """Takes the entries of a campaign one by one; its own tally shows what each one moved."""

    tally: Tally = field(default_factory=Tally)
    _sums: dict[str, _Sum] = field(default_factory=dict)
    _upkeep: dict[Bucket, float] = field(default_factory=lambda: dict.fromkeys(UPKEEP, 0.0))
    _seen: dict[Bucket, float] = field(default_factory=lambda: dict.fromkeys(Bucket, 0.0))
    _struck: FaultStruck | None = None
    _struck_s: float = -1.0
    _cause_of: dict[int, str] = field(default_factory=dict)
    """Host -> its last fault."""
    _told: str | None = None
    """Cause of the last bad news, until training goes on."""
    _culprit: str = NO_FAULT
    _planned: str = PLANNED
    _slowing: str = UNKNOWN_SLOW
    _down_since_s: float | None = None
    _absent: Absent = field(default_factory=Absent)
    _dropped: tuple[int, ...] | None = None
    """Replicas of a gang that computed until then."""
    _num_gpus: int | None = None
    """That computed when it was last entered."""
    _emptying: str | None = None
    """What left seats empty at the last start."""
    _store: str | None = None
    """The last fault of the store."""
    _store_slowdown: float = 1.0
    """As told."""
    _restores_from_store: bool = False
    _waits_for_store: bool = False

    def take(self, entry: Entry) -> None:
        """One more entry; the first is `Opened`."""
        was_working = self.tally.bucket in WORKING
        if self.tally.opened is not None:
            self._book(entry.at_s)
        match entry.content:
            case Opened(controller=controller):
                self._absent.replica_hosts = (controller.get("prices") or {}).get(
                    "replica_hosts", 0
                )
            case FaultStruck() as fault:
                self._strike(fault, entry.at_s)
            case ActionTaken(action=action):
                self._act(action, was_working=was_working)
            case PaceFrom(num_gpus=num_gpus):
                self._note_pace(num_gpus)
            case EventSeen(event=event):
                self._listen(event)
            case BucketFrom(bucket=bucket) if was_working and bucket not in WORKING:
                self._begin(bucket, entry.at_s)
            case BucketFrom(bucket=bucket) if bucket in WORKING and not was_working:
                self._end(entry.at_s)
        before = self.tally.num_interruptions
        self.tally.write(entry.content, at_s=entry.at_s)
        if more := self.tally.num_interruptions - before:
            self._sum(self._culprit).num_interruptions += more
        self._book(entry.at_s)

    def causes(self) -> tuple[Blamed, ...]:
        """Most expensive first."""
        found = (
            Blamed(
                cause=cause,
                num_faults=one.num_faults,
                num_interruptions=one.num_interruptions,
                num_stops=one.num_stops,
                down_s=one.down_s,
                lost_gpu_s=one.lost_gpu_s,
            )
            for cause, one in self._sums.items()
        )
        return tuple(sorted(found, key=lambda one: (-one.lost_gpu_s, one.cause)))

    def upkeep_gpu_s(self) -> dict[str, float]:
        """Bucket -> GPU-seconds that are nobody's fault."""
        return {bucket.value: gpu_s for bucket, gpu_s in self._upkeep.items() if gpu_s > 0}

    def _sum(self, cause: str) -> _Sum:
        return self._sums.setdefault(cause, _Sum())

    def _strike(self, fault: FaultStruck, at_s: float) -> None:
        self._sum(fault.cause).num_faults += 1
        self._struck, self._struck_s = fault, at_s
        self._cause_of.update(dict.fromkeys(fault.hosts, fault.cause))
        if fault.fault in _SLOWING:
            self._slowing = fault.cause
        elif fault.fault in _DRAINED:
            self._planned = fault.cause
        elif fault.fault == FaultClass.STORAGE.value:
            self._store = fault.cause

    def _act(self, action: act.Action, *, was_working: bool) -> None:
        match action:
            case act.StartGang(step=step, tier=tier):
                # who was out then has no seat now, or is back
                self._emptying = next(iter(self._absent.causes.values()), self._emptying)
                self._absent.start(action)
                self._waits_for_store = False
                self._restores_from_store = step is not None and tier is act.Tier.STORE
            case act.DropReplicas(replicas=replicas):
                self._absent.drop(replicas, cause=self._culprit)
                self._dropped = replicas if was_working else None
            case act.JoinReplica():
                self._absent.join(action)
            case act.Hold(why=why):
                self._waits_for_store = why is act.HoldReason.NO_STORAGE

    def _note_pace(self, num_gpus: int) -> None:
        before, self._num_gpus = self._num_gpus, num_gpus
        if not self._absent.causes and before is not None and num_gpus < before:
            self._emptying = self._culprit

    def _listen(self, told: ev.Event) -> None:
        match told:
            case ev.StorageSeen(slowdown=slowdown):
                self._store_slowdown = max(1.0, slowdown)
            case ev.ReplicaReady(replica=replica):
                self._blame_instead(self._absent.ready(replica))
            case ev.HostFailing() | ev.HostSlow() | ev.MaintenanceAnnounced():
                self._note_leaving(told)
            case ev.HostRepaired(host=host):
                self._absent.leaving.pop(host, None)
        if not isinstance(told, _BAD_NEWS):
            return
        if isinstance(told, ev.HostsDied | ev.HostFailing | ev.LinksDown):
            self._told = told.cause
            return
        if isinstance(told, ev.Replayed):
            self._find_guilty(told.hosts)
        if isinstance(told, ev.HangSuspected):
            hosts = suspects(silent=told.hosts, groups=told.groups, waiting=told.waiting)
        else:
            hosts = told.hosts if isinstance(told, ev.Replayed) else (told.host,)
        self._told = next((self._cause_of[h] for h in hosts if h in self._cause_of), self._told)

    def _note_leaving(self, told: ev.HostFailing | ev.HostSlow | ev.MaintenanceAnnounced) -> None:
        if isinstance(told, ev.HostSlow) and told.slowdown <= 1.0:
            self._absent.leaving.pop(told.host, None)
            return
        usual = UNKNOWN_SLOW if isinstance(told, ev.HostSlow) else self._planned
        cause = told.cause if isinstance(told, ev.HostFailing) else self._cause_of.get(told.host)
        self._absent.leaving[told.host] = cause or usual

    def _find_guilty(self, hosts: tuple[int, ...]) -> None:
        """A replay found the host: it held training up for a reason."""
        self._blame_instead(next((self._cause_of[h] for h in hosts if h in self._cause_of), None))

    def _blame_instead(self, cause: str | None) -> None:
        """It turns out why computing stopped."""
        if cause is not None and cause != self._culprit and self._down_since_s is not None:
            self._sum(self._culprit).num_interruptions -= 1
            self._culprit = cause
            self._sum(self._culprit).num_interruptions += 1

    def _begin(self, bucket: Bucket, at_s: float) -> None:
        """Computing ends; announced maintenance is no interruption."""
        self._culprit = self._why(bucket, at_s)
        self._down_since_s = None if bucket in _NO_STOP else at_s
        if self._dropped is not None:
            self._absent.causes.update(dict.fromkeys(self._dropped, self._culprit))
            self._dropped = None

    def _why(self, bucket: Bucket, at_s: float) -> str:
        if self._struck is not None and self._struck_s == at_s:
            return self._struck.cause
        if self._dropped is not None and (cause := self._absent.why(self._dropped)):
            return cause
        if bucket is Bucket.PLANNED:
            return self._told or self._planned
        if bucket is Bucket.RENDEZVOUS and (cause := self._absent.next_to_join()):
            return cause
        return self._told or NO_FAULT

    def _end(self, at_s: float) -> None:
        if self._down_since_s is not None:
            one = self._sum(self._culprit)
            one.num_stops += 1
            one.down_s += at_s - self._down_since_s
        self._down_since_s = self._told = None

    def _book(self, at_s: float) -> None:
        """Whatever the last entry moved into a bucket that is not productive."""
        for bucket, gpu_s in self.tally.spent_gpu_s(at_s=at_s).items():
            more = gpu_s - self._seen[bucket]
            if more and bucket not in _NOT_LOST:
                self._charge(bucket, more)
            self._seen[bucket] = gpu_s

    def _charge(self, bucket: Bucket, gpu_s: float) -> None:
        if bucket in self._upkeep:
            self._upkeep[bucket] += gpu_s
        elif bucket is Bucket.STRAGGLER:
            self._sum(self._slowing).lost_gpu_s += gpu_s
        elif bucket is Bucket.DEGRADED:
            # replicas are alike
            causes = tuple(self._absent.causes.values()) or (self._emptying or self._culprit,)
            for cause in causes:
                self._sum(cause).lost_gpu_s += gpu_s / len(causes)
        else:
            by_store_gpu_s = gpu_s * self._share_of_store(bucket)
            if self._store is not None and by_store_gpu_s:
                self._sum(self._store).lost_gpu_s += by_store_gpu_s
                gpu_s -= by_store_gpu_s
            self._sum(self._culprit).lost_gpu_s += gpu_s

    def _share_of_store(self, bucket: Bucket) -> float:
        """What of the time in ``bucket`` would not have been with a store that is well."""
        if bucket is Bucket.HOLD:
            return float(self._waits_for_store)
        if bucket is Bucket.RESTORE and self._restores_from_store:
            return 1.0 - 1.0 / self._store_slowdown
        return 0.0


_BAD_NEWS = (
    ev.HostsDied,
    ev.HostFailing,
    ev.LinksDown,
    ev.HostUnreachable,
    ev.RankExited,
    ev.HangSuspected,
    ev.HostSlow,
    ev.Replayed,
    ev.CorruptionFound,
    ev.MaintenanceAnnounced,
)
