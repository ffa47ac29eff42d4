"""`giga plan`: the best layout and why it wins."""

from __future__ import annotations

from pathlib import Path

import click

from gigafactory.cli.common import (
    dir_option,
    json_option,
    keep_json,
    print_json,
    set_option,
    study_argument,
    working,
)


@click.command("plan")
@study_argument
@set_option
@click.option("--goal", metavar="GOAL", help="fastest, cheapest or tokens-per-joule.")
@click.option(
    "--emit",
    "program",
    metavar="PROGRAM",
    help="Print arguments for megatron or torchtitan; of a service, for vllm or sglang.",
)
@click.option(
    "--weights", metavar="FOLDER", help="The model that vllm or sglang loads, as its hosts see it."
)
@json_option
@dir_option("Also keep plan.json in this folder, for the report.")
def command(
    study: Path,
    *,
    overrides: tuple[str, ...],
    goal: str | None,
    program: str | None,
    weights: str | None,
    as_json: bool,
    folder: Path | None,
) -> None:
    """Search every legal layout of STUDY and print the best, with reasons.

    Bounds are part of the study: --set plan.deadline="60 d", plan.budget, plan.power, plan.gpus.
    A study of a service (serve) gets its fleet: replicas, GPUs by the hour, dollars an answer.

    Example: giga plan studies/colossus.yaml
    """
    from gigafactory import api
    from gigafactory.cli.show import show_plan
    from gigafactory.describe.errors import InputError

    if api.is_service(study, overrides=overrides):
        if goal:
            raise InputError("--goal is for a training job; this study serves")
        if program:
            _emit_service(study, overrides, program, weights, as_json=as_json, folder=folder)
            return
        _service(study, overrides, as_json=as_json, folder=folder)
        return
    if weights:
        raise InputError("--weights is for --emit of a service; this study trains")
    if goal:
        overrides = (*overrides, f"plan.goal={goal}")
    if program:
        if as_json or folder:
            raise InputError("--emit prints arguments; leave --json and --dir out")
        _emit(study, overrides, program)
        return
    with working("searching every legal layout"):
        found, search_s = api.plan(study, overrides=overrides)
    document = found.to_json() | {"search_s": round(search_s, 3)}
    if folder:
        keep_json(folder / api.PLAN_FILE, document)
    if as_json:
        print_json(document)
    else:
        show_plan(document)


def _service(
    study: Path, overrides: tuple[str, ...], *, as_json: bool, folder: Path | None
) -> None:
    from gigafactory import api
    from gigafactory.cli.fleet import show_service_plan

    found, search_s = api.plan_service(study, overrides=overrides)
    document = found.to_json() | {"search_s": round(search_s, 3)}
    if folder:
        keep_json(folder / api.FLEET_PLAN_FILE, document)
    if as_json:
        print_json(document)
    else:
        show_service_plan(document)


def _emit_service(
    study: Path, overrides: tuple[str, ...], program: str, weights: str | None, *, as_json: bool,
    folder: Path | None,
) -> None:  # fmt: skip
    from gigafactory import api
    from gigafactory.cli.show import show_files
    from gigafactory.describe.errors import InputError

    if weights is None:
        raise InputError(f"--emit {program} needs --weights FOLDER, the model as its hosts see it")
    files, notes = api.serving_files(
        study, program=program, weights=weights, folder=folder, overrides=overrides
    )
    show_files(files, as_json=as_json)
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _emit(study: Path, overrides: tuple[str, ...], program: str) -> None:
    from gigafactory import api

    with working("searching every legal layout"):
        text, notes = api.emit(study, program=program, overrides=overrides)
    click.echo(text)
    for note in notes:
        click.echo(note, err=True)
