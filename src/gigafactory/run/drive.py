"""One turn after the other: what is seen goes to the controller, and what it asks for is done.

Common to gangs that start and end as one (`campaign`) and to replica groups (`group_campaign`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.controller import Controller
from gigafactory.describe.rank import Finished
from gigafactory.describe.study import Study
from gigafactory.ledger import entries as book
from gigafactory.ledger.entries import Bucket
from gigafactory.ledger.writer import LedgerWriter
from gigafactory.plan.chosen import Plan
from gigafactory.run.directory import RunDirectory
from gigafactory.run.launchers.launcher import Seats
from gigafactory.run.opening import num_hosts_of
from gigafactory.run.progress import Observer, Progress, Stage
from gigafactory.run.sensors.gang import Note

#: The longest the loop sleeps: silence is looked at this often.
_TICK_S = 0.1


@dataclass(slots=True, kw_only=True)
class Common:
    """What a driver has, whoever runs."""

    study: Study
    plan: Plan
    place: RunDirectory
    ledger: LedgerWriter
    observer: Observer | None
    is_new: bool
    """No gang of this book ever trained."""
    is_drill_due: bool
    away_s: float = 0.0
    """Since the last line of the book, which an earlier driver wrote."""
    stop_requests: deque[int] = field(default_factory=deque)
    """Filled by the signal handlers, one entry a request."""


@dataclass(slots=True, kw_only=True)
class Drive:
    """One driver's part of a campaign. ``drive`` returns when it is over."""

    common: Common
    controller: Controller
    finish: act.Finish | None = None
    finished: Finished | None = None
    held: str = ""
    """Why the brain held, the last time it did."""
    last_failure: str = ""
    """What the last failed worker said."""
    took_over_at: int | None = None
    """Step at which processes of an earlier driver were taken over; None: there were none."""
    _origin_s: float = 0.0
    _inbox: deque[ev.Event] = field(default_factory=deque)
    _wake_s: float | None = None
    _newest: act.Token = field(default=act.Token(0, 0))
    _shown: Progress | None = None

    def drive(self, *, committed_step: int | None) -> act.Finish:
        """From the allocation to the end; ``committed_step`` is where training goes on."""
        self._begin(committed_step)
        self._launch(committed_step)
        while self.finish is None:
            self.turn()
        return self.finish

    @property
    def reached_step(self) -> int:
        """The newest step that was shown: it is in the book."""
        return self._shown.step if self._shown else 0

    def _begin(self, step: int | None) -> None:
        self._origin_s = time.monotonic() - self.common.ledger.at_s
        self._shown = Progress(
            at_s=self.common.ledger.at_s,
            stage=Stage.STARTING,
            step=step or 0,
            num_steps=self.common.study.job.num_steps,
            generation=self.common.ledger.generation,
            committed_step=step,
        )

    def _hosts(self, num_hosts: int) -> Seats:
        """The hosts for a gang of so many: here every host is this machine."""
        return Seats(tuple(range(num_hosts)))

    def _launch(self, committed_step: int | None) -> None:
        seats = self._hosts(num_hosts_of(self.common.study, self.common.plan))
        self._tell(
            ev.Launched(
                at_s=self.now_s(),
                hosts=seats.hosts,
                spares=seats.spares,
                committed_step=committed_step,
                num_steps=self.common.study.job.num_steps,
                generation=self.common.ledger.generation,
            )
        )

    def turn(self) -> None:
        """Look once at everything that can be seen."""
        self._observe(self._patience_s())
        while self.common.stop_requests:
            self.common.stop_requests.popleft()
            self._show(Stage.STOPPING, "stopping at the next checkpoint; once more: at once")
            self._tell(ev.StopRequested(at_s=self.now_s()))
        self._look()
        if self._wake_s is not None and self.now_s() >= self._wake_s:
            self._wake_s = None
            self._tell(ev.Ticked(at_s=self.now_s()))

    def _observe(self, timeout_s: float) -> None:
        """What was told, and who ended; waits for so long at the most."""
        raise NotImplementedError

    def _look(self) -> None:
        """What the passing of time shows."""
        raise NotImplementedError

    def _act(self, action: act.Action) -> None:
        """Do what the controller asks for."""
        raise NotImplementedError

    @property
    def reason(self) -> str:
        """Why the campaign ended, in words for a person; empty where it is done."""
        if self.finish is None or self.finish.outcome is not act.Outcome.FAILED:
            return self.finish.reason if self.finish else ""
        words = [self.held or self.finish.reason, self.last_failure]
        words.append(f"the workers' output is in {self.common.place.logs}")
        return "; ".join(filter(None, words))

    def now_s(self) -> float:
        """Seconds since the campaign began, drivers that ended not counted."""
        return time.monotonic() - self._origin_s

    def _patience_s(self) -> float:
        if self._wake_s is None:
            return _TICK_S
        return max(0.0, min(_TICK_S, self._wake_s - self.now_s()))

    def _note(self, seen: Iterable[Note | ev.Event]) -> None:
        """Entries to the book, events to the brain, in the order they were seen."""
        for one in seen:
            if isinstance(one, ev.Event):
                self._tell(one)
                continue
            self.common.ledger.write(one.content, at_s=one.at_s)
            if isinstance(one.content, book.FaultStruck):
                self._show(None, one.content.cause)

    def _tell(self, event: ev.Event) -> None:
        """Put ``event`` to the brain, after those that wait already.

        An action may end in a new event at once; that one waits until all actions of this turn
        are done, or their tokens would overtake each other.
        """
        self._inbox.append(event)
        if len(self._inbox) > 1:
            return
        while self._inbox:
            self._decide(self._inbox[0])
            self._inbox.popleft()

    def _decide(self, event: ev.Event) -> None:
        """One turn of the brain; what it asks for is written down first, then done."""
        actions = self.controller.handle(event)
        self.common.ledger.decide(
            event,
            actions,
            state_hash=self.controller.state_hash,
            generation=self.controller.generation,
        )
        for action in actions:
            if action.token > self._newest:
                self._newest = action.token
                self._act(action)

    def _act_in_common(self, action: act.Action) -> None:
        """What is done alike, whoever runs."""
        match action:
            case act.ProbeHost(host=host):
                # every host is this machine, and whoever asks runs on it
                self._tell(ev.WitnessSpoke(at_s=self.now_s(), host=host, alive=True))
            case act.EvictHosts(hosts=hosts):
                # its processes are gone and it can start new ones: that is its acceptance test
                for host in hosts:
                    self._tell(ev.HostRepaired(at_s=self.now_s(), host=host))
            case act.WakeAt(at_s=at_s):
                self._wake_s = at_s
            case act.Hold(reason=reason):
                self.held = reason
                self._bucket(Bucket.HOLD)
                self._show(Stage.STOPPING, f"held: {reason}")
            case act.Finish():
                self.finish = action

    def _bucket(self, bucket: Bucket) -> None:
        self.common.ledger.write(book.BucketFrom(bucket=bucket), at_s=self.now_s())

    def _show(self, stage: Stage | None, message: str, **changes: float | None) -> None:
        assert self._shown is not None
        stage = stage or self._shown.stage
        if self._shown.stage is Stage.STOPPING:
            stage = Stage.STOPPING
        self._shown = replace(
            self._shown,
            at_s=self.now_s(),
            stage=stage,
            generation=self.controller.generation,
            message=message,
            **changes,  # type: ignore[arg-type]
        )
        if self.common.observer is not None:
            self.common.observer(self._shown)
