"""The gate: is the key good, is it its turn, is there budget left? Sans-IO; time is an argument.

Rates are token buckets: a minute's worth may come at once, then it refills evenly. Tokens are taken
when they are known, so a bucket may fall below zero and the next request waits for it. A budget is
money: what a request may cost at most is set aside before it starts, and given back after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gigafactory.chat.errors import bad_key, budget_spent, not_permitted, too_fast
from gigafactory.chat.keys import Allowance, Key, Period, Scope, digest_of

#: the key of a service without keys: everything is open, nothing limited
EVERYBODY = Key(id="everybody", name="everybody", digest="", scopes=frozenset(Scope), created_s=0.0)


@dataclass(slots=True)
class Bucket:
    """``per_min`` a minute, and as much at once."""

    per_min: int
    level: float
    at_s: float

    def wait_s(self, amount: float, *, at_s: float) -> float:
        """Seconds until ``amount`` is there; 0 where it is. More than a minute's is never asked."""
        self.refill(at_s)
        missing = min(amount, self.per_min) - self.level
        return max(0.0, missing * 60 / self.per_min)

    def refill(self, at_s: float) -> None:
        """Let the time since the last look count."""
        grown = self.level + (at_s - self.at_s) * self.per_min / 60
        self.level, self.at_s = min(float(self.per_min), grown), max(at_s, self.at_s)


@dataclass(slots=True)
class _Account:
    """What one key has used."""

    requests: Bucket | None
    tokens: Bucket | None
    spent_tokens: int = 0
    reserved_tokens: int = 0
    period_start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to ask: at most ``max_tokens`` of answer; tokens set aside for it."""

    key: Key
    max_tokens: int
    reserved_tokens: int


@dataclass(slots=True)
class Gate:
    """All keys of a service; ``keys`` None: it has none and everybody may ask."""

    keys: Iterable[Key] | None
    _by_digest: dict[str, Key] = field(default_factory=dict)
    _accounts: dict[str, _Account] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.keys is not None:
            self.replace(self.keys)

    def replace(self, keys: Iterable[Key]) -> frozenset[str]:
        """From now on these are the keys; returns the ids that are good no longer."""
        before = {key.id for key in self._by_digest.values()}
        old = {key.id: key.allowance for key in self._by_digest.values()}
        self._by_digest = {key.digest: key for key in keys if key.revoked_s is None}
        for key in self._by_digest.values():
            if old.get(key.id, key.allowance) != key.allowance:
                self._accounts.pop(key.id, None)
        gone = frozenset(before - {key.id for key in self._by_digest.values()})
        for ident in gone:  # a service outlives many keys
            self._accounts.pop(ident, None)
        return gone

    def remember(self, spent: Mapping[str, int], *, at_s: float) -> None:
        """What the ledger says the keys have spent in the period under way."""
        for key in self._by_digest.values():
            account = self._account(key, at_s)
            account.spent_tokens = spent.get(key.id, 0)
            account.period_start_s = start_of(key.allowance.budget_period, at_s)

    def enter(self, authorization: str | None, scope: Scope) -> Key:
        """The key in the header ``Authorization``; ApiError 401 or 403."""
        if self.keys is None:
            return EVERYBODY
        kind, _, secret = (authorization or "").partition(" ")
        key = self._by_digest.get(digest_of(secret.strip()))
        if kind.lower() != "bearer" or key is None:
            raise bad_key()
        if scope not in key.scopes:
            raise not_permitted(scope)
        return key

    def admit(self, key: Key, *, prompt_tokens: int, max_tokens: int, at_s: float) -> Ticket:
        """Leave to ask now, with fewer tokens where the budget says so; ApiError 429."""
        account = self._account(key, at_s)
        allowance = key.allowance
        waits = [
            (account.requests, 1.0, f"{allowance.requests_per_min} requests a minute"),
            (account.tokens, float(prompt_tokens), f"{allowance.tokens_per_min} tokens a minute"),
        ]
        for bucket, amount, what in waits:
            wait_s = bucket.wait_s(amount, at_s=at_s) if bucket else 0.0
            if wait_s > 0:
                raise too_fast(what, retry_after_s=math.ceil(wait_s))
        max_tokens = _within_budget(account, allowance, prompt_tokens, max_tokens)
        if account.requests:
            account.requests.level -= 1
        ticket = Ticket(key, max_tokens, prompt_tokens + max_tokens)
        account.reserved_tokens += ticket.reserved_tokens
        return ticket

    def settle(self, ticket: Ticket, *, num_tokens: int, at_s: float) -> None:
        """The request of ``ticket`` is over and took ``num_tokens`` in all."""
        if self.keys is not None and ticket.key.digest not in self._by_digest:
            return  # revoked meanwhile: nothing is counted for it any more
        account = self._account(ticket.key, at_s)
        account.reserved_tokens = max(0, account.reserved_tokens - ticket.reserved_tokens)
        account.spent_tokens += num_tokens
        if account.tokens:
            account.tokens.refill(at_s)
            account.tokens.level -= num_tokens

    def _account(self, key: Key, at_s: float) -> _Account:
        account = self._accounts.get(key.id)
        allowance = key.allowance
        if account is None:
            account = _Account(
                _full(allowance.requests_per_min, at_s), _full(allowance.tokens_per_min, at_s)
            )
            self._accounts[key.id] = account
        start_s = start_of(allowance.budget_period, at_s)
        if start_s > account.period_start_s:
            account.spent_tokens, account.period_start_s = 0, start_s
        return account


def _full(per_min: int | None, at_s: float) -> Bucket | None:
    return None if per_min is None else Bucket(per_min, float(per_min), at_s)


def _within_budget(
    account: _Account, allowance: Allowance, prompt_tokens: int, max_tokens: int
) -> int:
    if allowance.budget_tokens is None:
        return max_tokens
    left = allowance.budget_tokens - account.spent_tokens - account.reserved_tokens - prompt_tokens
    if left < 1:
        raise budget_spent(allowance.budget_tokens, period=allowance.budget_period)
    return min(max_tokens, left)


def start_of(period: Period, at_s: float) -> float:
    """When the period began that ``at_s`` (seconds since 1970) lies in."""
    if period is Period.EVER:
        return 0.0
    now = datetime.fromtimestamp(at_s, UTC)
    day = 1 if period is Period.MONTH else now.day
    return datetime(now.year, now.month, day, tzinfo=UTC).timestamp()
