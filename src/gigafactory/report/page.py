"""One self-contained page that lays plan, twin and reality side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from gigafactory import __version__
from gigafactory.describe.errors import InputError, unwritable
from gigafactory.report.blocks import StudyPage
from gigafactory.report.folder import read_folder
from gigafactory.report.story import tell


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write the page over the run ``folders`` to ``out`` and return ``out``.

    The same files give the same bytes. InputError names what is missing or corrupt, and then
    nothing is written.
    """
    if not folders:
        raise InputError("no folder to report on; name one or more, for example runs/first-light")
    page = render([tell(read_folder(folder)) for folder in folders])
    draft = out.with_name(out.name + ".tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page, encoding="utf-8")
        draft.replace(out)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise unwritable(out, error) from None
    return out


def render(studies: Sequence[StudyPage]) -> str:
    """The HTML text; every word from outside is escaped by the template engine."""
    template, style = _template()
    return template.render(studies=_anchored(studies), style=style, version=__version__)


@cache
def _template() -> tuple[Template, Markup]:
    """The page and its style sheet, which is ours, so that quotes in it stay quotes."""
    room = files(__package__ or "gigafactory.report")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(room.joinpath("page.html").read_text(encoding="utf-8"))
    return template, Markup(room.joinpath("style.css").read_text(encoding="utf-8"))


def _anchored(studies: Sequence[StudyPage]) -> list[dict[str, object]]:
    return [
        {
            "name": study.name,
            "anchor": f"study-{index}-{re.sub(r'[^a-z0-9]+', '-', study.name.lower())}",
            "lead": study.lead,
            "tiles": study.tiles,
            "chapters": study.chapters,
        }
        for index, study in enumerate(studies, start=1)
    ]
