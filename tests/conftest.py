"""All tests run from the repository's root, where studies/ lies."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from gigafactory.describe.measured import (
    ALONE,
    IN_FORMAT,
    TERMS,
    TOGETHER,
    Measured,
    Piece,
    Unit,
)

ROOT = Path(__file__).resolve().parents[1]
#: Files that take a minute or more, longest first: begun last, they would keep one core waiting.
LONG = [
    "docs/test_commands.py", "real/test_survive.py", "train/test_axes.py", "slurm/test_slurm.py",
    "launchers/test_ray.py", "real/test_run_recovery.py", "real/test_run_resize.py",
    "cli/test_contract.py", "train/test_learning.py",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {ROOT / "tests" / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(LONG)))


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


class MadeUp:
    """Calibrations of a machine that nobody measured: every piece costs the same a unit."""

    seconds: ClassVar = {
        Unit.CALL: 1e-4, Unit.FLOP: 5e-12, Unit.BYTE: 1e-10, Unit.ELEMENT: 4e-9,
        Unit.WEIGHT: 2e-9, Unit.GROUP: 1e-5, Unit.SCORE_WIDTH: 5e-11, Unit.HOP: 3e-4,
    }  # fmt: skip

    def __call__(self, *, num_ranks: int = 2, slower: float = 1.0) -> Measured:
        def pieces(*chosen: Piece) -> dict[Piece, object]:
            return {piece: {unit: entry(unit) for unit in TERMS[piece]} for piece in chosen}

        def entry(unit: Unit) -> dict[str, object]:
            value = slower * self.seconds[unit]
            return {"value": value, "low": 0.0, "high": 1.0, "source": "made up",
                    "date": "2026-11-24", "meaning": "a test"}  # fmt: skip

        return Measured.model_validate(
            {
                "device": "cpu", "machine": "made up", "num_ranks": num_ranks, "num_threads": 1,
                "date": "2026-11-24", "duration_s": 1.0, "alone": pieces(*ALONE),
                "formats": {"bf16": pieces(*IN_FORMAT)},
                "together": pieces(*TOGETHER) if num_ranks > 1 else {},
            }
        )  # fmt: skip


@pytest.fixture(scope="session")
def machine() -> MadeUp:
    return MadeUp()
