"""Strict YAML 1.2: what is not certain to be meant is refused, with file and line."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.reader import ReaderError

from gigafactory.describe.errors import InputError

#: The largest file of ours has 18 kB, five levels and 1,500 nodes; far beyond, reading takes long.
MAX_BYTES = 200_000
MAX_DEPTH = 30
MAX_NODES = 20_000
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Constructor(SafeConstructor):
    """YAML 1.2's core schema has no dates: ``2024-10-28`` stays text."""


_Constructor.add_constructor(_TIMESTAMP, SafeConstructor.construct_yaml_str)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in the file at ``path``; InputError names file, line and what would be right."""
    tree = parse(read_text(path), str(path))
    if tree is None:
        raise InputError(f"{path}: the file is empty; a study begins with the line 'study: NAME'")
    if not isinstance(tree, dict):
        raise InputError(f"{path}: holds {_a(tree)}, not a mapping of keys to values")
    return tree


def read_text(path: Path) -> str:
    """The file as text; InputError if there is none, or if it is not text."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path}: is a directory; name a file in it")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path}: is not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: is larger than {MAX_BYTES} bytes, too large for a study")
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{_neighbours(path)}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def parse(text: str, name: str) -> Any:
    """Parse one YAML document; ``name`` stands for the file in messages."""
    try:
        _refuse_excess(text, name)
        loader = YAML(typ="safe", pure=True)
        loader.Constructor = _Constructor
        tree = loader.load(text)
        _check_keys(tree, name, ())
    except InputError:
        raise
    except DuplicateKeyError as error:
        raise InputError(f"{_at(name, error)}: {_duplicate(error)}") from None
    except MarkedYAMLError as error:
        raise InputError(f"{_at(name, error)}: not valid YAML: {_one_line(error)}") from None
    except ReaderError as error:
        raise InputError(
            f"{name}: is not text: character {error.character!r} at position {error.position}"
        ) from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{name}: not valid YAML: {_first_line(error)}") from None
    return tree


def _refuse_excess(text: str, name: str) -> None:
    """What is too deep or too much is found before a tree is built of it.

    An alias can be endless, and `extends:` says the same where it can be seen.
    """
    depth = 0
    for num, event in enumerate(YAML(typ="safe", pure=True).parse(text)):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        place = f"{name}:{event.start_mark.line + 1}"
        if depth > MAX_DEPTH:
            raise InputError(f"{place}: is nested more than {MAX_DEPTH} levels deep; no study is")
        if num > MAX_NODES:
            raise InputError(f"{place}: holds more than {MAX_NODES:,} values; no study does")
        if isinstance(event, AliasEvent):
            raise InputError(
                f"{place}: aliases (*{event.anchor}) are not read; "
                "write the value out, or use 'extends:'"
            )


def _check_keys(tree: Any, name: str, path: tuple[str, ...]) -> None:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if not isinstance(key, str):
                place = ".".join(path) or "the top"
                raise InputError(f"{name}: {place}: the key {key!r} is {_a(key)}; keys are words")
            _check_keys(value, name, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            _check_keys(value, name, (*path, str(index)))


def _duplicate(error: DuplicateKeyError) -> str:
    found = str(error.problem or "").split('"')
    key = found[1] if len(found) > 1 else "?"
    return f"the key {key!r} stands there twice; keep one"


def _one_line(error: MarkedYAMLError) -> str:
    return " ".join(part.strip() for part in (error.context, error.problem) if part)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _at(name: str, error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f"{name}:{mark.line + 1}" if mark else name


def _neighbours(path: Path) -> str:
    """What else could have been meant."""
    there = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return f"; {path.parent} has {', '.join(there[:12])}" if there else ""


def _a(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true or false"
    words = {list: "a list", str: "text", int: "a number", float: "a number"}
    return words.get(type(value), type(value).__name__)
