"""The diagram in the docs is the one the code draws."""

from __future__ import annotations

from pathlib import Path

from gigafactory.control.states import mermaid, replica_mermaid
from gigafactory.ledger.entries import KINDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "controller.md"


def test_the_diagram_is_drawn_from_the_table():
    assert mermaid().strip() in PAGE.read_text(encoding="utf-8")


def test_the_life_of_a_replica_is_drawn_from_its_table():
    assert replica_mermaid().strip() in PAGE.read_text(encoding="utf-8")


def test_every_kind_of_entry_is_explained():
    text = PAGE.read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []
