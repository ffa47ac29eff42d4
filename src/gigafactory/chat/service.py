"""What the routes of one service have in common, and what it is allowed to do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gigafactory.chat.answerer import Answerer
from gigafactory.chat.completion import choose
from gigafactory.chat.errors import ApiError, bad_key, took_too_long
from gigafactory.chat.gate import Gate
from gigafactory.chat.keys import Scope
from gigafactory.chat.meter import Meter
from gigafactory.chat.metrics import Metrics
from gigafactory.chat.moderation import Moderator
from gigafactory.chat.usage import Outcome

if TYPE_CHECKING:
    from gigafactory.chat.flight import Flight
    from gigafactory.chat.truth.counter import Counter

log = logging.getLogger("gigafactory.chat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits on every request."""

    body_bytes: int = 1_000_000
    body_s: float = 20.0
    """To send the body."""
    request_s: float = 600.0
    """To be answered, waiting included."""
    stall_s: float = 60.0
    """A client that takes nothing of its stream for so long is let go."""


@dataclass(slots=True)
class Service:
    """Answerers, keys, metering, and the requests in flight."""

    answerers: Sequence[Answerer]
    gate: Gate = field(default_factory=lambda: Gate(None))
    meter: Meter = field(default_factory=lambda: Meter(None, None))
    bounds: Bounds = field(default_factory=Bounds)
    moderator: Moderator | None = None
    notice: str | None = None
    counter: Counter | None = None
    """Where answers with sources and their records come from; None: it has no posts."""
    is_closing: bool = False
    created_s: int = field(default_factory=lambda: int(time.time()))
    flights: set[Flight] = field(default_factory=set)
    metrics: Metrics = field(init=False)
    _sweeper: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.num_present)

    def num_present(self) -> Mapping[str, int]:
        """Requests being answered or waiting, by model."""
        return {answerer.name: answerer.num_present for answerer in self.answerers}

    def answerer(self, name: str) -> Answerer:
        """By the name of its model; ApiError 404 lists those there are."""
        return choose(self.answerers, name)

    def enter(self, headers: Mapping[str, str], scope: Scope) -> str:
        """The id of the key; ApiError 401 or 403."""
        return self.gate.enter(headers.get("authorization"), scope).id

    async def start(self) -> None:
        """Begin to store usage, to look for changed keys and for requests that take too long."""
        self.meter.start(self.gate, on_revoked=self._revoke)
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """End everything; what was metered is stored."""
        self.is_closing = True
        if self._sweeper:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
        for answerer in self.answerers:
            await answerer.close()
        await self.meter.stop()

    def _revoke(self, ids: frozenset[str]) -> None:
        for flight in self.flights:
            if flight.key_id in ids:
                flight.stop(Outcome.REVOKED, bad_key())

    async def _sweep(self) -> None:
        bounds = self.bounds
        while True:
            await asyncio.sleep(min(0.5, bounds.request_s / 4, bounds.stall_s / 4))
            now_s = time.perf_counter()
            for flight in tuple(self.flights):
                stalled_s = now_s - flight.sending_since_s if flight.sending_since_s else 0.0
                if stalled_s > bounds.stall_s:
                    flight.stop(Outcome.GONE, ApiError(408, "the stream was not read"))
                elif now_s - flight.began_s > bounds.request_s:
                    flight.stop(Outcome.TIMEOUT, took_too_long(bounds.request_s))
