"""The world side of the twin: what the controller's actions do, and how it is spoken to.

Everything it asks for takes time. What goes wrong is in troubles.py, training in training.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.fence import Fences
from gigafactory.describe.faults import FaultClass
from gigafactory.ledger.entries import Bucket
from gigafactory.simulate.book import Book
from gigafactory.simulate.delays import Delays
from gigafactory.simulate.fleet import Fleet, HostState
from gigafactory.simulate.gang import Phase
from gigafactory.simulate.kernel import Happening, Kernel, Priority
from gigafactory.simulate.lifetimes import Stays
from gigafactory.simulate.loans import Loans
from gigafactory.simulate.pool import SharedPool
from gigafactory.simulate.regrouping import Regrouping
from gigafactory.simulate.replaying import Replaying
from gigafactory.simulate.training import Training
from gigafactory.simulate.troubles import Troubles
from gigafactory.simulate.workload import Workload

#: One turn of the controller, entered in the ledger: an event in, actions out.
Brain = Callable[[ev.Event], list[act.Action]]
#: Holds that only a person lifts.
_FOR_A_PERSON = {act.HoldReason.NO_PROGRESS, act.HoldReason.NO_CLEAN_CHECKPOINT}
#: A repair in peace.
_SOON_S = 60.0
#: News of one host; of a spare it is nothing to the gang.
_OF_A_HOST = (
    ev.HostRepaired,
    ev.HostUnreachable,
    ev.HostReachable,
    ev.HostFailing,
    ev.HostSlow,
    ev.MaintenanceAnnounced,
    ev.WitnessSpoke,
)
#: News that ends the time in which nobody knew.
_BAD_NEWS = (ev.HostsDied, ev.HostUnreachable, ev.RankExited, ev.HangSuspected)


class World:
    """Ground truth and its clock. ``begin`` starts it; after that the kernel drives it."""

    def __init__(
        self,
        *,
        workload: Workload,
        kernel: Kernel[Happening],
        fleet: Fleet,
        stays: Stays,
        dice: np.random.Generator,
        brain: Brain,
        book: Book,
        delays: Delays,
    ) -> None:
        self.kernel = kernel
        self.fleet = fleet
        self.training = Training(
            workload=workload, kernel=kernel, book=book, delays=delays, decide=self._decide,
            fleet=fleet,
        )  # fmt: skip
        self._regrouping = Regrouping(self.training)
        self._replaying = Replaying(self.training)
        self.troubles = Troubles(
            kernel=kernel, fleet=fleet, training=self.training, dice=dice, book=book,
            delays=delays, tell=self._tell, deafen=self._deafen,
        )  # fmt: skip
        self.training.settle_pace = self.troubles.set_pace
        self.outcome: act.Finish | None = None
        self._stays = stays
        self._brain = brain
        self._book = book
        self._delays = delays
        self._wake_s: float | None = None
        self._is_time_up = False
        self._is_deaf = False
        """The control plane is out."""
        self._pent_up: list[ev.Event] = []
        self._fences = Fences()
        self._loans: Loans | None = None

    # --- beginning and end ---------------------------------------------------------------

    def begin(self) -> None:
        """Launch the campaign: the first hosts train, the others stand by."""
        workload = self.training.workload
        num_own = self.fleet.num_hosts - self.fleet.num_in(HostState.POOL)
        self._book.turn(Bucket.INIT, at_s=0.0)
        self._tell(
            ev.Launched(
                at_s=0.0,
                hosts=tuple(range(workload.num_hosts)),
                spares=tuple(range(workload.num_hosts, num_own)),
                num_steps=workload.num_steps,
            )
        )
        if self._loans is not None:
            self._loans.begin()

    def share(self, pool_of: Callable[[Loans], SharedPool]) -> None:
        """The last hosts of the fleet are a serving pool's, which lends them; before `begin`."""
        self._loans = self.troubles.loans = Loans(
            fleet=self.fleet,
            kernel=self.kernel,
            training=self.training,
            tell=self._tell,
            lose=partial(self.troubles.lose, fault=FaultClass.HOST, detect_s=0.0),
            pool_of=pool_of,
        )

    @property
    def is_over(self) -> bool:
        """True when the controller is finished or the time is up."""
        return self.outcome is not None or self._is_time_up

    def heal(self) -> None:
        """Every host is well again, nothing is slow, all are heard, and whoever still leaves is
        back soon; what happens then shows whether the controller finds back."""
        self._stays.hurry(_SOON_S)
        if self._is_deaf:
            self._hear_again()
        for host in sorted(self.fleet.hosts_not_up()):
            if self._loans is None or not self._loans.owns(host):
                # in answer to the steps until now it may still be sent away
                self.training.catch_up()
                self._repair(host)
        self.troubles.end()

    def reach_horizon(self) -> None:
        """The twin follows the campaign no further."""
        self.training.catch_up()
        self._book.enter_copies(at_s=self._now_s)
        self._is_time_up = True

    # --- actions: what the controller asks for -------------------------------------------

    def _carry_out(self, action: act.Action) -> None:
        training = self.training
        match action:
            case act.StartGang():
                training.start(action)
                self.troubles.set_pace()
            case act.StopGang():
                training.stop(action, why=self._bucket_of_stop())
            case act.EvictHosts():
                self._evict(action)
            case act.DropReplicas():
                self._regrouping.drop(action)
            case act.JoinReplica():
                self._regrouping.join(action)
            case act.SetCadence(every_s=every_s):
                training.saving.change_rhythm(every_s)
            case act.ReplaySteps():
                self._replaying.replay(action)
            case act.ProbeHost(host=host):
                self._answer(self._delays.probe_s, partial(self._witness, host))
            case act.SaveNow(tier=tier):
                training.saving.save_soon(tier)
            case act.WakeAt(at_s=at_s):
                self._wake_at(max(at_s, self._now_s))
            case act.Hold(why=why):
                self._hold(why)
            case act.Finish():
                self._book.enter_copies(at_s=self._now_s)
                self.outcome = action

    def _bucket_of_stop(self) -> Bucket:
        gang = self.training.gang
        if gang.phase is Phase.REPLAYING:
            return Bucket.SDC_REPLAY
        leaving = {*self.troubles.announced, *(self._loans.wanted if self._loans else ())}
        if gang.phase is Phase.RUNNING and not leaving.isdisjoint(gang.members):
            return Bucket.PLANNED
        return Bucket.REPLACE

    def _evict(self, action: act.EvictHosts) -> None:
        for host in action.hosts:
            if self._loans is not None and self._loans.owns(host):
                self.troubles.forget(host)
                self._loans.let_go(host)
            elif self.fleet.state_of(host) is not HostState.REPAIR:
                self.fleet.turn((host,), HostState.REPAIR)
                self.troubles.announced.pop(host, None)
                stay_s = self._stays.next_s(self.troubles.taken_by.pop(host, None))
                self._answer(stay_s, partial(self._repair, host))

    def _repair(self, host: int) -> None:
        self.troubles.forget(host)
        self.fleet.turn((host,), HostState.UP)
        self._tell(ev.HostRepaired(at_s=self._now_s, host=host))

    def _witness(self, host: int) -> None:
        alive = self.fleet.is_up(host)
        self._tell(ev.WitnessSpoke(at_s=self._now_s, host=host, alive=alive))

    def _wake_at(self, at_s: float) -> None:
        """Only the newest request counts."""
        self._wake_s = at_s
        self.kernel.schedule(partial(self._tick, at_s), at_s=at_s, priority=Priority.TICK)

    def _tick(self, at_s: float) -> None:
        if self._wake_s == at_s:
            self._wake_s = None
            self._tell(ev.Ticked(at_s=self._now_s))

    def _hold(self, why: act.HoldReason) -> None:
        self._book.turn(Bucket.HOLD, at_s=self._now_s)
        if why in _FOR_A_PERSON:
            self._answer(self._delays.person_s, self._person)

    def _person(self) -> None:
        if self._book.bucket is Bucket.HOLD:
            self._tell(ev.ResumeRequested(at_s=self._now_s))

    def _hear_again(self) -> None:
        """The control plane is back: it is told so, and then all that happened meanwhile."""
        self._is_deaf = False
        pent_up, self._pent_up = self._pent_up, []
        for event in (ev.Reattached(at_s=self._now_s), *pent_up):
            self._decide(event)

    def _deafen(self, lasts_s: float) -> None:
        """The control plane is out; a second outage within the first changes nothing."""
        if not self._is_deaf:
            self._is_deaf = True
            self._after(lasts_s, self._hear_again)

    # --- time and speech -----------------------------------------------------------------

    @property
    def _now_s(self) -> float:
        return self.kernel.now_s

    def _after(self, wait_s: float, happening: Happening) -> None:
        self.kernel.after(happening, wait_s=wait_s, priority=Priority.OBSERVATION)

    def _answer(self, wait_s: float, happening: Happening) -> None:
        self.kernel.after(happening, wait_s=wait_s, priority=Priority.ANSWER)

    def _tell(self, event: ev.Event) -> None:
        """Speak to the controller, progress first where it may bear on the answer."""
        if isinstance(event, _OF_A_HOST) and not self._is_training_touched(event.host):
            self.training.enter_stalls()
        else:
            self.training.catch_up()
        self._decide(event)
        if self._book.bucket is Bucket.DETECT and isinstance(event, _BAD_NEWS):
            # it knows and has not acted yet: it wants more evidence
            self._book.turn(Bucket.DECIDE, at_s=self._now_s)

    def _is_training_touched(self, host: int) -> bool:
        """Whether ``host`` computes, or anybody waits for a spare."""
        gang, fleet = self.training.gang, self.fleet
        is_whole = gang.num_working == self.training.workload.num_hosts
        num_spares = fleet.num_in(HostState.UP) - gang.num_working
        return host in gang.members or not is_whole or num_spares <= 1

    def _decide(self, event: ev.Event) -> None:
        if not self.keeps(event):
            self.carry_out(self._brain(event))

    def keeps(self, event: ev.Event) -> bool:
        """Whether nobody can be told now: the event waits for the end of the outage."""
        if self._is_deaf:
            self._pent_up.append(event)
        return self._is_deaf

    def carry_out(self, actions: list[act.Action]) -> None:
        """Do what was asked for, now."""
        for asked in actions:
            if (action := self._fences.left_of(asked)) is not None:
                self._carry_out(action)
        evicted = [h for a in actions if isinstance(a, act.EvictHosts) for h in a.hosts]
        if not self.training.gang.members.isdisjoint(evicted):
            # taken out from under a gang that nobody stopped; otherwise this changes nothing
            self.training.break_down()
