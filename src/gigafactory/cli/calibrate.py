"""`giga calibrate`: this machine, measured."""

from __future__ import annotations

from pathlib import Path

import click

from gigafactory.cli.common import json_option, print_json

#: as describe.measured.DeviceKind, whose import would make --help slow
_DEVICES = ("cpu", "cuda")


@click.command("calibrate")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("calibration.yaml"),
    show_default=True,
    help="The file to write; a study names it: calibration: PATH.",
)
@click.option(
    "--ranks",
    type=click.IntRange(min=1),
    help="Ranks that work at once, as many as will train (default: every GPU; 2 on a processor).",
)
@click.option("--device", type=click.Choice(_DEVICES), help="Default: cuda where there is one.")
@click.option("--quick", is_flag=True, help="A quarter of the time, a little less certain.")
@json_option
def command(out: Path, ranks: int | None, device: str | None, quick: bool, as_json: bool) -> None:
    """Measure this machine: products, attention, memory, collectives, what python costs.

    Takes a minute. Leave the machine alone meanwhile: what else runs is measured too.

    Example: giga calibrate --out calibration.yaml
    """
    from gigafactory import api
    from gigafactory.cli.progress import Counting
    from gigafactory.cli.show import show_calibration
    from gigafactory.describe.measured import DeviceKind

    with Counting("measuring this machine") as counting:
        measured = api.calibrate(
            out,
            num_ranks=ranks,
            device=DeviceKind(device) if device else None,
            quick=quick,
            watch=counting.show_share,
        )
    document = measured.model_dump(mode="json") | {"file": str(out)}
    if as_json:
        print_json(document)
    else:
        show_calibration(measured, out)
