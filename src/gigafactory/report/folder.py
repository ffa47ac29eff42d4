"""What a run folder holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gigafactory.describe.errors import InputError
from gigafactory.describe.figures import Figure
from gigafactory.ledger.course import Course, course_of
from gigafactory.ledger.entries import Entry, Opened, PoolFrom, World
from gigafactory.ledger.fold import Summary, fold
from gigafactory.ledger.power_hours import PowerHours, power_hours, site_of
from gigafactory.ledger.reader import read_ledger
from gigafactory.report.documents import (
    ANSWERS_FILE,
    DECISIONS_FILE,
    DESCRIPTION_FILE,
    ENSEMBLE_FILE,
    PLAN_FILE,
    RESULT_FILE,
    SWEEP_FILES,
    Answer,
    DecisionsDocument,
    EnsembleDocument,
    PlanDocument,
    ResultDocument,
    SweepDocument,
    check_end,
    read_answers,
    read_decisions,
    read_description,
    read_ensemble,
    read_plan,
    read_result,
    read_sweeps,
)
from gigafactory.report.record import trace_of
from gigafactory.report.trace import Trace

_LEDGERS = {World.TWIN: "twin.jsonl", World.REAL: "ledger.jsonl"}
_EXPECTED = (
    DESCRIPTION_FILE,
    PLAN_FILE,
    *_LEDGERS.values(),
    ANSWERS_FILE,
    RESULT_FILE,
    ENSEMBLE_FILE,
    DECISIONS_FILE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """One ledger: its head, its course, and what it folds into."""

    opened: Opened
    trace: Trace
    summary: Summary
    course: Course
    power: PowerHours
    has_pool: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The parts of one study; None where a part is absent."""

    name: str
    description: tuple[Figure, ...] | None
    plan: PlanDocument | None
    twin: Campaign | None
    reality: Campaign | None
    answers: tuple[Answer, ...] | None
    result: ResultDocument | None = None
    ensemble: EnsembleDocument | None = None
    decisions: DecisionsDocument | None = None
    sweeps: tuple[SweepDocument, ...] = ()


def read_folder(path: Path) -> Folder:
    """Everything in ``path``; InputError where nothing is there or a part is corrupt."""
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; name one that giga run or --dir has written")
    if not any((path / name).exists() for name in _EXPECTED) and not any(path.glob(SWEEP_FILES)):
        raise InputError(
            f"{path}: nothing to report on; a run folder holds one or more of "
            f"{', '.join(_EXPECTED)}"
        )
    check_end(path)
    result = read_result(path)
    _check_they_belong_together(path, result)
    return Folder(
        name=path.resolve().name,
        description=read_description(path),
        plan=read_plan(path),
        twin=_campaign(path, World.TWIN),
        reality=_campaign(path, World.REAL),
        answers=read_answers(path),
        result=result,
        ensemble=read_ensemble(path),
        decisions=read_decisions(path),
        sweeps=read_sweeps(path),
    )


def _check_they_belong_together(folder: Path, result: ResultDocument | None) -> None:
    """InputError where twin.json tells of another campaign than the ledger beside it."""
    path = folder / _LEDGERS[World.TWIN]
    if result is None or not path.exists():
        return
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != result.ledger_hash:
        raise InputError(
            f"{folder / RESULT_FILE}: ledger_hash is {result.ledger_hash[:12]}..., that of "
            f"{path.name} is {found[:12]}...: they are of two campaigns, or one was changed; run "
            "giga simulate with --dir again"
        )


def _campaign(folder: Path, world: World) -> Campaign | None:
    path = folder / _LEDGERS[world]
    if not path.exists():
        return None
    entries = read_ledger(path)
    opened = _opened(path, entries, world)
    return Campaign(
        opened=opened,
        trace=trace_of(entries),
        summary=fold(entries),
        course=course_of(entries),
        power=power_hours(entries, site=site_of(opened)),
        has_pool=any(isinstance(entry.content, PoolFrom) for entry in entries),
    )


def _opened(path: Path, entries: list[Entry], world: World) -> Opened:
    opened = entries[0].content
    if not isinstance(opened, Opened):
        raise AssertionError("read_ledger lets no other first entry through")
    if opened.world is not world:
        raise InputError(
            f"{path}:1: world is {opened.world.value!r}; a {_LEDGERS[world]} is written by "
            f"{'giga simulate' if world is World.TWIN else 'giga run'} and says {world.value!r}"
        )
    return opened
