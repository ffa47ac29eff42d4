"""The step of a study's layouts: by the published constants, or by those measured on its machine.

A study that our own training program runs, on a machine that was measured, is composed of the
program's pieces (cost.eager). Any other study with a calibration takes its measured rates in place
of the published shares of peak.
"""

from __future__ import annotations

import numpy as np

from gigafactory.cost.columns import Columns, Floats, Ints
from gigafactory.cost.eager import eager_step, is_measured, runs_eagerly
from gigafactory.cost.step import Breakdown, step_seconds, step_time
from gigafactory.cost.swings import power_slowdown
from gigafactory.describe.study import Study


def step_of(study: Study, columns: Columns) -> Breakdown:
    """Seconds of a step of every layout at full power, taken apart; shape (num_layouts,)."""
    measured = study.calibration
    if measured is not None and composes(study):
        return eager_step(study.model, study.job, columns, measured=measured)
    return step_time(study.model, study.job, study.cluster, columns, measured=measured)


def seconds_of(study: Study, columns: Columns) -> Floats:
    """Seconds of a step under the power that there is, parts left out; shape (num_layouts,)."""
    held = held_back(study, num_gpus=columns.num_gpus)
    if study.calibration is not None and composes(study):
        return step_of(study, columns).step_s * held
    where = (study.model, study.job, study.cluster, columns)
    return step_seconds(*where, measured=study.calibration) * held


def held_back(study: Study, *, num_gpus: Ints) -> Floats:
    """Times the step that a layout would take if its site had all the power it asks for."""
    if study.cluster.site.capacity_w is None:
        return np.ones(np.shape(num_gpus))
    hosts = np.ceil(num_gpus / study.cluster.host.num_gpus)
    return power_slowdown(study.cluster, num_training_hosts=hosts)


def runnable(study: Study, columns: Columns) -> Columns:
    """Those layouts whose step can be told: of our own program, the data-parallel ones."""
    return columns.take(runs_eagerly(columns)) if composes(study) else columns


def composes(study: Study) -> bool:
    """Whether the step is composed of measured pieces of our own program."""
    measured = study.calibration
    if measured is None or study.train is None:
        return False
    return is_measured(study.model, study.job, measured)
