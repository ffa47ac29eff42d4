"""`giga chat`: talk to the trained model and to others, or serve them to users."""

from __future__ import annotations

from pathlib import Path

import click

from gigafactory.cli import chat_keys, chat_load, chat_posts, chat_truth, chat_x
from gigafactory.cli.common import working

_MORE = {
    "keys": chat_keys.command,
    "load": chat_load.command,
    "posts": chat_posts.command,
    "truth": chat_truth.command,
    "x": chat_x.command,
}


class _Chat(click.Command):
    """`giga chat keys` and its like are commands of their own; a folder of such a name is
    written ./keys."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: object,
    ) -> click.Context:
        """The context of the command that ``args`` begin with, or of this one."""
        more = _MORE.get(args[0]) if args else None
        if more is not None:
            return more.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Name the other commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, more.get_short_help_str()) for name, more in _MORE.items()])


@click.command("chat", cls=_Chat)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--port", default=8080, show_default=True, help="Port to listen on.")
@click.option("--ask", "question", metavar="TEXT", help="Put one question to every model and end.")
@click.option(
    "--engine",
    "remotes",
    multiple=True,
    metavar="NAME=URL",
    help="A model served elsewhere: an OpenAI base URL, with #MODEL where its name differs "
    "(repeatable; several of one NAME share its requests out).",
)
@click.option(
    "--store",
    envvar="GIGA_CHAT_STORE",
    metavar="FILE|URL",
    help="Keys and usage ledger: a SQLite file or postgresql://...; callers then need keys.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; another than loopback needs --store.",
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="URL",
    help="A web page from elsewhere that may call (CORS; repeatable).",
)
@click.option(
    "--moderator",
    metavar="MODULE:FUNCTION",
    help="Looks at every conversation first; returns why it is refused, or None.",
)
@click.option(
    "--posts",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Posts to answer from with quotes: a database made by giga chat posts import.",
)
@click.option(
    "--log",
    metavar="FILE",
    help="JSON lines about requests, without their text; - is stderr.",
)
def command(
    *,
    folder: Path | None,
    port: int,
    question: str | None,
    remotes: tuple[str, ...],
    store: str | None,
    host: str,
    origins: tuple[str, ...],
    moderator: str | None,
    posts: Path | None,
    log: str | None,
) -> None:
    """Serve the model trained in FOLDER (a run's folder) and SmolLM2-135M-Instruct.

    An OpenAI-compatible endpoint and a web page. With --engine and no FOLDER only models served
    elsewhere are offered. Ctrl-C ends it; SIGTERM lets answers under way end first.

    Example: giga chat runs/first-light --port 8080
    """
    from gigafactory import api

    if question is not None:
        _ask(folder, question)
        return
    from gigafactory.chat.opening import Opening
    from gigafactory.chat.server import Door

    click.echo("loading the models ...", err=True)
    api.chat(
        folder,
        remotes=remotes,
        opening=Opening(store=store, moderator=moderator, posts=posts),
        door=Door(host=host, port=port, origins=origins),
        log=log,
        on_ready=_tell,
    )


def _ask(folder: Path | None, question: str) -> None:
    from gigafactory import api

    with working("loading the models and asking them"):
        answers = api.ask(folder, question=question)
    for answer in answers:
        click.echo(f"{answer['model']}: {answer['answer']}")


def _tell(address: str) -> None:
    click.echo(f"Chat page: {address}  (OpenAI endpoint: {address.rstrip('/')}/v1; Ctrl-C ends)")
