"""`giga chat posts`: what answers may quote, and how it is taken back."""

from __future__ import annotations

from pathlib import Path

import click

from gigafactory.cli.common import json_option, print_json

database_argument = click.argument("database", type=click.Path(path_type=Path, dir_okay=False))


@click.group("posts")
def command() -> None:
    """Import, delete and erase the posts and documents that answers quote.

    Example: giga chat posts import posts.db posts.jsonl
    """


@command.command("import")
@database_argument
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def import_(database: Path, files: tuple[Path, ...], as_json: bool) -> None:
    """Add the posts of FILES to DATABASE, or replace those of the same id; all or none.

    One JSON object a line: id, author, text, at (ISO 8601) and, if known, authority (official,
    press,
    known, anyone), title, url. Authors who opted out are passed over.
    """
    from gigafactory import api

    done = api.import_posts(database, files)
    if as_json:
        print_json(done)
        return
    click.echo(
        f"{done['num_new']} new, {done['num_changed']} changed, {done['num_same']} as they were, "
        f"{done['num_opted_out']} of authors who opted out"
    )


@command.command("index")
@database_argument
@click.option("--words", type=click.Choice(["fts5", "tantivy"]),
              help="Where words are looked up; fts5 is in the database itself.")  # fmt: skip
@click.option("--order", type=click.Choice(["words", "meaning"]),
              help="What puts the posts that were found into order.")  # fmt: skip
@json_option
def index(database: Path, words: str | None, order: str | None, as_json: bool) -> None:
    """Choose how DATABASE is searched, and make its index; without options: say how it is."""
    from gigafactory import api

    chosen = api.choose_retrieval(database, words=words, order=order)
    if as_json:
        print_json(chosen)
        return
    click.echo(
        f"{chosen['num_posts']} posts: words by {chosen['words']}, order by {chosen['order']}"
    )


@command.command("delete")
@database_argument
@click.argument("idents", metavar="ID...", nargs=-1, required=True)
@json_option
def delete(database: Path, idents: tuple[str, ...], as_json: bool) -> None:
    """Remove posts by ID: from the index, remembered answers and audit details."""
    from gigafactory import api

    _tell(api.delete_posts(database, idents), as_json=as_json)


@command.command("erase")
@database_argument
@click.argument("author")
@click.option("--opt-out", "opts_out", is_flag=True, help="And import nothing of AUTHOR again.")
@json_option
def erase(database: Path, author: str, opts_out: bool, as_json: bool) -> None:
    """Remove all that AUTHOR posted, with every trace of it."""
    from gigafactory import api

    _tell(api.erase_author(database, author, opts_out=opts_out), as_json=as_json)


def _tell(done: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    click.echo(
        f"removed: {done['num_posts']} posts, {done['num_answers']} remembered answers, "
        f"the details of {done['num_records']} audit records"
    )
