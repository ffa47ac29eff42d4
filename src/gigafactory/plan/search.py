"""The search: predict memory and step of every legal layout, keep what fits, take the fastest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from gigafactory.cost.calibration import published
from gigafactory.cost.columns import Columns, Floats, Ints, columns_of
from gigafactory.cost.flops import model_flops_per_token
from gigafactory.cost.memory import memory
from gigafactory.cost.step import mfu
from gigafactory.describe.errors import InputError
from gigafactory.describe.layout import Layout
from gigafactory.describe.study import Study
from gigafactory.plan.candidates import candidates, complaints
from gigafactory.plan.chosen import Candidate, Plan
from gigafactory.plan.explain import explain, limits
from gigafactory.plan.predicted import runnable, step_of
from gigafactory.units import show

#: Layouts evaluated in one call; their columns stay in the processor's cache.
_CHUNK = 16384
_NUM_ALTERNATIVES = 8


def plan(study: Study) -> Plan:
    """The fastest legal layout that fits, or the study's own layout judged.

    InputError where the study's layout is illegal or does not fit, and where no layout does.
    """
    found = _fixed(study, study.layout) if study.layout else _searched(study)
    return Plan(
        best=found.best,
        alternatives=found.alternatives,
        num_candidates=found.num_candidates,
        num_feasible=found.num_feasible,
        explanation=explain(study, found),
        limits=limits(study, found.best),
        calibration=study.calibration.words if study.calibration else "",
    )


def predict(study: Study, columns: Columns) -> list[Candidate]:
    """Every layout in ``columns`` with its prediction, whether it fits or not."""
    steps = step_of(study, columns)
    bytes_held = memory(study.model, study.job, study.cluster, columns)
    shares = mfu(
        steps.step_s, model=study.model, job=study.job, cluster=study.cluster, columns=columns
    )
    tokens = study.job.tokens_per_step
    per_token = model_flops_per_token(study.model, seq_len=study.job.seq_len)
    step_s, total_bytes = steps.step_s, bytes_held.total_bytes

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
            breakdown_s={k: float(v[i]) for k, v in steps.parts().items()},
            memory_breakdown_bytes={k: float(v[i]) for k, v in bytes_held.parts().items()},
        )

    return [candidate(i) for i in range(len(columns))]


def usable_bytes(study: Study) -> float:
    """Memory of one GPU that a plan may fill."""
    return study.cluster.host.gpu.memory_bytes * published().usable_memory


def _searched(study: Study) -> Plan:
    legal = runnable(study, candidates(study))
    if not len(legal):
        raise InputError(_nothing_legal(study))
    held = np.concatenate([_bytes(study, part) for part in _chunks(legal)])
    fitting = legal.take(held <= usable_bytes(study))
    if not len(fitting):
        raise InputError(_nothing_fits(study, legal, held))
    times = np.concatenate([step_of(study, part).step_s for part in _chunks(fitting)])
    # ties go to the layout that was listed first, so that the same study gives the same plan
    order = np.argsort(times, kind="stable")[: 64 * _NUM_ALTERNATIVES]
    chosen = predict(study, fitting.take(_distinct(fitting.take(order), order)))
    return Plan(
        best=chosen[0],
        alternatives=tuple(chosen[1:]),
        num_candidates=len(legal),
        num_feasible=len(fitting),
    )


def _distinct(columns: Columns, indices: Ints) -> Ints:
    """Those of ``indices``, in their order, whose mesh was not seen before."""
    mesh = np.stack([columns.tp, columns.pp, columns.cp, columns.dp, columns.ep, columns.etp])
    _, first = np.unique(mesh, axis=1, return_index=True)
    return indices[np.sort(first)[: _NUM_ALTERNATIVES + 1]]


def _chunks(columns: Columns) -> Iterator[Columns]:
    for begin in range(0, len(columns), _CHUNK):
        yield columns.take(slice(begin, begin + _CHUNK))


def _bytes(study: Study, columns: Columns) -> Floats:
    return memory(study.model, study.job, study.cluster, columns).total_bytes


def _fixed(study: Study, layout: Layout) -> Plan:
    wrong = complaints(study, layout)
    if wrong:
        raise InputError("layout: " + "; ".join(wrong))
    asked = columns_of(layout)
    if not len(runnable(study, asked)):
        raise InputError(
            "layout: the training program that this study's calibration measured is data parallel "
            "only; set tp, pp, vpp, cp, ep and etp to 1 and recompute to none"
        )
    (only,) = predict(study, asked)
    if only.memory_bytes_per_gpu > usable_bytes(study):
        raise InputError(
            f"layout: it needs {show(only.memory_bytes_per_gpu, 'B')} of memory a GPU, and "
            f"{show(usable_bytes(study), 'B')} of a {study.cluster.host.gpu.name} can be used; "
            f"the most goes to {_largest(only.memory_breakdown_bytes)}"
        )
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


def _nothing_fits(study: Study, legal: Columns, held: Floats) -> str:
    least = int(np.argmin(held))
    (closest,) = predict(study, legal.take(np.array([least])))
    return (
        f"{study.model.name} fits nowhere on {study.cluster.num_training_gpus} GPUs: of "
        f"{len(legal):,} legal layouts the smallest needs {show(float(held[least]), 'B')} of "
        f"memory a GPU, and {show(usable_bytes(study), 'B')} of a "
        f"{study.cluster.host.gpu.name} can be used; the most goes to "
        f"{_largest(closest.memory_breakdown_bytes)}"
    )
