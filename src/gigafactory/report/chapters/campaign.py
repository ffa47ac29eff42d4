"""The campaign: where the GPU time went, what happened when, how the loss fell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gigafactory.report import figures
from gigafactory.report.blocks import Bar, Bars, Beside, Block, Chapter, Table, TableRow, stacked
from gigafactory.report.buckets import IDLE_SPARE, PRODUCTIVE, in_order, tone, words
from gigafactory.report.folder import Campaign
from gigafactory.report.numbers import Quantity, percent, write
from gigafactory.report.trace import Loss, Mark, Trace
from gigafactory.units import HOUR_S, plural

_ABSENT = "No ledger here; giga simulate --dir writes the twin's, giga run the real one."
_TONES = {"twin": "blue", "reality": "green"}
_THE = {"twin": "the twin", "reality": "reality"}
_MOST_ROWS = 40
#: Kinds of faults, and of actions, that are counted by name.
_MOST_NAMES = 12
#: Two campaigns share one time axis unless one is this much longer.
_COMPARABLE = 3.0


def goodput(campaigns: Mapping[str, Campaign]) -> Chapter:
    """Every GPU-second in its bucket, twin beside reality; the losses once more, magnified."""
    title = "Where the GPU time went"
    if not campaigns:
        return Chapter(key="goodput", title=title, absent=_ABSENT)
    sums = {who: _buckets(c) for who, c in campaigns.items()}
    whole = tuple(_bar(who, s, whole=sum(s.values())) for who, s in sums.items())
    blocks: list[Block] = [Bars(title="All of it", rows=whole)]
    lost = {who: {b: v for b, v in s.items() if b != PRODUCTIVE} for who, s in sums.items()}
    if any(sum(s.values()) for s in lost.values()):
        blocks.append(_magnified(lost, sums))
    blocks.append(_bucket_table(sums, campaigns))
    return Chapter(
        key="goodput",
        title=title,
        intro="Each GPU-second of the training allocation is in exactly one bucket.",
        blocks=tuple(blocks),
    )


def _buckets(campaign: Campaign) -> dict[str, float]:
    """Those of the training allocation that hold any time; the spares stand beside it."""
    sums = campaign.summary.buckets_gpu_s
    return {b: sums[b] for b in in_order(sums) if sums[b] > 0 and b != IDLE_SPARE}


def _bar(who: str, sums: Mapping[str, float], *, whole: float, of: float | None = None) -> Bar:
    """A bar over ``whole``; the shares written are of ``of``, by default the same."""
    total = of or whole
    return stacked(
        who,
        [
            (words(b), tone(b), v, f"{_gpu_h(v)}, {percent(v / total)}", percent(v / total))
            for b, v in sums.items()
        ],
        whole=whole,
    )


def _magnified(
    lost: Mapping[str, Mapping[str, float]], sums: Mapping[str, Mapping[str, float]]
) -> Bars:
    """The losses alone, on one scale of shares so that the bars compare by length."""
    totals = {who: sum(s.values()) for who, s in sums.items()}
    widest = max(sum(s.values()) / totals[who] for who, s in lost.items() if totals[who])
    return Bars(
        title="What was lost, magnified",
        rows=tuple(
            _bar(who, s, whole=widest * totals[who], of=totals[who]) for who, s in lost.items()
        ),
        note=f"The full width is {percent(widest)} of the GPU time.",
    )


def _bucket_table(
    sums: Mapping[str, Mapping[str, float]], campaigns: Mapping[str, Campaign]
) -> Table:
    totals = {who: sum(s.values()) for who, s in sums.items()}
    rates = {who: c.opened.rent_usd_per_gpu_s for who, c in campaigns.items()}

    def cells(of: Mapping[str, float]) -> list[str]:
        """GPU-hours, share and, where something is paid, rent of each campaign."""
        return [cell for who in sums for cell in _spent(of[who], totals[who], rates[who])]

    rows = [
        TableRow(
            cells=(words(b), *cells({who: s.get(b, 0.0) for who, s in sums.items()})), tone=tone(b)
        )
        for b in in_order(b for s in sums.values() for b in s)
    ]
    rows.append(TableRow(cells=("sum", *cells(totals)), mark="sum"))
    spares = {who: c.summary.buckets_gpu_s.get(IDLE_SPARE, 0.0) for who, c in campaigns.items()}
    if any(spares.values()):
        beside = ("beside it: " + words(IDLE_SPARE), *cells(spares))
        rows.append(TableRow(cells=beside, tone=tone(IDLE_SPARE)))
    heads = [f"{who}, {head}" for who in sums for head in _spent_heads(rates[who])]
    return Table(heads=("bucket", *heads), rows=tuple(rows))


def _spent(gpu_s: float, whole_gpu_s: float, usd_per_gpu_s: float) -> list[str]:
    shown = [_gpu_h(gpu_s), percent(gpu_s / whole_gpu_s if whole_gpu_s else 0.0)]
    return shown + ([write(gpu_s * usd_per_gpu_s, Quantity.MONEY)] if usd_per_gpu_s else [])


def _spent_heads(usd_per_gpu_s: float) -> list[str]:
    return ["time", "share"] + (["rent"] if usd_per_gpu_s else [])


def _gpu_h(gpu_s: float) -> str:
    hours = gpu_s / HOUR_S
    if hours >= 1e6:
        return f"{hours / 1e6:,.2f} M GPU-h"
    if hours >= 1:
        return f"{hours:,.0f} GPU-h" if hours >= 1000 else f"{hours:.3g} GPU-h"
    return f"{gpu_s:.3g} GPU-s" if gpu_s else "0 GPU-s"


def events(campaigns: Mapping[str, Campaign]) -> Chapter:
    """Faults and actions along time, twin above reality."""
    title = "Faults and what was done"
    if not campaigns:
        return Chapter(key="events", title=title, absent=_ABSENT)
    ends = {who: c.trace.end_s for who, c in campaigns.items()}
    shared = max(ends.values()) <= _COMPARABLE * min(ends.values())
    blocks: list[Block] = []
    for who, campaign in campaigns.items():
        end_s = max(ends.values()) if shared else ends[who]
        blocks += figures.course(who, campaign.trace, end_s=end_s)
    if max(len(c.trace.faults) for c in campaigns.values()) > _MOST_ROWS:
        blocks.append(figures.cumulative_faults(_toned(campaigns)))
    tables = [table for who, c in campaigns.items() for table in _what_happened(who, c)]
    if tables:
        blocks.append(Beside(blocks=tuple(tables)))
    return Chapter(key="events", title=title, blocks=tuple(blocks))


def _toned(campaigns: Mapping[str, Campaign]) -> list[tuple[str, str, Trace]]:
    return [(who, _TONES[who], campaign.trace) for who, campaign in campaigns.items()]


def _what_happened(who: str, campaign: Campaign) -> list[Table]:
    """Line by line while that can be read, else counted by cause."""
    faults, actions = campaign.trace.faults, campaign.trace.actions
    if not faults and not actions:
        return []
    if len(faults) + len(actions) <= _MOST_ROWS:
        return [_lines(who, faults, actions)]
    tallies = [
        _tally(f"Faults in {_THE[who]} by cause", "cause", faults),
        _tally(f"Actions in {_THE[who]}", "kind", actions),
    ]
    return [tally for tally in tallies if tally.rows]


def _lines(who: str, faults: Sequence[Mark], actions: Sequence[Mark]) -> Table:
    told = sorted(
        [(m.at_s, 0, m.text) for m in faults] + [(m.at_s, 1, m.text) for m in actions],
        key=lambda line: line[:2],
    )
    return Table(
        title=f"What happened in {_THE[who]}",
        heads=("what", "after"),
        rows=tuple(
            TableRow(
                cells=(text, write(round(at_s, 3), Quantity.TIME)),
                tone="ink" if is_action else "red",
            )
            for at_s, is_action, text in told
        ),
    )


def _tally(title: str, noun: str, marks: Sequence[Mark]) -> Table:
    counts = Counter(mark.name for mark in marks).most_common()
    rest = counts[_MOST_NAMES:]
    others = f"{plural(len(rest), f'other {noun}')} together: {sum(n for _, n in rest):,}."
    return Table(
        title=title,
        heads=(noun, "number", "share"),
        rows=tuple(
            TableRow(cells=(name, f"{n:,}", percent(n / len(marks))))
            for name, n in counts[:_MOST_NAMES]
        ),
        note=others if rest else "",
    )


def learning(campaigns: Mapping[str, Campaign]) -> Chapter | None:
    """The loss of the real run; no chapter where nothing was really trained."""
    real = campaigns.get("reality")
    if real is None or not any(not loss.redone for loss in real.trace.losses):
        return None
    return Chapter(
        key="learning",
        title="Learning",
        intro=_repeated(real.trace.losses),
        blocks=(figures.losses(real.trace),),
    )


def _repeated(losses: Sequence[Loss]) -> str:
    """Whether steps that were done again came to the same loss."""
    kept = {loss.step: loss.loss for loss in losses if not loss.redone}
    apart = [
        abs(loss.loss - kept[loss.step]) for loss in losses if loss.redone and loss.step in kept
    ]
    if not apart:
        return ""
    told = "Steps after the last committed checkpoint were lost with a failure and done again"
    if max(apart) == 0:
        return f"{told}: all {len(apart)} came to the same loss, to the last bit."
    return f"{told}; their losses differ by up to {max(apart):.3g} nats."


def _is_even(step_times_s: Sequence[tuple[float, int]]) -> bool:
    """Whether 99 of 100 steps take the same, within one in 100."""
    usual_s, _ = max(step_times_s, key=lambda steps: steps[1])
    odd = sum(n for step_s, n in step_times_s if not 0.99 <= step_s / usual_s <= 1.01)
    return odd <= 0.01 * sum(n for _, n in step_times_s)


def pace(plan_s: float | None, campaigns: Mapping[str, Campaign]) -> Chapter | None:
    """How long steps took: plan, twin and reality on one axis.

    No chapter of a twin alone whose steps are all alike.
    """
    timed = {who: c for who, c in campaigns.items() if c.trace.step_times_s}
    if not timed or ("reality" not in timed and _is_even(timed["twin"].trace.step_times_s)):
        return None
    return Chapter(
        key="pace", title="The pace", blocks=(figures.step_times(plan_s, _toned(timed)),)
    )
