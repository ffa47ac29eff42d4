"""How far training came, which checkpoints may be restored, and whether restarting still helps.

Checkpoints lie in three tiers. The store keeps many; of the copies in peers' memory and on local
disks only the newest counts. Which of them a loss destroys: a host takes its disk with it, so the
local tier survives no lost host; the copy of a host's state in memory lies with its keeper,
``peer_stride`` seats on, so the peer tier survives unless a host and its keeper are both lost
(Gemini, SOSP 2023, section 4: placement in a ring). The store survives every loss of hosts.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass, field

from gigafactory.control.actions import Tier

#: Above this many, every second one of the older half is forgotten: the kept ones thin out with
#: age, so that a corruption found late still has something to go back to.
MAX_CHECKPOINTS = 48


@dataclass(slots=True)
class Progress:
    """Steps and checkpoints of the campaign, across generations."""

    num_steps: int = 0
    committed: list[int] = field(default_factory=list)
    """In the store: complete, verified, of good steps; ascending."""
    unconfirmed: list[int] = field(default_factory=list)
    """Complete, but their step was not reported as good yet."""
    peer: int | None = None
    """The newest good step whose copies in peers' memory are whole."""
    local: int | None = None
    """The newest good step that lies on every host's own disk."""
    furthest: int = -1
    """The highest step ever saved in any tier and not found bad: only beyond it lies progress."""
    num_commits: int = 0
    everything_lost: bool = False
    """There were checkpoints in the store, and none of them may be restored."""
    num_restarts: int = 0
    """Starts after unexplained failures since the last progress."""

    def newest(self) -> int | None:
        """The newest checkpoint in the store; None: there is none."""
        return self.committed[-1] if self.committed else None

    def is_done(self) -> bool:
        """Whether the last step is safe."""
        return (self.newest() or 0) >= self.num_steps

    def in_tiers(self) -> list[tuple[Tier, int]]:
        """The newest step that may be restored from each tier, nearest first."""
        found = ((Tier.PEER, self.peer), (Tier.LOCAL, self.local), (Tier.STORE, self.newest()))
        return [(tier, step) for tier, step in found if step is not None]

    def commit(self, step: int) -> None:
        """Take the checkpoint of a good ``step`` into the list."""
        if step not in self.committed:
            insort(self.committed, step)
        if len(self.committed) > MAX_CHECKPOINTS:
            half = MAX_CHECKPOINTS // 2
            self.committed = self.committed[:half:2] + self.committed[half:]
        self.everything_lost = False
        self.num_commits += 1
        self._reach(step)

    def keep_near(self, *, peer: int | None, local: int | None) -> None:
        """Good steps that were saved in the near tiers; None: nothing new."""
        if peer is not None:
            self.peer = peer
            self._reach(peer)
        if local is not None:
            self.local = local
            self._reach(local)

    def lose_near(self, *, are_copies_whole: bool) -> None:
        """Hosts left since the last copies were made, with their disks and their memory."""
        self.local = None
        if not are_copies_whole:
            self.peer = None

    def confirm(self, good_step: int) -> None:
        """Commit what waited for its step to be reported as good."""
        waiting = self.unconfirmed
        self.unconfirmed = [step for step in waiting if step > good_step]
        for step in waiting:
            if step <= good_step:
                self.commit(step)

    def wait(self, step: int) -> None:
        """Remember a checkpoint whose step was not reported yet."""
        if step not in self.unconfirmed:
            self.unconfirmed = [*self.unconfirmed, step][-MAX_CHECKPOINTS:]

    def forget_beyond(self, step: int) -> None:
        """Checkpoints younger than ``step``, in every tier, must never be restored."""
        self._keep(self.committed[: bisect_right(self.committed, step)])
        self.unconfirmed = [found for found in self.unconfirmed if found <= step]
        self.furthest = min(self.furthest, step)
        if self.peer is not None and self.peer > step:
            self.peer = None
        if self.local is not None and self.local > step:
            self.local = None

    def forget(self, step: int, tier: Tier = Tier.STORE) -> None:
        """One checkpoint is gone."""
        if tier is Tier.STORE:
            self._keep([found for found in self.committed if found != step])
            self.unconfirmed = [found for found in self.unconfirmed if found != step]
        elif tier is Tier.PEER and self.peer == step:
            self.peer = None
        elif tier is Tier.LOCAL and self.local == step:
            self.local = None

    def forget_tier(self, tier: Tier) -> None:
        """Nothing in a near tier can be restored any more."""
        if tier is Tier.PEER:
            self.peer = None
        elif tier is Tier.LOCAL:
            self.local = None

    def _keep(self, kept: list[int]) -> None:
        self.everything_lost = self.everything_lost or (bool(self.committed) and not kept)
        self.committed = kept

    def _reach(self, step: int) -> None:
        if step > self.furthest:
            self.furthest = step
            self.num_restarts = 0


def survives(
    lost_seats: set[int], *, num_seats: int, stride: int, absent: frozenset[int] = frozenset()
) -> bool:
    """Whether copies in peers' memory are whole after these seats' hosts are lost.

    ``absent``: seats of replicas that did not train when the copies were made; whoever would keep
    a copy there is passed over.
    """
    if stride <= 0 or num_seats <= 1:
        return False
    lost = lost_seats - absent
    return not any(_keeper(seat, num_seats, stride, absent) in lost for seat in lost)


def _keeper(seat: int, num_seats: int, stride: int, absent: frozenset[int]) -> int:
    """The seat that keeps the copy of ``seat``; itself where nobody else does."""
    found = (seat + stride) % num_seats
    while found in absent and found != seat:
        found = (found + stride) % num_seats
    return found
