"""`giga export`: the trained model for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from gigafactory.cli.common import json_option, print_json, working


@click.command("export")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write (default: FOLDER/model/model.gguf).",
)
@json_option
def command(folder: Path, *, out: Path | None, as_json: bool) -> None:
    """Write the model that `giga run` trained in FOLDER as GGUF, which llama.cpp reads.

    A model of which llama.cpp would give other answers is refused, with the reason. The safetensors
    that other engines read are in FOLDER/model already.

    Example: giga export runs/first-light
    """
    from gigafactory import api

    with working("writing GGUF"):
        written = api.export(folder, out=out)
    print_json(written.to_json()) if as_json else click.echo(written.path)
