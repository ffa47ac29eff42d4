"""The catalog: named descriptions with their sources, as YAML files beside this module."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gigafactory.catalog.merge import merge
from gigafactory.catalog.text import read_mapping
from gigafactory.describe.cluster import Cluster, Fabric, Gpu, Host, Site, Storage
from gigafactory.describe.faults import Faults
from gigafactory.describe.model import Model
from gigafactory.describe.money import Own, Rent
from gigafactory.describe.spec import Spec

#: Which specifications may be given by name, and in which file the names stand.
KINDS: Mapping[type[Spec], str] = MappingProxyType({
    Gpu: "gpus",
    Host: "hosts",
    Fabric: "fabrics",
    Storage: "storages",
    Site: "sites",
    Cluster: "clusters",
    Model: "models",
    Faults: "faults",
    Rent: "rents",
    Own: "owns",
})  # fmt: skip


@cache
def _file(kind: type[Spec]) -> dict[str, Any]:
    return read_mapping(Path(__file__).with_name(f"{KINDS[kind]}.yaml"))


def names(kind: type[Spec]) -> list[str]:
    """The names of one kind, in the order of the file; KeyError for a kind without a catalog."""
    return list(_file(kind))


def body(kind: type[Spec], name: str) -> dict[str, Any]:
    """The entry as a mapping, its own ``extends`` followed; KeyError where the name is unknown."""
    entry = dict(_file(kind)[name])
    base = entry.pop("extends", None)
    whole = merge(body(kind, base), entry) if base else entry
    return {**whole, "name": name}


def nearest(word: str, known: list[str]) -> str:
    """``did you mean ...? known: ...`` for an unknown word."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{meant}known: {', '.join(known)}"
