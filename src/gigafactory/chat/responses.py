"""The Responses protocol, as far as it needs no memory on the server's side.

Field names, items and events are those of the OpenAI API reference, "Responses". A response is
not stored: ``previous_response_id``, ``conversation`` and ``background`` are refused, ``store`` is
ignored. Requests become chat completion requests, so that engines know one form only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from gigafactory.chat.engine import Finish, Piece, Usage
from gigafactory.chat.errors import ApiError, bad_request
from gigafactory.chat.reading import Whole, Wire, check, read_fields
from gigafactory.chat.request import ChatRequest, as_request
from gigafactory.chat.wire import event, finish_of, record_of, whole_calls


class _TextItem(Wire):
    type: Literal["input_text", "output_text"]
    text: str


class _Item(Wire):
    """A message, a call of a tool, or what it returned."""

    type: Literal["message", "function_call", "function_call_output"] | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[_TextItem] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | None = None


class _Tool(Wire):
    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Chosen(Wire):
    type: Literal["function"]
    name: str


class _Format(Wire):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None
    description: str | None = None


class _TextOptions(Wire):
    format: _Format | None = None


class ResponseRequest(Wire):
    """The fields that are understood here."""

    model: str
    input: str | list[_Item]
    instructions: str | None = None
    max_output_tokens: Whole | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    stream: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | _Chosen | None = None
    text: _TextOptions | None = None
    previous_response_id: None = None
    conversation: None = None
    background: Literal[False] | None = None


def read_response_request(body: bytes) -> ChatRequest:
    """Parse, check and turn into a chat completion request; ApiError 400 names the field."""
    asked = check(read_fields(body, wanted="model and input"), form=ResponseRequest)
    fields: dict[str, Any] = {
        "model": asked.model,
        "messages": _messages(asked),
        "max_completion_tokens": asked.max_output_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "stream": asked.stream,
        "tools": [_tool(tool) for tool in asked.tools or ()] or None,
        "tool_choice": _choice(asked.tool_choice),
        "response_format": _format(asked.text.format if asked.text else None),
    }
    return as_request({name: value for name, value in fields.items() if value is not None})


def _messages(asked: ResponseRequest) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    if asked.instructions:
        said.append({"role": "system", "content": asked.instructions})
    if isinstance(asked.input, str):
        return [*said, {"role": "user", "content": asked.input}]
    if not asked.input:
        raise bad_request("input: at least one item is wanted", param="input")
    return said + [_message(item, index) for index, item in enumerate(asked.input)]


def _message(item: _Item, index: int) -> dict[str, Any]:
    if item.type == "function_call":
        function = {"name": item.name or "", "arguments": item.arguments or ""}
        call = {"id": item.call_id or "", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    if item.type == "function_call_output":
        return {"role": "tool", "tool_call_id": item.call_id or "", "content": item.output or ""}
    if item.role is None:
        path = f"input.{index}.role"
        raise bad_request(
            f"{path}: a message wants system, developer, user or assistant", param=path
        )
    parts = item.content or ""
    text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
    return {"role": item.role, "content": text}


def _tool(tool: _Tool) -> dict[str, Any]:
    return {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}


def _choice(chosen: str | _Chosen | None) -> str | dict[str, Any] | None:
    if isinstance(chosen, _Chosen):
        return {"type": "function", "function": {"name": chosen.name}}
    return chosen


def _format(wanted: _Format | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    fields = wanted.model_dump(by_alias=True, exclude_none=True)
    kind = fields.pop("type")
    return {"type": kind, "json_schema": fields} if kind == "json_schema" else {"type": kind}


@dataclass(slots=True)
class Response:
    """One answer in the form of the Responses protocol; ``id`` begins with resp_."""

    id: str
    created_s: int
    model: str
    _number: int = 0
    _pieces: list[Piece] = field(default_factory=list)

    def whole(self, pieces: Sequence[Piece], usage: Usage) -> dict[str, object]:
        """The answer in one document."""
        is_cut = finish_of(pieces) is Finish.LENGTH
        record = record_of(pieces)
        return self._document(
            status="incomplete" if is_cut else "completed",
            output=self._output(pieces),
            usage=_usage(usage),
            incomplete={"reason": "max_output_tokens"} if is_cut else None,
            metadata={} if record is None else {"record": str(record)},
        )

    def opening(self) -> bytes:
        """The empty response and its first, still empty, message."""
        empty = self._document(status="in_progress", output=[])
        item = {**self._message(""), "status": "in_progress", "content": []}
        return (
            self._event("response.created", response=empty)
            + self._event("response.in_progress", response=empty)
            + self._event("response.output_item.added", output_index=0, item=item)
            + self._event("response.content_part.added", **self._place, part=_part("", ()))
        )

    def events(self, pieces: Sequence[Piece]) -> bytes:
        """The words that ``pieces`` add."""
        self._pieces.extend(pieces)
        return b"".join(
            self._event("response.output_text.delta", **self._place, delta=p.text, logprobs=[])
            for p in pieces
            if p.text
        )

    def closing(self, usage: Usage) -> bytes:
        """The message, the calls and the response, all complete."""
        text = _text(self._pieces)
        done = self.whole(self._pieces, usage)
        output = done["output"]
        assert isinstance(output, list)
        part = _part(text, _sources(self._pieces))
        events = self._event("response.output_text.done", **self._place, text=text, logprobs=[])
        events += self._event("response.content_part.done", **self._place, part=part)
        events += self._event("response.output_item.done", output_index=0, item=output[0])
        for index, call in enumerate(output[1:], start=1):
            events += self._event("response.output_item.added", output_index=index, item=call)
            events += self._event("response.output_item.done", output_index=index, item=call)
        return events + self._event(f"response.{done['status']}", response=done)

    def failure(self, error: ApiError) -> bytes:
        """An error inside a stream whose status has already been sent."""
        told = {"code": error.code or "server_error", "message": error.message}
        failed = self._document(status="failed", output=self._output(self._pieces), error=told)
        return self._event("error", **told, param=error.param) + self._event(
            "response.failed", response=failed
        )

    @property
    def _place(self) -> dict[str, object]:
        return {"item_id": self._item_id, "output_index": 0, "content_index": 0}

    @property
    def _item_id(self) -> str:
        return "msg_" + self.id.removeprefix("resp_")

    def _event(self, kind: str, **fields: object) -> bytes:
        document = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {kind}\n".encode() + event(document)

    def _message(self, text: str, sources: Sequence[dict[str, object]] = ()) -> dict[str, object]:
        return {
            "id": self._item_id,
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [_part(text, sources)],
        }

    def _output(self, pieces: Sequence[Piece]) -> list[dict[str, object]]:
        return [self._message(_text(pieces), _sources(pieces)), *self._calls(pieces)]

    def _calls(self, pieces: Sequence[Piece]) -> list[dict[str, object]]:
        return [
            {
                "id": f"fc_{index}_{self.id.removeprefix('resp_')}",
                "type": "function_call",
                "status": "completed",
                "call_id": call["id"],
                **call["function"],  # type: ignore[dict-item]
            }
            for index, call in enumerate(whole_calls(pieces))
        ]

    def _document(
        self,
        *,
        status: str,
        output: list[dict[str, object]],
        usage: object = None,
        error: object = None,
        incomplete: object = None,
        metadata: Mapping[str, str] | None = None,
    ) -> dict[str, object]:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_s,
            "status": status,
            "error": error,
            "incomplete_details": incomplete,
            "metadata": dict(metadata or {}),
            "model": self.model,
            "output": output,
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
            "store": False,
            "usage": usage,
        }


def _text(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _sources(pieces: Sequence[Piece]) -> list[dict[str, object]]:
    return [s.body for p in pieces if p.more for s in p.more.sources or ()]


def _part(text: str, sources: Sequence[dict[str, object]]) -> dict[str, object]:
    part: dict[str, object] = {"type": "output_text", "text": text, "annotations": []}
    return {**part, "sources": list(sources)} if sources else part


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
