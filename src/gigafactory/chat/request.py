"""Reading a chat completion request: what is known is checked, what is unknown is ignored.

Field names and meanings are those of the OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from gigafactory.chat.engine import Message, Role
from gigafactory.chat.reading import Whole, Wire, check, read_fields

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
}


class Shape(StrEnum):
    """What an answer has to look like."""

    TEXT = "text"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"


class _TextPart(Wire):
    type: Literal["text"]
    text: str


class _WireMessage(Wire):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_TextPart] | None = None
    tool_calls: list[dict[str, Any]] | None = None

    def message(self) -> Message:
        parts = self.content or ""
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return Message(_ROLES[self.role], text + "".join(map(_called, self.tool_calls or ())))


def _called(call: Mapping[str, Any]) -> str:
    """An earlier call as a model would have written it."""
    function = call.get("function")
    told = function if isinstance(function, Mapping) else {}
    name = json.dumps(str(told.get("name")), ensure_ascii=False)
    return f'<tool_call>{{"name": {name}, "arguments": {told.get("arguments") or {}}}}</tool_call>'


class _StreamOptions(Wire):
    include_usage: bool | None = None


class _Schema(Wire):
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")


class _Format(Wire):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class ChatRequest(Wire):
    """The fields that are understood here."""

    model: str
    wire_messages: list[_WireMessage] = Field(alias="messages", min_length=1)
    max_tokens: Whole | None = Field(default=None, ge=1)
    max_completion_tokens: Whole | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: Whole | None = Field(default=None, ge=-(2**63), lt=2**63)
    n: Literal[1] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    response_format: _Format | None = None
    logprobs: bool | None = None
    top_logprobs: Whole | None = Field(default=None, ge=0, le=20)

    _fields: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def fields(self) -> Mapping[str, Any]:
        """The request as it came, unknown fields included, for those who hand it on."""
        return self._fields or self.model_dump(by_alias=True, exclude_none=True)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation."""
        return tuple(message.message() for message in self.wire_messages)

    @property
    def limit_tokens(self) -> int | None:
        """The most tokens the client wants, under either of the two names."""
        newer = self.max_completion_tokens
        return self.max_tokens if newer is None else newer

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end the answer, themselves left out."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in stops if stop)

    @property
    def wants_usage_chunk(self) -> bool:
        """Whether a stream ends with a chunk that counts the tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def shape(self) -> Shape:
        """What the answer has to look like."""
        return Shape(self.response_format.type) if self.response_format else Shape.TEXT

    @property
    def wanted_schema(self) -> dict[str, Any] | None:
        """The JSON schema that the answer has to fit; None: any text."""
        if self.shape is Shape.TEXT:
            return None
        told = self.response_format.json_schema if self.response_format else None
        return (told and told.schema_) or {"type": "object"}

    @property
    def calls_tools(self) -> bool:
        """Whether the answer may call one."""
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def talks_of_tools(self) -> bool:
        """Whether a message calls a tool or brings what one returned."""
        return any(m.role == "tool" or m.tool_calls for m in self.wire_messages)


def as_request(fields: Mapping[str, Any]) -> ChatRequest:
    """Check ``fields``; ApiError 400 names the first wrong one."""
    request = check(fields, form=ChatRequest)
    request._fields = fields
    return request


def read_request(body: bytes) -> ChatRequest:
    """Parse and check a body; ApiError 400 names the first wrong field."""
    return as_request(read_fields(body, wanted="model and messages"))
