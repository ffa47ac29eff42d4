"""Which JSON schemas are taken, and where the others are wrong."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.chat.errors import ApiError
from gigafactory.chat.schema import check_schema

NESTED: dict[str, Any] = {}
for _ in range(40):
    NESTED = {"items": NESTED}


def test_ordinary_schemas_are_taken() -> None:
    check_schema(
        {
            "$schema": "x",
            "type": "object",
            "title": "T",
            "properties": {
                "a": {"type": ["string", "null"], "maxLength": 5},
                "b": {"type": "array", "items": {"enum": ["x", 1]}, "minItems": 1},
                "c": {"anyOf": [{"const": 7}, {"type": "integer", "minimum": -3}]},
            },
            "required": ["a"],
            "additionalProperties": False,
        }
    )


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ([], "schema"),
        ({"type": "nonsense"}, "schema.type"),
        ({"type": []}, "schema.type"),
        ({"properties": {"a": {"pattern": "x"}}}, "schema.properties.a.pattern"),
        ({"properties": 5}, "schema.properties"),
        ({"anyOf": [{}, 3]}, "schema.anyOf.1"),
        ({"anyOf": []}, "schema.anyOf"),
        ({"items": {"minLength": -1}}, "schema.items.minLength"),
        ({"minimum": 0.5}, "schema.minimum"),
        ({"required": "a"}, "schema.required"),
        ({"enum": []}, "schema.enum"),
        ({"$ref": "#"}, "schema.$ref"),
        ({"additionalProperties": 1}, "schema.additionalProperties"),
        (NESTED, "schema.items.items"),
    ],
)
def test_others_are_refused_by_place(schema: Any, where: str) -> None:
    with pytest.raises(ApiError) as caught:
        check_schema(schema)
    assert caught.value.param is not None
    assert caught.value.param.startswith(f"response_format.json_schema.{where}")


WORDS = st.sampled_from(["type", "items", "anyOf", "properties", "enum", "minimum", "$ref"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_whatever_comes_is_taken_or_refused(schema: Any) -> None:
    with contextlib.suppress(ApiError):
        check_schema(schema)
