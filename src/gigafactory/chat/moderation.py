"""The hook that looks at what is asked before an engine does."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from gigafactory.chat.engine import Message
from gigafactory.chat.errors import ApiError
from gigafactory.describe.errors import InputError

Moderator = Callable[[Sequence[Message]], str | None]
"""Returns why a conversation is refused, in words for the client, or None."""


def refused(reason: str) -> ApiError:
    """What the client is told."""
    return ApiError(400, reason, param="messages", code="content_policy_violation")


def load_moderator(where: str) -> Moderator:
    """``MODULE:FUNCTION``, imported; InputError where there is no such function."""
    module, _, name = where.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"moderator {where!r}: {error}; write MODULE:FUNCTION") from None
    if not callable(found):
        raise InputError(f"moderator {where!r} is not a function")
    moderator: Moderator = found
    return moderator
