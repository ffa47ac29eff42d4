"""The JSON documents a run folder may hold, checked before anything is drawn from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from gigafactory.describe.errors import InputError
from gigafactory.describe.figures import Figure
from gigafactory.ledger.pool import PoolResult

DESCRIPTION_FILE = "description.json"
PLAN_FILE = "plan.json"
ANSWERS_FILE = "answers.json"
ENSEMBLE_FILE = "ensemble.json"
DECISIONS_FILE = "decisions.json"
RESULT_FILE = "twin.json"
SWEEP_FILES = "sweep-*.json"
END_FILE = "result.json"

Document = TypeVar("Document")


class _Part(BaseModel):
    """Keys that the page does not show may stand in the files."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Answer(_Part):
    """What a model said."""

    model: str
    question: str
    answer: str


class Candidate(_Part):
    """A layout with what it would do; times in s, memory in bytes."""

    layout: dict[str, int | float | str | bool | None]
    step_s: float
    tokens_per_s_per_gpu: float
    tokens_per_s: float | None = None
    mfu: float
    memory_bytes_per_gpu: float
    breakdown_s: dict[str, float] = {}
    memory_breakdown_bytes: dict[str, float] = {}


class PlanDocument(_Part):
    """The plan contract of the design, with its reasons."""

    best: Candidate
    alternatives: tuple[Candidate, ...] = ()
    num_candidates: int
    num_feasible: int
    search_s: float | None = None
    explanation: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    calibration: str = ""


class Spread(_Part):
    """Quantiles of one figure over the campaigns."""

    p10: float
    p50: float
    p90: float
    low: float
    high: float


class EnsembleDocument(_Part):
    """What many campaigns came to."""

    num_campaigns: int
    first_seed: int
    worst_seed: int
    quantiles: dict[str, Spread]


class Setting(_Part):
    """One point of a sweep; of one that is impossible only the reason is known."""

    settings: dict[str, str]
    num_training_gpus: int | None = None
    num_spare_hosts: int | None = None
    quantiles: dict[str, Spread] | None = None
    impossible: str | None = None

    @model_validator(mode="after")
    def _known_or_impossible(self) -> Self:
        known = (self.num_training_gpus, self.num_spare_hosts, self.quantiles)
        if self.impossible is None and None in known:
            raise ValueError("a point has figures, or says why it is impossible")
        return self


class SweepAxis(_Part):
    """A place in the study and its values."""

    path: str
    values: tuple[str, ...]


class SweepDocument(_Part):
    """The points of a sweep, the last axis fastest."""

    axes: tuple[SweepAxis, ...]
    num_campaigns: int
    points: tuple[Setting, ...]
    best: tuple[str, ...]


class EffectDocument(_Part):
    """A decision taken otherwise, and what that changes."""

    name: str
    goodput: float
    goodput_change: float
    job_days_change: float | None
    job_usd_change: float | None


class LeftOutDocument(_Part):
    """A decision with which no campaign could end."""

    name: str
    reason: str


class DecisionsDocument(_Part):
    """The study as it is, and the effects."""

    base: EnsembleDocument
    effects: tuple[EffectDocument, ...]
    left_out: tuple[LeftOutDocument, ...] = ()


class ResultDocument(_Part):
    """What a campaign of the twin came to, beyond its ledger."""

    wall_s: float = Field(gt=0)
    gpus_per_host: int
    ledger_hash: str
    """sha256 of the twin.jsonl that it is about."""
    pool: PoolResult | None = None


def read_result(folder: Path) -> ResultDocument | None:
    """twin.json, likewise."""
    return _read(folder / RESULT_FILE, TypeAdapter(ResultDocument))


def read_ensemble(folder: Path) -> EnsembleDocument | None:
    """ensemble.json, likewise."""
    return _read(folder / ENSEMBLE_FILE, TypeAdapter(EnsembleDocument))


def read_decisions(folder: Path) -> DecisionsDocument | None:
    """decisions.json, likewise."""
    return _read(folder / DECISIONS_FILE, TypeAdapter(DecisionsDocument))


def read_sweeps(folder: Path) -> tuple[SweepDocument, ...]:
    """Every sweep-*.json, by name."""
    shape = TypeAdapter(SweepDocument)
    found = (_read(path, shape) for path in sorted(folder.glob(SWEEP_FILES)))
    return tuple(document for document in found if document)


def check_end(folder: Path) -> None:
    """InputError where result.json, of which the page tells nothing that the ledger does not, is
    no document: then the folder is not what a run has left."""
    _read(folder / END_FILE, TypeAdapter(dict[str, Any]))


def read_description(folder: Path) -> tuple[Figure, ...] | None:
    """Figures of description.json; None where the file is absent; InputError where it is wrong."""
    return _read(folder / DESCRIPTION_FILE, TypeAdapter(tuple[Figure, ...]))


def read_plan(folder: Path) -> PlanDocument | None:
    """plan.json, likewise."""
    return _read(folder / PLAN_FILE, TypeAdapter(PlanDocument))


def read_answers(folder: Path) -> tuple[Answer, ...] | None:
    """answers.json, likewise."""
    return _read(folder / ANSWERS_FILE, TypeAdapter(tuple[Answer, ...]))


def _read(path: Path, shape: TypeAdapter[Document]) -> Document | None:
    if not path.exists():
        return None
    try:
        return shape.validate_python(_json(path))
    except ValidationError as error:
        raise InputError(_wrong(path, error)) from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: not JSON ({error.msg}); write the file again with giga"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _wrong(path: Path, error: ValidationError) -> str:
    lines = [
        f"{path}: {'.'.join(str(part) for part in found['loc']) or 'document'}: {found['msg']}"
        for found in error.errors(include_url=False)[:5]
    ]
    return "\n".join(lines)
