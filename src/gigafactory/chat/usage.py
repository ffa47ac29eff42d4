"""What is metered: one line for each request, and the journal from which it is rebuilt.

The journal is written before a word leaves the house: ``open`` when a request starts, ``said``
before each bunch of tokens is sent, ``close`` at its end. Lines that the operating system has are
safe from a killed process, so what a client has received stands in it. Folding it is pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from gigafactory.chat.engine import Usage


class Outcome(StrEnum):
    """How a request ended."""

    DONE = "done"
    GONE = "gone"
    """The client hung up."""
    FAILED = "failed"
    REVOKED = "revoked"
    TIMEOUT = "timeout"
    KILLED = "killed"
    """The gateway itself died; the tokens are those that had come by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the usage ledger."""

    id: str
    key_id: str
    model: str
    route: str
    at_s: float
    prompt_tokens: int
    completion_tokens: int
    outcome: Outcome


def opened(entry: Entry) -> bytes:
    """The line that a request begins with."""
    fields = {
        "k": "open",
        "id": entry.id,
        "key": entry.key_id,
        "model": entry.model,
        "route": entry.route,
        "at_s": round(entry.at_s, 3),
        "prompt": entry.prompt_tokens,
    }
    return json.dumps(fields).encode() + b"\n"


def said(ident: str, num_tokens: int) -> bytes:
    """The line before ``num_tokens`` more are sent."""
    return b'{"k":"said","id":"%s","n":%d}\n' % (ident.encode(), num_tokens)


def closed(ident: str, usage: Usage, outcome: Outcome) -> bytes:
    """The line at the end, with the exact count."""
    fields = {
        "k": "close",
        "id": ident,
        "prompt": usage.prompt_tokens,
        "completion": usage.completion_tokens,
        "outcome": outcome,
    }
    return json.dumps(fields).encode() + b"\n"


def fold(lines: Iterable[bytes]) -> list[Entry]:
    """The entries of a journal, in the order they were opened.

    A request without an end was cut off with the gateway. A last line that is not whole was being
    written then: nothing had been sent for it yet.
    """
    open_: dict[str, dict[str, object]] = {}
    tokens: dict[str, int] = {}
    for line in lines:
        if not line.endswith(b"\n"):
            continue
        fields = json.loads(line)
        ident = fields["id"]
        if fields["k"] == "open":
            open_[ident] = fields | {"outcome": Outcome.KILLED}
            tokens[ident] = 0
        elif fields["k"] == "said":
            tokens[ident] += fields["n"]
        else:
            open_[ident] |= {"prompt": fields["prompt"], "outcome": fields["outcome"]}
            tokens[ident] = fields["completion"]
    return [_entry(fields, tokens[ident]) for ident, fields in open_.items()]


def _entry(fields: dict[str, object], completion_tokens: int) -> Entry:
    return Entry(
        id=str(fields["id"]),
        key_id=str(fields["key"]),
        model=str(fields["model"]),
        route=str(fields["route"]),
        at_s=float(str(fields["at_s"])),
        prompt_tokens=int(str(fields["prompt"])),
        completion_tokens=completion_tokens,
        outcome=Outcome(str(fields["outcome"])),
    )
