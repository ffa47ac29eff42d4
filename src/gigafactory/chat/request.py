"""Reading a chat completion request: what is known is checked, what is unknown is ignored.

Field names and meanings are those of the OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gigafactory.chat.engine import Message, Role
from gigafactory.chat.errors import ApiError, bad_request

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}


class _Wire(BaseModel):
    """Strict in types, deaf to unknown fields: clients send more than any server knows."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _TextPart(_Wire):
    type: Literal["text"]
    text: str


class _WireMessage(_Wire):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_TextPart] | None = None

    def message(self) -> Message:
        parts = self.content or ""
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return Message(_ROLES[self.role], text)


class _StreamOptions(_Wire):
    include_usage: bool | None = None


class ChatRequest(_Wire):
    """The fields that are understood here."""

    model: str
    wire_messages: list[_WireMessage] = Field(alias="messages", min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    n: Literal[1] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

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


def read_request(body: bytes) -> ChatRequest:
    """Parse and check a body; ApiError 400 names the first wrong field."""
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise bad_request(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise bad_request("the body must be a JSON object with model and messages")
    try:
        return ChatRequest.model_validate(fields)
    except ValidationError as error:
        raise _worded(error) from None


def _worded(error: ValidationError) -> ApiError:
    # a union reports every branch; the deepest one is the form that the client meant
    first = error.errors(include_url=False)
    field = first[0]["loc"][:1]
    details = max((e for e in first if e["loc"][:1] == field), key=lambda e: len(e["loc"]))
    param = _path(details["loc"])
    return bad_request(f"{param}: {details['msg']}{_given(details)}", param=param)


def _path(location: tuple[int | str, ...]) -> str:
    # branch names of a union ("list[...]", "str") are pydantic's, not the client's
    kept = [str(p) for p in location if isinstance(p, int) or (p.isidentifier() and p != "str")]
    return ".".join(kept)


def _given(details: Mapping[str, Any]) -> str:
    if details["type"] == "missing":
        return ""
    shown = repr(details["input"])
    return f", not {shown if len(shown) <= 60 else shown[:57] + '...'}"
