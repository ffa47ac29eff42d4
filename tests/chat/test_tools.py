"""Tools: what a model is told of them, and how its calls are read, however the text is cut."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.chat.engine import Finish, Message, Piece, Role
from gigafactory.chat.errors import ApiError
from gigafactory.chat.request import as_request
from gigafactory.chat.tools import Calling, CallReader, Tools, told_of_tools, tools_of

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'


def asked(**fields: Any) -> Any:
    said = {"messages": [{"role": "user", "content": "x"}]}
    return as_request({"model": "m", **said, **fields})


def tools(calling: Calling = Calling.AUTO) -> Tools:
    found = tools_of(asked(tools=[WEATHER, CLOCK], tool_choice=str(calling)))
    assert found is not None
    return found


def heard(text: str, cuts: list[int], calling: Calling) -> tuple[str, list[Any], Finish | None]:
    """What is read of ``text``, cut at ``cuts`` and ended by a stop."""
    reader = CallReader(tools(calling))
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    parts = [Piece(text[a:b]) for a, b in pairwise(places)]
    shown = ""
    for part in [*parts, Piece("", 0, Finish.STOP)]:
        piece = reader.hear(part)
        shown += piece.text
        if piece.finish:
            calls = piece.more.tool_calls if piece.more else None
            return shown, list(calls or ()), piece.finish
    raise AssertionError("it did not end")


@given(st.lists(st.integers(0, 200), max_size=8), st.sampled_from(["", "Let me see. ", "a < b <"]))
def test_a_call_is_read_however_the_text_is_cut(cuts: list[int], before: str) -> None:
    shown, [call], finish = heard(before + CALL + " and more", cuts, Calling.AUTO)
    assert shown == before
    assert finish is Finish.TOOL_CALLS
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}


@given(st.lists(st.integers(0, 200), max_size=8))
def test_text_without_a_call_is_passed_on_whole(cuts: list[int]) -> None:
    text = "no <tool> here, only <tool_cal"
    assert heard(text, cuts, Calling.AUTO) == (text, [], Finish.STOP)


def test_a_call_that_has_to_come_needs_no_marks() -> None:
    shown, [call], finish = heard('{"name": "clock", "arguments": {}}', [9], Calling.REQUIRED)
    assert (shown, call["function"], finish) == (
        "",
        {"name": "clock", "arguments": "{}"},
        Finish.TOOL_CALLS,
    )


def test_a_call_cut_off_at_the_limit_is_shown_as_it_came() -> None:
    reader = CallReader(tools(Calling.REQUIRED))
    reader.hear(Piece('{"name": "clo'))
    piece = reader.hear(Piece("ck", 1, Finish.LENGTH))
    assert (piece.text, piece.finish) == ('{"name": "clock', Finish.LENGTH)


def test_the_system_message_tells_of_the_tools() -> None:
    told = told_of_tools([Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "x")], tools())
    assert [message.role for message in told] == [Role.SYSTEM, Role.USER]
    assert told[0].content.startswith("Be kind.\n\n")
    assert '"Of a city."' in told[0].content
    assert told_of_tools([Message(Role.USER, "x")], tools())[0].role is Role.SYSTEM


def test_the_schema_of_a_call_names_its_tool() -> None:
    one, other = tools().call_schema["anyOf"]
    assert one["properties"]["name"] == {"const": "weather"}
    assert other["properties"]["arguments"] == {"type": "object"}


def test_the_choice_is_kept() -> None:
    assert tools_of(asked()) is None
    assert tools_of(asked(tools=[CLOCK], tool_choice="none")) is None
    named = {"type": "function", "function": {"name": "clock"}}
    chosen = tools_of(asked(tools=[WEATHER, CLOCK], tool_choice=named))
    assert chosen is not None
    assert ([tool.name for tool in chosen.tools], chosen.calling) == (["clock"], Calling.REQUIRED)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"tools": [{"type": "search"}]}, "tools.0"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"$ref": 1}}}]},
            "tools.0.function.parameters.$ref",
        ),
        ({"tools": [CLOCK], "tool_choice": {"function": {"name": "b"}}}, "tool_choice"),
    ],
)
def test_a_wrong_tool_is_refused_by_place(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ApiError) as caught:
        tools_of(asked(**fields))
    assert caught.value.param == where


def test_an_earlier_call_stands_in_the_conversation() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "clock", "arguments": '{"z": 1}'}}
    turns = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "noon"},
    ]
    said, back = asked(messages=turns).messages
    assert said.content == '<tool_call>{"name": "clock", "arguments": {"z": 1}}</tool_call>'
    assert (back.role, back.content) == (Role.TOOL, "noon")
