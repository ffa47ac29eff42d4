"""The driver inside a job: ``python -m gigafactory.run.inside FOLDER``, started by a batch script.

The very same driver and controller as on one machine, with agents on the hosts of the allocation.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gigafactory.describe.errors import InputError, JobError
from gigafactory.describe.study import Study
from gigafactory.plan.chosen import Plan
from gigafactory.run.errand import Errand
from gigafactory.run.floors import Gathering, drive_on
from gigafactory.run.launchers.slurm_floor import SlurmFloor, floor_of_this_job
from gigafactory.run.opening import num_hosts_of


def main(folder: Path) -> int:
    """The exit status of the job: 0 done or stopped, 1 failed, 2 the input is wrong."""
    errand = Errand(folder)
    try:
        study, plan = errand.taken()
        status = _drive(errand, study, plan)
    except (InputError, JobError) as error:
        errand.conclude(error)
        print(f"giga: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    errand.conclude()
    return status


def _drive(errand: Errand, study: Study, plan: Plan) -> int:
    def opened() -> SlurmFloor:
        num_needed = num_hosts_of(study, plan)
        return floor_of_this_job(num_needed=num_needed, logs=errand.folder, meet=errand.meet)

    result = drive_on(
        opened, study=study, plan=plan, run_dir=errand.folder.parent,
        gathering=Gathering(meet=errand.meet), observer=errand.tell,
    )  # fmt: skip
    return 1 if result.outcome == "failed" else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
