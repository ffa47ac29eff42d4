"""`giga chat`: talk to the trained model and to a pretrained one."""

from __future__ import annotations

from pathlib import Path

import click

from gigafactory.cli.common import working


@click.command("chat")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--port", default=8080, show_default=True, help="Port on 127.0.0.1.")
@click.option("--ask", "question", metavar="TEXT", help="Put one question to every model and end.")
def command(folder: Path | None, port: int, question: str | None) -> None:
    """Serve the model trained in FOLDER (a run's folder) and SmolLM2-135M-Instruct.

    An OpenAI-compatible endpoint and a web page on loopback. Ctrl-C ends it.

    Example: giga chat runs/first-light --port 8080
    """
    from gigafactory import api

    if question is None:
        click.echo("loading the models ...", err=True)
        api.chat(folder, port=port, on_ready=_tell)
        return
    with working("loading the models and asking them"):
        answers = api.ask(folder, question=question)
    for answer in answers:
        click.echo(f"{answer['model']}: {answer['answer']}")


def _tell(address: str) -> None:
    click.echo(f"Chat page: {address}  (OpenAI endpoint: {address.rstrip('/')}/v1; Ctrl-C ends)")
