"""Audit records as documents, for the page and for programs: quotes in words, and what people made
of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gigafactory.chat.truth.audit import Kind, Record
from gigafactory.chat.truth.bridging import Rated
from gigafactory.chat.truth.desk import Desk
from gigafactory.chat.truth.library import Library
from gigafactory.chat.truth.ratings import note_of


def record_document(record: Record, desk: Desk, rated: Mapping[str, Rated]) -> dict[str, Any]:
    """One record; quotes are looked up now, so what was erased is not in it."""
    shown: dict[str, Any] = {
        "seq": record.seq,
        "at_s": record.at_s,
        "kind": record.kind,
        "hash": record.hash,
        "details": record.details,
    }
    if record.kind is not Kind.ANSWER or record.details is None:
        return shown
    quotes = [_worded(quote, desk.library) for quote in record.details["quotes"]]
    shown["details"] = {**record.details, "quotes": quotes}
    note = note_of(record.details)
    tally = desk.ratings.tally(note)
    status = rated.get(note)
    shown["rating"] = {
        "note": note,
        "num_ratings": tally.num_ratings,
        "mean": tally.mean,
        "reasons": tally.reasons,
        "status": status.status if status else None,
        "intercept": status.intercept if status else None,
    }
    return shown


def _worded(quote: Mapping[str, Any], library: Library) -> dict[str, Any]:
    post = library.get(quote["id"])
    return {**quote, "words": post.text[quote["first"] : quote["last"]] if post else None}
