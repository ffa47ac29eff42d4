"""Opening a service: its store, its keys, what a killed predecessor left, its answerers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gigafactory.chat.answerer import Answerer
from gigafactory.chat.gate import Gate
from gigafactory.chat.keys import ORDINARY, Allowance, Key, Scope, digest_of, id_of, secret_of
from gigafactory.chat.meter import Meter
from gigafactory.chat.moderation import load_moderator
from gigafactory.chat.service import Bounds, Service
from gigafactory.chat.store import journal_folder, open_store
from gigafactory.describe.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a service is opened beyond its models."""

    store: str | None = None
    """Path of a SQLite file or postgresql://...; None: no keys, no ledger, this machine only."""
    journal: Path | None = None
    moderator: str | None = None
    bounds: Bounds = field(default_factory=Bounds)
    posts: Path | None = None
    """A database of posts: every model then has a twin that answers with sources."""


def open_service(
    answerers: Sequence[Answerer], opening: Opening, *, notice: str | None = None
) -> Service:
    """A service ready to be served; InputError where the store or the moderator is wrong."""
    moderator = load_moderator(opening.moderator) if opening.moderator else None
    counter = None
    if opening.posts is not None:
        from gigafactory.chat.truth.answerers import with_sources
        from gigafactory.chat.truth.counter import Counter

        counter = Counter(opening.posts)
        answerers = with_sources(answerers, counter)
    gate, meter = Gate(None), Meter(None, None)
    if opening.store is not None:
        gate = Gate(())
        meter = Meter(open_store(opening.store), opening.journal or journal_folder(opening.store))
        meter.recover()
        meter.load(gate)
    return Service(
        answerers,
        gate=gate,
        meter=meter,
        bounds=opening.bounds,
        moderator=moderator,
        notice=notice,
        counter=counter,
    )


def add_key(
    where: str,
    name: str,
    *,
    scopes: Sequence[Scope] = (),
    allowance: Allowance | None = None,
) -> tuple[Key, str]:
    """A new key in the store ``where``, and its secret, which is nowhere kept."""
    if not name.strip():
        raise InputError("a key wants a name: who will use it?")
    secret = secret_of(secrets.token_bytes(32))
    digest = digest_of(secret)
    key = Key(
        id=id_of(digest),
        name=name,
        digest=digest,
        scopes=frozenset(scopes) or ORDINARY,
        allowance=allowance or Allowance(),
        created_s=time.time(),
    )
    with open_store(where) as store:
        store.add_key(key)
    return key, secret


def revoke_key(where: str, ident: str) -> None:
    """The key is good no longer; InputError where there is none of that id."""
    with open_store(where) as store:
        if not store.revoke_key(ident, at_s=time.time()):
            known = ", ".join(key.id for key in store.good_keys())
            raise InputError(f"there is no good key {ident!r}; there are {known or 'none'}")


def list_keys(where: str) -> list[dict[str, object]]:
    """All keys with what they have used so far; no secret and no hash among it."""
    with open_store(where) as store:
        return [
            {
                "id": key.id,
                "name": key.name,
                "scopes": sorted(key.scopes),
                "requests_per_min": key.allowance.requests_per_min,
                "tokens_per_min": key.allowance.tokens_per_min,
                "budget_tokens": key.allowance.budget_tokens,
                "budget_period": key.allowance.budget_period,
                "created_s": key.created_s,
                "revoked_s": key.revoked_s,
                "used_tokens": store.spent_tokens(key.id, since_s=0.0),
            }
            for key in store.all_keys()
        ]
