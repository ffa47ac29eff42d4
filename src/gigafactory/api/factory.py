"""A study, and the factory that it describes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gigafactory.describe.study import Study

if TYPE_CHECKING:
    from gigafactory.describe.figures import Description
    from gigafactory.describe.serve import FleetStudy


def load(source: Study | str | Path, *, overrides: Iterable[str] = ()) -> Study:
    """A Study as it is, or read from a file; InputError lists everything that is wrong."""
    if isinstance(source, Study):
        return source
    from gigafactory.catalog.studies import load_study

    return load_study(Path(source), overrides=tuple(overrides))


def load_any(
    source: Study | FleetStudy | str | Path, *, overrides: Iterable[str] = ()
) -> Study | FleetStudy:
    """Like `load`, for a study of a training job or of a service."""
    from gigafactory.catalog.studies import load_any_study
    from gigafactory.describe.serve import FleetStudy

    if isinstance(source, Study | FleetStudy):
        return source
    return load_any_study(Path(source), overrides=tuple(overrides))


def is_service(source: Study | FleetStudy | str | Path, *, overrides: Iterable[str] = ()) -> bool:
    """Whether the study is one of a service."""
    return not isinstance(load_any(source, overrides=overrides), Study)


def describe(
    study: Study | FleetStudy | str | Path, *, overrides: Iterable[str] = ()
) -> Description:
    """Count the factory: every part, its power, its price, each with formula and source."""
    from gigafactory.cost.bill import bill
    from gigafactory.describe.count import count
    from gigafactory.describe.figures import Description

    study = load_any(study, overrides=overrides)
    return Description(study=study.study, figures=(*count(study), *bill(study)))


def configure(
    study: Study | str | Path,
    *,
    scheduler: str,
    folder: Path | None = None,
    overrides: Iterable[str] = (),
) -> Mapping[str, str]:
    """The files that make a scheduler know the study's cluster, by name; kept in ``folder``.

    ``scheduler``: "slurm", with a tree of switches, or "slurm-block", with blocks of hosts.
    InputError where the network cannot be said so.
    """
    from gigafactory.describe.errors import InputError
    from gigafactory.run.launchers.slurm_cluster import TopologyKind, render_cluster

    kinds = {"slurm": TopologyKind.TREE, "slurm-block": TopologyKind.BLOCK}
    if scheduler not in kinds:
        raise InputError(f"--emit {scheduler}: write {' or '.join(kinds)}")
    study = load(study, overrides=overrides)
    files = render_cluster(study.cluster, slurm=study.slurm, kind=kinds[scheduler])
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    return files
