"""`giga validate`: score the equations on measured runs."""

from __future__ import annotations

from pathlib import Path

import click

from gigafactory.cli.common import json_option, print_json, working


@click.command("validate")
@click.argument("table", type=click.Path(path_type=Path))
@json_option
def command(table: Path, as_json: bool) -> None:
    """Predict every run in TABLE (a CSV of measured training or serving runs) and show the errors.

    The error is predicted over measured time, minus 1; never MFU, whose conventions differ.

    Example: giga validate shared/data/training_runs.csv
    """
    from gigafactory import api
    from gigafactory.cli.show import show_score

    with working("predicting every run of the table"):
        document = api.validate(table)
    if as_json:
        print_json(document)
    else:
        show_score(document)
