"""Who may ask, how fast and how much: all on a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.chat.errors import ApiError
from gigafactory.chat.gate import EVERYBODY, Gate, start_of
from gigafactory.chat.keys import Allowance, Key, Period, Scope, digest_of, id_of, secret_of

SECRET = secret_of(bytes(32))
BEARER = f"Bearer {SECRET}"


def key(**limits: Any) -> Key:
    digest = digest_of(SECRET)
    return Key(id=id_of(digest), name="a", digest=digest, allowance=Allowance(**limits),
               created_s=0.0)  # fmt: skip


def refusal(gate: Gate, *args: Any, **kwargs: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        gate.admit(*args, **kwargs)
    return caught.value


@pytest.mark.parametrize(
    "header", [None, "", SECRET, "Bearer", "Bearer giga-no", f"Basic {SECRET}"]
)
def test_without_a_good_key_nobody_enters(header: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        Gate([key()]).enter(header, Scope.CHAT)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


def test_a_key_opens_its_scopes_and_no_more() -> None:
    gate = Gate([key()])
    assert gate.enter(BEARER, Scope.CHAT).name == "a"
    assert gate.enter(f"bearer  {SECRET}", Scope.MODELS)
    with pytest.raises(ApiError, match="metrics") as caught:
        gate.enter(BEARER, Scope.METRICS)
    assert caught.value.status == 403


def test_a_service_without_keys_is_open() -> None:
    assert Gate(None).enter(None, Scope.METRICS) is EVERYBODY


def test_a_revoked_key_is_named_once_and_good_no_longer() -> None:
    gate = Gate([key()])
    assert gate.replace([key()]) == frozenset()
    assert gate.replace([]) == {key().id}
    with pytest.raises(ApiError):
        gate.enter(BEARER, Scope.CHAT)


def test_requests_come_at_their_rate() -> None:
    gate, mine = Gate([key(requests_per_min=2)]), key(requests_per_min=2)
    for _ in range(2):
        gate.admit(mine, prompt_tokens=1, max_tokens=1, at_s=100.0)
    refused = refusal(gate, mine, prompt_tokens=1, max_tokens=1, at_s=100.0)
    assert (refused.status, refused.retry_after_s) == (429, 30)
    gate.admit(mine, prompt_tokens=1, max_tokens=1, at_s=130.0)


def test_tokens_that_were_used_are_waited_for() -> None:
    mine = key(tokens_per_min=60)
    gate = Gate([mine])
    ticket = gate.admit(mine, prompt_tokens=10, max_tokens=500, at_s=0.0)
    gate.settle(ticket, num_tokens=90, at_s=0.0)
    assert refusal(gate, mine, prompt_tokens=10, max_tokens=1, at_s=0.0).retry_after_s == 40
    gate.admit(mine, prompt_tokens=10, max_tokens=1, at_s=40.0)
    # more than a minute's worth can never be saved up, so it is let through when all is there
    assert refusal(gate, mine, prompt_tokens=1000, max_tokens=1, at_s=41.0).status == 429
    gate.admit(mine, prompt_tokens=1000, max_tokens=1, at_s=200.0)


def test_an_answer_is_cut_to_the_budget_and_then_refused() -> None:
    mine = key(budget_tokens=100, budget_period=Period.DAY)
    gate = Gate([mine])
    first = gate.admit(mine, prompt_tokens=10, max_tokens=50, at_s=0.0)
    second = gate.admit(mine, prompt_tokens=10, max_tokens=50, at_s=0.0)
    assert (first.max_tokens, second.max_tokens) == (50, 30)
    assert refusal(gate, mine, prompt_tokens=1, max_tokens=1, at_s=0.0).code == "insufficient_quota"
    gate.settle(first, num_tokens=20, at_s=0.0)
    gate.settle(second, num_tokens=40, at_s=0.0)
    assert gate.admit(mine, prompt_tokens=10, max_tokens=50, at_s=0.0).max_tokens == 30
    next_day_s = 86_400.0
    assert gate.admit(mine, prompt_tokens=10, max_tokens=50, at_s=next_day_s).max_tokens == 50


def test_what_the_ledger_knows_counts_after_a_restart() -> None:
    mine = key(budget_tokens=100)
    gate = Gate([mine])
    gate.remember({mine.id: 95}, at_s=0.0)
    assert gate.admit(mine, prompt_tokens=2, max_tokens=50, at_s=0.0).max_tokens == 3


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 80), st.floats(0, 1)), max_size=30))
def test_a_budget_is_never_overdrawn(asks: list[tuple[int, int, float]]) -> None:
    mine = key(budget_tokens=300)
    gate, spent, tickets = Gate([mine]), 0, []
    for prompt, most, share in asks:
        try:
            ticket = gate.admit(mine, prompt_tokens=prompt, max_tokens=most, at_s=0.0)
        except ApiError:
            continue
        tickets.append((ticket, prompt + int(share * ticket.max_tokens)))
        if len(tickets) > 2:
            ticket, used = tickets.pop(0)
            gate.settle(ticket, num_tokens=used, at_s=0.0)
            spent += used
    assert spent + sum(used for _, used in tickets) <= 300


def test_periods_begin_at_midnight_and_on_the_first() -> None:
    at_s = 1_794_000_000.0  # 6 November 2026
    assert start_of(Period.DAY, at_s) % 86_400 == 0
    assert start_of(Period.MONTH, at_s) == 1_793_491_200.0
    assert start_of(Period.EVER, at_s) == 0.0


def test_nothing_is_remembered_of_keys_that_are_gone() -> None:
    """A service that runs for long outlives many keys."""
    gate = Gate([key(tokens_per_min=100)])
    entered = gate.enter(BEARER, Scope.CHAT)
    ticket = gate.admit(entered, prompt_tokens=1, max_tokens=5, at_s=0.0)
    assert gate._accounts
    gate.replace([])
    gate.settle(ticket, num_tokens=6, at_s=1.0)
    assert not gate._accounts
