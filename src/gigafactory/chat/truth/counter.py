"""The desk for a service: asked by one thread, so that a search stops no stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from gigafactory.chat.errors import ApiError, bad_request
from gigafactory.chat.truth.audit import Audit, Checked, Kind
from gigafactory.chat.truth.bridging import Rated, rate
from gigafactory.chat.truth.database import open_database
from gigafactory.chat.truth.desk import Desk
from gigafactory.chat.truth.ratings import VALUES, Reason, Vote
from gigafactory.chat.truth.shown import record_document
from gigafactory.chat.truth.switch import Stopped

Result = TypeVar("Result")


class Counter:
    """One database of posts, its records and ratings."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.desk = Desk(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="desk")
        self._state: tuple[int, float] | None = None
        self._rated: Mapping[str, Rated] = {}

    async def call(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` there; ApiError 503 while answers are switched off."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except Stopped:
            raise ApiError(503, "answers are switched off", code="switched_off") from None

    async def records(self, *, last: int, before: int | None = None) -> list[dict[str, Any]]:
        """The ``last`` records with numbers under ``before``, newest first."""
        rated, desk = await self.rated(), self.desk

        def work() -> list[dict[str, Any]]:
            found = list(desk.audit.records(last=last, before=before))
            return [record_document(record, desk, rated) for record in reversed(found)]

        return await self.call(work)

    async def chain(self, *, head: str | None = None) -> Checked:
        """Verify every link, beside the desk: a long chain keeps nobody waiting."""
        return await asyncio.to_thread(self._checked, head)

    def _checked(self, head: str | None) -> Checked:
        connection = open_database(self._path)
        try:
            return Audit(connection).check(head=head)
        finally:
            connection.close()

    async def rate(
        self, *, user: str, record: int, value: float, reason: str | None, at_s: float
    ) -> dict[str, Any] | None:
        """Keep a view of an answer; None where the record is of no answer, ApiError 400 where the
        view is none that can be had."""
        vote = Vote(user, record, _value(value), _reason(reason))

        def work() -> dict[str, Any] | None:
            found = self.desk.audit.record(record)
            if found is None or found.kind is not Kind.ANSWER or found.details is None:
                return None
            note = self.desk.ratings.put(vote, details=found.details, at_s=at_s)
            num_ratings = self.desk.ratings.tally(note).num_ratings
            return {"object": "rating", "note": note, "num_ratings": num_ratings}

        return await self.call(work)

    async def rated(self) -> Mapping[str, Rated]:
        """What bridging says of every note; fitted anew, beside the desk, when a rating came."""
        state = await self.call(self.desk.ratings.state)
        if state != self._state:
            ratings = await self.call(self.desk.ratings.all)
            fitted = await asyncio.to_thread(rate, ratings)
            self._rated, self._state = {one.note: one for one in fitted}, state
        return self._rated

    def close(self) -> None:
        """End the thread and the connection."""
        self._thread.shutdown()
        self.desk.close()


def _value(value: float) -> float:
    if value not in VALUES:
        raise bad_request("value: it is 0 (not helpful), 0.5 (somewhat) or 1", param="value")
    return value


def _reason(told: str | None) -> Reason | None:
    if told is None:
        return None
    try:
        return Reason(told)
    except ValueError:
        known = ", ".join(Reason)
        raise bad_request(f"reason: it is one of {known}", param="reason") from None
