"""The audit records as one self-contained page: what was answered from which posts, and does the
chain hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from gigafactory.chat.truth.audit import Checked, Kind, Record
from gigafactory.chat.truth.library import Library

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0
1rem;color-scheme:light dark}
article{border-top:1px solid #8886;padding:.75rem 0}h2{font-size:1rem;margin:0}
blockquote{margin:.4rem 0 .4rem 1rem;padding-left:.75rem;border-left:3px solid #8886}
small,code{opacity:.75;overflow-wrap:anywhere}.bad{color:#c22}
"""


def audit_html(records: Sequence[Record], library: Library, checked: Checked) -> str:
    """The page; quotes are looked up now, so what was erased is not on it."""
    state = "The chain holds." if not checked.faults else "The chain does not hold:"
    faults = "".join(f"<li>{escape(fault)}</li>" for fault in checked.faults)
    mark = " class=bad" if faults else ""
    body = "".join(_article(record, library) for record in reversed(records))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Audit of answers</title>"
        '<meta name=viewport content="width=device-width">'
        f"<style>{_STYLE}</style><h1>Audit of answers</h1>"
        f"<p{mark}>{state} {checked.num_records} records, "
        f"{checked.num_erased} with erased details; last hash "
        f"<code>{escape(checked.head)}</code></p>"
        f"<ul class=bad>{faults}</ul>{body}"
    )


def _article(record: Record, library: Library) -> str:
    at = datetime.fromtimestamp(record.at_s, UTC).isoformat(timespec="seconds")
    head = f"<h2>{record.seq}. {record.kind}, {at}</h2><small><code>{record.hash}</code></small>"
    return f"<article>{head}{_inside(record, library)}</article>"


def _inside(record: Record, library: Library) -> str:
    if record.details is None:
        return "<p>Its details were erased.</p>"
    if record.kind is not Kind.ANSWER:
        return f"<p><code>{escape(str(dict(record.details)))}</code></p>"
    details = record.details
    quotes = "".join(_quote(quote, library) for quote in details["quotes"])
    found = ", ".join(f"{hit['id']} ({hit['score']:.2f})" for hit in details["retrieved"])
    model = details["model"]["name"] if details["model"] else "none"
    prompt = details["prompt"]["name"] if details["prompt"] else "none"
    return (
        f"<p>Decision: <b>{escape(details['decision'])}</b>; model {escape(model)}, "
        f"prompt {escape(prompt)}, "
        f"{details['num_cut']} sentences cut, {details['cost_usd']:.4f} $</p>{quotes}"
        f"<small>Retrieved: {escape(found) or 'nothing'}</small>"
    )


def _quote(quote: dict[str, Any], library: Library) -> str:
    post = library.get(quote["id"])
    words = post.text[quote["first"] : quote["last"]] if post else "no longer here"
    return (
        f"<blockquote>{escape(words)}<br>"
        f"<small>{escape(quote['id'])}, {escape(quote['authority'])}: "
        f"{escape(quote['verdict'])}, {escape(quote['why'])}</small></blockquote>"
    )
