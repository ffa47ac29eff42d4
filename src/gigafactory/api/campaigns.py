"""Many campaigns: how sure, what trade-off, what to change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gigafactory.api.factory import load
from gigafactory.describe.errors import ImpossibleError, InputError
from gigafactory.describe.study import Study

if TYPE_CHECKING:
    from gigafactory.plan.chosen import Plan
    from gigafactory.simulate.ensemble import CampaignFigures, Ensemble
    from gigafactory.simulate.sweeps import Impossible, Point, Sweep
    from gigafactory.simulate.variants import Answers, LeftOut, Variant
    from gigafactory.simulate.workload import Workload

#: Campaigns at every point of a sweep: with the same dice everywhere a few will do.
SWEEP_CAMPAIGNS = 5
#: Campaigns of the study and of each of its variants.
ANSWERS_CAMPAIGNS = 5


def ensemble(
    study: Study | str | Path,
    *,
    num_campaigns: int,
    plan: Plan | None = None,
    seed: int = 0,
    overrides: Iterable[str] = (),
    num_processes: int | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Ensemble:
    """Follow campaigns of the seeds ``seed``, ``seed`` + 1, ... on all cores.

    The result depends on study, seed and ``num_campaigns`` alone, whatever ``num_processes``
    (default: the cores there are; a script needs ``if __name__ == "__main__"`` for more than one).
    ``watch`` gets how many are done, and of how many. A campaign that fails names its seed.
    """
    from gigafactory.plan.search import plan as search
    from gigafactory.simulate.workload import workload_of

    study = load(study, overrides=overrides)
    case = (study, workload_of(study, plan=plan or search(study)))
    seeds = range(seed, seed + num_campaigns)
    return _ensembles([case], seeds=seeds, num_processes=num_processes, watch=watch)[0]


def sweep(
    study: Study | str | Path,
    *,
    axes: Sequence[str],
    num_campaigns: int = SWEEP_CAMPAIGNS,
    seed: int = 0,
    overrides: Iterable[str] = (),
    num_processes: int | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Follow ``num_campaigns`` campaigns at every point of the grid of ``path=a,b,c`` texts.

    All points share the seeds, so that values differ and luck does not. Every point is planned
    for itself. Points that are impossible say why and do not stop the others; InputError where
    all of them are.
    """
    if isinstance(study, Study):
        raise InputError("a sweep changes the study's file; give its path instead of a Study")
    from gigafactory.simulate.sweeps import Impossible, Sweep, axes_of, grid

    parsed = axes_of(axes)
    known: dict[str, Plan] = {}
    tried = [
        _tried(study, point, overrides=tuple(overrides), known=known) for point in grid(parsed)
    ]
    cases = [case for case in tried if not isinstance(case, Impossible)]
    if not cases:
        raise InputError(_all_impossible(case for case in tried if isinstance(case, Impossible)))
    pairs = [(one, workload) for _, one, workload in cases]
    seeds = range(seed, seed + num_campaigns)
    told = iter(_ensembles(pairs, seeds=seeds, num_processes=num_processes, watch=watch))
    return Sweep(
        study=cases[0][1].study,
        axes=parsed,
        points=tuple(
            case if isinstance(case, Impossible) else _point(*case, found=next(told))
            for case in tried
        ),
    )


def _tried(
    study: str | Path,
    settings: tuple[tuple[str, str], ...],
    *,
    overrides: tuple[str, ...],
    known: dict[str, Plan],
) -> tuple[tuple[tuple[str, str], ...], Study, Workload] | Impossible:
    """The study of a point and its job, or why there is none."""
    from gigafactory.simulate.sweeps import Impossible, overrides_of
    from gigafactory.simulate.workload import workload_of

    try:
        one = load(study, overrides=(*overrides, *overrides_of(settings)))
        return settings, one, workload_of(one, plan=_plan(one, known=known))
    except InputError as error:
        return Impossible(settings=settings, reason=str(error))


def _all_impossible(points: Iterable[Impossible]) -> str:
    """A line for every reason, with the first point that has it."""
    from gigafactory.simulate.sweeps import overrides_of

    firsts: dict[str, str] = {}
    for point in points:
        firsts.setdefault(point.reason, " ".join(overrides_of(point.settings)))
    return "\n".join(f"--sweep {where}: {reason}" for reason, where in firsts.items())


def _point(
    settings: tuple[tuple[str, str], ...], one: Study, workload: Workload, *, found: Ensemble
) -> Point:
    from gigafactory.simulate.sweeps import Point

    return Point(
        settings=settings,
        num_training_gpus=workload.num_gpus,
        num_spare_hosts=one.own_cluster.num_hosts - workload.num_hosts,
        step_s=workload.cadence.step_s,
        ensemble=found,
    )


def answers(
    study: Study | str | Path,
    *,
    num_campaigns: int = ANSWERS_CAMPAIGNS,
    plan: Plan | None = None,
    seed: int = 0,
    overrides: Iterable[str] = (),
    num_processes: int | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Answers:
    """What another recovery, other spares, slower repair or another cadence would change.

    Every variant keeps the plan's layout and shares the seeds of the study as it is; one that
    cannot be, or could never end, is left out and says why.
    """
    from gigafactory.plan.search import plan as search
    from gigafactory.simulate.variants import Answers, effect_of, variants
    from gigafactory.simulate.workload import workload_of

    study = load(study, overrides=overrides)
    plan = plan or search(study)
    base = workload_of(study, plan=plan)
    interval_s = base.cadence.checkpoint_steps * base.cadence.step_s
    possible, left_out = _sorted(
        variants(study, num_mesh_hosts=base.num_hosts, interval_s=interval_s), plan=plan
    )
    cases = [(study, base), *((variant.study, workload) for variant, workload in possible)]
    seeds = range(seed, seed + num_campaigns)
    told = _ensembles(cases, seeds=seeds, num_processes=num_processes, watch=watch)
    return Answers(
        base=told[0],
        recovery=study.policy.recovery,
        checkpoint_interval_s=interval_s,
        num_spare_hosts=study.own_cluster.num_hosts - base.num_hosts,
        effects=tuple(
            effect_of(variant, found, base=told[0])
            for (variant, _), found in zip(possible, told[1:], strict=True)
        ),
        left_out=tuple(left_out),
    )


def _sorted(
    variants: Iterable[Variant], *, plan: Plan
) -> tuple[list[tuple[Variant, Workload]], list[LeftOut]]:
    """Those that can be followed with their jobs, and those that cannot be.

    InputError, with the name of the variant, where one is wrong in any other way.
    """
    from gigafactory.simulate.variants import LeftOut
    from gigafactory.simulate.workload import workload_of

    possible: list[tuple[Variant, Workload]] = []
    left_out: list[LeftOut] = []
    for variant in variants:
        try:
            possible.append((variant, workload_of(variant.study, plan=plan)))
        except ImpossibleError as error:
            left_out.append(
                LeftOut(question=variant.question, name=variant.name, reason=str(error))
            )
        except InputError as error:
            raise InputError(f"{variant.name}: {error}") from None
    return possible, left_out


def _plan(study: Study, *, known: dict[str, Plan]) -> Plan:
    """The plan of ``study``; one search serves all that differ in what no plan looks at."""
    from gigafactory.describe.aim import Aim
    from gigafactory.plan.search import plan as search

    # deadlines and prices count failures in; the fastest step does not
    blind = {"policy", "faults", "campaign", "drill"} if study.plan == Aim() else set[str]()
    key = study.model_dump_json(exclude=blind)
    if key not in known:
        known[key] = search(study)
    return known[key]


def _ensembles(
    cases: Sequence[tuple[Study, Workload]],
    *,
    seeds: range,
    num_processes: int | None,
    watch: Callable[[int, int], None] | None,
) -> list[Ensemble]:
    """The campaigns of every case, the same seeds for each."""
    from gigafactory.run.pool import each, num_cores
    from gigafactory.simulate.ensemble import Ensemble

    pieces = [(case, seed) for seed in seeds for case in range(len(cases))]
    found = each(
        partial(_campaign, cases=cases),
        pieces,
        num_processes=num_processes or num_cores(),
        name=_seed_name,
        watch=partial(_of_all, watch, len(pieces)) if watch else None,
    )
    return [
        Ensemble(
            study=study.study, first_seed=seeds.start, campaigns=tuple(found[case :: len(cases)])
        )
        for case, (study, _) in enumerate(cases)
    ]


def _campaign(
    piece: tuple[int, int], *, cases: Sequence[tuple[Study, Workload]]
) -> CampaignFigures:
    from gigafactory.simulate.ensemble import one_campaign

    case, seed = piece
    study, workload = cases[case]
    return one_campaign(seed, study=study, workload=workload)


def _seed_name(piece: tuple[int, int]) -> str:
    return f"the campaign with --seed {piece[1]}"


def _of_all(watch: Callable[[int, int], None], num_all: int, num_done: int) -> None:
    watch(num_done, num_all)
