"""Files that the verbs keep, and how they are kept whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gigafactory.describe.errors import unwritable

PLAN_FILE = "plan.json"
DESCRIPTION_FILE = "description.json"
TWIN_FILE = "twin.jsonl"
RESULT_FILE = "twin.json"
LEDGER_FILE = "ledger.jsonl"
ANSWERS_FILE = "answers.json"
REPORT_FILE = "report.html"
ENSEMBLE_FILE = "ensemble.json"
DECISIONS_FILE = "decisions.json"
FLEET_PLAN_FILE = "fleet-plan.json"
FLEET_FILE = "fleet.json"


def sweep_file(paths: Iterable[str]) -> str:
    """The file that keeps a sweep over these places of the study."""
    return f"sweep-{'-'.join(paths)}.json"


class Drafts:
    """Files of one folder on their way: written beside their places, put there together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drafts: dict[Path, Path] = {}

    def place(self, name: str) -> Path:
        """Where to write what will be the file ``name``."""
        path = self._folder / name
        return self._drafts.setdefault(path, _draft(path))

    def document(self, name: str, document: Any) -> None:
        """Keep a JSON document as ``name``; InputError or JobError where it cannot be written."""
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        draft = self.place(name)
        try:
            draft.write_text(text, encoding="utf-8")
        except OSError as error:
            raise unwritable(self._folder / name, error) from None

    def settle(self) -> None:
        """Put every file in its place."""
        for path, draft in self._drafts.items():
            try:
                draft.replace(path)
            except OSError as error:
                raise unwritable(path, error) from None

    def drop(self) -> None:
        """Leave no draft behind."""
        for draft in self._drafts.values():
            draft.unlink(missing_ok=True)


@contextmanager
def together(folder: Path) -> Iterator[Drafts]:
    """All the files that are written inside, or the folder as it was.

    InputError, before anything is done, where there can be no such folder.
    """
    is_new = not folder.exists()
    _make(folder)
    drafts = Drafts(folder)
    try:
        yield drafts
        drafts.settle()
    finally:
        drafts.drop()
        if is_new:
            # only an empty folder goes
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def whole(path: Path | None) -> Iterator[Path | None]:
    """A place to write; it becomes ``path`` when all went well and is removed when not."""
    if path is None:
        yield None
        return
    _make(path.parent)
    draft = _draft(path)
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
