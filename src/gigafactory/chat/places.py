"""How many are with an answerer at a time: whoever finds no place is sent away at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gigafactory.chat.errors import busy


class Places:
    """For an answerer to be: it counts those who are there."""

    name: str

    def __init__(self, *, most: int, retry_after_s: int) -> None:
        self.num_present = 0
        self._most_present = most
        self._retry_after_s = retry_after_s

    @contextmanager
    def place(self) -> Iterator[None]:
        """Be counted; ApiError 503 where ``most`` are there."""
        if self.num_present >= self._most_present:
            raise busy(self.name, num_waiting=self.num_present, retry_after_s=self._retry_after_s)
        self.num_present += 1
        try:
            yield
        finally:
            self.num_present -= 1
