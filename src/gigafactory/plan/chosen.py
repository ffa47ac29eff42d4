"""What a search comes to: layouts with their predictions, the best of them, and the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gigafactory.describe.errors import InputError
from gigafactory.describe.layout import Layout


@dataclass(frozen=True)
class Candidate:
    """A layout with what it is predicted to do; seconds, bytes, FLOP."""

    layout: Layout
    num_gpus: int
    step_s: float
    tokens_per_s: float
    tokens_per_s_per_gpu: float
    mfu: float
    flops_per_step: float
    memory_bytes_per_gpu: float
    breakdown_s: Mapping[str, float]
    """Parts of the step; they add up to ``step_s``."""
    memory_breakdown_bytes: Mapping[str, float]
    """Parts of the memory; they add up to ``memory_bytes_per_gpu``."""
    outlook: Mapping[str, float] = field(default_factory=dict)
    """goodput, duration_s, cost_usd, power_w, tokens_per_j of the whole job, see plan.outlook."""
    power_slowdown: float = 1.0
    """Times the step at full power that ``step_s`` is, because of what the site may draw."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, the layout as a mapping."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return plain | {
            "layout": self.layout.model_dump(mode="json"),
            "breakdown_s": dict(self.breakdown_s),
            "memory_breakdown_bytes": dict(self.memory_breakdown_bytes),
            "outlook": dict(self.outlook),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Candidate:
        """The inverse of ``to_json``; keys it does not know are left out."""
        new = {"outlook", "power_slowdown"}
        known = {k: document[k] for k in cls.__dataclass_fields__ if k in document or k not in new}
        return cls(**known | {"layout": Layout.model_validate(document["layout"])})


@dataclass(frozen=True)
class Plan:
    """The chosen layout with its reasons."""

    best: Candidate
    alternatives: tuple[Candidate, ...]
    num_candidates: int
    """Legal layouts."""
    num_feasible: int
    """Of those, how many fit into memory."""
    explanation: tuple[str, ...] = field(default=())
    """Why this layout wins."""
    limits: tuple[str, ...] = field(default=())
    """What would make it faster, in sentences."""
    changes: tuple[Mapping[str, Any], ...] = field(default=())
    """The same as numbers, see plan.explain.changes."""
    frontier: tuple[Mapping[str, float], ...] = field(default=())
    """Numbers of GPUs that nothing beats in both days and dollars, fastest first."""
    placement: Mapping[str, Any] = field(default_factory=dict)
    """Where the ranks lie and what crosses which tier, see plan.placement."""
    step_low_s: float | None = None
    step_high_s: float | None = None
    """Four of five measured steps like the best one's are expected between the two."""
    warnings: tuple[str, ...] = field(default=())
    """In what the best layout lies beyond every measured run, see cost.calibrated."""
    calibration: str = ""
    """Which machine was measured for it; empty: the published constants."""

    def to_json(self) -> dict[str, Any]:
        """The contract of `giga plan --json`, without the time of the search."""
        return {
            "best": self.best.to_json(),
            "alternatives": [c.to_json() for c in self.alternatives],
            "num_candidates": self.num_candidates,
            "num_feasible": self.num_feasible,
            "explanation": list(self.explanation),
            "limits": list(self.limits),
            "changes": [dict(change) for change in self.changes],
            "frontier": [dict(point) for point in self.frontier],
            "placement": dict(self.placement),
            "step_low_s": self.step_low_s,
            "step_high_s": self.step_high_s,
            "warnings": list(self.warnings),
            "calibration": self.calibration,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """Read what ``to_json`` wrote; InputError where a key is missing or wrong."""
        try:
            return cls(
                best=Candidate.from_json(document["best"]),
                alternatives=tuple(map(Candidate.from_json, document["alternatives"])),
                num_candidates=int(document["num_candidates"]),
                num_feasible=int(document["num_feasible"]),
                explanation=tuple(document.get("explanation", ())),
                limits=tuple(document.get("limits", ())),
                changes=tuple(document.get("changes", ())),
                frontier=tuple(document.get("frontier", ())),
                placement=document.get("placement", {}),
                step_low_s=document.get("step_low_s"),
                step_high_s=document.get("step_high_s"),
                warnings=tuple(document.get("warnings", ())),
                calibration=str(document.get("calibration", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a plan of `giga plan --json`: {error}") from None
