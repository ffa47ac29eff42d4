"""A study, and the factory that it describes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gigafactory.describe.study import Study

if TYPE_CHECKING:
    from gigafactory.describe.figures import Description


def load(source: Study | str | Path, *, overrides: Iterable[str] = ()) -> Study:
    """A Study as it is, or read from a file; InputError lists everything that is wrong."""
    if isinstance(source, Study):
        return source
    from gigafactory.catalog.studies import load_study

    return load_study(Path(source), overrides=tuple(overrides))


def describe(study: Study | str | Path, *, overrides: Iterable[str] = ()) -> Description:
    """Count the factory: every part, its power, its price, each with formula and source."""
    from gigafactory.cost.bill import bill
    from gigafactory.describe.count import count
    from gigafactory.describe.figures import Description

    study = load(study, overrides=overrides)
    return Description(study=study.study, figures=(*count(study), *bill(study)))
