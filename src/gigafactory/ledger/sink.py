"""Where a campaign is told to: the book itself, or only its sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gigafactory.control.actions import Action
from gigafactory.control.events import Event
from gigafactory.ledger.entries import Content
from gigafactory.ledger.summary import Summary


class Sink(Protocol):
    """Takes entries in. `LedgerWriter` keeps lines and a hash, `fold.Tally` the sums alone."""

    def write(self, content: Content, *, at_s: float, generation: int | None = None) -> None:
        """One entry; ``generation`` stays what it was unless given."""

    def decide(
        self,
        event: Event,
        actions: Sequence[Action],
        *,
        state_hash: Callable[[], str],
        generation: int,
    ) -> None:
        """One turn of the controller: the event, and what it asked for in answer.

        ``state_hash`` is called, at once, only where a line is written.
        """

    @property
    def ledger_hash(self) -> str:
        """sha256 of every line so far; empty where no lines are written."""

    def summary(self) -> Summary:
        """The figures so far; InputError before the first entry."""
