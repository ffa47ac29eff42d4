"""The verbs as functions: what the command line calls and what a notebook imports.

Each takes a study file (or a ready Study) and returns an object with ``to_json()`` or fields;
nothing here prints. The clock is read here and in run/, never in the pure rooms.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigafactory.describe.errors import InputError
from gigafactory.describe.study import Study

if TYPE_CHECKING:
    from gigafactory.describe.aim import EngineKind
    from gigafactory.describe.figures import Description
    from gigafactory.describe.measured import DeviceKind, Measured
    from gigafactory.ledger.course import Course
    from gigafactory.ledger.power_hours import PowerHours
    from gigafactory.ledger.replay import ReplayResult
    from gigafactory.plan.chosen import Plan
    from gigafactory.run.driver import Progress, RunResult
    from gigafactory.simulate.campaign import CampaignResult
    from gigafactory.simulate.ensemble import CampaignFigures, Ensemble
    from gigafactory.simulate.sweeps import Sweep
    from gigafactory.simulate.variants import Answers
    from gigafactory.simulate.workload import Workload

PLAN_FILE = "plan.json"
DESCRIPTION_FILE = "description.json"
TWIN_FILE = "twin.jsonl"
RESULT_FILE = "twin.json"
LEDGER_FILE = "ledger.jsonl"
ANSWERS_FILE = "answers.json"
REPORT_FILE = "report.html"
ENSEMBLE_FILE = "ensemble.json"
DECISIONS_FILE = "decisions.json"
#: Campaigns at every point of a sweep: with the same dice everywhere a few will do.
SWEEP_CAMPAIGNS = 5
#: Campaigns of the study and of each of its variants.
ANSWERS_CAMPAIGNS = 5


def sweep_file(paths: Iterable[str]) -> str:
    """The file that keeps a sweep over these places of the study."""
    return f"sweep-{'-'.join(paths)}.json"


def load(source: Study | str | Path, *, overrides: Iterable[str] = ()) -> Study:
    """A Study as it is, or read from a file; InputError lists everything that is wrong."""
    if isinstance(source, Study):
        return source
    from gigafactory.catalog.studies import load_study

    return load_study(Path(source), overrides=tuple(overrides))


def describe(study: Study | str | Path, *, overrides: Iterable[str] = ()) -> Description:
    """Count the factory: every part, its power, its price, each with formula and source."""
    from gigafactory.cost.bill import bill
    from gigafactory.describe.count import count
    from gigafactory.describe.figures import Description

    study = load(study, overrides=overrides)
    return Description(study=study.study, figures=(*count(study), *bill(study)))


def plan(study: Study | str | Path, *, overrides: Iterable[str] = ()) -> tuple[Plan, float]:
    """The best legal layout of the study's job, and the seconds the search took."""
    from gigafactory.catalog.tables import catalog_gpus
    from gigafactory.plan.search import plan as search

    study = load(study, overrides=overrides)
    parts = catalog_gpus()
    begin_s = time.perf_counter()
    return search(study, gpus=parts), time.perf_counter() - begin_s


def emit(
    study: Study | str | Path, *, program: str, overrides: Iterable[str] = ()
) -> tuple[str, tuple[str, ...]]:
    """(arguments of ``program`` for the best layout it can run, what they leave open).

    InputError where the program is unknown or cannot run the layout that the study fixes.
    """
    from gigafactory.describe.aim import EngineKind
    from gigafactory.describe.errors import InputError
    from gigafactory.plan.emit import emit as render
    from gigafactory.plan.search import plan as search

    study = load(study, overrides=overrides)
    try:
        kind = EngineKind(program)
    except ValueError:
        raise InputError(f"--emit {program}: write megatron or torchtitan") from None
    told = render(study, search(_legal_for(study, kind)).best.layout, kind=kind)
    return told.text, told.notes


def _legal_for(study: Study, kind: EngineKind) -> Study:
    """The study, planned by the rules of one program unless it says otherwise."""
    from gigafactory.describe.aim import EngineKind

    if study.plan.engine is not EngineKind.ANY or study.layout is not None:
        return study
    aim = study.plan.model_copy(update={"engine": kind})
    return study.model_copy(update={"plan": aim})


def simulate(
    study: Study | str | Path,
    *,
    plan: Plan | None = None,
    seed: int = 0,
    overrides: Iterable[str] = (),
    ledger_path: Path | None = None,
) -> CampaignResult:
    """Follow the planned campaign on the full cluster; same study and seed, same bytes.

    ``plan`` saves a second search where it is already known.
    """
    told = follow(study, plan=plan, seed=seed, overrides=overrides, ledger_path=ledger_path)
    return told.result


def follow(
    study: Study | str | Path,
    *,
    plan: Plan | None = None,
    seed: int = 0,
    overrides: Iterable[str] = (),
    ledger_path: Path | None = None,
) -> Followed:
    """Like `simulate`, with what cost what (causes, spares, checkpoints by tier) and the power."""
    from gigafactory.ledger.course import course_of
    from gigafactory.ledger.power_hours import power_hours
    from gigafactory.ledger.writer import LedgerWriter
    from gigafactory.plan.search import plan as search
    from gigafactory.simulate.campaign import simulate as twin

    study = load(study, overrides=overrides)
    with _whole(ledger_path) as path, LedgerWriter(path, keep=True, line_by_line=False) as ledger:
        result = twin(study, plan=plan or search(study), seed=seed, ledger=ledger)
        return Followed(
            result=result,
            course=course_of(ledger.entries),
            power=power_hours(ledger.entries, site=study.cluster.site),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """One campaign of the twin, and its course."""

    result: CampaignResult
    course: Course
    power: PowerHours


def figures(study: Study, result: CampaignResult) -> CampaignFigures:
    """The short form of a campaign, with days and rent of the whole job."""
    from gigafactory.simulate.ensemble import figures_of

    return figures_of(result, seed=result.seed or 0, num_job_steps=study.job.num_steps)


def plainly(
    study: Study | str | Path,
    *,
    plan: Plan | None = None,
    seed: int = 0,
    overrides: Iterable[str] = (),
) -> CampaignFigures | None:
    """The same campaign, dice and all, with plain checkpoint and restart (policy.recovery).

    None where the study asks for that anyway.
    """
    from gigafactory.describe.policy import Recovery
    from gigafactory.plan.search import plan as search
    from gigafactory.simulate.ensemble import one_campaign
    from gigafactory.simulate.workload import workload_of

    study = load(study, overrides=overrides)
    if study.policy.recovery is Recovery.RESTART:
        return None
    policy = study.policy.model_copy(update={"recovery": Recovery.RESTART})
    plain = study.model_copy(update={"policy": policy})
    return one_campaign(seed, study=plain, workload=workload_of(plain, plan=plan or search(study)))


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
    for itself. InputError where a path or value makes no study.
    """
    if isinstance(study, Study):
        raise InputError("a sweep changes the study's file; give its path instead of a Study")
    from gigafactory.simulate.sweeps import Point, Sweep, axes_of, grid, overrides_of
    from gigafactory.simulate.workload import workload_of

    parsed, overrides = axes_of(axes), tuple(overrides)
    points = grid(parsed)
    known: dict[str, Plan] = {}

    def case(point: Iterable[tuple[str, str]]) -> tuple[Study, Workload]:
        own = overrides_of(point)
        try:
            one = load(study, overrides=(*overrides, *own))
            return one, workload_of(one, plan=_plan(one, known=known))
        except InputError as error:
            raise InputError(f"--sweep {' '.join(own)}: {error}") from None

    cases = [case(point) for point in points]
    told = _ensembles(
        cases,
        seeds=range(seed, seed + num_campaigns),
        num_processes=num_processes,
        watch=watch,
    )
    return Sweep(
        study=cases[0][0].study,
        axes=parsed,
        points=tuple(
            Point(
                settings=point,
                num_training_gpus=workload.num_gpus,
                num_spare_hosts=one.own_cluster.num_hosts - workload.num_hosts,
                step_s=workload.cadence.step_s,
                ensemble=found,
            )
            for point, (one, workload), found in zip(points, cases, told, strict=True)
        ),
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

    Every variant keeps the plan's layout and shares the seeds of the study as it is.
    """
    from gigafactory.plan.search import plan as search
    from gigafactory.simulate.variants import Answers, effect_of, variants
    from gigafactory.simulate.workload import workload_of

    study = load(study, overrides=overrides)
    plan = plan or search(study)
    base = workload_of(study, plan=plan)
    interval_s = base.cadence.checkpoint_steps * base.cadence.step_s
    others = list(variants(study, num_mesh_hosts=base.num_hosts, interval_s=interval_s))
    told = _ensembles(
        [(study, base), *((v.study, workload_of(v.study, plan=plan)) for v in others)],
        seeds=range(seed, seed + num_campaigns),
        num_processes=num_processes,
        watch=watch,
    )
    return Answers(
        base=told[0],
        num_spare_hosts=study.own_cluster.num_hosts - base.num_hosts,
        effects=tuple(
            effect_of(variant, found, base=told[0])
            for variant, found in zip(others, told[1:], strict=True)
        ),
    )


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


@contextmanager
def _whole(path: Path | None) -> Iterator[Path | None]:
    """A place to write; it becomes ``path`` when all went well and is removed when not."""
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.part")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def run(
    study: Study | str | Path,
    *,
    folder: Path | None = None,
    fresh: bool = False,
    overrides: Iterable[str] = (),
    observer: Callable[[Progress], None] | None = None,
) -> RunResult:
    """Really train the study on this machine; resumes what ``folder`` already holds."""
    from gigafactory.describe.aim import EngineKind
    from gigafactory.plan.search import plan as search
    from gigafactory.run.driver import run as drive

    study = load(study, overrides=overrides)
    folder = folder or Path("runs") / study.study
    chosen = search(_legal_for(study, EngineKind.OURS))
    return drive(study, plan=chosen, run_dir=folder, fresh=fresh, observer=observer)


def report(folders: Iterable[Path], *, out: Path) -> Path:
    """One self-contained page over the plans and ledgers in ``folders``."""
    from gigafactory.report.page import write_report

    return write_report(list(folders), out)


def validate(table: str | Path) -> dict[str, Any]:
    """Score the equations on a table of measured runs or campaigns; see docs/validate.md."""
    from gigafactory.catalog.tables import read_table
    from gigafactory.plan.outcome_table import OutcomeTable, predict_outcomes
    from gigafactory.report.outcomes import score_outcomes
    from gigafactory.report.score import score
    from gigafactory.simulate.renewal import walk

    found = read_table(Path(table))
    if isinstance(found, OutcomeTable):
        return score_outcomes(predict_outcomes(found, walk=walk))
    return score(found)


def calibrate(
    out: Path,
    *,
    num_ranks: int | None = None,
    device: DeviceKind | None = None,
    quick: bool = False,
    watch: Callable[[float], None] | None = None,
) -> Measured:
    """Measure this machine and write the calibration file ``out``, which studies can name.

    As many ranks as will train must measure at once. ``quick``: a third of the time, a little less
    certain. ``watch`` gets the share that is done.
    """
    import datetime

    from gigafactory.catalog.calibrations import write_calibration
    from gigafactory.run.measuring import QUICK_S, THOROUGH_S, Wish, measure

    if out.is_dir():
        raise InputError(f"{out} is a directory; name the file to write")
    wish = Wish(duration_s=QUICK_S if quick else THOROUGH_S, num_ranks=num_ranks, device=device)
    with _whole(out) as draft:
        assert draft
        draft.touch()  # where it cannot be written, say so before measuring
        measured = measure(wish, date=datetime.date.today().isoformat(), watch=watch)
        draft.write_text(write_calibration(measured), encoding="utf-8")
    return measured


def replay(ledger: str | Path) -> ReplayResult:
    """Feed a recorded campaign, real or simulated, back to the controller."""
    from gigafactory.ledger.reader import read_ledger
    from gigafactory.ledger.replay import replay as again

    return again(read_ledger(Path(ledger)))


def chat(
    folder: Path | None, *, port: int = 8080, on_ready: Callable[[str], object] | None = None
) -> None:
    """Serve the model trained in ``folder`` and the pretrained one on 127.0.0.1 until Ctrl-C.

    ``on_ready`` gets the address once it answers.
    """
    from gigafactory.chat.engines import open_engines
    from gigafactory.chat.server import serve

    serve(open_engines(folder), port=port, on_ready=on_ready)


def ask(folder: Path | None, *, question: str) -> list[dict[str, str]]:
    """One answer of every model; kept in ``folder``/answers.json for the report."""
    from gigafactory.chat.ask import ask as put
    from gigafactory.chat.engines import open_engines

    answers = [
        {"model": engine.name, "question": question, "answer": put(engine, question)}
        for engine in open_engines(folder)
    ]
    if folder:
        text = json.dumps(answers, indent=2, ensure_ascii=False)
        (folder / ANSWERS_FILE).write_text(text + "\n", encoding="utf-8")
    return answers
