"""What was done, laid out and judged: report, scores, replay."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gigafactory.ledger.replay import ReplayResult


def report(folders: Iterable[Path], *, out: Path) -> Path:
    """One self-contained page over the plans and ledgers in ``folders``."""
    from gigafactory.report.page import write_report

    return write_report(list(folders), out)


def validate(table: str | Path) -> dict[str, Any]:
    """Score the equations on a table of measured runs or campaigns; see docs/validate.md."""
    from gigafactory.catalog.tables import read_table
    from gigafactory.plan.outcome_table import OutcomeTable, predict_outcomes
    from gigafactory.report.outcomes import score_outcomes
    from gigafactory.report.score import score
    from gigafactory.simulate.renewal import walk

    found = read_table(Path(table))
    if isinstance(found, OutcomeTable):
        return score_outcomes(predict_outcomes(found, walk=walk))
    return score(found)


def replay(ledger: str | Path) -> ReplayResult:
    """Feed a recorded campaign, real or simulated, back to the controller; InputError names the
    file where it holds none."""
    from gigafactory.describe.errors import InputError
    from gigafactory.ledger.reader import read_ledger
    from gigafactory.ledger.replay import replay as again

    entries = read_ledger(Path(ledger))
    try:
        return again(entries)
    except InputError as error:
        raise InputError(f"{ledger}: {error}") from None
