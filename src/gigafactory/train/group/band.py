"""Whether a gradient is as large as gradients usually are.

A processor that computes wrongly, and finite, passes every other gate: all members add up the same
wrong sum. Most of what is out of the band is odd text; which it is, a second opinion tells.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

from gigafactory.describe.group import STEPS_UNTIL_USUAL

FACTOR = 8.0
"""Above so many times the median of the last steps."""
_NUM_KEPT = 32


class Band:
    """Norms of the last committed gradients."""

    def __init__(self) -> None:
        self._norms: deque[float] = deque(maxlen=_NUM_KEPT)

    def is_odd(self, norm: float) -> bool:
        """Finite, and far above what is usual."""
        if len(self._norms) < STEPS_UNTIL_USUAL or not math.isfinite(norm):
            return False
        return norm > FACTOR * statistics.median(self._norms)

    def add(self, norm: float) -> None:
        """Of a step that was committed."""
        self._norms.append(norm)
