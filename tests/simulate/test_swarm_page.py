"""The page on the swarm names the laws that the code checks."""

from __future__ import annotations

from pathlib import Path

from gigafactory.simulate.laws import Law
from gigafactory.simulate.pool_laws import PoolLaw


def test_the_page_lists_every_law_as_the_code_words_it():
    page = Path("docs/swarm.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{law.name}` | {law.value} |" for law in (*Law, *PoolLaw)]
