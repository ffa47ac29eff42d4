"""Every legal layout of a study, as columns, and why a given one is not legal.

All values of all axes are tried: tp, cp and etp up to the scale-up domain or 64, every pipeline and
number of virtual stages over which the layers fall evenly, every number of data-parallel ranks and
every microbatch that divides the batch, every expert mesh, schedule, recompute and sharding. Unless
``plan.gpus`` is ``free``, layouts that leave half of the GPUs or more idle are left out.

The axes are joined one after the other, and what no program can run is dropped as soon as that is
known, so that little is built in vain. Rows come sorted by what a layer costs, which is what makes
pricing each layer once cheap.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from gigafactory.cost.columns import (
    AXES,
    RECOMPUTES,
    SCHEDULES,
    SHARDINGS,
    Bools,
    Columns,
    Ints,
    columns_of,
)
from gigafactory.cost.pipeline import chunks_a_rank
from gigafactory.describe.layout import Layout, Recompute, Schedule, Sharding
from gigafactory.describe.study import Study
from gigafactory.plan.abilities import ABILITIES, Ability, programs
from gigafactory.plan.rules import (
    ABLE_MESH,
    ABLE_PIPE,
    ABLE_RECOMPUTE,
    ABLE_SHARDING,
    ALL_ABLE,
    ALL_RULES,
    BATCH_RULES,
    MESH_RULES,
    PIPE_RULES,
    AbilityRule,
    Rule,
    even,
    most_gpus,
    splits,
)

_POWERS = (1, 2, 4, 8, 16, 32, 64)
_MOST_VIRTUAL_STAGES = 16
#: Sequences of a microbatch beyond which a GPU gains nothing and memory is gone.
_MOST_SEQUENCES = 64
#: Layouts handed over at a time: a few MB of columns.
_BLOCK = 1 << 17


def candidates(study: Study, *, offload: bool = False) -> Columns:
    """All legal layouts; empty columns where there is none. Shape (num_layouts,)."""
    parts = list(blocks(study, offload=offload))
    if not parts:
        return columns_of()
    return Columns(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in AXES})


def blocks(
    study: Study, *, offload: bool = False, hopeful: Callable[[Columns], Bools] | None = None
) -> Iterator[Columns]:
    """The same layouts, some at a time, so that any number of them needs little memory.

    ``hopeful`` is asked about meshes with one sequence a microbatch, plain 1F1B and no recompute
    yet; what it gives up is not looked at.
    """
    rows = _kept(study, _meshes(study, offload=offload), MESH_RULES, ABLE_MESH)
    rows = _joined(study, rows, _shardings(rows.columns), reads=_SHARDING_READS, able=ABLE_SHARDING)
    if hopeful is not None:
        rows = rows.take(hopeful(rows.columns))
    rows = _joined(
        study, rows, _micro_batches(study, rows.columns), reads=("dp",), rules=BATCH_RULES
    )
    for some in rows.slices(_BLOCK // 16):
        piped = _schedules(study, some.columns)
        ready = _joined(study, some, piped, reads=_PIPE_READS, rules=PIPE_RULES, able=ABLE_PIPE)
        for few in ready.slices(_BLOCK // 4):
            recomputed = _recomputes(study, few.columns)
            legal = _joined(study, few, recomputed, able=ABLE_RECOMPUTE).columns
            if len(legal):
                yield legal


def complaints(study: Study, layout: Layout) -> list[str]:
    """What makes ``layout`` illegal for the study, each with its rule; empty where nothing does."""
    row = columns_of(layout)
    told = [
        f"{rule.fault(study, layout)} [{rule.name}]"
        for rule in ALL_RULES
        if not rule.keeps(study, row).all()
    ]
    if layout.precision != study.job.precision:
        told.append(f"precision {layout.precision} is not the job's {study.job.precision}")
    unable = [_unable(ABILITIES[kind], layout) for kind in programs(study.plan.engine)]
    return told if not all(unable) else told + min(unable, key=len)


def _unable(ability: Ability, layout: Layout) -> list[str]:
    row = columns_of(layout)
    return [
        f"{rule.fault(ability, layout)} [{rule.name}]"
        for rule in ALL_ABLE
        if not rule.keeps(ability, row).all()
    ]


def is_legal(study: Study, columns: Columns) -> Bools:
    """Which layouts keep every rule and run on some program; shape (num_layouts,)."""
    every = np.full(len(columns), (1 << len(programs(study.plan.engine))) - 1, dtype=np.int64)
    return _judged(study, columns, every, ALL_RULES, ALL_ABLE)[0]


def able(study: Study, layout: Layout) -> list[str]:
    """Names of the programs that can run a legal layout."""
    kinds = [ABILITIES[kind] for kind in programs(study.plan.engine)]
    return [ability.program for ability in kinds if not _unable(ability, layout)]


@dataclass(frozen=True)
class _Rows:
    """Layouts while their axes are joined; ``able`` has a bit for each program that runs them."""

    columns: Columns
    able: Ints

    def take(self, chosen: Ints | Bools | slice) -> _Rows:
        return _Rows(self.columns.take(chosen), self.able[chosen])

    def slices(self, size: int) -> Iterator[_Rows]:
        return (self.take(slice(i, i + size)) for i in range(0, len(self.able), size))


def _kept(study: Study, rows: _Rows, rules: Sequence[Rule], able: Sequence[AbilityRule]) -> _Rows:
    """Rows that keep the rules and that some program is still able to run."""
    legal, bits = _judged(study, rows.columns, rows.able, rules, able)
    return _Rows(rows.columns, bits).take(np.flatnonzero(legal))


def _judged(
    study: Study,
    columns: Columns,
    bits: Ints,
    rules: Sequence[Rule],
    able: Sequence[AbilityRule],
) -> tuple[Bools, Ints]:
    legal = np.ones(len(bits), dtype=np.bool_)
    for rule in rules:
        legal &= rule.keeps(study, columns)
    for place, kind in enumerate(programs(study.plan.engine)):
        runs = [one.keeps(ABILITIES[kind], columns) for one in able]
        if runs:
            bits = np.where(np.all(runs, axis=0), bits, bits & ~(1 << place))
    return legal & (bits > 0), bits


_Choice = tuple[Ints, dict[str, Ints]]
#: What the rules of each step read beside the columns that are being joined.
_SHARDING_READS = ("tp", "pp", "cp", "dp", "ep", "etp", "offload")
_PIPE_READS = ("pp", "dp", "micro_batch")


def _joined(
    study: Study,
    rows: _Rows,
    choice: _Choice,
    *,
    reads: Sequence[str] = (),
    rules: Sequence[Rule] = (),
    able: Sequence[AbilityRule] = (),
) -> _Rows:
    """Rows with each of their choices, as far as these are legal."""
    which, new = choice
    # judged on as few columns as the rules read: what is dropped is never built
    nothing = np.broadcast_to(np.zeros(1, dtype=np.int64), len(which))
    read = {n: getattr(rows.columns, n)[which] for n in reads}
    legal, bits = _judged(
        study,
        Columns(**dict.fromkeys(AXES, nothing) | read | new),
        rows.able[which],
        rules,
        able,
    )
    keep = np.flatnonzero(legal)
    old = which[keep]
    built = {
        n: new[n][keep]
        if n in new
        else read[n][keep]
        if n in read
        else getattr(rows.columns, n)[old]
        for n in AXES
    }
    return _Rows(Columns(**built), bits[keep])


def _choices(
    key: Ints, options: Callable[[int], Sequence[tuple[int, ...]]], names: Sequence[str]
) -> _Choice:
    """(which row, its new columns) for each row and each option that its key has, row by row."""
    values, code = np.unique(key, return_inverse=True)
    lists = [options(int(value)) for value in values]
    counts = np.array([len(found) for found in lists], dtype=np.int64)
    flat = np.array([row for found in lists for row in found], dtype=np.int64)
    flat = flat.reshape(-1, len(names))
    many = counts[code]
    which = np.repeat(np.arange(len(key)), many)
    within = np.arange(len(which)) - np.repeat(np.cumsum(many) - many, many)
    chosen = (np.cumsum(counts) - counts)[code][which] + within
    return which, {name: flat[chosen, i] for i, name in enumerate(names)}


def _meshes(study: Study, *, offload: bool) -> _Rows:
    """tp cp etp ep pp dp in this order of change; already within the GPUs."""
    model, job = study.model, study.job
    tps = [tp for tp in _POWERS if tp <= study.cluster.host.scaleup_domain_gpus]
    tps = [tp for tp in tps if splits(study, np.array([tp]))[0]]
    cps = [cp for cp in _POWERS if job.seq_len % (2 * cp) == 0 or cp == 1]
    etps = [e for e in _POWERS if model.num_experts and model.moe_ffn % e == 0] or [1]
    eps = divisors(model.num_experts) if model.num_experts else [1]
    pps = [pp for pp in range(1, model.num_layers + 3) if _pipelines(model.num_layers, pp)]
    outer = np.array(list(itertools.product(tps, cps, etps, eps, pps)), dtype=np.int64)
    tp, cp, etp, ep, pp = outer.T
    inner, dps = tp * cp * pp, np.array(divisors(job.global_batch), dtype=np.int64)
    gpus = inner[:, None] * dps[None, :]
    fits = gpus <= most_gpus(study)
    fits &= (tp * cp)[:, None] * dps[None, :] % (ep * etp)[:, None] == 0
    if study.plan.gpus != "free" and fits.any():
        fits &= 2 * gpus > gpus[fits].max()
    row, choice = np.nonzero(fits)
    sizes = {"tp": tp, "cp": cp, "etp": etp, "ep": ep, "pp": pp}
    columns = {name: size[row] for name, size in sizes.items()} | {"dp": dps[choice]}
    one = np.ones(len(row), dtype=np.int64)
    still = dict.fromkeys(("vpp", "micro_batch"), one) | {"offload": one * offload}
    zero = {n: 0 * one for n in AXES if n not in columns and n not in still}
    every = (1 << len(programs(study.plan.engine))) - 1
    return _Rows(Columns(**columns, **still, **zero), one * every)


def _shardings(columns: Columns) -> _Choice:
    """Ways to share state out among dp x cp; nothing to choose where there is one rank."""
    none, hsdp = SHARDINGS.index(Sharding.NONE), SHARDINGS.index(Sharding.HSDP)

    def options(replicas: int) -> list[tuple[int, int]]:
        if replicas == 1:
            return [(none, 0)]
        whole = [(code, 0) for code in range(len(SHARDINGS)) if code != hsdp]
        return whole + [(hsdp, n) for n in divisors(replicas)[1:-1] if n in _POWERS]

    return _choices(columns.dp * columns.cp, options, ("sharding", "shard"))


def _micro_batches(study: Study, columns: Columns) -> _Choice:
    def options(dp: int) -> list[tuple[int]]:
        return [(n,) for n in divisors(study.job.global_batch // dp) if n <= _MOST_SEQUENCES]

    return _choices(columns.dp, options, ("micro_batch",))


@cache
def _pipelines(num_layers: int, pp: int) -> list[tuple[int, int]]:
    """(schedule, vpp) over whose stages the layers fall evenly."""
    found = []
    for code, kind in enumerate(SCHEDULES):
        dual = kind in (Schedule.DUAL, Schedule.DUAL_V)
        if pp == 1 and kind is not Schedule.ONE_F_ONE_B:
            continue
        most = 1 if dual or pp == 1 else (num_layers + 2) // pp
        stages = [(pp * (2 if dual else vpp), vpp) for vpp in range(1, most + 1)]
        found += [(code, vpp) for n, vpp in stages if even(num_layers, np.array([n]))[0]]
    return found


def _schedules(study: Study, columns: Columns) -> _Choice:
    return _choices(
        columns.pp, lambda pp: _pipelines(study.model.num_layers, pp), ("schedule", "vpp")
    )


def _recomputes(study: Study, columns: Columns) -> _Choice:
    """None, selective, full, and full in half of the layers; the search refines the last."""
    full = RECOMPUTES.index(Recompute.FULL)
    plain = [(code, 0) for code in range(len(RECOMPUTES))]
    layers = np.ceil(study.model.num_layers / (columns.pp * chunks_a_rank(columns)))

    def options(here: int) -> list[tuple[int, int]]:
        return plain + ([(full, here // 2)] if here > 1 else [])

    return _choices(layers.astype(np.int64), options, ("recompute", "recompute_layers"))


def divisors(number: int) -> list[int]:
    """All divisors of a positive number, ascending."""
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})
