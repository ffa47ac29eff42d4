"""Jobs that a scheduler carries out by itself: rendered for every host, sent, watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gigafactory.api.factory import load
from gigafactory.api.layouts import legal_for
from gigafactory.describe.errors import InputError
from gigafactory.describe.study import Study

if TYPE_CHECKING:
    from gigafactory.run.elsewhere import Sent
    from gigafactory.run.launchers.registry import Order
    from gigafactory.run.launchers.rental import Quote


def ordered(
    study: Study | str | Path, *, engine: str = "ours", overrides: Iterable[str] = ()
) -> Order:
    """The study's job for an engine: the best layout that it can run, as a program for each host.

    InputError with the reasons, and the engine that could, where this one cannot run the study.
    """
    from gigafactory.describe.aim import EngineKind
    from gigafactory.plan.search import plan as search
    from gigafactory.run.engines.catalog import TRAINING, check_block, training_program
    from gigafactory.run.launchers.registry import Order

    study = load(study, overrides=overrides)
    if engine not in TRAINING:
        raise InputError(f"--engine {engine}: write {', '.join(TRAINING)}")
    kind = EngineKind(engine)
    check_block(study, kind=kind)
    layout = study.layout or search(legal_for(study, kind)).best.layout
    return Order(study=study, layout=layout, program=training_program(study, layout, kind=kind))


def rendered(order: Order, *, on: str, out: Path) -> list[Path]:
    """Write what ``on`` would be asked for into ``out``; nothing is asked, nothing else needed."""
    from gigafactory.run.elsewhere import write
    from gigafactory.run.launchers.registry import place_of, render

    return write(render(place_of(on), order), out)


def send(
    order: Order,
    *,
    on: str,
    folder: Path | None = None,
    tell: Callable[[str], object] = print,
    yes_usd_per_h: float | None = None,
    confirm: Callable[[Quote], bool] | None = None,
) -> Sent:
    """Have the whole job carried out by a Ray cluster, by Kubernetes, or on rented hosts at Oracle.

    Watches it to its end. Nothing is rented without ``yes_usd_per_h`` or a yes from ``confirm``.
    """
    from gigafactory.run.elsewhere import send as ask
    from gigafactory.run.launchers.registry import place_of

    return ask(
        order,
        place=place_of(on),
        folder=folder or Path("runs") / order.study.study,
        tell=tell,
        yes_usd_per_h=yes_usd_per_h,
        confirm=confirm,
    )
