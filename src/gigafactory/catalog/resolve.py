"""Follow catalog names through a description and find what no specification knows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Union, get_args, get_origin

from gigafactory.catalog.entries import KINDS, body, names, nearest
from gigafactory.catalog.merge import merge
from gigafactory.describe.spec import Spec, file_key
from gigafactory.units import LARGEST, LARGEST_COUNT

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at ``path`` in a description."""

    path: Path
    message: str


@dataclass(slots=True)
class Resolver:
    """Expands names and collects every problem on the way."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def resolve(self, spec: type[Spec], value: Any, path: Path = ()) -> Any:
        """``value`` with all catalog names below it replaced by mappings; wrong keys left out."""
        if spec in KINDS:
            value = self._expand(spec, value, path)
        if not isinstance(value, dict):
            return value
        keys = keys_of(spec)
        found = {k: self._below(keys[k], v, (*path, k)) for k, v in value.items() if k in keys}
        for key in value:
            if key not in keys:
                self._complain((*path, key), f"unknown key; {nearest(key, list(keys))}")
        return self._named(spec, found, path)

    def _below(self, annotation: Any, value: Any, path: Path) -> Any:
        spec, many = inner_spec(annotation)
        if isinstance(value, bool) and annotation is not bool:
            self._complain(path, f"{str(value).lower()} is no value for this key")
        if isinstance(value, (int, float)) and _most(annotation) < abs(value) < math.inf:
            self._complain(path, f"is out of all bounds; at most {_most(annotation):g} can be")
        if spec is None or value is None:
            return value
        if many:
            return self._each(spec, value, path)
        if not isinstance(value, dict) and not (isinstance(value, str) and spec in KINDS):
            self._complain(path, f"must be {_expected(spec)}")
            return value
        return self.resolve(spec, value, path)

    def _each(self, spec: type[Spec], value: Any, path: Path) -> Any:
        if not isinstance(value, list):
            self._complain(path, f"must be a list, each {_expected(spec)}")
            return value
        return [self._below(spec, v, (*path, str(i))) for i, v in enumerate(value)]

    def _expand(self, spec: type[Spec], value: Any, path: Path) -> Any:
        if isinstance(value, str):
            return self._entry(spec, value, path)
        if not isinstance(value, dict) or "extends" not in value:
            return value
        base = self._entry(spec, value["extends"], (*path, "extends"))
        if not isinstance(base, dict):
            return value["extends"]
        over = {key: v for key, v in value.items() if key != "extends"}
        return merge(base | ({"name": f"{base['name']}, varied"} if over else {}), over)

    def _entry(self, spec: type[Spec], name: Any, path: Path) -> Any:
        known = names(spec)
        if isinstance(name, str) and name in known:
            return body(spec, name)
        self._complain(path, f"{name!r} is not in the catalog; {nearest(str(name), known)}")
        return name

    def _named(self, spec: type[Spec], value: dict[str, Any], path: Path) -> dict[str, Any]:
        """What is described on the spot need not say where it comes from."""
        fields = spec.model_fields
        named = {"name": path[-1]} if spec in KINDS and "name" in fields and path else {}
        source = {"source": f"stated in {self.file}"} if "source" in fields else {}
        return named | source | value

    def _complain(self, path: Path, message: str) -> None:
        self.problems.append(Problem(path, message))


def keys_of(spec: type[Spec]) -> dict[str, Any]:
    """Key in a file -> annotation of the field."""
    return {file_key(name): info.annotation for name, info in spec.model_fields.items()}


def _most(annotation: Any) -> float:
    return LARGEST if float in (annotation, *get_args(annotation)) else LARGEST_COUNT


def inner_spec(annotation: Any) -> tuple[type[Spec] | None, bool]:
    """The specification inside an annotation, and whether it is a tuple of them."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return annotation, False
    if get_origin(annotation) in (Union, UnionType):
        return next((found for arg in get_args(annotation) if (found := inner_spec(arg))[0]), _NONE)
    if get_origin(annotation) is tuple:
        return inner_spec(get_args(annotation)[0])[0], True
    return _NONE


def annotation_at(spec: type[Spec], path: Path) -> Any:
    """The annotation of the field at ``path``, None where there is none."""
    annotation: Any = spec
    for step in path:
        inner = inner_spec(annotation)[0]
        if inner is None:
            return None
        annotation = inner if step.isdigit() else keys_of(inner).get(step)
    return annotation


def prefixes(path: Path) -> Iterator[Path]:
    """``path`` and everything it lies in, innermost first."""
    return (path[:end] for end in range(len(path), -1, -1))


def _expected(spec: type[Spec]) -> str:
    keys = ", ".join(keys_of(spec))
    if spec in KINDS:
        return f"a catalog name ({', '.join(names(spec))}) or a mapping with the keys {keys}"
    return f"a mapping with the keys {keys}"


_NONE: tuple[None, bool] = (None, False)
