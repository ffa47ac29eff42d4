"""What goes back over the wire: JSON documents and server-sent events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gigafactory.chat.answerer import Answerer
from gigafactory.chat.engine import Finish, Origin, Piece, Usage
from gigafactory.chat.errors import ApiError

DONE = b"data: [DONE]\n\n"


class Form(Protocol):
    """One protocol's way of writing an answer, whole or as a stream of events."""

    def whole(self, pieces: Sequence[Piece], usage: Usage) -> dict[str, object]:
        """The answer in one document."""

    def opening(self) -> bytes:
        """The first events."""

    def events(self, pieces: Sequence[Piece]) -> bytes:
        """What ``pieces`` add; may be empty."""

    def closing(self, usage: Usage) -> bytes:
        """The last events."""

    def failure(self, error: ApiError) -> bytes:
        """The last events where it broke off."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Chat completions: what all chunks of one answer have in common."""

    id: str
    created_s: int
    model: str
    wants_usage: bool = False

    def _document(self, kind: str, choices: list[dict[str, object]]) -> dict[str, object]:
        head = {"id": self.id, "object": kind, "created": self.created_s, "model": self.model}
        return {**head, "choices": choices}

    def whole(self, pieces: Sequence[Piece], usage: Usage) -> dict[str, object]:
        """The answer in one document."""
        text = "".join(piece.text for piece in pieces)
        calls = whole_calls(pieces)
        message: dict[str, object] = {
            "role": "assistant",
            "content": None if calls and not text else text,
        }
        if calls:
            message["tool_calls"] = calls
        sources = [s.body for p in pieces if p.more for s in p.more.sources or ()]
        if sources:
            message["sources"] = sources
        record = record_of(pieces)
        if record is not None:
            message["record"] = record
        choice = {
            "index": 0,
            "message": message,
            "logprobs": _all_logprobs(pieces),
            "finish_reason": finish_of(pieces),
        }
        return {**self._document("chat.completion", [choice]), "usage": usage.body}

    def opening(self) -> bytes:
        """The first chunk: who speaks."""
        return event(self._chunk({"role": "assistant", "content": ""}, None))

    def events(self, pieces: Sequence[Piece]) -> bytes:
        """One chunk for each piece that shows something."""
        return b"".join(self._event(p) for p in pieces if p.text or p.finish or p.more)

    def _event(self, piece: Piece) -> bytes:
        if piece.more is not None:
            return self._rich_event(piece)
        # written by hand: this line is what a stream of plain words costs
        head = (
            f'data: {{"id":"{self.id}","object":"chat.completion.chunk",'
            f'"created":{self.created_s},"model":{_quoted(self.model)},"choices":[{{"index":0,'
        )
        delta = f'"delta":{{"content":{_quoted(piece.text)}}}' if piece.text else '"delta":{}'
        finish = f'"{piece.finish}"' if piece.finish else "null"
        return f'{head}{delta},"logprobs":null,"finish_reason":{finish}}}]}}\n\n'.encode(
            "utf-8", "replace"
        )

    def _rich_event(self, piece: Piece) -> bytes:
        more = piece.more
        delta: dict[str, object] = {"content": piece.text} if piece.text else {}
        if more and more.tool_calls:
            delta["tool_calls"] = list(more.tool_calls)
        if more and more.sources:
            delta["sources"] = [source.body for source in more.sources]
        if more and more.record is not None:
            delta["record"] = more.record
        logprobs = {"content": list(more.logprobs)} if more and more.logprobs else None
        if not delta and not logprobs and not piece.finish:
            return b""
        return event(self._chunk(delta, piece.finish, logprobs=logprobs))

    def closing(self, usage: Usage) -> bytes:
        """The count, where the client asked for it, and the end."""
        if not self.wants_usage:
            return DONE
        counted = {**self._document("chat.completion.chunk", []), "usage": usage.body}
        return event(counted) + DONE

    def failure(self, error: ApiError) -> bytes:
        """An error inside a stream whose status has already been sent."""
        return event(error.body) + DONE

    def _chunk(
        self, delta: dict[str, object], finish: object, *, logprobs: object = None
    ) -> dict[str, object]:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._document("chat.completion.chunk", [choice])


def finish_of(pieces: Sequence[Piece]) -> Finish:
    """Why an answer ended; a count may come behind the piece that says so."""
    return next((p.finish for p in reversed(pieces) if p.finish), Finish.STOP)


def record_of(pieces: Sequence[Piece]) -> int | None:
    """The number of the answer's audit record, where it has one."""
    records = [p.more.record for p in pieces if p.more and p.more.record is not None]
    return records[-1] if records else None


_quoted = json.encoder.encode_basestring


def event(document: dict[str, object]) -> bytes:
    """One server-sent event."""
    # half a surrogate pair, which a remote engine may send, cannot be encoded
    text = json.dumps(document, ensure_ascii=False)
    return b"data: " + text.encode("utf-8", "replace") + b"\n\n"


def whole_calls(pieces: Sequence[Piece]) -> list[dict[str, object]]:
    """The tool calls that a stream's parts add up to, in the protocol's form."""
    calls: dict[int, dict[str, object]] = {}
    for part in (c for p in pieces if p.more for c in p.more.tool_calls or ()):
        index = part.get("index")
        place = index if isinstance(index, int) else len(calls)
        call = calls.setdefault(
            place, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = part.get("id") or call["id"]
        whole, more = call["function"], part.get("function")
        if isinstance(whole, dict) and isinstance(more, dict):
            whole["name"] = more.get("name") or whole["name"]
            whole["arguments"] += more.get("arguments") or ""
    return [calls[place] for place in sorted(calls)]


def _all_logprobs(pieces: Sequence[Piece]) -> dict[str, object] | None:
    entries = [entry for p in pieces if p.more for entry in p.more.logprobs or ()]
    return {"content": entries} if entries else None


def model_document(answerer: Answerer, *, created_s: int) -> dict[str, object]:
    """One entry of the list of models; the last five keys are our own."""
    return {
        "id": answerer.name,
        "object": "model",
        "created": created_s,
        "owned_by": "gigafactory" if answerer.origin is Origin.TRAINED else str(answerer.origin),
        "context_tokens": answerer.context_tokens,
        "origin": answerer.origin,
        "about": answerer.about,
        "abilities": sorted(answerer.abilities),
        "chats": answerer.chats,
    }
