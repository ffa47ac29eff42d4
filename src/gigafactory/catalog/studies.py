"""Read a study file: names followed, parents merged, overrides applied, all errors at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from gigafactory.catalog.calibrations import read_calibration
from gigafactory.catalog.complaints import spoken
from gigafactory.catalog.merge import merge, nest
from gigafactory.catalog.resolve import Problem, Resolver, prefixes
from gigafactory.catalog.text import parse, read_mapping
from gigafactory.describe.errors import InputError
from gigafactory.describe.measured import Measured
from gigafactory.describe.serve import FleetStudy
from gigafactory.describe.spec import Spec
from gigafactory.describe.study import Study

_SET = "--set"
_CALIBRATION = "calibration"


@dataclass(frozen=True, slots=True)
class _Draft:
    """A description before it is checked, and which file said what."""

    tree: dict[str, Any]
    origins: dict[tuple[str, ...], str] = field(default_factory=dict)


def load_study(path: str | Path, *, overrides: Sequence[str] = ()) -> Study:
    """The study in the file at ``path``, with ``overrides`` like ``job.seq_len=4096`` on top.

    Raises InputError with one line for every thing that is wrong:
    ``FILE: PATH.TO.KEY: what is wrong and what would be right``.
    """
    draft = _with_overrides(_with_parents(Path(path), ()), overrides)
    if _serves(draft, path):
        raise InputError(
            f"{path}: is a study of a service (serve) without a training job; "
            "giga describe, plan and simulate take it"
        )
    return _checked(Study, draft, Path(path))


def load_any_study(path: str | Path, *, overrides: Sequence[str] = ()) -> Study | FleetStudy:
    """Like `load_study`, for a study of a training job or of a service: the latter has `serve`."""
    draft = _with_overrides(_with_parents(Path(path), ()), overrides)
    if _serves(draft, path):
        return _checked(FleetStudy, draft, Path(path))
    return _checked(Study, draft, Path(path))


def _serves(draft: _Draft, path: str | Path) -> bool:
    if "serve" not in draft.tree:
        return False
    if "job" in draft.tree:
        origin = _origin(("job",), draft.origins) or str(path)
        raise InputError(
            f"{origin}: job: a study has either a training job or serve; "
            "training and serving under one roof is pool"
        )
    return True


_Kind = TypeVar("_Kind", bound=Spec)


def _checked(kind: type[_Kind], draft: _Draft, path: Path) -> _Kind:
    resolver = Resolver(str(path))
    measured = _calibration(draft, path) if kind is Study else None
    _place_texts(draft, path)
    tree = resolver.resolve(kind, draft.tree)
    if measured is not None:
        tree[_CALIBRATION] = measured
    try:
        study = kind.model_validate(tree, context={"file": str(path)})
    except ValidationError as error:
        found = spoken(error, spec=kind, besides=resolver.problems)
        raise _refusal(resolver.problems + found, draft, str(path)) from None
    if resolver.problems:
        raise _refusal(resolver.problems, draft, str(path))
    return study


def _with_parents(path: Path, children: tuple[Path, ...]) -> _Draft:
    """The file merged over the study it extends, and that over its own parent."""
    where = path.resolve()
    if where in children:
        chain = " -> ".join(p.name for p in (*children[children.index(where) :], where))
        raise InputError(f"goes round in a circle: {chain}")
    tree = read_mapping(path)
    parent = tree.pop("extends", None)
    said = dict.fromkeys(_leaves(tree), str(path))
    if parent is None:
        return _Draft(tree, said)
    if not isinstance(parent, str):
        raise InputError(f"{path}: extends: must be the path of another study file")
    try:
        base = _with_parents(path.parent / parent, (*children, where))
    except InputError as error:
        raise InputError(f"{path}: extends: {error}") from None
    return _Draft(merge(base.tree, tree), base.origins | said)


def _with_overrides(draft: _Draft, overrides: Sequence[str]) -> _Draft:
    tree, origins = draft.tree, dict(draft.origins)
    for override in overrides:
        key, equals, text = override.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path):
            raise InputError(f"{_SET} {override}: write PATH=VALUE, for example job.seq_len=4096")
        if path == ("extends",):
            raise InputError(
                f"{_SET} {override}: 'extends' stands in a file; name that file instead"
            )
        value = parse(text, f"{_SET} {override}")
        tree = merge(tree, nest(path, value))
        origins[path] = _SET
    return _Draft(tree, origins)


def _calibration(draft: _Draft, study: Path) -> Measured | None:
    """What the named file holds; the name is relative to the file that says it, or to here."""
    name = draft.tree.pop(_CALIBRATION, None)
    if name is None:
        return None
    origin = _origin((_CALIBRATION,), draft.origins) or str(study)
    if not isinstance(name, str):
        raise InputError(
            f"{origin}: {_CALIBRATION}: must be the path of a file that giga calibrate wrote"
        )
    folder = Path() if origin == _SET else Path(origin).parent
    try:
        return read_calibration(folder / name)
    except InputError as error:
        raise InputError(f"{origin}: {_CALIBRATION}: {error}") from None


def _place_texts(draft: _Draft, study: Path) -> None:
    """Paths below ``train`` are relative to the file that says them, or to here with --set."""
    train = draft.tree.get("train")
    if not isinstance(train, dict):
        return
    sources = train.get("mixture")
    named = [s for s in sources if isinstance(s, dict)] if isinstance(sources, list) else []
    places = [(train, "base", ("train", "base"))]
    places += [(source, "path", ("train", "mixture")) for source in named]
    for mapping, key, path in places:
        origin = _origin(path, draft.origins) or str(study)
        folder = Path() if origin == _SET else Path(origin).parent
        if isinstance(mapping.get(key), str):
            mapping[key] = str((folder / mapping[key]).resolve())


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(tree, dict):
        return [path]
    return [path, *(leaf for k, v in tree.items() for leaf in _leaves(v, (*path, k)))]


def _refusal(problems: Sequence[Problem], draft: _Draft, file: str) -> InputError:
    lines = []
    for problem in problems:
        origin = _origin(problem.path, draft.origins) or file
        place = ".".join(problem.path)
        head = f"{origin} {place}" if origin == _SET else f"{origin}: {place}" if place else origin
        lines.append(f"{head}: {problem.message}")
    return InputError("\n".join(dict.fromkeys(lines)))


def _origin(path: tuple[str, ...], origins: dict[tuple[str, ...], str]) -> str | None:
    """Who said what stands at ``path``, or put something below it."""
    if path and any(said == _SET and p[: len(path)] == path for p, said in origins.items()):
        return _SET
    return next((said for p in prefixes(path) if (said := origins.get(p))), None)
