"""A plan in the words of the program that is to run it: pure text, nothing is started."""

from __future__ import annotations

from dataclasses import dataclass

from gigafactory.describe.aim import EngineKind
from gigafactory.describe.errors import InputError
from gigafactory.describe.layout import Layout
from gigafactory.describe.study import Study
from gigafactory.plan.candidates import complaints


@dataclass(frozen=True)
class Emitted:
    """What to hand to the program, and what it cannot be told or will do otherwise."""

    text: str
    notes: tuple[str, ...]


def emit(study: Study, layout: Layout, *, kind: EngineKind) -> Emitted:
    """Arguments for ``kind``; InputError says why the program cannot run the plan."""
    from gigafactory.plan.emit.megatron import megatron
    from gigafactory.plan.emit.torchtitan import torchtitan

    renderers = {EngineKind.MEGATRON: megatron, EngineKind.TORCHTITAN: torchtitan}
    if kind not in renderers:
        raise InputError(f"--emit {kind}: write {' or '.join(renderers)}")
    asked = study.model_copy(update={"plan": study.plan.model_copy(update={"engine": kind})})
    wrong = complaints(asked, layout)
    if wrong:
        raise InputError(f"{kind} cannot run this plan: " + "; ".join(wrong))
    return renderers[kind](study, layout)
