"""From the bytes of a request to checked fields; every refusal names the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from gigafactory.chat.errors import ApiError, bad_request


class Wire(BaseModel):
    """Strict in types, deaf to unknown fields: clients send more than any server knows."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def _unpointed(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_unpointed)]
"""A whole number, also written 5.0 as JSON allows."""

Read = TypeVar("Read", bound=Wire)


def read_fields(body: bytes, *, wanted: str) -> dict[str, Any]:
    """The JSON object in ``body``; ApiError 400 says what it should hold: ``wanted``."""
    try:
        fields = json.loads(body)
        if b"\\u" in body:
            json.dumps(fields, ensure_ascii=False).encode()
    except RecursionError:
        raise bad_request("the body is not JSON that can be read: too deeply nested") from None
    except UnicodeEncodeError:
        raise bad_request("the body is not JSON of Unicode text: half a surrogate pair") from None
    except ValueError as error:
        raise bad_request(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise bad_request(f"the body must be a JSON object with {wanted}")
    return fields


def check(fields: Mapping[str, Any], *, form: type[Read]) -> Read:
    """``fields`` as ``form``; ApiError 400 names the first wrong one."""
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        raise _worded(error) from None
    except RecursionError:
        raise bad_request("the body is too deeply nested") from None


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
