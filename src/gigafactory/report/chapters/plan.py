"""The plan: the chosen layout, where its step goes, what fills its memory, what else was near."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gigafactory.report.blocks import (
    Bar,
    Bars,
    Beside,
    Block,
    Chapter,
    Reasons,
    Table,
    TableRow,
    stacked,
)
from gigafactory.report.documents import Candidate, PlanDocument
from gigafactory.report.numbers import Quantity, percent, write

_KEY, _TITLE = "plan", "The plan"
#: Neighbours differ in lightness as well as in hue.
_TONES = (
    *("blue", "orange", "green", "pink", "sky", "red", "yellow", "grey"),
    *("blue-pale", "orange-pale", "green-pale", "pink-pale", "red-pale", "grey-pale"),
)
_MOST_ALTERNATIVES = 8


def plan(document: PlanDocument | None) -> Chapter:
    """Best layout, its step and memory taken apart, the reasons, the runners-up."""
    if document is None:
        return Chapter(
            key=_KEY, title=_TITLE, absent="No plan.json here; giga plan --dir writes it."
        )
    best = document.best
    parts = [
        _taken_apart("step", best.breakdown_s, suffix="_s", quantity=Quantity.TIME),
        _taken_apart(
            "memory", best.memory_breakdown_bytes, suffix="_bytes", quantity=Quantity.MEMORY
        ),
    ]
    known = [part for part in parts if part]
    blocks: list[Block] = [_layout(best)]
    if known:
        blocks.append(Bars(title=_goes(best), rows=tuple(bar for bar, _ in known)))
        blocks.append(Beside(blocks=tuple(table for _, table in known)))
    blocks += [
        Reasons(title=title, reasons=lines)
        for title, lines in (
            ("Why this layout", document.explanation),
            ("What limits it", document.limits),
        )
        if lines
    ]
    if document.alternatives:
        blocks.append(_alternatives(document))
    return Chapter(key=_KEY, title=_TITLE, intro=_intro(document), blocks=tuple(blocks))


def _intro(document: PlanDocument) -> str:
    machine = document.calibration
    calibrated = f" Calibration: {machine}." if machine else ""
    return _searched(document) + calibrated


def _searched(document: PlanDocument) -> str:
    if document.num_candidates == 1:
        return "The study fixes the layout; this is what it is predicted to do."
    time = f" in {write(document.search_s, Quantity.TIME)}" if document.search_s is not None else ""
    return (
        f"Best of {document.num_candidates:,} legal layouts, of which {document.num_feasible:,} "
        f"fit into memory, searched{time}."
    )


def _layout(best: Candidate) -> Table:
    mesh = {key: said for key in best.layout if (said := _axis(best, key))}
    return Table(
        heads=("layout", *_spaced(mesh)),
        rows=(TableRow(cells=("best", *mesh.values()), mark="best"),),
        note=_axes_note(mesh),
    )


def _axis(candidate: Candidate, key: str) -> str:
    """What is off (no layers recomputed, nothing offloaded) says nothing."""
    return str(candidate.layout.get(key) or "")


def _spaced(keys: Iterable[str]) -> list[str]:
    return [key.replace("_", " ") for key in keys]


def _axes_note(mesh: Mapping[str, str]) -> str:
    meanings = {
        "tp": "tensor", "pp": "pipeline", "vpp": "virtual stages a rank", "cp": "context",
        "dp": "data", "ep": "expert", "etp": "tensor inside an expert",
    }  # fmt: skip
    said = [f"{key} {meaning}" for key, meaning in meanings.items() if key in mesh]
    return "Ranks along each axis of the mesh: " + ", ".join(said) + "." if said else ""


def _goes(best: Candidate) -> str:
    step, memory = (
        write(best.step_s, Quantity.TIME),
        write(best.memory_bytes_per_gpu, Quantity.MEMORY),
    )
    return f"Where a step of {step} goes, and what fills {memory} a GPU"


def _taken_apart(
    who: str, parts: Mapping[str, float], *, suffix: str, quantity: Quantity
) -> tuple[Bar, Table] | None:
    """A stacked bar and a table of the same parts; None where the plan does not tell them."""
    shown = [(key, value) for key, value in parts.items() if value > 0]
    whole = sum(value for _, value in shown)
    if not whole:
        return None
    toned = [
        (_part_words(key.removesuffix(suffix)), _TONES[i % len(_TONES)], value)
        for i, (key, value) in enumerate(shown)
    ]
    bar = stacked(
        who,
        [
            (name, tone, v, f"{write(v, quantity)}, {percent(v / whole)}", percent(v / whole))
            for name, tone, v in toned
        ],
        whole=whole,
    )
    lines = [
        TableRow(cells=(name, write(v, quantity), percent(v / whole)), tone=tone)
        for name, tone, v in toned
    ]
    total = TableRow(cells=("sum", write(whole, quantity), percent(1.0)), mark="sum")
    return bar, Table(heads=(f"part of the {who}", "amount", "share"), rows=(*lines, total))


_PART_WORDS = {
    "gemm": "matrix multiplication",
    "kernels": "memory-bound kernels",
    "host": "kernel launches",
    "head": "output projection",
    "tp_comm": "tensor-parallel traffic",
    "cp_comm": "context-parallel traffic",
    "ep_comm": "expert all-to-all",
    "pp_comm": "traffic between stages",
    "dp_comm": "gradients and parameters",
    "imbalance": "fullest stage",
    "bubble": "pipeline bubble",
    "jitter": "slowest rank",
    "power_cap": "limit on the site's power",
}


def _part_words(key: str) -> str:
    return _PART_WORDS.get(key, key.replace("_", " "))


def _alternatives(document: PlanDocument) -> Table:
    shown = document.alternatives[:_MOST_ALTERNATIVES]
    best = document.best
    differing = [
        key for key in best.layout if any(_axis(other, key) != _axis(best, key) for other in shown)
    ]
    return Table(
        title="The runners-up",
        heads=(
            *(_spaced(differing) or ["layout"]),
            "step",
            "MFU",
            "memory a GPU",
            "slower than best",
        ),
        rows=tuple(
            TableRow(cells=_alternative(c, best, differing), mark="best" if c is best else "")
            for c in (best, *shown)
        ),
    )


def _alternative(candidate: Candidate, best: Candidate, differing: list[str]) -> tuple[str, ...]:
    axes = [_axis(candidate, key) for key in differing] or ["same"]
    slower = percent(best.tokens_per_s_per_gpu / candidate.tokens_per_s_per_gpu - 1)
    return (
        *axes,
        write(candidate.step_s, Quantity.TIME),
        percent(candidate.mfu),
        write(candidate.memory_bytes_per_gpu, Quantity.MEMORY),
        slower if candidate is not best else "best",
    )
