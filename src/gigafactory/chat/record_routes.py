"""The routes of the record: its records, the check of the chain, ratings.

Reading records wants the scope ``audit``; rating an answer only ``chat``. A key has one view of an
answer. A service without keys serves this machine only; there a browser says who it is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gigafactory.chat.body import read_body
from gigafactory.chat.errors import ApiError, bad_request
from gigafactory.chat.gate import EVERYBODY
from gigafactory.chat.keys import Key, Scope
from gigafactory.chat.reading import Whole, Wire, check, read_fields
from gigafactory.chat.service import Service

if TYPE_CHECKING:
    from gigafactory.chat.truth.counter import Counter

MOST_RECORDS = 200
_FEW_RECORDS = 20


class RatingRequest(Wire):
    """One person's view of one answer; the last one counts."""

    record: Whole = Field(ge=1, lt=2**62)
    value: float
    """0 not helpful, 0.5 somewhat, 1 helpful."""
    reason: str | None = None
    rater: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Who it is where the service has no keys; ignored where it has."""


def record_routes(service: Service) -> list[Route]:
    """All of them."""
    routes = _RecordRoutes(service)
    return [
        Route("/v1/audit/records", routes.records),
        Route("/v1/audit/records/{seq}", routes.record),
        Route("/v1/audit/chain", routes.chain),
        Route("/v1/ratings", routes.rate, methods=["POST"]),
    ]


class _RecordRoutes:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def records(self, request: Request) -> Response:
        counter = self._enter(request, Scope.AUDIT)
        before = _number(request, "before", least=1, most=2**62)
        last = _number(request, "limit", least=1, most=MOST_RECORDS) or _FEW_RECORDS
        found = await counter.records(before=before, last=last)
        return JSONResponse({"object": "list", "data": found, "has_more": _has_more(found)})

    async def record(self, request: Request) -> Response:
        counter = self._enter(request, Scope.AUDIT)
        told = request.path_params["seq"]
        seq = int(told) if told.isdecimal() and len(told) < 19 else 0
        found = await counter.records(before=seq + 1, last=1) if seq else []
        if not found or found[0]["seq"] != seq:
            raise _no_record(told)
        return JSONResponse(found[0])

    async def chain(self, request: Request) -> Response:
        counter = self._enter(request, Scope.AUDIT)
        head = request.query_params.get("head")
        checked = await counter.chain(head=head)
        return JSONResponse(
            {
                "holds": not checked.faults,
                "num_records": checked.num_records,
                "num_erased": checked.num_erased,
                "head": checked.head,
                "faults": list(checked.faults),
            }
        )

    async def rate(self, request: Request) -> Response:
        service = self._service
        key = service.gate.enter(request.headers.get("authorization"), Scope.CHAT)
        fields = read_fields(await read_body(request, service=service), wanted="record and value")
        asked = check(fields, form=RatingRequest)
        counter = self._counter()
        user = _who(key, asked)
        kept = await counter.rate(
            user=user,
            record=asked.record,
            value=asked.value,
            reason=asked.reason,
            at_s=time.time(),
        )
        if kept is None:
            raise _no_record(str(asked.record))
        return JSONResponse(kept)

    def _enter(self, request: Request, scope: Scope) -> Counter:
        self._service.enter(request.headers, scope)
        return self._counter()

    def _counter(self) -> Counter:
        if self._service.counter is None:
            message = "this service has no posts to answer from, so it keeps no records"
            raise ApiError(404, message, code="no_records")
        return self._service.counter


def _who(key: Key, asked: RatingRequest) -> str:
    if key is not EVERYBODY:
        return key.id
    if asked.rater is None:
        raise bad_request("rater: without keys a rating has to say whose it is", param="rater")
    return f"local:{asked.rater}"


def _number(request: Request, name: str, *, least: int, most: int) -> int | None:
    told = request.query_params.get(name)
    if told is None:
        return None
    number = int(told) if told.isdecimal() and len(told) < 19 else -1
    if not least <= number <= most:
        raise bad_request(f"{name}: a whole number from {least} to {most} is wanted", param=name)
    return number


def _has_more(found: list[dict[str, Any]]) -> bool:
    return bool(found) and found[-1]["seq"] > 1


def _no_record(told: str) -> ApiError:
    return ApiError(404, f"there is no record {told} of an answer", code="no_such_record")
