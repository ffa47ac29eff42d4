"""Tools for engines in this process: how a model is told of them, and how its calls are read.

The form is that of Hermes and Qwen chat templates (calls as JSON inside <tool_call>), written into
the system message. The grammar keeps a call to its tool's schema. One call ends an answer.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from gigafactory.chat.engine import Finish, Message, More, Piece, Role
from gigafactory.chat.errors import ApiError, bad_request
from gigafactory.chat.request import ChatRequest
from gigafactory.chat.schema import check_schema
from gigafactory.chat.text import overlap

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


class Calling(StrEnum):
    """Whether an answer may or has to be a call; the values are those of the OpenAI protocol."""

    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may ask for."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tools:
    """What may be called in one answer."""

    tools: tuple[Tool, ...]
    calling: Calling

    @property
    def call_schema(self) -> dict[str, Any]:
        """The schema of one call."""
        calls = [
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": tool.parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for tool in self.tools
        ]
        return calls[0] if len(calls) == 1 else {"anyOf": calls}

    @property
    def instruction(self) -> str:
        """What the model is told."""
        shown = "\n".join(
            json.dumps(
                {"name": t.name, "description": t.description, "parameters": t.parameters},
                ensure_ascii=False,
            )
            for t in self.tools
        )
        return (
            f"You may call these functions:\n<tools>\n{shown}\n</tools>\n"
            f'To call one, write {OPEN}{{"name": ..., "arguments": {{...}}}}{CLOSE}'
        )


def tools_of(request: ChatRequest) -> Tools | None:
    """What ``request`` lets a model call; None: nothing. ApiError 400 names what is wrong."""
    if not request.tools or request.tool_choice == "none":
        return None
    tools = [_tool(entry, index) for index, entry in enumerate(request.tools)]
    chosen = request.tool_choice
    if isinstance(chosen, Mapping):
        tools = [tool for tool in tools if tool.name == _chosen_name(chosen)]
        if not tools:
            raise _wrong("tool_choice", "it names none of the tools")
        return Tools(tuple(tools), Calling.REQUIRED)
    return Tools(tuple(tools), Calling(chosen or Calling.AUTO))


def told_of_tools(messages: Sequence[Message], tools: Tools) -> tuple[Message, ...]:
    """The conversation with the tools in its system message."""
    first = messages[0] if messages and messages[0].role is Role.SYSTEM else None
    words = f"{first.content}\n\n{tools.instruction}" if first else tools.instruction
    return (Message(Role.SYSTEM, words), *messages[1 if first else 0 :])


class CallReader:
    """From the text of an answer to text and calls. Text before a call is passed on."""

    def __init__(self, tools: Tools) -> None:
        self._calls_from_start = tools.calling is Calling.REQUIRED
        self._is_calling = self._calls_from_start
        self._held = ""

    def hear(self, piece: Piece) -> Piece:
        """What of ``piece`` may be shown; with ``finish`` where a call is complete."""
        self._held += piece.text
        if not self._is_calling:
            at = self._held.find(OPEN)
            if at < 0:
                keep = 0 if piece.finish else overlap(self._held, (OPEN,))
                shown, self._held = _cut(self._held, len(self._held) - keep)
                return replace(piece, text=shown)
            shown, self._held = _cut(self._held, at)
            self._is_calling = True
            return self._in_call(replace(piece, text=shown))
        return self._in_call(replace(piece, text=""))

    def _in_call(self, piece: Piece) -> Piece:
        end = self._held.find(CLOSE)
        if end < 0 and piece.finish is None:
            return piece
        call = _call(self._held[: end if end >= 0 else None].removeprefix(OPEN))
        if call is None:  # cut off in the middle: what came is shown as it is
            return replace(piece, text=piece.text + self._held)
        more = replace(piece.more or More(), tool_calls=(call,))
        return replace(piece, finish=Finish.TOOL_CALLS, more=more)


def _cut(text: str, at: int) -> tuple[str, str]:
    return text[:at], text[at:]


def _call(text: str) -> dict[str, object] | None:
    try:
        call = json.loads(text)
        function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
    except (ValueError, KeyError, TypeError):
        return None
    return {
        "index": 0,
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": function,
    }


def _tool(entry: Mapping[str, Any], index: int) -> Tool:
    path = f"tools.{index}"
    function = entry.get("function")
    if entry.get("type") != "function" or not isinstance(function, Mapping):
        raise _wrong(path, 'a tool is {"type": "function", "function": {...}}')
    name, parameters = function.get("name"), function.get("parameters") or _ANY_OBJECT
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(f"{path}.function.name", "up to 64 letters, digits, - and _ are wanted")
    check_schema(parameters, path=f"{path}.function.parameters")
    return Tool(name, str(function.get("description") or ""), parameters)


def _chosen_name(chosen: Mapping[str, Any]) -> object:
    function = chosen.get("function")
    return function.get("name") if isinstance(function, Mapping) else None


def _wrong(path: str, words: str) -> ApiError:
    return bad_request(f"{path}: {words}", param=path)
