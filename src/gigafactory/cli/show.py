"""Results for people, on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from gigafactory.units import plural, show, show_time

if TYPE_CHECKING:
    from gigafactory.describe.figures import Description, Figure
    from gigafactory.describe.measured import Measured

#: how many alternatives a person wants to see
_TOP = 5
_SUFFIX_UNITS = {
    "_bytes_per_s": "B/s",
    "_flops_per_s": "FLOP/s",
    "tokens_per_s": "tokens/s",
    "_usd_per_year": "$/year",
    "_usd_per_gpu_h": "$/GPU-h",
    "_j_per_year": "Wh/year",
    "_kg_per_year": "t/year",
    "_bytes": "B",
    "_bytes_per_gpu": "B",
    "_flops": "FLOP",
    "_usd": "$",
    "tokens_per_j": "tokens/J",
    "_w": "W",
    "_j": "Wh",
}
_SHARES = {"mfu", "goodput", "ettr", "hfu"}


def quantity(key: str, value: Any) -> str:
    """A number as its key's unit says: ``step_s`` in time, ``cost_usd`` in dollars."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if key in _SHARES:
        return f"{value:.1%}"
    if key == "flops_per_step":
        return show(float(value), "FLOP")
    for suffix, unit in _SUFFIX_UNITS.items():
        if key.endswith(suffix):
            # people pay for watt-hours, and count CO2 in tonnes
            size = 3600.0 if "Wh" in unit else 1000.0 if unit == "t/year" else 1.0
            return show(float(value) / size, unit)
    if key.endswith("_s"):
        return show_time(float(value))
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def show_files(files: Mapping[str, str], *, as_json: bool) -> None:
    """Texts of files, each under its name."""
    if as_json:
        from gigafactory.cli.common import print_json

        print_json({"files": dict(files)})
        return
    for name, text in files.items():
        click.echo(f"# ---- {name}\n{text}")


def show_figure(figure: Figure, *, as_json: bool) -> None:
    """One figure with the formula that made it and where its inputs come from."""
    if as_json:
        from gigafactory.cli.common import print_json

        print_json(figure.to_json())
        return
    click.echo(f"{figure.label}: {_figure(figure)}")
    click.echo(f"  formula  {figure.formula}")
    click.echo(f"  source   {figure.source}")


def show_description(description: Description) -> None:
    """The figures in their groups, then how to ask for a formula."""
    for group, figures in description.groups().items():
        put(table(group, ("", ""), ((f.label, _figure(f)) for f in figures)))
    key = description.figures[-1].key
    click.echo(f"Formula and source of a figure: --why KEY (keys in --json), e.g. --why {key}")


def _figure(figure: Figure) -> str:
    """The value with its unit: counts in full, quantities in the prefix a person would choose."""
    return (
        f"{figure.value:,.0f}"
        if figure.key.startswith("num_")
        else quantity(figure.key, figure.value)
    )


def show_plan(document: dict[str, Any]) -> None:
    """The winner, where its step goes, the runners-up and the reasons."""
    best = document["best"]
    click.echo(
        f"{document['num_candidates']:,} legal {_noun(document)}, "
        f"{document['num_feasible']:,} fit in memory, searched in {document['search_s']:.2f} s"
    )
    facts = {k: v for k, v in best.items() if isinstance(v, (int, float))}
    if facts.get("power_slowdown") == 1:
        del facts["power_slowdown"]
    if document["calibration"]:
        click.echo(f"Calibration: {document['calibration']}.")
    put(table("Best layout", ("", ""), [("layout", layout_text(best["layout"]))]))
    put(table("", ("", ""), ((words(k), quantity(k, v)) for k, v in facts.items())))
    _show_interval(document)
    parts = sorted(best["breakdown_s"].items(), key=lambda part: -part[1])
    rows = ((words(k), show_time(v), f"{v / best['step_s']:.1%}") for k, v in parts if v > 0)
    put(table("Where the step goes", ("", "time", "share"), rows))
    outlook = best.get("outlook", {})
    ahead = ((words(k), quantity(k, v)) for k, v in outlook.items())
    put(table("The whole job, with its expected failures", ("", ""), ahead))
    others = ((layout_text(c["layout"]), show_time(c["step_s"])) for c in document["alternatives"])
    if document["alternatives"]:
        put(table("Next best", ("layout", "step"), list(others)[:_TOP]))
    _show_frontier(document.get("frontier", []))
    _show_placement(document.get("placement", {}))
    for sentence in (*document["explanation"], *document["limits"]):
        say(f"- {sentence}")


def _noun(document: dict[str, Any]) -> str:
    return "layout" if document["num_candidates"] == 1 else "layouts"


def _show_interval(document: dict[str, Any]) -> None:
    """How far the step may be off, and what no measured run stands behind."""
    low, high = document.get("step_low_s"), document.get("step_high_s")
    if low and high:
        click.echo(f"Four of five such steps take {show_time(low)} to {show_time(high)}.")
    for warning in document.get("warnings", ()):
        click.echo(f"Beyond what was measured: {warning}.")


def _show_frontier(points: list[dict[str, float]]) -> None:
    """Days against dollars, where there is a choice."""
    if len(points) < 2:
        return
    names = ("num_gpus", "duration_s", "cost_usd", "power_w")
    rows = ([quantity(name, point[name]) for name in names] for point in points)
    put(table("Fewer GPUs", ("GPUs", "time", "rent", "power"), rows))


def _show_placement(placement: dict[str, Any]) -> None:
    """What each axis sends a step over which tier."""
    if not placement:
        return
    tiers = ("scaleup_bytes", "leaf_bytes", "spine_bytes")
    rows = (
        (
            group["axis"],
            f"{group['num_groups']:,} x {group['size']:,}",
            f"{group['num_across_domains']:,}",
            f"{group['num_across_pods']:,}",
            *(show(group[tier], "B") if group[tier] else "-" for tier in tiers),
        )
        for group in placement["groups"]
    )
    header = ("axis", "groups", "leave NVLink", "leave pod", "NVLink", "leaf", "spine")
    where = f"{plural(placement['num_hosts'], 'host')}, {plural(placement['num_pods'], 'pod')}"
    put(table(f"Placement on {where}; bytes a step", header, rows))


#: figure of a campaign that was really run -> what it is called
_RUN = {
    "wall_s": "wall time", "goodput": "goodput", "ettr": "ETTR", "mfu": "MFU while computing",
    "num_steps": "kept steps", "num_lost_steps": "steps lost and done again",
    "tokens": "kept tokens", "num_starts": "starts", "num_interruptions": "interruptions",
    "mtbf_s": "wall time between interruptions", "mttr_s": "time to recover (mean)",
    "num_checkpoints": "checkpoints", "energy_j": "energy", "electricity_usd": "electricity",
    "cost_usd": "rent",
}  # fmt: skip


def show_campaign(document: dict[str, Any]) -> None:
    """What the campaign came to, then where the GPU-time went."""
    known = ((name, key) for key, name in _RUN.items() if document.get(key))
    figures = [(name, _figure_of_run(key, document[key])) for name, key in known]
    put(table(f"Campaign ({_end(document)})", ("", ""), figures))
    buckets = document.get("buckets_gpu_s", {})
    total = sum(buckets.values()) or 1.0
    parts = sorted(buckets.items(), key=lambda part: -part[1])
    rows = ((words(k), f"{v / 3600:,.3g}", f"{v / total:.2%}") for k, v in parts if v > 0)
    put(table("Where the GPU-time went", ("", "GPU-hours", "share"), rows))
    click.echo(f"ETTR: {document['ettr_convention']}.")


def _end(document: dict[str, Any]) -> str:
    reason = f": {document['reason']}" if document["reason"] else ""
    return (document["outcome"] or "cut off") + reason


def _figure_of_run(key: str, value: float) -> str:
    return f"{value:,.0f}" if key == "tokens" else quantity(key, value)


def show_run(document: dict[str, Any]) -> None:
    """How the run ended, then its ledger folded like a twin's."""
    summary = document["summary"]
    own = {k: v for k, v in document.items() if v not in (None, "") and not _nested(v)}
    put(table("Run", ("", ""), ((words(k), quantity(k, v)) for k, v in own.items())))
    show_campaign(summary)


def show_score(document: dict[str, Any]) -> None:
    """The errors in all and by GPU, kind and source."""
    if "class" in document["by"]:
        from gigafactory.cli.outcomes import outcomes

        for made in outcomes(document):
            put(made) if isinstance(made, Table) else say(made)
        return
    header = ("", "rows", "skipped", "median |error|", "p90 |error|", "bias")
    put(table("Predicted against measured time", header, [_score("all", document)]))
    for name, groups in document["by"].items():
        ranked = sorted(groups.items(), key=lambda group: _by_number(group[0]))
        rows = (_score(key, {"summary": group}) for key, group in ranked)
        put(table(f"by {name}", header, rows))
    if "sweeps" in document:
        _show_order(document["summary"], document["sweeps"])
    if "memory" in document:
        _show_memory(document["memory"], document["fits"], header)


def _by_number(key: str) -> tuple[int, str]:
    """``64 to 255 GPUs`` before ``1024 to 4095 GPUs``."""
    first = key.split(" ", maxsplit=1)[0]
    return (int(first) if first.isdigit() else 0, key)


def _show_order(summary: dict[str, Any], sweeps: dict[str, Any]) -> None:
    """How many lie in their interval, and whether layouts of one job are ranked as measured."""
    if summary["interval_coverage"] is not None:
        say(f"{summary['interval_coverage']:.0%} lie in their 80 % interval.")
    if sweeps["num_sweeps"]:
        say(
            f"{plural(sweeps['num_sweeps'], 'sweep')}: Spearman {sweeps['median_spearman']:.2f} in "
            f"the median; the layout predicted fastest is {sweeps['median_loss']:.1%} slower than "
            f"the fastest (at most {sweeps['max_loss']:.1%})."
        )


def _show_memory(scored: dict[str, Any], fits: dict[str, Any], header: tuple[str, ...]) -> None:
    """Errors of the memory where rows state it, and the runs that would not fit."""
    rows = [_score("all", scored)]
    sources = sorted(scored["by"]["source"].items())
    rows += [_score(key, {"summary": group}) for key, group in sources]
    put(table("Predicted against measured memory", header, rows))
    over, usual = fits["num_called_out_of_memory"], fits["num_over_as_usual"]
    say(
        f"{over} of {fits['num_rows']:,} runs that happened are called out of memory "
        f"({usual} if what they leave open is read as usual)"
    )


def show_calibration(measured: Measured, out: Path) -> None:
    """Rates that people know, then how to use the file."""
    facts = [
        ("machine", measured.machine),
        ("ranks at once", f"{measured.num_ranks}"),
        ("took", show_time(measured.duration_s)),
        *((name, value) for name, value in _rates(measured)),
    ]
    put(table(f"Calibration of this machine, {measured.date}", ("", ""), facts))
    click.echo(f"{out} is written; use it with: --set calibration={out}")


def _rates(measured: Measured) -> Iterator[tuple[str, str]]:
    from gigafactory.describe.measured import Piece, Unit

    for name, pieces in measured.formats.items():
        yield f"{name} products", show(1 / pieces[Piece.GEMM][Unit.FLOP].value, "FLOP/s")
        if Piece.FLASH in pieces:
            flash = pieces[Piece.FLASH][Unit.FLOP].value
            yield f"{name} causal attention", show(1 / flash, "FLOP/s")
    alone, together = measured.alone, measured.together
    yield "memory", show(1 / alone[Piece.STREAM][Unit.BYTE].value, "B/s")
    yield "launching a kernel", show_time(alone[Piece.LAUNCH][Unit.CALL].value)
    if together:
        yield "all_reduce", show(1 / together[Piece.ALL_REDUCE][Unit.BYTE].value, "B/s")
        yield "one message", show_time(together[Piece.ALL_REDUCE][Unit.HOP].value)


def layout_text(layout: dict[str, Any]) -> str:
    """``tp8 pp16 dp64 ep8 ...``: axes of 1, and what is off, are left out."""
    numbers = {k: v for k, v in layout.items() if isinstance(v, int) and not isinstance(v, bool)}
    axes = [f"{k}{v}" for k, v in numbers.items() if v > 1]
    words = [
        f"recompute-{v}" if k == "recompute" else str(v)
        for k, v in layout.items()
        if isinstance(v, str)
    ]
    return " ".join(axes + words + ["offload"] * bool(layout.get("offload")))


def _score(name: str, document: dict[str, Any]) -> tuple[str, ...]:
    s = document["summary"]
    shares = (s["median_abs_error"], s["p90_abs_error"], s["bias"])
    return (
        name,
        f"{s['num_rows']:,}",
        f"{s['num_skipped']:,}",
        *("-" if share is None else f"{share:.1%}" for share in shares),
    )


def words(key: str) -> str:
    """What a key is called: ``num_lost_steps`` -> ``lost steps``."""
    if key == "num_steps":
        return "steps in all"
    if key == "tokens_per_j":
        return "tokens per joule"
    for suffix in (*_SUFFIX_UNITS, "_s"):
        if key.endswith(suffix) and not key.endswith("tokens_per_s"):
            key = key.removesuffix(suffix)
            break
    return key.removeprefix("num_").replace("_", " ")


def _nested(value: Any) -> bool:
    return isinstance(value, (dict, list))


def put(made: Table) -> None:
    """A table on stdout, and an empty line."""
    console = _stdout()
    if made.title:
        # within the table it would wrap at the table's width
        console.print(made.title, style="bold", soft_wrap=True)
        made.title = None
    console.print(made)
    click.echo()


def say(sentence: str) -> None:
    """A sentence on stdout; on a terminal it wraps between words."""
    console = _stdout()
    console.print(sentence, soft_wrap=not console.is_terminal)


def _stdout() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def table(
    title: str, header: Iterable[str], rows: Iterable[Iterable[str]], *, num_texts: int = 1
) -> Table:
    """First ``num_texts`` columns left, the others right; no header row where all names are empty.

    Numbers stay whole: where the page is too narrow, the texts wrap.
    """
    names = tuple(header)
    made = Table(title=title or None, box=None, pad_edge=False, show_header=any(names))
    for index, name in enumerate(names):
        if index < num_texts:
            made.add_column(name, justify="left", overflow="fold")
        else:
            made.add_column(name, justify="right", no_wrap=num_texts > 1, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made
