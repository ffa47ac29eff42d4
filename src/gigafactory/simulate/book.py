"""The twin's pen: what happened, as entries of the ledger.

An undisturbed run is entered when it is reported on, not step by step. The stalls since the last
report then stand in one piece at its beginning, which leaves every bucket exact and moves a
stall by minutes; a commit or step that fell into the time of that piece is entered at its end.
"""

from __future__ import annotations

from gigafactory.control.actions import Tier
from gigafactory.ledger.entries import (
    WORKING,
    Bucket,
    BucketFrom,
    CheckpointKept,
    Content,
    FaultStruck,
    PaceFrom,
    PowerFrom,
    Rollback,
    Steps,
)
from gigafactory.ledger.sink import Sink
from gigafactory.simulate.power import Draw
from gigafactory.units import DAY_S


class Book:
    """Writes entries and remembers which bucket is open."""

    def __init__(self, ledger: Sink, *, draw: Draw, num_bytes: float):
        self.ledger = ledger
        self.bucket: Bucket | None = None
        self._draw = draw
        self._num_bytes = num_bytes
        self._draw_w: float | None = None
        self._pace: tuple[int, float] | None = None
        self._near: dict[Tier, tuple[int, int]] = {}
        """Copies near the hosts that stand in no entry yet: the newest step, and how many."""
        self._near_due_s = DAY_S

    def enter(self, content: Content, *, at_s: float) -> None:
        """Any entry, under the generation that is current."""
        self.ledger.write(content, at_s=at_s)

    def turn(self, bucket: Bucket, *, at_s: float) -> None:
        """From ``at_s`` on the allocation is in ``bucket``, and draws accordingly."""
        if bucket is self.bucket:
            return
        self.bucket = bucket
        self.enter(BucketFrom(bucket=bucket), at_s=at_s)
        draw_w = self._draw.working_w if bucket in WORKING else self._draw.waiting_w
        if draw_w != self._draw_w:
            self._draw_w = draw_w
            self.enter(PowerFrom(draw_w=draw_w), at_s=at_s)

    def stalled(self, stalled_s: float, *, since_s: float) -> None:
        """Checkpoints held the run up for ``stalled_s`` in all since ``since_s``."""
        if stalled_s > 0:
            self.turn(Bucket.CHECKPOINT, at_s=since_s)
            self.turn(Bucket.PRODUCTIVE, at_s=since_s + stalled_s)

    def steps(self, step: int, *, num_steps: int, step_s: float, at_s: float) -> None:
        """The run reached ``step`` at ``at_s``, ``num_steps`` further than last time."""
        entry = Steps(step=step, num_steps=num_steps, step_s=step_s)
        self.enter(entry, at_s=at_s)

    def committed(self, step: int, at_s: float, *, save_s: float, num: int = 1) -> None:
        """The checkpoint of ``step`` is safe, the newest of ``num``, each made in ``save_s``."""
        entry = CheckpointKept(step=step, save_s=save_s, num_bytes=self._num_bytes, num=num)
        self.enter(entry, at_s=at_s)

    def copied(self, tier: Tier, step: int, *, num: int, at_s: float) -> None:
        """``num`` more copies near the hosts, the newest of ``step``; entered once a day."""
        self._near[tier] = (step, self._near.get(tier, (0, 0))[1] + num)
        if at_s >= self._near_due_s:
            self.enter_copies(at_s=at_s)

    def enter_copies(self, *, at_s: float) -> None:
        """All copies near the hosts since the last such entries."""
        self._near_due_s = at_s + DAY_S
        for tier, (step, num) in self._near.items():
            entry = CheckpointKept(step=step, num_bytes=self._num_bytes, tier=tier, num=num)
            self.enter(entry, at_s=at_s)
        self._near.clear()

    def pace(self, num_gpus: int, *, slowdown: float, at_s: float) -> None:
        """From now on so many GPUs compute, and so slowly."""
        if (num_gpus, slowdown) != self._pace:
            self._pace = (num_gpus, slowdown)
            self.enter(PaceFrom(num_gpus=num_gpus, slowdown=slowdown), at_s=at_s)

    def struck(self, cause: str, *, fault: str, hosts: tuple[int, ...], at_s: float) -> None:
        """Something broke, whether or not anybody knows."""
        self.enter(FaultStruck(cause=cause, fault=fault, hosts=hosts), at_s=at_s)

    def rolled_back(self, step: int, *, at_s: float) -> None:
        """Training goes on after ``step``."""
        self.enter(Rollback(step=step), at_s=at_s)
