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
    from gigafactory.run.driver import Progress, RunResult


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
    chosen = search(legal_for(study, EngineKind.OURS))
    return drive(study, plan=chosen, run_dir=folder, fresh=fresh, observer=observer)


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
