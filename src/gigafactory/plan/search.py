"""The search: predict memory and step of every legal layout, keep what fits, take the best.

Layouts come in blocks and only the best of each block are kept, so memory does not grow with their
number. Best is what the study's goal says, within its bounds; with nothing said, the fastest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from gigafactory.cost.calibrated import beyond
from gigafactory.cost.calibration import published
from gigafactory.cost.columns import AXES, RECOMPUTES, Bools, Columns, Floats, Ints, columns_of
from gigafactory.cost.flops import model_flops_per_token
from gigafactory.cost.memory import memory
from gigafactory.cost.offload import offloaded_bytes
from gigafactory.cost.sharding import own_parameters
from gigafactory.cost.step import mfu
from gigafactory.cost.uncertainty import interval_s
from gigafactory.describe.aim import Aim, Goal
from gigafactory.describe.cluster import Gpu
from gigafactory.describe.errors import InputError
from gigafactory.describe.layout import Layout, Recompute
from gigafactory.describe.study import Study
from gigafactory.plan.bounds import Tally, bounds_of
from gigafactory.plan.candidates import blocks, complaints, is_legal
from gigafactory.plan.chosen import Candidate, Plan
from gigafactory.plan.explain import changes, explain, limits
from gigafactory.plan.frontier import Frontier
from gigafactory.plan.outlook import Outlook, outlook
from gigafactory.plan.placement import placement
from gigafactory.plan.predicted import composes, held_back, runnable, seconds_of, step_of
from gigafactory.units import show

#: Layouts whose memory is evaluated in one call; their columns stay in the processor's cache.
_CHUNK = 8192
_NUM_ALTERNATIVES = 8
#: Layouts kept of every block: more than the alternatives, for many differ in little.
_KEPT = 64 * _NUM_ALTERNATIVES


def plan(study: Study, *, gpus: Mapping[str, Gpu] | None = None) -> Plan:
    """The best legal layout that fits, or the study's own layout judged.

    ``gpus``: parts by name whose effect the plan is to tell.
    InputError where the study's layout is illegal or does not fit, where no layout does, and where
    none keeps the bounds; it says what would be possible.
    """
    found = _fixed(study, study.layout) if study.layout else _searched(study)
    changed = changes(study, found.best, gpus=gpus)
    low, high = _interval(study, found.best.layout)
    return replace(
        found,
        step_low_s=low,
        step_high_s=high,
        warnings=_warnings(study, found.best.layout),
        explanation=explain(study, found),
        limits=limits(changed),
        changes=changed,
        placement=placement(study, found.best.layout),
        calibration=study.calibration.words if study.calibration else "",
    )


def _interval(study: Study, layout: Layout) -> tuple[float | None, float | None]:
    """Seconds between which the step is expected; none where it is composed of measured pieces."""
    if composes(study):
        return None, None
    columns = columns_of(layout)
    held = float(held_back(study, num_gpus=columns.num_gpus)[0])
    low, high = interval_s(step_of(study, columns), has_experts=study.model.num_experts > 0)
    return held * float(low[0]), held * float(high[0])


def _warnings(study: Study, layout: Layout) -> tuple[str, ...]:
    if study.calibration is not None:
        return ()
    return beyond(study.model, study.job, study.cluster, layout)


def predict(study: Study, columns: Columns) -> list[Candidate]:
    """Every layout in ``columns`` with its prediction, whether it fits or not."""
    steps, held = step_of(study, columns), held_back(study, num_gpus=columns.num_gpus)
    step_s = steps.step_s * held
    bytes_held = memory(study.model, study.job, study.cluster, columns)
    shares = mfu(step_s, model=study.model, job=study.job, cluster=study.cluster, columns=columns)
    tokens = study.job.tokens_per_step
    per_token = model_flops_per_token(study.model, seq_len=study.job.seq_len)
    total_bytes = bytes_held.total_bytes
    parts = steps.parts() | {"power_cap_s": step_s - steps.step_s}
    ahead = outlook(study, num_gpus=columns.num_gpus, step_s=step_s)

    def candidate(i: int) -> Candidate:
        num_gpus = int(columns.num_gpus[i])
        return Candidate(
            layout=columns.layout(i, precision=study.job.precision),
            num_gpus=num_gpus,
            step_s=float(step_s[i]),
            tokens_per_s=tokens / float(step_s[i]),
            tokens_per_s_per_gpu=tokens / float(step_s[i]) / num_gpus,
            mfu=float(shares[i]),
            flops_per_step=per_token * tokens,
            memory_bytes_per_gpu=float(total_bytes[i]),
            breakdown_s={k: float(v[i]) for k, v in parts.items()},
            memory_breakdown_bytes={k: float(v[i]) for k, v in bytes_held.parts().items()},
            outlook=ahead.row(i),
            power_slowdown=float(held[i]),
        )

    return [candidate(i) for i in range(len(columns))]


def usable_bytes(study: Study) -> float:
    """Memory of one GPU that a plan may fill."""
    return study.cluster.host.gpu.memory_bytes * published().usable_memory


@dataclass
class _Harvest:
    """What was found so far: counts, the best rows with their loss, bounds, frontier."""

    study: Study
    tally: Tally
    frontier: Frontier
    num_legal: int = 0
    num_fitting: int = 0
    rows: list[Columns] = field(default_factory=list)
    losses: list[Floats] = field(default_factory=list)
    tightest: tuple[float, Columns] | None = None
    """Bytes and row of the layout that needs least memory."""

    def take(self, block: Columns) -> None:
        """Look at every layout of a block, keep the best of them."""
        held = total_bytes(self.study, block)
        self.num_legal += len(block)
        least = int(np.argmin(held))
        if self.tightest is None or held[least] < self.tightest[0]:
            self.tightest = float(held[least]), block.take(np.array([least]))
        self.take_fitting(block.take(np.flatnonzero(_fits(self.study, block, held))))

    def take_fitting(self, rows: Columns) -> None:
        """Rank layouts that fit."""
        self.num_fitting += len(rows)
        if not len(rows):
            return
        step_s = seconds_of(self.study, rows)
        told = outlook(self.study, num_gpus=rows.num_gpus, step_s=step_s)
        kept = np.flatnonzero(self.tally.keeps(told))
        self.frontier.take(rows.num_gpus, told)
        loss = _loss(self.study.plan, step_s, told)[kept]
        # ties go to the layout that was listed first, so that the same study gives the same plan
        order = np.argsort(loss, kind="stable")[:_KEPT]
        self.rows.append(rows.take(kept[order]))
        self.losses.append(loss[order])

    def best(self) -> tuple[Columns, Floats]:
        """The best rows of all blocks, best first."""
        loss = np.concatenate(self.losses)
        order = np.argsort(loss, kind="stable")[:_KEPT]
        columns = {n: np.concatenate([getattr(r, n) for r in self.rows])[order] for n in AXES}
        return Columns(**columns), loss[order]


def _searched(study: Study) -> Plan:
    found = _harvest(study, offload=False)
    if found.num_legal and not found.num_fitting:
        found = _harvest(study, offload=True, before=found)
    if not found.num_legal:
        raise InputError(_nothing_legal(study))
    if not found.num_fitting:
        raise InputError(_nothing_fits(study, found))
    if not sum(map(len, found.rows)):
        raise InputError(found.tally.refusal())
    finer = _finer(study, found.best()[0])
    fitting = finer.take(np.flatnonzero(_fits(study, finer, total_bytes(study, finer))))
    found.num_legal += len(finer)
    found.take_fitting(fitting)
    best, _ = found.best()
    chosen = predict(study, best.take(_distinct(best)))
    return Plan(
        best=chosen[0],
        alternatives=tuple(chosen[1:]),
        num_candidates=found.num_legal,
        num_feasible=found.num_fitting,
        frontier=found.frontier.points(),
    )


def _harvest(study: Study, *, offload: bool, before: _Harvest | None = None) -> _Harvest:
    found = before or _Harvest(study, Tally(bounds_of(study.plan)), Frontier())
    # where any number of GPUs will do, there are too many layouts to look at hopeless ones
    hopeful = _may_fit(study) if study.plan.gpus == "free" else None
    for legal in blocks(study, offload=offload, hopeful=hopeful):
        block = runnable(study, legal)
        if len(block):
            found.take(block)
    return found


def _may_fit(study: Study) -> Callable[[Columns], Bools]:
    """Asks for the least memory of a mesh: small microbatches, everything recomputed."""
    full = RECOMPUTES.index(Recompute.FULL)

    def fits(columns: Columns) -> Bools:
        one = np.ones(len(columns), dtype=np.int64)
        bare = replace(columns, micro_batch=one, vpp=one, recompute=0 * one)
        less = replace(bare, recompute=full * one)
        # with few layers alive, keeping all of them may need less than recomputing one
        least = np.minimum(total_bytes(study, bare), total_bytes(study, less))
        return np.asarray(least <= usable_bytes(study))

    return fits


def _finer(study: Study, columns: Columns) -> Columns:
    """The same layouts with every other number of recomputed layers, as far as legal."""
    full = columns.take(np.flatnonzero(columns.recomputes(Recompute.FULL)))
    layers = np.arange(1, study.model.num_layers + 1)
    many = full.take(np.repeat(np.arange(len(full)), len(layers)))
    many = replace(many, recompute_layers=np.tile(layers, len(full)))
    return many.take(np.flatnonzero(is_legal(study, many)))


def _fits(study: Study, columns: Columns, held: Floats) -> Bools:
    fits = held <= usable_bytes(study)
    if not columns.offload.any():
        return np.asarray(fits)
    host = study.cluster.host
    own = own_parameters(study.model, columns)
    below = offloaded_bytes(own, host=host, constants=published())
    return np.asarray(fits & (below * (columns.offload > 0) <= host.dram_bytes))


def _loss(aim: Aim, step_s: Floats, told: Outlook) -> Floats:
    """What the goal wants to be small; with all GPUs given, fastest means the shortest step."""
    if aim.goal is Goal.FASTEST and aim.gpus != "free":
        return step_s
    return told.loss(aim.goal)


def _distinct(columns: Columns) -> Ints:
    """Rows, in their order, whose mesh was not seen before."""
    mesh = np.stack([columns.tp, columns.pp, columns.cp, columns.dp, columns.ep, columns.etp])
    _, first = np.unique(mesh, axis=1, return_index=True)
    return np.sort(first)[: _NUM_ALTERNATIVES + 1]


def _chunks(columns: Columns) -> Iterator[Columns]:
    for begin in range(0, len(columns), _CHUNK):
        yield columns.take(slice(begin, begin + _CHUNK))


def total_bytes(study: Study, columns: Columns) -> Floats:
    """Memory of the fullest rank of every layout; shape (num_layouts,)."""
    parts = [
        memory(study.model, study.job, study.cluster, part).total_bytes for part in _chunks(columns)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _fixed(study: Study, layout: Layout) -> Plan:
    wrong = complaints(study, layout)
    if wrong:
        raise InputError("layout: " + "; ".join(wrong))
    columns = columns_of(layout)
    if not len(runnable(study, columns)):
        raise InputError(
            "layout: only data parallel layouts are composed of what this study's calibration "
            "measured; set tp, pp, vpp, cp, ep and etp to 1 and recompute to none"
        )
    (only,) = predict(study, columns)
    if not _fits(study, columns, np.array([only.memory_bytes_per_gpu]))[0]:
        raise InputError(
            f"layout: it needs {show(only.memory_bytes_per_gpu, 'B')} of memory a GPU, and "
            f"{show(usable_bytes(study), 'B')} of a {study.cluster.host.gpu.name} can be used; "
            f"the most goes to {_largest(only.memory_breakdown_bytes)}"
        )
    told = outlook(study, num_gpus=columns.num_gpus, step_s=np.array([only.step_s]))
    tally = Tally(bounds_of(study.plan))
    if not tally.keeps(told)[0]:
        raise InputError(tally.refusal())
    return Plan(best=only, alternatives=(), num_candidates=1, num_feasible=1)


def _largest(parts: Mapping[str, float]) -> str:
    name = max(parts, key=lambda key: parts[key])
    return f"{name.removesuffix('_bytes')} ({show(parts[name], 'B')})"


def _nothing_legal(study: Study) -> str:
    job, model = study.job, study.model
    return (
        f"no layout is legal for {model.name} on {study.cluster.num_training_gpus} GPUs with "
        f"job.global_batch {job.global_batch} and job.seq_len {job.seq_len}: the batch must divide "
        f"by dp x micro_batch, {model.num_layers} layers by pp x vpp, {model.num_heads} heads by tp"
    )


def _nothing_fits(study: Study, found: _Harvest) -> str:
    assert found.tightest is not None
    held, row = found.tightest
    (closest,) = predict(study, row)
    return (
        f"{study.model.name} fits nowhere on {study.cluster.num_training_gpus} GPUs: of "
        f"{found.num_legal:,} legal layouts the smallest needs {show(held, 'B')} of "
        f"memory a GPU, and {show(usable_bytes(study), 'B')} of a "
        f"{study.cluster.host.gpu.name} can be used; the most goes to "
        f"{_largest(closest.memory_breakdown_bytes)}"
    )
