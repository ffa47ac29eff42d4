"""What to change: the same campaigns with one decision taken otherwise.

Every variant is followed with the seeds of the study as it is (common random numbers, see
`simulate.sweeps`), and its effect is the mean of the differences seed by seed. The layout stays:
a variant of the spares rents more or fewer hosts beside the same mesh.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from gigafactory.describe.faults import Mode, Repair
from gigafactory.describe.policy import Policy, Recovery
from gigafactory.describe.study import Study
from gigafactory.simulate.ensemble import CampaignFigures, Ensemble
from gigafactory.units import DAY_S, plural


class Question(StrEnum):
    """What a person has to decide."""

    RECOVERY = "recovery"
    SPARES = "spares"
    REPAIR = "repair"
    CADENCE = "cadence"
    TIER = "tier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A study that differs in one decision; ``name`` says in which."""

    question: Question
    name: str
    study: Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A variant less the study as it is, seed by seed; None where a campaign kept no step."""

    question: Question
    name: str
    goodput: float
    """Mean, of the variant itself."""
    goodput_change: float
    goodput_error: float | None
    """Standard error of the change; None with a single campaign."""
    job_days_change: float | None
    job_usd_change: float | None
    job_usd_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A variant that cannot be, or could never end: there is nothing to compare."""

    question: Question
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The study as it is, and what each other decision would change."""

    base: Ensemble
    recovery: Recovery
    checkpoint_interval_s: float
    """Work between two checkpoints in the store."""
    num_spare_hosts: int
    effects: tuple[Effect, ...]
    left_out: tuple[LeftOut, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """One document; keys end in their unit."""
        return {
            "base": self.base.to_json(),
            "recovery": self.recovery.value,
            "checkpoint_interval_s": self.checkpoint_interval_s,
            "num_spare_hosts": self.num_spare_hosts,
            "effects": [asdict(effect) for effect in self.effects],
            "left_out": [asdict(variant) for variant in self.left_out],
        }


def variants(study: Study, *, num_mesh_hosts: int, interval_s: float) -> Iterator[Variant]:
    """The decisions worth a look; ``interval_s``: work between two checkpoints in the store now."""
    yield from _recoveries(study)
    yield from _spares(study, study.own_cluster.num_hosts - num_mesh_hosts, num_mesh_hosts)
    yield _slower_repair(study)
    if study.train is None:
        yield from _cadences(study, interval_s)
    yield from _tiers(study)


_RECOVERIES = {
    Recovery.RESTART: "plain checkpoint and restart",
    Recovery.HOT: "hot spares, all restart warm",
    Recovery.REPLICAS: "replica groups go on without the broken one",
}


def _recoveries(study: Study) -> Iterator[Variant]:
    for recovery, name in _RECOVERIES.items():
        if recovery is not study.policy.recovery:
            policy = (
                study.policy.plain()
                if recovery is Recovery.RESTART
                else study.policy.model_copy(update={"recovery": recovery})
            )
            changed = study.model_copy(update={"policy": policy})
            yield Variant(question=Question.RECOVERY, name=name, study=changed)


def _spares(study: Study, num_spares: int, num_mesh_hosts: int) -> Iterator[Variant]:
    counts = {num_spares // 2, 2 * num_spares or -(-num_mesh_hosts // 100)} - {num_spares}
    num_pool = study.pool.num_hosts if study.pool else 0
    for count in sorted(counts):
        beside = count + num_pool
        hosts = {"num_hosts": num_mesh_hosts + beside, "num_spare_hosts": beside}
        cluster = study.cluster.model_copy(update=hosts)
        yield Variant(
            question=Question.SPARES,
            name=f"{plural(count, 'spare host')} instead of {num_spares:,}",
            study=study.model_copy(update={"cluster": cluster}),
        )


def _slower_repair(study: Study) -> Variant:
    """A day more for every host, whatever took it and however it is repaired."""
    faults = study.faults
    causes = tuple(
        cause.model_copy(update={"repair": _later(cause.repair)}) if cause.repair else cause
        for cause in faults.causes
    )
    later = faults.model_copy(update={"repair": _later(faults.repair), "causes": causes})
    changed = study.model_copy(update={"faults": later})
    return Variant(question=Question.REPAIR, name="every repair a day longer", study=changed)


def _later(repair: Repair) -> Repair:
    def shifted(law: Repair | Mode) -> dict[str, float]:
        return {"median_s": law.median_s + DAY_S, "mean_s": law.mean_s + DAY_S}

    modes = tuple(mode.model_copy(update=shifted(mode)) for mode in repair.modes)
    return repair.model_copy(update={**shifted(repair), "modes": modes})


def _cadences(study: Study, interval_s: float) -> Iterator[Variant]:
    for factor, name in ((0.5, "checkpoints twice as often"), (2.0, "checkpoints half as often")):
        changed = _policy(study, checkpoint_interval_s=factor * interval_s)
        yield Variant(question=Question.CADENCE, name=name, study=changed)


def _tiers(study: Study) -> Iterator[Variant]:
    """Other places for copies near the hosts."""
    policy = study.policy
    named: list[tuple[str, dict[str, Any]]] = []
    if policy.peer_copies:
        named.append(("no copies in peers' memory", {"peer_copies": False}))
    if policy.local_copies:
        without = {"local_copies": False, "local_interval_s": None}
        named.append(("no copies on the hosts' disks", without))
    elif study.cluster.host.nvme_write_bandwidth_bytes_per_s:
        alone = {"peer_copies": False, "local_copies": True}
        named.append(("copies on the hosts' own disks alone", alone))
    if policy.recovery is not Recovery.RESTART:
        for name, changed in named:
            yield Variant(question=Question.TIER, name=name, study=_policy(study, **changed))


def _policy(study: Study, **changed: Any) -> Study:
    said = study.policy.model_dump(exclude_unset=True)
    policy = Policy.model_validate(said | changed)
    return study.model_copy(update={"policy": policy})


def effect_of(variant: Variant, found: Ensemble, *, base: Ensemble) -> Effect:
    """The means of the differences between campaigns of the same seed."""
    pairs = list(zip(found.campaigns, base.campaigns, strict=True))
    goodput, days, usd = (_changes(pairs, name) for name in ("goodput", "job_days", "job_usd"))
    return Effect(
        question=variant.question,
        name=variant.name,
        goodput=statistics.fmean(one.goodput for one, _ in pairs),
        goodput_change=statistics.fmean(goodput or [0.0]),
        goodput_error=_error(goodput),
        job_days_change=statistics.fmean(days) if days else None,
        job_usd_change=statistics.fmean(usd) if usd else None,
        job_usd_error=_error(usd),
    )


def _changes(pairs: Sequence[tuple[CampaignFigures, CampaignFigures]], name: str) -> list[float]:
    """Differences seed by seed; none where a campaign lacks the figure."""
    known = [(getattr(one, name), getattr(other, name)) for one, other in pairs]
    if any(a is None or b is None for a, b in known):
        return []
    return [a - b for a, b in known]


def _error(changes: Sequence[float]) -> float | None:
    """Standard error of the mean."""
    if len(changes) < 2:
        return None
    return statistics.stdev(changes) / math.sqrt(len(changes))
