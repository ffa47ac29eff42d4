"""Files that the verbs keep, and how they are kept whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PLAN_FILE = "plan.json"
DESCRIPTION_FILE = "description.json"
TWIN_FILE = "twin.jsonl"
RESULT_FILE = "twin.json"
LEDGER_FILE = "ledger.jsonl"
ANSWERS_FILE = "answers.json"
REPORT_FILE = "report.html"
ENSEMBLE_FILE = "ensemble.json"
DECISIONS_FILE = "decisions.json"


def sweep_file(paths: Iterable[str]) -> str:
    """The file that keeps a sweep over these places of the study."""
    return f"sweep-{'-'.join(paths)}.json"


@contextmanager
def whole(path: Path | None) -> Iterator[Path | None]:
    """A place to write; it becomes ``path`` when all went well and is removed when not."""
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.part")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
