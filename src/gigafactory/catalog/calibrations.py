"""Calibration files: what `giga calibrate` wrote, read as strictly as a study."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from gigafactory.catalog.text import read_mapping
from gigafactory.describe.errors import InputError
from gigafactory.describe.measured import SCHEMA, Entry, Measured

_VERSION = "schema_version"
_AGAIN = "`giga calibrate --out FILE` writes it anew"
_HEAD = """\
# Measured by `giga calibrate`. A study names this file: `calibration: PATH`.
# Every constant: value, plausible range, source, date, meaning. Seconds, bytes, FLOPs.
"""


def read_calibration(path: Path) -> Measured:
    """The file at ``path``; InputError with every place that is wrong and what would be right."""
    tree = read_mapping(path)
    version = tree.get(_VERSION)
    if version != SCHEMA:
        said = "no version" if version is None else f"version {version!r}"
        raise InputError(
            f"{path}: {_VERSION}: the file has {said}, this program reads version {SCHEMA}; "
            f"{_AGAIN}"
        )
    try:
        return Measured.model_validate(tree)
    except ValidationError as error:
        lines = [f"{path}: {_place(e['loc'])}: {_said(e)}" for e in error.errors(include_url=False)]
        raise InputError("\n".join(dict.fromkeys(lines))) from None


def _place(steps: tuple[Any, ...]) -> str:
    return ".".join(str(step) for step in steps if step != "[key]") or "the whole"


def _said(error: Any) -> str:
    kind = error["type"]
    if kind == "missing":
        return f"is missing; {_AGAIN}"
    if kind == "extra_forbidden":
        known = Entry if len(error["loc"]) > 1 else Measured
        return f"unknown key; known: {', '.join(known.model_fields)}"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    return f"{error['msg'][0].lower()}{error['msg'][1:]}"


def write_calibration(measured: Measured) -> str:
    """The text of a calibration file, which ``read_calibration`` reads back the same."""
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2)
    text = StringIO()
    yaml.dump(measured.model_dump(mode="json"), text)
    return _HEAD + text.getvalue()
