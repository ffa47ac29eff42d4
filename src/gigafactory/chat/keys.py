"""Keys: who may ask for what, how fast and how much. Only a key's hash is ever kept.

A key is 32 random bytes, so that one round of SHA-256 hides it as well as a slow hash would.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

PREFIX = "giga-"


class Scope(StrEnum):
    """What a key opens."""

    CHAT = "chat"
    """Chat completions and responses."""
    EMBEDDINGS = "embeddings"
    MODELS = "models"
    """The list of models, which also the page reads."""
    METRICS = "metrics"
    AUDIT = "audit"
    """The records of all answers; what posts they rest on, never who asked."""


ORDINARY = frozenset({Scope.CHAT, Scope.EMBEDDINGS, Scope.MODELS})


class Period(StrEnum):
    """After which a budget begins anew; days and months are those of UTC."""

    DAY = "day"
    MONTH = "month"
    EVER = "lifetime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How fast and how much; None: no limit."""

    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    budget_tokens: int | None = None
    budget_period: Period = Period.MONTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is known of a key."""

    id: str
    name: str
    digest: str
    """SHA-256 of the key, hexadecimal."""
    scopes: frozenset[Scope] = ORDINARY
    allowance: Allowance = field(default_factory=Allowance)
    created_s: float
    revoked_s: float | None = None


def secret_of(raw: bytes) -> str:
    """The key as it is handed out, from 32 random bytes."""
    return PREFIX + base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def digest_of(secret: str) -> str:
    """SHA-256 of a key, hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def id_of(digest: str) -> str:
    """How a key is spoken of in lists, logs and the ledger."""
    return f"key-{digest[:10]}"
