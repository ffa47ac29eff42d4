"""JSON schemas that an answer can be bound to: the part of the language that is surely kept to.

A grammar that cannot be compiled would be found out in the middle of a step that others share, so
what is not known here is refused before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gigafactory.chat.errors import ApiError, bad_request

_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_WORDS = frozenset({"title", "description", "default", "examples", "$schema"})
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
_BOUNDS = frozenset({"minimum", "maximum"})
_MOST_LEVELS = 16
_ROOT = "response_format.json_schema.schema"


def check_schema(schema: object, *, path: str = _ROOT, level: int = 0) -> None:
    """ApiError 400 naming the first place that cannot be kept to."""
    if not isinstance(schema, Mapping):
        raise _wrong(path, "a schema is an object")
    if level > _MOST_LEVELS:
        raise _wrong(path, f"it goes deeper than {_MOST_LEVELS} levels")
    for word, value in schema.items():
        _check(word, value, path=f"{path}.{word}", level=level)


def _check(word: str, value: Any, *, path: str, level: int) -> None:
    if word in _WORDS:
        return
    if word == "type":
        kinds = value if isinstance(value, list) and value else [value]
        if any(not isinstance(kind, str) or kind not in _TYPES for kind in kinds):
            raise _wrong(path, f"a type is one of {', '.join(sorted(_TYPES))}")
    elif word in _COUNTS:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 10_000:
            raise _wrong(path, "a whole number from 0 to 10000 is wanted")
    elif word in _BOUNDS:
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**53:
            raise _wrong(path, "a whole number is wanted")
    elif word == "required":
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise _wrong(path, "a list of names is wanted")
    elif word == "enum":
        if not isinstance(value, list) or not value:
            raise _wrong(path, "a list of values is wanted")
    elif word != "const":
        _check_inner(word, value, path=path, level=level + 1)


def _check_inner(word: str, value: Any, *, path: str, level: int) -> None:
    if word == "properties" and isinstance(value, Mapping):
        for name, inner in value.items():
            check_schema(inner, path=f"{path}.{name}", level=level)
    elif word == "anyOf" and isinstance(value, list) and value:
        for index, inner in enumerate(value):
            check_schema(inner, path=f"{path}.{index}", level=level)
    elif word == "items" or (word == "additionalProperties" and not isinstance(value, bool)):
        check_schema(value, path=path, level=level)
    elif word != "additionalProperties":
        raise _wrong(path, "this engine cannot keep to it")


def _wrong(path: str, words: str) -> ApiError:
    return bad_request(f"{path}: {words}", param=path)
