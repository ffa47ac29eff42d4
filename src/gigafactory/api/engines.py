"""The program of every replica of a planned service, for an engine of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gigafactory.describe.errors import InputError

if TYPE_CHECKING:
    from gigafactory.describe.serve import FleetStudy
    from gigafactory.describe.study import Study
    from gigafactory.run.engines.program import Program


def serving_files(
    study: Study | FleetStudy | str | Path,
    *,
    program: str,
    weights: str,
    folder: Path | None = None,
    overrides: Iterable[str] = (),
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """(what a replica of each role starts, by file; what the engine leaves open).

    ``program``: "vllm" or "sglang"; ``weights``: folder of the model, as the hosts see it. Files
    are kept in ``folder``. InputError where the engine does not serve the model or the layout.
    """
    from gigafactory.api.factory import load_any
    from gigafactory.api.fleet import plan_service
    from gigafactory.run.engines.program import START

    found = load_any(study, overrides=overrides)
    render = _renderer(program)
    plan, _ = plan_service(found)
    files: dict[str, str] = {}
    notes: list[str] = []
    for role in plan.best.roles:
        made = render(
            found.model, role.replica, gpus_per_host=found.cluster.host.num_gpus,
            weights=weights, role=role.role,
        )  # fmt: skip
        place = f"{role.role}/" if plan.best.is_split else ""
        files |= {f"{place}{name}": text for name, text in made.files.items()}
        files[f"{place}{START}"] = made.start_script()
        notes += made.notes
    if folder:
        _keep(files, folder)
    return files, tuple(dict.fromkeys(notes))


def _keep(files: Mapping[str, str], folder: Path) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _renderer(program: str) -> Callable[..., Program]:
    from gigafactory.run.engines import sglang, vllm
    from gigafactory.run.engines.catalog import ServingEngine

    known = {ServingEngine.VLLM: vllm.program, ServingEngine.SGLANG: sglang.program}
    if program not in known:
        raise InputError(f"--emit {program}: a service is started by {' or '.join(known)}")
    return known[ServingEngine(program)]
