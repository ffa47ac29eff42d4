"""How far training came, which checkpoints may be restored, and whether restarting still helps."""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass, field

#: Above this many, every second one of the older half is forgotten: the kept ones thin out with
#: age, so that a corruption found late still has something to go back to.
MAX_CHECKPOINTS = 48


@dataclass(slots=True)
class Progress:
    """Steps and checkpoints of the campaign, across generations."""

    num_steps: int = 0
    committed: list[int] = field(default_factory=list)
    """Complete, verified, of good steps; ascending."""
    unconfirmed: list[int] = field(default_factory=list)
    """Complete, but their step was not reported as good yet."""
    furthest: int = -1
    """The highest step ever committed and not found bad: only beyond it lies progress."""
    num_commits: int = 0
    everything_lost: bool = False
    """There were checkpoints, and none of them may be restored."""
    num_restarts: int = 0
    """Starts after unexplained failures since the last progress."""

    def newest(self) -> int | None:
        """The checkpoint to restore; None: from nothing."""
        return self.committed[-1] if self.committed else None

    def is_done(self) -> bool:
        """Whether the last step is safe."""
        return (self.newest() or 0) >= self.num_steps

    def commit(self, step: int) -> None:
        """Take the checkpoint of a good ``step`` into the list."""
        if step not in self.committed:
            insort(self.committed, step)
        if len(self.committed) > MAX_CHECKPOINTS:
            half = MAX_CHECKPOINTS // 2
            self.committed = self.committed[:half:2] + self.committed[half:]
        self.everything_lost = False
        self.num_commits += 1
        if step > self.furthest:
            self.furthest = step
            self.num_restarts = 0

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
        """Checkpoints younger than ``step`` must never be restored."""
        self._keep(self.committed[: bisect_right(self.committed, step)])
        self.unconfirmed = [found for found in self.unconfirmed if found <= step]
        self.furthest = min(self.furthest, step)

    def forget(self, step: int) -> None:
        """One checkpoint is gone."""
        self._keep([found for found in self.committed if found != step])
        self.unconfirmed = [found for found in self.unconfirmed if found != step]

    def _keep(self, kept: list[int]) -> None:
        self.everything_lost = self.everything_lost or (bool(self.committed) and not kept)
        self.committed = kept
