"""Checkpoints as told, and which of them a start may restore: the rules, not the controller's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gigafactory.control import actions as act
from gigafactory.control import events as ev

#: Near copies of more steps than these are not remembered.
MAX_COPIES = 256


@dataclass(frozen=True, slots=True)
class Ring:
    """Who trained when copies were made: each host keeps the copy of one ``stride`` seats before.

    The seats of a replica that was out are passed over.
    """

    seats: tuple[int | None, ...]
    """The host in each seat; None: its replica did not train."""
    stride: int
    seat_of: dict[int, int]

    @staticmethod
    def of(seats: list[int], *, stride: int, out: set[int], replica_hosts: int) -> Ring:
        """The ring of a gang whose replicas ``out`` do not train."""
        size = replica_hosts or len(seats) or 1
        found = tuple(None if seat // size in out else host for seat, host in enumerate(seats))
        return Ring(found, stride, {h: seat for seat, h in enumerate(found) if h is not None})

    def keeper(self, host: int) -> int | None:
        """Who keeps the copy of ``host``; None: nobody else does."""
        num, first = len(self.seats), self.seat_of[host]
        if self.stride <= 0:
            return None
        seat = (first + self.stride) % num
        while seat != first:
            if (found := self.seats[seat]) is not None:
                return found
            seat = (seat + self.stride) % num
        return None


@dataclass(slots=True)
class Copies:
    """Of one step: who held them, and how many losses were known when they were made."""

    ring: Ring
    num_losses: int


class Account:
    """Checkpoints as told: which are good, and what a start may restore."""

    def __init__(self) -> None:
        self.good: set[int] = set()
        self.is_thinned = False
        """Something was taken back, or the list may have been thinned out: below the newest
        there may be gaps."""
        self.is_store_out = False
        """It does not answer, so what lies there is not there."""
        self.furthest = -1
        self.has_moved = False
        """A commit beyond all earlier ones was told since this was last asked."""
        self._waiting: set[int] = set()
        self._good_step = 0
        self._bad_step: int | None = None
        self._restored = 0
        self._generation = 0
        self.ring = Ring((), 0, {})
        """Who makes copies now."""
        self.copies: dict[int, Copies] = {}
        """By good step of which copies in memory were told."""
        self.disks: dict[int, Copies] = {}
        """The same of copies on the hosts' own disks."""
        self._losses: list[int] = []
        """Hosts that left, one after the other."""

    def start(self, step: int | None, *, generation: int) -> None:
        """A generation goes on after ``step``."""
        self._generation = generation
        self._waiting.clear()
        self._bad_step = None
        self._good_step = self._restored = step or 0
        # what lay beyond is computed again, and copied again
        self._keep_near(self._restored)

    def take_in(self, event: ev.Event, *, seated: set[int]) -> None:
        """An event of the current generation, or one that belongs to none."""
        match event:
            case ev.Launched(committed_step=int(step)):
                self._commit(step)
            case ev.StepsDone() if event.finite and event.replicas_agree:
                self._reach(event.step)
                self._copied(self.copies, event.peer_step)
                self._copied(self.disks, event.local_step)
            case ev.StepsDone(step=step) if step > self._restored:
                self._bad_step = min(step, self._bad_step or step)
                self._take_back(max(step - 1, self._restored))
            case ev.StorageSeen(slowdown=slowdown):
                self.is_store_out = math.isinf(slowdown)
            case ev.CheckpointCommitted(step=step):
                self._offer(step)
            case ev.CheckpointLost(step=step, tier=act.Tier.STORE):
                self.good.discard(step)
                self.is_thinned = True
            case ev.Replayed(differs=True, clean_step=int(clean)):
                self._bad_step = min(clean + 1, self._bad_step or clean + 1)
                self._take_back(clean)
            case ev.CorruptionFound(host=host, clean_step=clean, generation=generation):
                # what a later generation computed from a clean step without the host is clean
                is_own = generation == self._generation and self._good_step > clean
                if host in seated or is_own or self._restored > clean:
                    self._bad_step = min(clean + 1, self._bad_step or clean + 1)
                    self._take_back(clean)

    def _copied(self, made: dict[int, Copies], step: int | None) -> None:
        if step is None or step > self._good_step:
            return
        made.setdefault(step, Copies(self.ring, len(self._losses)))
        if step > self.furthest:
            self.furthest, self.has_moved = step, True
        for old in sorted(made)[:-MAX_COPIES]:
            del made[old]

    def _reach(self, step: int) -> None:
        if self._bad_step is None or step < self._bad_step:
            self._good_step = max(self._good_step, step)
            for found in sorted(known for known in self._waiting if known <= self._good_step):
                self._waiting.discard(found)
                self._commit(found)

    def _offer(self, step: int) -> None:
        if self._bad_step is not None and step >= self._bad_step:
            return
        if step > self._good_step:
            self._waiting.add(step)
        else:
            self._commit(step)

    def _commit(self, step: int) -> None:
        self.good.add(step)
        if step > self.furthest:
            self.furthest, self.has_moved = step, True

    def _take_back(self, beyond: int) -> None:
        self.good = {step for step in self.good if step <= beyond}
        self._waiting = {step for step in self._waiting if step <= beyond}
        self._good_step = min(self._good_step, beyond)
        self.furthest = min(self.furthest, beyond)
        self._keep_near(beyond)
        self.is_thinned = True

    def _keep_near(self, until: int) -> None:
        self.copies = {step: made for step, made in self.copies.items() if step <= until}
        self.disks = {step: made for step, made in self.disks.items() if step <= until}

    def fault_of(self, step: int | None) -> str | None:
        """Why a start must not restore ``step`` from the store; None: it may."""
        newest = max(self.good, default=None)
        if self.is_store_out and step is not None:
            return f"it restores step {step} from a store that does not answer"
        if step == newest:
            return None
        if step is not None and step not in self.good:
            return f"step {step} was never told complete and good, or was taken back"
        if self.is_thinned and step is not None:
            return None
        return f"it restores step {step}, and step {newest} is good"

    def lose(self, hosts: set[int]) -> None:
        """Hosts leave, and with them all that lies in their memory."""
        self._losses.extend(hosts)

    def _lost_since(self, made: Copies) -> set[int]:
        return set(self._losses[made.num_losses :])

    def fault_of_copy(self, step: int | None) -> str | None:
        """The same of a start from copies in memory."""
        if step is None or step not in self.copies:
            return f"it restores step {step} from memory, and copies are of {sorted(self.copies)}"
        made, newest = self.copies[step], max(self.good, default=0)
        lost = self._lost_since(made)
        for host in lost & made.ring.seat_of.keys():
            if (keeper := made.ring.keeper(host)) is None or keeper in lost:
                return f"host {host} was lost with the keeper of its copy"
        return (
            f"step {newest} in the store is newer"
            if not self.is_store_out and newest > step
            else None
        )

    def fault_of_disks(self, step: int | None, *, hosts: Sequence[int]) -> str | None:
        """The same of a start of ``hosts`` from their own disks."""
        if step is None or step not in self.disks:
            return (
                f"it restores step {step} from disks, and such copies are of {sorted(self.disks)}"
            )
        made, newest = self.disks[step], max(self.good, default=0)
        if self._lost_since(made) & made.ring.seat_of.keys() or tuple(hosts) != made.ring.seats:
            return f"step {step} does not lie on the disks of all its hosts"
        return (
            f"step {newest} in the store is newer"
            if not self.is_store_out and newest > step
            else None
        )
