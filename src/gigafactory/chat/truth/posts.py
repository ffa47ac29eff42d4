"""Posts and documents, as they are imported: who said what, when, and how much that counts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from gigafactory.describe.errors import InputError


class Authority(StrEnum):
    """How much a source counts. However often something is repeated, it counts once."""

    OFFICIAL = "official"
    """Whoever is responsible for the fact: a court, a register, the company on itself."""
    PRESS = "press"
    """An edited publication."""
    KNOWN = "known"
    """A person or account whose identity and field are known."""
    ANYONE = "anyone"
    """Everybody else: enough to say that somebody says so, never enough to say that it is so."""

    @property
    def rank(self) -> int:
        """0 counts most."""
        return list(Authority).index(self)

    @property
    def is_answered_for(self) -> bool:
        """Whether its texts are checked before they stand there, and tell no stories."""
        return self in (Authority.OFFICIAL, Authority.PRESS)

    @property
    def is_weak(self) -> bool:
        """Whether it supports nothing by itself."""
        return self is Authority.ANYONE


@dataclass(frozen=True, slots=True)
class Post:
    """A post or document."""

    id: str
    author: str
    text: str
    at_s: float
    """When it was published, Unix time."""
    authority: Authority = Authority.ANYONE
    title: str | None = None
    url: str | None = None

    @property
    def date(self) -> str:
        """The day it was published, ISO 8601, UTC."""
        return datetime.fromtimestamp(self.at_s, UTC).date().isoformat()

    @property
    def fingerprint(self) -> str:
        """The same for copies: without case, signs, links, mentions and tags."""
        return fingerprint(self.text)


_NOISE = re.compile(r"https?://\S+|(?:^|\s)[@#]\w+|^rt\b", re.IGNORECASE)
_SIGNS = re.compile(r"[^\w%$€£.,-]|(?<!\d)[.,]|[.,](?!\d)")
MOST_CHARACTERS = 100_000
_FIELDS = frozenset(("id", "author", "text", "at", "authority", "title", "url"))


def fingerprint(text: str) -> str:
    """What copies of a text have in common; numbers count, decoration does not."""
    plain = _SIGNS.sub(" ", _NOISE.sub(" ", text).lower())
    return hashlib.sha256(" ".join(plain.split()).encode("utf-8", "replace")).hexdigest()[:32]


def read_posts(path: Path) -> Iterator[Post]:
    """One post a line; InputError names the line and what would be right, before any is kept."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no posts can be read there: {error}") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _read(line, where=f"{path}:{number}")


def _read(line: str, *, where: str) -> Post:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InputError(f"{where}: a post is a JSON object with id, author, text and at")
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        known = ", ".join(sorted(_FIELDS))
        raise InputError(f"{where}: unknown {', '.join(unknown)}; there are {known}")
    for name in ("id", "author", "text", "at"):
        if not isinstance(fields.get(name), str) or not fields[name].strip():
            raise InputError(f"{where}: {name} must be a text that is not empty")
    if len(fields["text"]) > MOST_CHARACTERS:
        raise InputError(f"{where}: text is over {MOST_CHARACTERS} characters; split the document")
    return _post(fields, where=where)


def _post(fields: dict[str, Any], *, where: str) -> Post:
    for name in ("title", "url"):
        if not isinstance(fields.get(name), str | None):
            raise InputError(f"{where}: {name} must be a text")
    try:
        authority = Authority(fields.get("authority", Authority.ANYONE))
    except ValueError:
        known = ", ".join(Authority)
        raise InputError(f"{where}: authority {fields['authority']!r}; there are {known}") from None
    return Post(
        id=fields["id"],
        author=fields["author"],
        text=fields["text"],
        at_s=moment(fields["at"], where=where),
        authority=authority,
        title=fields.get("title"),
        url=fields.get("url"),
    )


def moment(text: str, *, where: str) -> float:
    """Unix time of an ISO 8601 date or time; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{where}: at {text!r} is no date like 2026-11-30T08:00:00Z") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
