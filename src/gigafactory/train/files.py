"""Documents from a user's own files: a text in passages, or JSON lines of texts and talks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gigafactory.describe.errors import InputError

Conversation = list[str]
"""Turns, alternating between user and assistant, the user first."""
Document = str | Conversation

MAX_PASSAGE_CHARS = 2000
_ROLES = ("user", "assistant")


def read_file(path: Path) -> Iterator[Document]:
    """Everything in a .txt or .jsonl; InputError names the file, and the line that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8") from None
    if path.suffix == ".txt":
        yield from passages(text)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield _document(line, place=f"{path}:{number}")


def passages(text: str) -> Iterator[str]:
    """Paragraphs, set apart by empty lines, put together to at most ``MAX_PASSAGE_CHARS``.

    A longer paragraph is a passage of its own.
    """
    passage = ""
    for paragraph in text.replace("\r\n", "\n").split("\n\n"):
        words = paragraph.strip()
        if passage and len(passage) + 2 + len(words) > MAX_PASSAGE_CHARS:
            yield passage
            passage = ""
        passage = f"{passage}\n\n{words}" if passage and words else passage or words
    if passage:
        yield passage


def _document(line: str, *, place: str) -> Document:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: not JSON: {error}") from None
    if isinstance(value, dict):
        if isinstance(value.get("text"), str) and value["text"].strip():
            return str(value["text"])
        if isinstance(value.get("messages"), list):
            return _conversation(value["messages"], place=place)
    raise InputError(
        f"{place}: must be an object with `text`, or with `messages` of `role` and `content`"
    )


def _conversation(messages: list[Any], *, place: str) -> Conversation:
    """Turns; what the system says is left out, for the model knows no such role."""
    spoken = [m for m in messages if not (isinstance(m, dict) and m.get("role") == "system")]
    turns: Conversation = []
    for number, message in enumerate(spoken):
        role = _ROLES[number % 2]
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, str) or message.get("role") != role:
            raise InputError(
                f"{place}: messages[{number}] (system not counted) must have role {role!r} and a "
                "text as content; user and assistant take turns"
            )
        turns.append(content)
    if len(turns) < 2:
        raise InputError(f"{place}: messages need a user's turn and an assistant's")
    return turns
