"""The places where `giga run --on` sends a job: one table, each imported when it is asked for.

Every module named here has the same two functions:

``render(order) -> Rendered``
    Pure text, or InputError that says what is missing or cannot be.
``connect(study) -> Scheduler``
    The real front door; JobError where it cannot be reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING

from gigafactory.describe.errors import InputError
from gigafactory.describe.layout import Layout
from gigafactory.describe.study import Study
from gigafactory.run.launchers.scheduler import Rendered, Scheduler

if TYPE_CHECKING:
    from gigafactory.run.engines.program import Program


class Place(StrEnum):
    """Where a job may be sent, beside this machine."""

    RAY = "ray"
    KUBERNETES = "kubernetes"
    OCI = "oci"


@dataclass(frozen=True, slots=True)
class Front:
    """Where the code of a place is, and what must be installed for it."""

    module: str
    extra: str = ""
    package: str = ""
    """Top-level package that the extra brings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A job that a scheduler is asked for."""

    study: Study
    layout: Layout
    program: Program


FRONTS: Mapping[Place, Front] = MappingProxyType({
    Place.RAY: Front("gigafactory.run.launchers.ray_jobs", "ray", "ray"),
    Place.KUBERNETES: Front("gigafactory.run.launchers.kubernetes", "kubernetes", "httpx"),
    Place.OCI: Front("gigafactory.run.launchers.oci", "oci", "oci"),
})  # fmt: skip


def place_of(name: str) -> Place:
    """The place of that name; InputError where there is none."""
    try:
        return Place(name)
    except ValueError:
        raise InputError(f"--on {name}: write {', '.join(Place)}") from None


def render(place: Place, order: Order) -> Rendered:
    """What ``place`` would be asked for; needs nothing installed."""
    rendered: Rendered = import_module(FRONTS[place].module).render(order)
    return rendered


def connect(place: Place, study: Study) -> Scheduler:
    """The scheduler at ``place``; InputError with the install line where its package is missing."""
    need(FRONTS[place])
    scheduler: Scheduler = import_module(FRONTS[place].module).connect(study)
    return scheduler


def need(front: Front) -> None:
    """InputError unless the package of ``front`` is there."""
    if front.package and find_spec(front.package) is None:
        raise InputError(
            f"{front.package} is not installed; pip install 'gigafactory[{front.extra}]'"
        )
