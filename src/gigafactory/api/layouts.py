"""The plan of a study, and the arguments of other programs for it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gigafactory.api.factory import load
from gigafactory.describe.study import Study

if TYPE_CHECKING:
    from gigafactory.describe.aim import EngineKind
    from gigafactory.plan.chosen import Plan


def plan(study: Study | str | Path, *, overrides: Iterable[str] = ()) -> tuple[Plan, float]:
    """The best legal layout of the study's job, and the seconds the search took."""
    from gigafactory.catalog.tables import catalog_gpus
    from gigafactory.plan.search import plan as search

    study = load(study, overrides=overrides)
    parts = catalog_gpus()
    begin_s = time.perf_counter()
    return search(study, gpus=parts), time.perf_counter() - begin_s


def emit(
    study: Study | str | Path, *, program: str, overrides: Iterable[str] = ()
) -> tuple[str, tuple[str, ...]]:
    """(arguments of ``program`` for the best layout it can run, what they leave open).

    InputError where the program is unknown or cannot run the layout that the study fixes.
    """
    from gigafactory.describe.aim import EngineKind
    from gigafactory.describe.errors import InputError
    from gigafactory.plan.emit import emit as render
    from gigafactory.plan.search import plan as search

    study = load(study, overrides=overrides)
    try:
        kind = EngineKind(program)
    except ValueError:
        raise InputError(f"--emit {program}: write megatron or torchtitan") from None
    told = render(study, search(legal_for(study, kind)).best.layout, kind=kind)
    return told.text, told.notes


def legal_for(study: Study, kind: EngineKind) -> Study:
    """The study, planned by the rules of one program unless it says otherwise."""
    from gigafactory.describe.aim import EngineKind

    if study.plan.engine is not EngineKind.ANY or study.layout is not None:
        return study
    aim = study.plan.model_copy(update={"engine": kind})
    return study.model_copy(update={"plan": aim})
