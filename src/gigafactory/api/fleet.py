"""The plan of a service, and its twin."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigafactory.api.factory import load_any
from gigafactory.describe.errors import InputError

if TYPE_CHECKING:
    from gigafactory.describe.serve import FleetStudy
    from gigafactory.describe.study import Study
    from gigafactory.plan.fleet import Fleet, FleetPlan
    from gigafactory.simulate.serving.outcome import Outcome


def plan_service(
    study: Study | FleetStudy | str | Path, *, overrides: Iterable[str] = ()
) -> tuple[FleetPlan, float]:
    """The fleet that keeps the study's promise with fewest GPUs, and the seconds of the search."""
    from gigafactory.plan.fleet import plan_fleet

    found = _service(study, overrides)
    begin_s = time.perf_counter()
    return plan_fleet(found), time.perf_counter() - begin_s


def simulate_service(
    study: Study | FleetStudy | str | Path,
    *,
    plan: Fleet | None = None,
    seed: int = 0,
    overrides: Iterable[str] = (),
) -> Outcome:
    """The fleet through the study's window, request by request; same seed, same outcome."""
    from gigafactory.plan.fleet import plan_fleet
    from gigafactory.simulate.serving.twin import follow

    found = _service(study, overrides)
    return follow(found, plan=plan or plan_fleet(found).best, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The service built or run in another way, with the same people."""

    name: str
    outcome: Outcome

    def to_json(self) -> dict[str, Any]:
        """Its figures, the hours left out."""
        told = self.outcome.to_json()
        del told["hours"]
        return {"name": self.name} | told


def vary_service(
    study: Study | FleetStudy | str | Path, *, seed: int = 0, overrides: Iterable[str] = ()
) -> tuple[Variant, ...]:
    """As planned; without autoscaling; prompts and answers apart, or together, unlike the plan."""
    from gigafactory.plan.fleet import plan_fleet
    from gigafactory.simulate.serving.twin import follow

    found = _service(study, overrides)
    plan = plan_fleet(found)
    other = found.serve.scaling.model_copy(update={"is_on": not found.serve.scaling.is_on})
    scaled = found.model_copy(update={"serve": found.serve.model_copy(update={"scaling": other})})
    name = "with autoscaling" if other.is_on else "without autoscaling"
    told = [
        Variant(name="as planned", outcome=follow(found, plan=plan.best, seed=seed)),
        Variant(name=name, outcome=follow(scaled, plan=plan_fleet(scaled).best, seed=seed)),
    ]
    if plan.other:
        name = "disaggregated" if plan.other.is_split else "not disaggregated"
        told.append(Variant(name=name, outcome=follow(found, plan=plan.other, seed=seed)))
    return tuple(told)


def _service(study: Study | FleetStudy | str | Path, overrides: Iterable[str]) -> FleetStudy:
    from gigafactory.describe.serve import FleetStudy

    found = load_any(study, overrides=overrides)
    if isinstance(found, FleetStudy):
        return found
    raise InputError(f"{found.study}: is a study of a training job; a service has serve")
