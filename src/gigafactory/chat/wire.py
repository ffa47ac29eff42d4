"""What goes back over the wire: JSON documents and server-sent events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from gigafactory.chat.completion import Usage
from gigafactory.chat.engine import Engine, Piece
from gigafactory.chat.errors import ApiError

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """What all chunks of one answer have in common."""

    id: str
    created_s: int
    model: str

    def _document(self, kind: str, choices: list[dict[str, object]]) -> dict[str, object]:
        head = {"id": self.id, "object": kind, "created": self.created_s, "model": self.model}
        return {**head, "choices": choices}

    def whole(self, pieces: Sequence[Piece], usage: Usage) -> dict[str, object]:
        """The answer in one document."""
        message = {"role": "assistant", "content": "".join(piece.text for piece in pieces)}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": pieces[-1].finish,
        }
        return {**self._document("chat.completion", [choice]), "usage": usage.body}

    def opening(self) -> dict[str, object]:
        """The first chunk: who speaks."""
        return self._chunk({"role": "assistant", "content": ""}, None)

    def chunk(self, piece: Piece) -> dict[str, object]:
        """One piece of text, or the end."""
        delta: dict[str, object] = {"content": piece.text} if piece.text else {}
        return self._chunk(delta, piece.finish)

    def usage_chunk(self, usage: Usage) -> dict[str, object]:
        """The last chunk, where the client asked for the count."""
        return {**self._document("chat.completion.chunk", []), "usage": usage.body}

    def _chunk(self, delta: dict[str, object], finish: object) -> dict[str, object]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._document("chat.completion.chunk", [choice])


def event(document: dict[str, object]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def error_event(error: ApiError) -> bytes:
    """An error inside a stream whose status has already been sent."""
    return event(error.body)


def model_document(engine: Engine, *, created_s: int) -> dict[str, object]:
    """One entry of the list of models; the last three keys are our own."""
    return {
        "id": engine.name,
        "object": "model",
        "created": created_s,
        "owned_by": "gigafactory" if engine.origin == "trained" else "pretrained",
        "context_tokens": engine.context_tokens,
        "origin": engine.origin,
        "about": engine.about,
    }
