"""How a book ends: with the checkpoint that the next run goes on from."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gigafactory.control.actions import Outcome
from gigafactory.ledger.entries import Closed, Rollback
from gigafactory.run import checkpoints, driver


@pytest.mark.parametrize(
    ("saved", "kept"),
    [(227, 227), (225, 225), (None, 225), (240, 225)],
    ids=["made meanwhile", "known", "none", "beyond the book"],
)
def test_a_stop_keeps_what_was_saved_meanwhile(saved, kept, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(checkpoints, "newest_complete", lambda directory: saved)
    written: list[object] = []
    campaign = SimpleNamespace(
        controller=SimpleNamespace(committed_step=225),
        finish=SimpleNamespace(outcome=Outcome.STOPPED),
        reached_step=228,
        reason="a person said stop",
        now_s=lambda: 9.0,
    )
    ledger = SimpleNamespace(write=lambda content, at_s: written.append(content))
    driver._close(ledger, campaign, SimpleNamespace(checkpoints=tmp_path))
    assert written == [
        Rollback(step=kept),
        Closed(outcome="stopped", reason="a person said stop", step=kept),
    ]
