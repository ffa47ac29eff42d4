"""The rules a legal layout keeps, each by name; the same code filters columns and finds fault.

A rule says for every layout whether it is kept. Rules of the model and the machine hold for every
program; the others ask what the program is able to do (plan.abilities).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gigafactory.cost.columns import Bools, Columns, Ints
from gigafactory.cost.pipeline import chunks_a_rank
from gigafactory.describe.layout import Layout, Schedule, Sharding
from gigafactory.describe.study import Study
from gigafactory.plan.abilities import Ability, Pipe


@dataclass(frozen=True)
class Rule:
    """``keeps``: which layouts are legal by it; ``fault``: what to say of one that is not."""

    name: str
    keeps: Callable[[Study, Columns], Bools]
    fault: Callable[[Study, Layout], str]


@dataclass(frozen=True)
class AbilityRule:
    """As ``Rule``, of a program."""

    name: str
    keeps: Callable[[Ability, Columns], Bools]
    fault: Callable[[Ability, Layout], str]


def most_gpus(study: Study) -> int:
    """GPUs that the job may take: those that train, or fewer where ``plan.gpus`` says so."""
    have, asked = study.cluster.num_training_gpus, study.plan.gpus
    return min(have, asked) if isinstance(asked, int) else have


def splits(study: Study, tp: Ints) -> Bools:
    """Whether heads, widths and vocabulary divide by tp."""
    model = study.model
    kv = model.num_kv_heads
    widths = (model.num_heads, model.hidden, model.vocab, model.ffn)
    whole = np.all([width % tp == 0 for width in widths], axis=0)
    return np.asarray(whole & ((kv % tp == 0) | (tp % kv == 0)))


def even(num_layers: int, stages: Ints) -> Bools:
    """Whether layers fall evenly on stages, the two tables counted as a layer each or not."""
    counted = num_layers + 2
    padded = (counted % stages == 0) & (counted // stages > 1)
    return np.asarray((num_layers % stages == 0) | padded)


def _stages(columns: Columns) -> Ints:
    return np.asarray(columns.pp * chunks_a_rank(columns), dtype=np.int64)


def _microbatches(study: Study, columns: Columns) -> Ints:
    return np.asarray(study.job.global_batch // (columns.dp * columns.micro_batch))


def _least_microbatches(columns: Columns) -> Ints:
    twice = columns.runs(Schedule.DUAL, Schedule.DUAL_V)
    return np.where(twice, 2 * columns.pp, columns.pp)


def _experts(study: Study, columns: Columns) -> Bools:
    count = study.model.num_experts
    return np.asarray((columns.ep == 1) | ((count > 0) & (count % columns.ep == 0)))


def _batch(s: Study, c: Columns) -> Bools:
    return np.asarray(s.job.global_batch % (c.dp * c.micro_batch) == 0)


def _cp(s: Study, c: Columns) -> Bools:
    return np.asarray((c.cp == 1) | (s.job.seq_len % (2 * c.cp) == 0))


def _fills(s: Study, c: Columns) -> Bools:
    return np.asarray(_microbatches(s, c) >= _least_microbatches(c))


def _rounds(s: Study, c: Columns) -> Bools:
    return np.asarray((c.vpp == 1) | (_microbatches(s, c) % c.pp == 0))


def _pairs(s: Study, c: Columns) -> Bools:
    return np.asarray(~c.runs(Schedule.DUAL) | ((_microbatches(s, c) % 2 == 0) & (c.pp % 2 == 0)))


def _part(s: Study, c: Columns) -> Bools:
    return np.asarray(c.recompute_layers <= np.ceil(s.model.num_layers / _stages(c)))


#: Of the mesh alone: tp pp cp dp ep etp.
MESH_RULES = (
    Rule("gpus", lambda s, c: c.num_gpus <= most_gpus(s),
         lambda s, x: f"it needs {x.num_gpus} GPUs, {most_gpus(s)} can train"),
    Rule("tp-domain", lambda s, c: c.tp <= s.cluster.host.scaleup_domain_gpus,
         lambda s, x: f"tp {x.tp} is larger than the scale-up domain of "
         f"{s.cluster.host.scaleup_domain_gpus} GPUs"),
    Rule("tp-shapes", lambda s, c: splits(s, c.tp),
         lambda s, x: f"tp {x.tp} does not divide {s.model.num_heads} heads, "
         f"{s.model.num_kv_heads} kv heads, hidden {s.model.hidden}, ffn {s.model.ffn} and vocab "
         f"{s.model.vocab}"),
    Rule("experts", _experts,
         lambda s, x: f"{s.model.num_experts} experts do not divide by ep {x.ep}"),
    Rule("etp-shapes", lambda s, c: s.model.moe_ffn % c.etp == 0,
         lambda s, x: f"moe_ffn {s.model.moe_ffn} does not divide by etp {x.etp}"),
    Rule("etp-domain", lambda s, c: c.etp <= s.cluster.host.scaleup_domain_gpus,
         lambda s, x: f"etp {x.etp} is larger than the scale-up domain"),
    Rule("cp-halves", _cp,
         lambda s, x: f"seq_len {s.job.seq_len} does not divide by 2 x cp = {2 * x.cp}"),
    Rule("sequence", lambda s, c: s.job.seq_len % (c.cp * c.tp) == 0,
         lambda s, x: f"seq_len {s.job.seq_len} does not divide by cp x tp = {x.cp * x.tp}"),
)  # fmt: skip
#: Of dp and the microbatch.
BATCH_RULES = (
    Rule("batch", _batch,
         lambda s, x: f"global_batch {s.job.global_batch} does not divide by dp x micro_batch = "
         f"{x.dp * x.micro_batch}"),
)  # fmt: skip
#: Of the pipeline and its schedule.
PIPE_RULES = (
    Rule("layers", lambda s, c: even(s.model.num_layers, _stages(c)),
         lambda s, x: f"neither {s.model.num_layers} layers nor, with the two tables, "
         f"{s.model.num_layers + 2} divide by {_num_stages(x)} stages (pp {x.pp})"),
    Rule("fill", _fills,
         lambda s, x: f"{_count(s, x)} microbatches do not fill pp {x.pp} ({x.schedule} needs "
         f"{x.pp * (2 if x.schedule in (Schedule.DUAL, Schedule.DUAL_V) else 1)})"),
    Rule("interleave", _rounds,
         lambda s, x: f"{_count(s, x)} microbatches do not divide by pp {x.pp}, which vpp {x.vpp} "
         "needs"),
    Rule("dual-pairs", _pairs,
         lambda s, x: f"schedule dual needs an even pp and an even number of microbatches, not "
         f"{x.pp} and {_count(s, x)}"),
)  # fmt: skip
RECOMPUTE_RULES = (
    Rule("recompute-layers", _part,
         lambda s, x: f"recompute_layers {x.recompute_layers} is more than a virtual stage has"),
)  # fmt: skip


def _num_stages(layout: Layout) -> int:
    dual = layout.schedule in (Schedule.DUAL, Schedule.DUAL_V)
    return layout.pp * (2 if dual else layout.vpp)


def _count(study: Study, layout: Layout) -> int:
    return study.job.global_batch // (layout.dp * layout.micro_batch)


def _is_alone(c: Columns) -> Bools:
    return np.asarray((c.tp == 1) & (c.pp == 1) & (c.cp == 1) & (c.ep == 1) & (c.etp == 1))


def _axes(a: Ability, c: Columns) -> Bools:
    piped = (c.pp == 1) | a.has_pipeline
    split = (c.cp == 1) | a.has_context
    return np.asarray(piped & split & ((c.etp == 1) | a.splits_experts))


def _missing(a: Ability, x: Layout) -> str:
    found = (
        ("pipeline parallelism (pp 1)", x.pp > 1 and not a.has_pipeline),
        ("context parallelism (cp 1)", x.cp > 1 and not a.has_context),
        ("split experts (etp 1)", x.etp > 1 and not a.splits_experts),
    )
    return " and no ".join(name for name, is_missing in found if is_missing)


def _expert_slices(a: Ability, c: Columns) -> Bools:
    fits = np.ones(len(c), dtype=np.bool_)
    if a.etp_is_one_or_tp:
        fits = (c.etp == 1) | (c.etp == c.tp) | (c.ep == 1)
    return fits


def _expert_axes(a: Ability, c: Columns) -> Bools:
    if not a.ep_takes_whole_axes:
        return np.ones(len(c), dtype=np.bool_)
    inner = np.where(c.etp == c.tp, c.cp, c.cp * c.tp)
    return np.asarray((c.ep == 1) | (c.ep % inner == 0))


def _copies(a: Ability, c: Columns) -> Bools:
    """Under HSDP a copy holds whole experts and whole sequences."""
    hsdp = c.shards(Sharding.HSDP)
    whole = (c.tp * c.sharing % (c.ep * c.etp) == 0) & (c.sharing % c.cp == 0)
    return np.asarray(~hsdp | whole)


def _sharding(a: Ability, c: Columns) -> Bools:
    fits = np.zeros(len(c), dtype=np.bool_)
    for kind, pipe in a.shardings.items():
        chosen = c.shards(kind)
        if pipe is Pipe.NONE:
            chosen = chosen & (c.pp == 1)
        elif pipe is Pipe.SOME:
            # where nobody shares, the sharding says nothing
            chosen = chosen & ((c.pp > 1) | (c.dp * c.cp == 1))
        elif pipe is Pipe.ALONE:
            chosen = chosen & _is_alone(c)
        fits = fits | chosen
    return fits


def _schedule(a: Ability, c: Columns) -> Bools:
    fits = np.zeros(len(c), dtype=np.bool_)
    for kind, (least, most) in a.schedules.items():
        fits = fits | (c.runs(kind) & (c.vpp >= least) & (c.vpp <= most))
    return fits


def _recompute(a: Ability, c: Columns) -> Bools:
    fits = np.zeros(len(c), dtype=np.bool_)
    for kind in a.recomputes:
        fits = fits | c.recomputes(kind)
    return np.asarray(fits & (a.recomputes_some_layers | (c.recompute_layers == 0)))


def _offload(a: Ability, c: Columns) -> Bools:
    fits = c.offload == 0
    return np.asarray(fits | c.shards(*a.offloads)) if a.offloads else np.asarray(fits)


def _where(a: Ability, x: Layout) -> str:
    pipe = a.shardings.get(x.sharding)
    return f"only {pipe.value}" if pipe else "not at all"


ABLE_MESH = (
    AbilityRule("axes", _axes, lambda a, x: f"{a.program} has no {_missing(a, x)}; torchtitan and "
                "Megatron-Core have"),
    AbilityRule("etp", _expert_slices,
                lambda a, x: f"{a.program} runs etp 1 or tp, not {x.etp} with tp {x.tp}"),
    AbilityRule("ep-axes", _expert_axes,
                lambda a, x: f"in {a.program} ep {x.ep} must be a multiple of cp (and of tp where "
                "etp is 1)"),
)  # fmt: skip
ABLE_SHARDING = (
    AbilityRule("sharding", _sharding,
                lambda a, x: f"{a.program} runs {x.sharding} {_where(a, x)}"),
    AbilityRule("copies", _copies,
                lambda a, x: f"a copy of {x.shard} ranks must be a multiple of cp {x.cp}, and tp x "
                f"shard one of ep x etp = {x.ep * x.etp}"),
    AbilityRule("offload", _offload,
                lambda a, x: f"{a.program} has no optimizer on the host with {x.sharding}"),
)  # fmt: skip
ABLE_PIPE = (
    AbilityRule("schedule", _schedule,
                lambda a, x: f"{a.program} does not run schedule {x.schedule} with vpp {x.vpp}"),
)  # fmt: skip
ABLE_RECOMPUTE = (
    AbilityRule("recompute", _recompute,
                lambda a, x: f"{a.program} does not recompute {x.recompute}"
                f"{' in some layers only' if x.recompute_layers else ''}"),
)  # fmt: skip
ALL_RULES = (*MESH_RULES, *BATCH_RULES, *PIPE_RULES, *RECOMPUTE_RULES)
ALL_ABLE = (*ABLE_MESH, *ABLE_SHARDING, *ABLE_PIPE, *ABLE_RECOMPUTE)
