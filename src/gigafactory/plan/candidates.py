"""Every legal layout of a study, as columns, and why a given one is not legal.

The rules are those of real engines: heads divide by tp; tp stays inside the scale-up domain;
layers divide by pp*vpp, or do so when embedding and output projection count as a layer each; a
data-parallel rank gets whole microbatches, at least pp of them and with interleaving a multiple
of pp; experts divide by ep; the experts' mesh ep*etp divides tp*cp*dp (parallel folding,
arXiv:2504.14960); a sequence divides by 2*cp (the two ends of a causal mask are paired) and by
tp; FSDP does not run under a pipeline.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from gigafactory.cost.columns import RECOMPUTES, SHARDINGS, Bools, Columns, Ints
from gigafactory.describe.layout import Layout, Sharding
from gigafactory.describe.study import Study

_TP = (1, 2, 4, 8, 16, 32, 64)
_CP = (1, 2, 4, 8, 16)
_MICRO_BATCHES = (1, 2, 4, 8)
_MOST_VIRTUAL_STAGES = 16
#: Numbers of data-parallel ranks tried for one tp*pp*cp: the largest that are legal.
_DP_CHOICES = 2


def candidates(study: Study) -> Columns:
    """All legal layouts; empty columns where there is none. Shape (num_layouts,)."""
    rows = np.array(list(_meshes(study)), dtype=np.int64).reshape(-1, 8)
    inner = _axes(rows)
    legal = inner.take(_experts_fit(inner))
    return _with_choices(legal)


def _axes(rows: Ints) -> Columns:
    zero = np.zeros(len(rows), dtype=np.int64)
    tp, pp, vpp, cp, dp, ep, etp, micro_batch = rows.T
    return Columns(
        tp=tp, pp=pp, vpp=vpp, cp=cp, dp=dp, ep=ep, etp=etp,
        micro_batch=micro_batch, recompute=zero, sharding=zero,
    )  # fmt: skip


def _meshes(study: Study) -> Iterator[tuple[int, ...]]:
    model, job = study.model, study.job
    domain = study.cluster.host.scaleup_domain_gpus
    tps = [tp for tp in _TP if tp <= domain and _splits(study, tp)]
    cps = [cp for cp in _CP if job.seq_len % (2 * cp) == 0 or cp == 1]
    stages = _stages(model.num_layers)
    eps = divisors(model.num_experts) if model.num_experts else [1]
    for tp, (pp, vpp), cp, micro in itertools.product(tps, stages, cps, _MICRO_BATCHES):
        if job.seq_len % (cp * tp):
            continue
        etps = sorted({1, tp}) if model.num_experts and model.moe_ffn % tp == 0 else [1]
        for dp in _dps(study, tp * pp * cp, micro, pp, vpp):
            for ep, etp in itertools.product(eps, etps):
                yield tp, pp, vpp, cp, dp, ep, etp, micro


def _stages(num_layers: int) -> list[tuple[int, int]]:
    """(pp, vpp) over which the layers fall evenly, the two tables counted as layers or not."""
    return sorted(
        {
            (pp, vpp)
            for units in (num_layers, num_layers + 2)
            for pp in divisors(units)
            for vpp in divisors(units // pp)
            if (vpp == 1 or (pp > 1 and vpp <= _MOST_VIRTUAL_STAGES))
            and _even(num_layers, pp * vpp)
        }
    )


def _even(num_layers: int, stages: int) -> bool:
    counted = num_layers + 2
    return num_layers % stages == 0 or (counted % stages == 0 and counted // stages > 1)


def _splits(study: Study, tp: int) -> bool:
    model = study.model
    kv = model.num_kv_heads
    widths = (model.num_heads, model.hidden, model.vocab, model.ffn)
    return all(width % tp == 0 for width in widths) and (kv % tp == 0 or tp % kv == 0)


def _dps(study: Study, inner: int, micro: int, pp: int, vpp: int) -> list[int]:
    """The largest legal numbers of data-parallel ranks, largest first."""
    most = study.cluster.num_training_gpus // inner
    if study.job.global_batch % micro:
        return []
    units = study.job.global_batch // micro
    legal = (dp for dp in reversed(divisors(units)) if dp <= most and _feeds(units // dp, pp, vpp))
    return list(itertools.islice(legal, _DP_CHOICES))


def _feeds(microbatches: int, pp: int, vpp: int) -> bool:
    return microbatches >= pp and (vpp == 1 or microbatches % pp == 0)


def divisors(number: int) -> list[int]:
    """All divisors of a positive number, ascending."""
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})


def _experts_fit(columns: Columns) -> Bools:
    inner = columns.tp * columns.cp * columns.dp
    return np.asarray(inner % (columns.ep * columns.etp) == 0)


def _with_choices(columns: Columns) -> Columns:
    """Each mesh with every way to recompute and to share state."""
    tried = [SHARDINGS.index(kind) for kind in (Sharding.NONE, Sharding.ZERO1, Sharding.FSDP)]
    choices = list(itertools.product(range(len(RECOMPUTES)), tried))
    parts = [_choice(columns, recompute, sharding) for recompute, sharding in choices]
    names = list(Columns.__dataclass_fields__)
    return Columns(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


def _choice(columns: Columns, recompute: int, sharding: int) -> Columns:
    kind = SHARDINGS[sharding]
    allowed = np.ones(len(columns), dtype=np.bool_)
    if kind is Sharding.FSDP:
        allowed = (columns.pp == 1) & (columns.dp * columns.cp > 1)
    elif kind is Sharding.ZERO1:
        allowed = columns.dp * columns.cp > 1
    chosen = columns.take(allowed)
    sizes = {n: getattr(chosen, n) for n in list(Columns.__dataclass_fields__)[:8]}
    return Columns(
        **sizes,
        recompute=np.full(len(chosen), recompute, dtype=np.int64),
        sharding=np.full(len(chosen), sharding, dtype=np.int64),
    )


def complaints(study: Study, layout: Layout) -> list[str]:
    """What makes ``layout`` illegal for the study; empty where nothing does."""
    model, job, host = study.model, study.job, study.cluster.host
    share = layout.dp * layout.micro_batch
    stages = layout.pp * layout.vpp
    micro = job.global_batch // share
    rules = (
        (layout.num_gpus <= study.cluster.num_training_gpus,
         f"it needs {layout.num_gpus} GPUs, {study.cluster.num_training_gpus} can train"),
        (layout.precision == job.precision,
         f"precision {layout.precision} is not the job's {job.precision}"),
        (layout.tp <= host.scaleup_domain_gpus,
         f"tp {layout.tp} is larger than the scale-up domain of {host.scaleup_domain_gpus} GPUs"),
        (_splits(study, layout.tp),
         f"tp {layout.tp} does not divide {model.num_heads} heads, {model.num_kv_heads} kv heads, "
         f"hidden {model.hidden}, ffn {model.ffn} and vocab {model.vocab}"),
        (_even(model.num_layers, stages),
         f"neither {model.num_layers} layers nor, with the two tables, {model.num_layers + 2} "
         f"divide by pp x vpp = {stages}"),
        (job.global_batch % share == 0,
         f"global_batch {job.global_batch} does not divide by dp x micro_batch = {share}"),
        (micro >= layout.pp, f"{micro} microbatches do not fill pp {layout.pp}"),
        (layout.vpp == 1 or micro % layout.pp == 0,
         f"{micro} microbatches do not divide by pp {layout.pp}, which vpp {layout.vpp} needs"),
        (layout.ep == 1 or (model.num_experts > 0 and model.num_experts % layout.ep == 0),
         f"{model.num_experts} experts do not divide by ep {layout.ep}"),
        (model.moe_ffn % layout.etp == 0,
         f"moe_ffn {model.moe_ffn} does not divide by etp {layout.etp}"),
        (layout.etp <= host.scaleup_domain_gpus,
         f"etp {layout.etp} is larger than the scale-up domain"),
        (layout.cp == 1 or job.seq_len % (2 * layout.cp) == 0,
         f"seq_len {job.seq_len} does not divide by 2 x cp = {2 * layout.cp}"),
        (layout.sharding is not Sharding.FSDP or layout.pp == 1,
         f"fsdp does not run under a pipeline of {layout.pp} stages; take zero1"),
    )  # fmt: skip
    return [text for holds, text in rules if not holds]
