"""Errors as the OpenAI protocol words them: a status and a JSON body that names the field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class ErrorKind(StrEnum):
    """The ``type`` of an error."""

    INVALID_REQUEST = "invalid_request_error"
    AUTHENTICATION = "authentication_error"
    PERMISSION = "permission_error"
    QUOTA = "insufficient_quota"
    RATE = "rate_limit_error"
    SERVER = "server_error"


_KINDS = {401: ErrorKind.AUTHENTICATION, 403: ErrorKind.PERMISSION, 429: ErrorKind.RATE}


@dataclass(eq=False)  # not frozen: Python writes the traceback into a raised exception
class ApiError(Exception):
    """Something that is told to the client instead of an answer."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    retry_after_s: int | None = None

    def __str__(self) -> str:
        return self.message

    @property
    def body(self) -> dict[str, object]:
        """The JSON document."""
        kind = _KINDS.get(self.status, ErrorKind.INVALID_REQUEST)
        if self.status >= 500:
            kind = ErrorKind.SERVER
        if self.code == ErrorKind.QUOTA:
            kind = ErrorKind.QUOTA
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


def bad_request(message: str, *, param: str | None = None) -> ApiError:
    """A field is wrong; ``param`` is its path."""
    return ApiError(400, message, param=param)


def unknown_model(name: str, *, names: Sequence[str]) -> ApiError:
    """No engine answers to ``name``."""
    message = f"there is no model {name!r} here; the models are {', '.join(names)}"
    return ApiError(404, message, param="model", code="model_not_found")


def prompt_too_long(num_tokens: int, *, context_tokens: int, name: str) -> ApiError:
    """The prompt leaves no room for a single token of answer."""
    message = (
        f"the messages are {num_tokens} tokens and the context of {name} is {context_tokens}, "
        f"so at most {context_tokens - 1} fit; shorten or drop older messages"
    )
    return ApiError(400, message, param="messages", code="context_length_exceeded")


def text_too_long(num_tokens: int, *, context_tokens: int, name: str) -> ApiError:
    """A text to embed does not fit."""
    message = f"input: a text has {num_tokens} tokens and {name} takes {context_tokens}; cut it"
    return ApiError(400, message, param="input", code="context_length_exceeded")


def busy(name: str, *, num_waiting: int, retry_after_s: int) -> ApiError:
    """The queue of an engine is full."""
    message = f"{name} answers one request at a time and {num_waiting} are waiting; try again"
    return ApiError(503, message, code="engine_busy", retry_after_s=retry_after_s)


def no_answer(name: str) -> ApiError:
    """The engine ended without a visible word: an error, never an empty success."""
    message = f"{name} ended without a word; ask again or raise the temperature"
    return ApiError(502, message, code="no_answer")


def engine_failed(name: str, error: Exception) -> ApiError:
    """The engine broke down."""
    return ApiError(500, f"{name} failed: {type(error).__name__}: {error}", code="engine_failed")


def as_api_error(name: str, error: Exception) -> ApiError:
    """``error`` itself where it is meant for the client, else that the engine broke down."""
    return error if isinstance(error, ApiError) else engine_failed(name, error)


def bad_key() -> ApiError:
    """No key, an unknown or a revoked one: which of them is not told."""
    message = "this service wants a valid key: Authorization: Bearer giga-..."
    return ApiError(401, message, code="invalid_api_key")


def not_permitted(scope: str) -> ApiError:
    """The key is good for other things."""
    return ApiError(403, f"this key lacks the scope {scope}", code="insufficient_permissions")


def too_fast(what: str, *, retry_after_s: int) -> ApiError:
    """More than the key's rate."""
    message = f"the limit of this key is {what}; come back in {retry_after_s} s"
    return ApiError(429, message, code="rate_limit_exceeded", retry_after_s=retry_after_s)


def budget_spent(budget_tokens: int, *, period: str) -> ApiError:
    """The key has no token left."""
    message = f"the budget of this key, {budget_tokens} tokens a {period}, is spent"
    return ApiError(429, message, code=ErrorKind.QUOTA)


def closing() -> ApiError:
    """The service is going down."""
    return ApiError(503, "the service is closing; ask another", code="closing", retry_after_s=5)


def took_too_long(limit_s: float) -> ApiError:
    """The time limit of one request."""
    return ApiError(504, f"the answer took longer than {limit_s:g} s", code="timeout")
