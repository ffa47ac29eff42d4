"""What passes between whoever asks a scheduler for a job and the job itself: files in one folder.

The one who asks may go, or be killed, and come back: everything it needs lies there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gigafactory.describe.errors import InputError, JobError
from gigafactory.describe.study import Study
from gigafactory.plan.chosen import Plan
from gigafactory.run.progress import Progress, Stage


@dataclass(frozen=True, slots=True)
class Errand:
    """The files of one job below ``folder``."""

    folder: Path

    @property
    def order(self) -> Path:
        """Study and plan, as they were when the job was asked for."""
        return self.folder / "order.json"

    @property
    def job(self) -> Path:
        """The job's identity at the scheduler."""
        return self.folder / "job.json"

    @property
    def progress(self) -> Path:
        """Snapshots, a line each."""
        return self.folder / "progress.jsonl"

    @property
    def end(self) -> Path:
        """How the driver in the job ended."""
        return self.folder / "end.json"

    @property
    def meet(self) -> Path:
        """Where agents find the driver."""
        return self.folder / "meet.json"

    def give(self, study: Study, plan: Plan) -> None:
        """Write down what is to be done, and forget what an earlier job left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in (self.job, self.progress, self.end):
            old.unlink(missing_ok=True)
        _keep(self.order, order_of(study, plan))

    def taken(self) -> tuple[Study, Plan]:
        """What is to be done; InputError where it cannot be read."""
        try:
            order = json.loads(self.order.read_text(encoding="utf-8"))
            return Study.model_validate(order["study"]), Plan.from_json(order["plan"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{self.order}: not what `giga run` writes there: {error}") from None

    def is_of(self, study: Study, plan: Plan) -> bool:
        """Whether the job there does the same."""
        with contextlib.suppress(OSError, ValueError):
            held = json.loads(self.order.read_text(encoding="utf-8"))
            return bool(held == json.loads(json.dumps(order_of(study, plan))))
        return False

    def name_job(self, job_id: str) -> None:
        """Remember what the scheduler calls it."""
        _keep(self.job, {"job_id": job_id})

    def job_id(self) -> str | None:
        """What the scheduler calls it; None: it was never asked for."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            return str(json.loads(self.job.read_text(encoding="utf-8"))["job_id"])
        return None

    def tell(self, seen: Progress) -> None:
        """One snapshot, for whoever watches."""
        with self.progress.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(seen)) + "\n")

    def conclude(self, error: Exception | None = None) -> None:
        """The driver ended: with a result, or with this."""
        kind = type(error).__name__ if error else ""
        _keep(self.end, {"error": kind, "message": str(error) if error else ""})

    def failure(self) -> Exception | None:
        """What the driver in the job raised; None where it has a result."""
        end = json.loads(self.end.read_text(encoding="utf-8"))
        if not end["error"]:
            return None
        kind = InputError if end["error"] == InputError.__name__ else JobError
        return kind(end["message"])


def order_of(study: Study, plan: Plan) -> dict[str, Any]:
    """As it is written down."""
    return {"study": study.model_dump(mode="json"), "plan": plan.to_json()}


def _keep(path: Path, words: dict[str, Any]) -> None:
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(words, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)


@dataclass(slots=True)
class Reading:
    """Snapshots as another process writes them."""

    path: Path
    _offset: int = 0
    _partial: bytes = field(default=b"")

    def more(self) -> Iterator[Progress]:
        """Those that came since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read()
        except FileNotFoundError:
            return
        self._offset += len(chunk)
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        for line in lines:
            words = json.loads(line)
            yield Progress(**words | {"stage": Stage(words["stage"])})
