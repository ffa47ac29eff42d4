"""How far an undisturbed run of a gang has come, by arithmetic instead of one event a step.

A run works K steps, stops for the blocking part of a checkpoint, goes on, and so forth; the
checkpoint commits when its background write has ended. Nothing of that needs an event as long as
nobody asks.

Legend: K steps between checkpoints, cycle = K steps and one stall.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from gigafactory.control.actions import Token

#: Guards the floor of a quotient that should be whole against the last bit of a sum of floats.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Cadence:
    """The rhythm of a run."""

    step_s: float
    checkpoint_steps: int
    blocking_s: float
    """Training stands still for this long at a checkpoint."""
    write_s: float
    """From the end of the stall until the checkpoint is committed; at most one cycle's work."""
    local_steps: int = 0
    """Steps between copies on the hosts' own disks, those whose number it divides; 0: none."""
    local_blocking_s: float = 0.0
    local_write_s: float = 0.0
    """As for the store."""
    local_stall_s: float = field(init=False)
    """What copies on the hosts' disks add to a step, spread evenly."""
    beat_s: float = field(init=False)
    """From the end of a step to the end of the next, where no checkpoint lies between."""
    cycle_s: float = field(init=False)
    """From one snapshot to the next."""

    def __post_init__(self) -> None:
        stall_s = self.local_blocking_s / self.local_steps if self.local_steps else 0.0
        beat_s = self.step_s + stall_s
        # read at every report, so that they are worked out once
        object.__setattr__(self, "local_stall_s", stall_s)
        object.__setattr__(self, "beat_s", beat_s)
        object.__setattr__(self, "cycle_s", self.checkpoint_steps * beat_s + self.blocking_s)


@dataclass(frozen=True, slots=True)
class Run:
    """Training that goes on after ``begin_step`` from ``begin_s`` on."""

    begin_s: float
    begin_step: int
    cadence: Cadence
    lead_s: float = 0.0
    """Stall before the first step: a checkpoint that somebody asked for."""

    def cycles_at(self, at_s: float) -> int:
        """Whole cycles (each ends with a stall) behind the run at ``at_s``."""
        since_s = at_s - self.begin_s - self.lead_s
        return math.floor(since_s / self.cadence.cycle_s + _SLACK) if since_s > 0 else 0

    def step_at(self, at_s: float) -> int:
        """Last step finished by ``at_s``."""
        cycles, within_s = self._split(at_s)
        steps = math.floor(within_s / self.cadence.beat_s + _SLACK)
        every = self.cadence.checkpoint_steps
        return self.begin_step + cycles * every + min(every, max(0, steps))

    def end_of_s(self, step: int) -> float:
        """When ``step`` is finished (its stall, if one follows, not yet)."""
        done = step - self.begin_step
        stalls = max(0, -(-done // self.cadence.checkpoint_steps) - 1)
        lead_s = self.lead_s if done > 0 else 0.0
        work_s = done * self.cadence.beat_s
        return self.begin_s + lead_s + work_s + stalls * self.cadence.blocking_s

    def stalled_s(self, at_s: float) -> float:
        """Seconds that training stood still for checkpoints until ``at_s``."""
        cadence = self.cadence
        cycles, within_s = self._split(at_s)
        work_s = cadence.checkpoint_steps * cadence.beat_s
        lead_s = min(self.lead_s, max(0.0, at_s - self.begin_s))
        stalled_s = lead_s + cycles * cadence.blocking_s + max(0.0, within_s - work_s)
        if cadence.local_steps:
            stalled_s += (self.step_at(at_s) - self.begin_step) * cadence.local_stall_s
        return stalled_s

    def unfinished_s(self, at_s: float) -> float:
        """Seconds of work in the step that is not finished at ``at_s``."""
        cycles, within_s = self._split(at_s)
        every, beat_s = self.cadence.checkpoint_steps, self.cadence.beat_s
        done = self.step_at(at_s) - self.begin_step - cycles * every
        return 0.0 if done == every else max(0.0, within_s - done * beat_s)

    def num_commits_at(self, at_s: float) -> int:
        """Checkpoints of this run committed by ``at_s``; the one in its lead does not count."""
        return self.cycles_at(at_s - self.cadence.write_s)

    def commit(self, number: int) -> tuple[int, float]:
        """The step of checkpoint ``number`` (from 1 on) and when it was committed."""
        saved_s = self.begin_s + self.lead_s + number * self.cadence.cycle_s
        return self.begin_step + number * self.cadence.checkpoint_steps, (
            saved_s + self.cadence.write_s
        )

    def locals_at(self, at_s: float) -> tuple[int, int]:
        """(copies of this run that are on every host's own disk by ``at_s``, step of the newest).

        The second is 0 where there is none.
        """
        every = self.cadence.local_steps
        if not every:
            return 0, 0
        newest = self.step_at(at_s - self.cadence.local_write_s) // every
        num = newest - self.begin_step // every
        return num, newest * every if num else 0

    def newest_saved(self, step: int) -> int:
        """The newest step up to ``step`` of which the store has a state."""
        every = self.cadence.checkpoint_steps
        return step - (step - self.begin_step) % every if step > self.begin_step else step

    def _split(self, at_s: float) -> tuple[int, float]:
        cycles = self.cycles_at(at_s)
        return cycles, at_s - self.begin_s - self.lead_s - cycles * self.cadence.cycle_s


@dataclass(frozen=True, slots=True)
class Taint:
    """Wrong values that a host let into the state."""

    host: int
    clean_step: int
    """The last step before them."""


class Phase(Enum):
    """What is true of the gang, whether or not the controller knows it yet."""

    ABSENT = "absent"
    STARTING = "starting"
    """Processes, rendezvous, communicators."""
    RESTORING = "restoring"
    RUNNING = "running"
    ENDING = "ending"
    """The last step is done and its checkpoint is being written."""
    REGROUPING = "regrouping"
    """Replicas leave or join, and the others stand still for a moment."""
    REPLAYING = "replaying"
    """Steps are computed again, to learn whether they were right."""
    BROKEN = "broken"
    """No progress any more; sooner or later somebody notices."""
    STOPPING = "stopping"


@dataclass(slots=True)
class Gang:
    """The processes of one generation, and the seats that they carry on from it."""

    generation: int = 0
    phase: Phase = Phase.ABSENT
    seats: list[int] = field(default_factory=list)
    """The host in each seat."""
    members: set[int] = field(default_factory=set)
    run: Run | None = None
    """Present from the moment training goes on until the phase is no longer RUNNING."""
    reported_s: float = 0.0
    """Until when the run was reported."""
    reported_step: int = 0
    booked_s: float = 0.0
    """Until when its stalls are in the book."""
    stalled_s: float = 0.0
    """Those stalls of this run."""
    num_commits: int = 0
    """Reported commits of this run."""
    replica_hosts: int = 0
    """Hosts of one replica."""
    stuck: set[int] = field(default_factory=set)
    """Hosts of which a process ended or hangs."""
    cuts: list[tuple[int, ...]] = field(default_factory=list)
    """Hosts whose links are down together, and come back together."""
    waits: bool = False
    """It is BROKEN by such links alone, and goes on when they are back."""
    out: set[int] = field(default_factory=set)
    """Replicas that the others go on without."""
    taints: list[Taint] = field(default_factory=list)
    """What is wrong with the state, whether or not anybody knows."""
    replay_token: Token | None = None
    """Of the replay that is under way."""
    incarnations: dict[int, int] = field(default_factory=dict)
    """Of replicas that joined again: the attempt of the JoinReplica that started them."""
    num_locals: int = 0
    """Reported copies of this run on the hosts' own disks."""
    on_disks: tuple[int, int] | None = None
    """The oldest and the newest step that lie on the own disk of every seat's host."""

    @property
    def is_alive(self) -> bool:
        """True while a failure would interrupt something."""
        return self.phase in _ALIVE

    @property
    def is_cut(self) -> bool:
        """Links are down of somebody who computes."""
        return any(not self.members.isdisjoint(hosts) for hosts in self.cuts)

    @property
    def is_held_up(self) -> bool:
        """Somebody who computes is stuck, or cut off."""
        return self.is_cut or not self.members.isdisjoint(self.stuck)

    def is_cut_off(self, host: int) -> bool:
        """Links of ``host`` are down."""
        return any(host in hosts for hosts in self.cuts)

    @property
    def num_working(self) -> int:
        """Hosts that compute."""
        return len(self.members)

    def has_on_disks(self, step: int | None) -> bool:
        """Whether every host can restore ``step`` from its own disk."""
        held = self.on_disks
        return held is not None and step is not None and held[0] <= step <= held[1]

    def forget_on_disks_beyond(self, step: int) -> None:
        """Training goes on after ``step``, and will write other copies over the younger ones."""
        if self.on_disks is not None:
            first, newest = self.on_disks
            self.on_disks = (first, min(newest, step)) if first <= step else None

    def seats_of(self, replica: int) -> range:
        """The seats of one replica."""
        size = self.replica_hosts
        return range(replica * size, min((replica + 1) * size, len(self.seats)))

    def hosts_of(self, replica: int) -> set[int]:
        """Its hosts."""
        return {self.seats[seat] for seat in self.seats_of(replica)}

    def leave_out(self, replicas: tuple[int, ...]) -> None:
        """These no longer belong to the gang."""
        for replica in replicas:
            self.out.add(replica)
            self.members -= self.hosts_of(replica)

    def reseat(self, seated: tuple[tuple[int, int], ...]) -> None:
        """Other hosts on seats of a replica that is out."""
        for seat, host in seated:
            self.seats[seat] = host

    def incarnation_of(self, host: int) -> int:
        """Which life of its replica the processes of a seated ``host`` belong to; 0: the first."""
        if not self.incarnations:
            return 0
        return self.incarnations.get(self.seats.index(host) // self.replica_hosts, 0)

    def take_in(self, replica: int, *, incarnation: int) -> None:
        """The replica belongs to the gang again."""
        self.out.discard(replica)
        self.stuck -= self.hosts_of(replica)
        self.incarnations[replica] = incarnation
        self.members |= self.hosts_of(replica)

    def take_seats(self, hosts: Sequence[int], seated: tuple[tuple[int, int], ...] | None) -> None:
        """Seat ``hosts``; ``seated`` names the changes, so that a swap costs no pass over all."""
        self.incarnations.clear()
        self.stuck.clear()
        self.cuts.clear()
        if seated is None or self.out:
            self.seats, self.members = list(hosts), set(hosts)
            self.out = set()
            return
        for seat, host in seated:
            self.members.discard(self.seats[seat])
            self.seats[seat] = host
        # afterwards, for two hosts may change seats with each other
        self.members.update(host for _, host in seated)


_ALIVE = {
    Phase.STARTING,
    Phase.RESTORING,
    Phase.RUNNING,
    Phase.ENDING,
    Phase.REGROUPING,
    Phase.REPLAYING,
}
