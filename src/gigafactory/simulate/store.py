"""The checkpoint store of the twin: how slow it is, and what is on its way to it or from it.

Outages overlap, and the worst of those that last counts. While one stops the store, nothing that is
written becomes safe and nothing that is read arrives; what had got through by then stays through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from gigafactory.simulate.kernel import Happening, Kernel, Priority


@dataclass(slots=True, eq=False)
class Transfer:
    """A checkpoint that is written or read."""

    left_s: float
    """What is still to come, at the usual speed."""
    since_s: float
    """It goes on, or begins, at this time."""
    done: Happening
    priority: Priority
    num_turns: int = 0
    """Of the store's speed since it began; a timer of an earlier one does nothing."""


class Store:
    """One store for all."""

    def __init__(self, kernel: Kernel[Happening]) -> None:
        self.slowdown = 1.0
        """Times the usual time; inf: it does not answer."""
        self._kernel = kernel
        self._outages: list[float] = []
        self._transfers: list[Transfer] = []

    def carry(
        self, usual_s: float, done: Happening, *, priority: Priority, lead_s: float = 0.0
    ) -> None:
        """Let ``done`` happen when it is through: ``usual_s`` at the usual speed, after a lead."""
        transfer = Transfer(usual_s, self._kernel.now_s + lead_s, done, priority)
        self._transfers.append(transfer)
        self._time(transfer, lead_s=lead_s)

    def let_go(self) -> None:
        """Nobody is there any more who writes or reads."""
        self._transfers.clear()

    def slow_down(self, slowdown: float) -> None:
        """An outage begins."""
        self._outages.append(slowdown)
        self._turn()

    def recover(self, slowdown: float) -> None:
        """An outage ends; the others last."""
        if slowdown in self._outages:
            self._outages.remove(slowdown)
            self._turn()

    def end_all(self) -> None:
        """Every outage is over."""
        self._outages.clear()
        self._turn()

    def _turn(self) -> None:
        was, self.slowdown = self.slowdown, max(self._outages, default=1.0)
        if was == self.slowdown:
            return
        now_s = self._kernel.now_s
        for transfer in self._transfers:
            passed_s = max(0.0, now_s - transfer.since_s)
            transfer.left_s = max(0.0, transfer.left_s - passed_s / was)
            transfer.since_s = max(now_s, transfer.since_s)
            transfer.num_turns += 1
            self._time(transfer, lead_s=transfer.since_s - now_s)

    def _time(self, transfer: Transfer, *, lead_s: float) -> None:
        wait_s = lead_s + transfer.left_s * self.slowdown if transfer.left_s > 0 else lead_s
        if math.isfinite(wait_s):
            end = partial(self._end, transfer, transfer.num_turns)
            self._kernel.after(end, wait_s=wait_s, priority=transfer.priority)

    def _end(self, transfer: Transfer, num_turns: int) -> None:
        if transfer in self._transfers and transfer.num_turns == num_turns:
            self._transfers.remove(transfer)
            transfer.done()
