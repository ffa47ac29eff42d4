"""One campaign of the twin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gigafactory.api.factory import load
from gigafactory.api.files import whole
from gigafactory.describe.study import Study

if TYPE_CHECKING:
    from gigafactory.ledger.course import Course
    from gigafactory.ledger.power_hours import PowerHours
    from gigafactory.plan.chosen import Plan
    from gigafactory.simulate.campaign import CampaignResult
    from gigafactory.simulate.ensemble import CampaignFigures


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
    with whole(ledger_path) as path, LedgerWriter(path, keep=True, line_by_line=False) as ledger:
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
    plain = study.model_copy(update={"policy": study.policy.plain()})
    return one_campaign(seed, study=plain, workload=workload_of(plain, plan=plan or search(study)))
