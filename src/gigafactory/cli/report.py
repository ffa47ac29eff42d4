"""`giga report`: one page over plans and ledgers."""

from __future__ import annotations

from pathlib import Path

import click

from gigafactory.cli.common import working


@click.command("report")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write (default: report.html in the last folder).",
)
def command(folders: tuple[Path, ...], out: Path | None) -> None:
    """Lay plan, twin and reality of the studies kept in FOLDERS side by side.

    A folder is what `giga run` and the --dir option of the other verbs leave behind.

    Example: giga report runs/colossus runs/first-light
    """
    from gigafactory import api

    with working("reading plans and ledgers"):
        page = api.report(folders, out=out or folders[-1] / api.REPORT_FILE)
    click.echo(page)
