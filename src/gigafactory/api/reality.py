"""What really happens on this machine: training, measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gigafactory.api.factory import load
from gigafactory.api.files import whole
from gigafactory.api.layouts import legal_for
from gigafactory.describe.errors import InputError, unwritable
from gigafactory.describe.study import Study

if TYPE_CHECKING:
    from gigafactory.describe.measured import DeviceKind, Measured
    from gigafactory.plan.chosen import Plan
    from gigafactory.run.chaos.director import Soak
    from gigafactory.run.driver import Progress, RunResult


def run(
    study: Study | str | Path,
    *,
    folder: Path | None = None,
    fresh: bool = False,
    overrides: Iterable[str] = (),
    observer: Callable[[Progress], None] | None = None,
    on: str = "local",
) -> RunResult:
    """Really train the study; resumes what ``folder`` already holds.

    ``on``: "local", on this machine; "slurm", as a job of the Slurm cluster at hand; "ray", on the
    hosts of a Ray cluster. Other places carry out the whole job by themselves: see ``send``.
    """
    from gigafactory.run.driver import run as drive
    from gigafactory.run.on_ray import run_on_ray
    from gigafactory.run.submitted import run_on_slurm

    places: dict[str, Callable[..., RunResult]] = {
        "local": drive,
        "slurm": run_on_slurm,
        "ray": run_on_ray,
    }
    if on not in places:
        raise InputError(f"--on {on}: write {' or '.join(places)}")
    study = load(study, overrides=overrides)
    folder = folder or Path("runs") / study.study
    return places[on](study, plan=_chosen(study), run_dir=folder, fresh=fresh, observer=observer)


def _chosen(study: Study) -> Plan:
    from gigafactory.describe.aim import EngineKind
    from gigafactory.plan.search import plan as search

    return search(legal_for(study, EngineKind.OURS))


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
    with whole(out) as draft:
        assert draft
        try:
            draft.touch()  # where it cannot be written, say so before measuring
        except OSError as error:
            raise unwritable(out, error) from None
        measured = measure(wish, date=datetime.date.today().isoformat(), watch=watch)
        draft.write_text(write_calibration(measured), encoding="utf-8")
    return measured


def chaos(
    study: str | Path,
    *,
    seed: int,
    num_faults: int,
    folder: Path | None = None,
    fresh: bool = False,
    overrides: Iterable[str] = (),
    watcher: Callable[[str], None] = print,
) -> Soak:
    """Train the study for real while it is shot at ``num_faults`` times, and hold it to its laws.

    The study must train with replica groups. ``folder`` (default: runs/chaos-SEED) keeps the run
    that was shot at, an undisturbed one, and what was done. InputError where the study has no
    groups, or the folder holds a soak already and ``fresh`` does not permit to remove it.
    """
    import shutil
    import sys

    from gigafactory.run.chaos.director import STEPS_A_FAULT, Director
    from gigafactory.run.driver import check_groups

    spec = load(study, overrides=overrides)
    chosen = _chosen(spec)
    check_groups(spec, chosen)
    folder = folder or Path("runs") / f"chaos-{seed}"
    for name in ("shot", "undisturbed", "blows.jsonl"):
        if (folder / name).exists() and not fresh:
            raise InputError(
                f"{folder} holds a soak; remove it with --fresh, or choose another --dir"
            )
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).unlink(missing_ok=True)
    num_steps = max(spec.job.num_steps, STEPS_A_FAULT * num_faults)
    wanted = (*overrides, f"job.tokens={num_steps * spec.job.tokens_per_step}", "drill=null")
    sets = [word for override in wanted for word in ("--set", override)]
    argv = [sys.executable, "-m", "gigafactory.cli", "run", str(study), *sets]
    director = Director(argv=argv, folder=folder, seed=seed, num_faults=num_faults, watcher=watcher)
    return director.run()
