"""Who of the people is followed, and who of them asks next."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np

from gigafactory.simulate.serving.people import Requests

#: Requests among which those who are followed are looked for at a time.
_LOOK = 4096
#: Later than anything.
_NEVER = 1 << 62


@dataclass(slots=True)
class Asking:
    """Hands out the requests of those who are followed, in order of time."""

    requests: Requests
    next_at: int = _NEVER
    """When somebody asks next, picoseconds."""
    _share: float = 0.0
    _looked: int = 0
    """Of the requests before it, those that are followed lie in ``_ready``."""
    _ready: list[int] = field(default_factory=list)
    """The next is the last."""

    def follow(self, share: float, *, at: int) -> None:
        """From ``at`` on: requests whose place is below ``share``."""
        if share != self._share:
            self._share = share
            self._looked = bisect_left(self.requests.at, at)
            self._ready = []
            self._look()

    def take(self) -> int:
        """The request that is asked at ``next_at``."""
        index = self._ready.pop()
        if self._ready:
            self.next_at = self.requests.at[self._ready[-1]]
        else:
            self._look()
        return index

    def _look(self) -> None:
        num = len(self.requests)
        while not self._ready and self._looked < num:
            first, self._looked = self._looked, self._looked + _LOOK
            is_followed = self.requests.place[first : self._looked] < self._share
            self._ready = (np.flatnonzero(is_followed)[::-1] + first).tolist()
        self.next_at = self.requests.at[self._ready[-1]] if self._ready else _NEVER
