from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.chat.engine import Message, Role
from gigafactory.chat.errors import ApiError
from gigafactory.chat.request import read_request

GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def read(**fields: Any) -> Any:
    return read_request(json.dumps({**GOOD, **fields}).encode())


def test_the_known_fields_are_read() -> None:
    request = read(
        max_tokens=5,
        temperature=0,
        top_p=0.5,
        seed=7,
        stop="x",
        stream=True,
        stream_options={"include_usage": True},
    )
    assert request.messages == (Message(Role.USER, "hi"),)
    assert (request.limit_tokens, request.temperature, request.top_p, request.seed) == (
        5,
        0,
        0.5,
        7,
    )
    assert request.stops == ("x",)
    assert request.stream
    assert request.wants_usage_chunk


def test_unknown_fields_are_ignored_everywhere() -> None:
    request = read(
        tools=[{"type": "function"}],
        logit_bias={"1": 2},
        service_tier="auto",
        messages=[{"role": "user", "content": "hi", "name": "me", "refusal": None}],
    )
    assert request.messages == (Message(Role.USER, "hi"),)


def test_null_means_absent() -> None:
    names = ["max_tokens", "temperature", "top_p", "seed", "stop", "stream", "stream_options", "n"]
    request = read(**dict.fromkeys(names))
    assert request.limit_tokens is None
    assert request.stops == ()


def test_the_newer_name_of_the_limit_wins() -> None:
    assert read(max_tokens=5, max_completion_tokens=9).limit_tokens == 9


def test_text_parts_are_joined_and_developer_is_system() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = read(messages=[{"role": "developer", "content": parts}])
    assert request.messages == (Message(Role.SYSTEM, "ab"),)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 3}, "model"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role"),
        ({"messages": [GOOD["messages"][0], {"role": "user", "content": 3}]}, "messages.1.content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content.0",
        ),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"seed": 1.5}, "seed"),
        ({"n": 2}, "n"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        read(**fields)
    error = caught.value
    assert error.status == 400
    assert error.param is not None
    assert error.param.startswith(param)
    assert error.message.startswith(param)


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_field_is_named(missing: str) -> None:
    fields = {key: value for key, value in GOOD.items() if key != missing}
    with pytest.raises(ApiError) as caught:
        read_request(json.dumps(fields).encode())
    assert caught.value.param == missing


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"null", b'"hi"'])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match="JSON"):
        read_request(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*GOOD, "temperature", "seed", "stop", "stream_options", "n"]), JSON)
def test_whatever_comes_is_read_or_refused_by_name(field: str, value: Any) -> None:
    assert outcome({field: value}) in ("read", f"400 {field}")


def outcome(fields: dict[str, Any]) -> str:
    try:
        read(**fields)
    except ApiError as error:
        return f"{error.status} {(error.param or '').split('.')[0]}"
    return "read"
