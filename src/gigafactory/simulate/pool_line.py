"""What lies between a serving pool and its brain: looks that are missed, facts that are told twice.

A look at the demand may be lost, for the next one comes soon. A fact (a host broke, serves, came
back) is told until it was heard, so it is never lost; any message may come twice, the second time
much later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gigafactory.control.events import Event
from gigafactory.control.lending import DemandSeen, PoolOpened
from gigafactory.simulate.kernel import Happening, Kernel, Priority
from gigafactory.simulate.rng import stream


@dataclass(frozen=True, slots=True, kw_only=True)
class LineNoise:
    """The share of messages that meets each trouble."""

    lost: float = 0.0
    doubled: float = 0.0
    stale: float = 0.0
    stale_s: float = 1800.0
    """At most so old."""
    until_s: float = 0.0
    """From then on the line is perfect."""


class PoolLine:
    """Call it with an event on its way to the brain."""

    def __init__(
        self,
        hear: Callable[[Event], None],
        *,
        noise: LineNoise,
        kernel: Kernel[Happening],
        seed: int,
    ) -> None:
        self.num_met = 0
        self._hear = hear
        self._noise = noise
        self._kernel = kernel
        self._dice = stream("pool.line", seed=seed)

    def __call__(self, event: Event) -> None:
        """It is heard now, and perhaps again; or not at all."""
        noise, (draw, share) = self._noise, self._dice.random(2)
        if self._kernel.now_s >= noise.until_s or isinstance(event, PoolOpened):
            self._hear(event)
            return
        self.num_met += draw < noise.lost + noise.doubled + noise.stale
        if draw < noise.lost and isinstance(event, DemandSeen):
            return
        self._hear(event)
        if noise.lost <= draw < noise.lost + noise.doubled:
            self._hear(event)
        elif noise.lost + noise.doubled <= draw < noise.lost + noise.doubled + noise.stale:
            again = partial(self._hear, event)
            wait_s = float(share) * noise.stale_s
            self._kernel.after(again, wait_s=wait_s, priority=Priority.OBSERVATION)
