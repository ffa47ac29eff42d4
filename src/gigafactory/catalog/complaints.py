"""What pydantic found wrong, said as a person would who knows the file."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from enum import Enum
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gigafactory.catalog.entries import KINDS, names
from gigafactory.catalog.resolve import Problem, annotation_at, inner_spec, prefixes
from gigafactory.describe.spec import Spec


def spoken(
    error: ValidationError, *, spec: type[Spec], besides: Sequence[Problem]
) -> list[Problem]:
    """One Problem per error of a ``spec``; those that follow from a known one are left out."""
    known = {problem.path for problem in besides} | {
        problem.path[:-1] for problem in besides if problem.path[-1:] == ("extends",)
    }
    found = [Problem(_path(e), _message(e, spec)) for e in error.errors(include_url=False)]
    return [p for p in found if not known.intersection(prefixes(p.path))]


def _path(error: ErrorDetails) -> tuple[str, ...]:
    return tuple(str(step) for step in error["loc"] if step != "[key]")


def _message(error: ErrorDetails, spec: type[Spec]) -> str:
    kind, given = error["type"], error.get("input")
    if kind == "missing":
        return f"is missing{_hint(spec, _path(error))}"
    if kind in ("value_error", "assertion_error"):
        return str(error["ctx"]["error"])
    if kind == "quantity":
        return error["msg"]
    message = error["msg"][0].lower() + error["msg"][1:]
    if given is None:
        return f"is empty{_hint(spec, _path(error)) or '; ' + message}"
    shown = "a mapping" if isinstance(given, dict) else repr(given)
    return f"{shown} is wrong: {message}{_meant(given, spec, _path(error))}"


def _hint(whole: type[Spec], path: tuple[str, ...]) -> str:
    """What can stand there, where a list of it helps."""
    annotation = annotation_at(whole, path)
    spec, _ = inner_spec(annotation)
    if spec is not None and spec in KINDS:
        return f"; write a catalog name ({', '.join(names(spec))}) or a description"
    values = _values(annotation)
    return f"; write one of {', '.join(values)}" if values else ""


def _meant(given: Any, whole: type[Spec], path: tuple[str, ...]) -> str:
    values = _values(annotation_at(whole, path))
    close = difflib.get_close_matches(given, values, n=1) if isinstance(given, str) else []
    return f"; did you mean {close[0]}?" if close else ""


def _values(annotation: Any) -> list[str]:
    options = (annotation, *get_args(annotation))
    enums = [o for o in options if isinstance(o, type) and issubclass(o, Enum)]
    return [str(member.value) for enum in enums for member in enum]
