"""What the verbs share: their options, and how results reach stdout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

study_argument = click.argument("study", type=click.Path(path_type=Path))


def set_option(command: Command) -> Command:
    """``--set path=value``: change the study without editing the file."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="PATH=VALUE",
        help="Change the study, for example --set job.seq_len=4096 (repeatable).",
    )(command)


def json_option(command: Command) -> Command:
    """``--json``: one JSON document on stdout."""
    return click.option(
        "--json", "as_json", is_flag=True, help="One JSON document; keys end in their unit."
    )(command)


def dir_option(help_text: str) -> Callable[[Command], Command]:
    """``--dir``: where the files of this study are kept."""
    return click.option(
        "--dir", "folder", type=click.Path(path_type=Path, file_okay=False), help=help_text
    )


def print_json(document: Any) -> None:
    """The document on stdout, keys in the order of the contract, floats in full."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def keep_json(path: Path, document: Any) -> None:
    """Write the document beside the ledgers, whole or not at all."""
    from gigafactory.api.files import together

    with together(path.parent) as drafts:
        drafts.document(path.name, document)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say on stderr what is going on: a spinner on a terminal, else one line."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        console.print(f"{what} ...", style="dim", soft_wrap=True)
        yield
        return
    with console.status(f"{what} ..."):
        yield
