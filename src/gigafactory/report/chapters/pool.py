"""The serving pool beside training: what people asked for, what was lent, what it was worth."""

from __future__ import annotations

from collections.abc import Iterable

from gigafactory.ledger.pool import PoolResult
from gigafactory.report.blocks import Block, Chapter, Table, rows
from gigafactory.report.documents import ResultDocument
from gigafactory.report.numbers import Quantity, percent, write
from gigafactory.report.site_figures import demand, lent
from gigafactory.units import plural

_INTRO = (
    "Some hosts answer people, and lend themselves to training while few ask. The limits are those "
    "of the study (time to the first token, time a token); a request beyond what the serving hosts "
    "can do within them counts as late."
)


def pool(result: ResultDocument | None) -> Chapter | None:
    """No chapter where the twin had no pool."""
    if result is None or result.pool is None:
        return None
    found = result.pool
    charts: list[Block] = []
    if found.hours:
        charts = [
            demand(found.hours, per_host=found.requests_per_s_per_host, end_s=result.wall_s),
            lent(found.hours, num_hosts=found.num_hosts, end_s=result.wall_s),
        ]
    table = Table(title="What it came to", heads=("", "twin"), rows=rows(_lines(found, result)))
    return Chapter(key="pool", title="The serving pool", intro=_INTRO, blocks=(*charts, table))


def _lines(pool: PoolResult, result: ResultDocument) -> Iterable[tuple[str, str]]:
    gpus_per_host = result.gpus_per_host
    lent_gpu_s = pool.lent_host_s * gpus_per_host
    yield "hosts", f"{pool.num_hosts:,}"
    yield "requests", f"{pool.num_requests:,.0f}"
    yield "at the busiest moment", f"{pool.peak_requests_per_s:,.0f} a second"
    yield "requests beyond the limits", percent(1.0 - pool.slo_kept_share)
    yield "time without enough hosts", percent(1.0 - pool.slo_kept_time_share)
    yield "short of hosts while some were lent", write(pool.short_while_lent_s, Quantity.TIME)
    yield "lent to training", f"{lent_gpu_s / 3600.0:,.0f} GPU-h"
    yield "hosts lent in the mean", f"{pool.lent_host_s / result.wall_s:,.0f}"
    yield "loans", f"{pool.num_loans:,}"
    yield "recalls", f"{pool.num_recalls:,}, of {plural(pool.num_hosts_recalled, 'host')}"
    yield "recalls that stopped training", f"{pool.num_recalls_that_hurt:,}"
