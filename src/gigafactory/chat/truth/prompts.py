"""Prompts are files with a version, and their hashes stand here: a changed prompt is a changed
program.

An edit that nobody reviewed makes the hash differ, and then nothing starts. A reviewed edit
changes this
file as well. Lines that order the model to be harsh, partisan or single-minded are refused even
then.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from gigafactory.describe.errors import InputError

HASHES: Mapping[str, str] = {
    "rephrase.v1": "f23a177c6276f3884bafaee625f9f71223aa11fa45d3fd9b0eba9db82e0cb371",
}

#: what instructions to chatbots have said before they did harm in public
_REFUSED = (
    (
        r"politically incorrect|(?:not|n't) (?:shy|afraid|hesitate)[^.]*\b(?:offend|incorrect)",
        "invites abuse",
    ),
    (r"\b(?:mock|insult|offend|provoke|ridicule|humiliate)\b", "invites abuse"),
    (r"\b(?:always|never) (?:mention|claim|say|accept|deny|bring up|ignore)\b", "fixes an opinion"),
    (r"regardless of (?:the )?(?:question|topic|query|evidence)", "fixes an opinion"),
    (
        r"ignore (?:all )?sources|sources (?:that|which) (?:mention|say|criticis|criticiz)",
        "hides sources",
    ),
    (r"(?:mainstream|legacy) media (?:is|are)|assume[^.]*\bbiased", "judges sources beforehand"),
    (r"(?:opinion|view|stance|posts?) of (?:the )?(?:owner|founder|ceo)", "serves an owner"),
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that may be used."""

    name: str
    text: str
    sha256: str


def faults_of(text: str) -> list[str]:
    """Lines that no prompt may have, each with the reason."""
    return [
        f"line {number} {reason}: {line.strip()!r}"
        for number, line in enumerate(text.splitlines(), start=1)
        for pattern, reason in _REFUSED
        if re.search(pattern, line, re.IGNORECASE)
    ]


def load_prompt(name: str, *, folder: Path | None = None) -> Prompt:
    """A prompt whose hash is the known one; InputError tells both hashes and refuses to go on."""
    if name not in HASHES:
        raise InputError(f"there is no prompt {name!r}; there are {', '.join(HASHES)}")
    root = folder if folder is not None else files("gigafactory.chat.truth").joinpath("prompts")
    try:
        body = root.joinpath(f"{name}.txt").read_bytes()
    except OSError as error:
        raise InputError(f"prompt {name}: its file cannot be read: {error}") from None
    found = hashlib.sha256(body).hexdigest()
    if found != HASHES[name]:
        raise InputError(
            f"prompt {name} was changed: its hash is {found}, reviewed was {HASHES[name]}; "
            "restore the file, or have the change reviewed together with HASHES in prompts.py"
        )
    text = body.decode("utf-8")
    faults = faults_of(text)
    if faults:
        raise InputError(f"prompt {name} is refused: {'; '.join(faults)}")
    return Prompt(name, text, found)


def load_all(*, folder: Path | None = None) -> dict[str, Prompt]:
    """Every prompt of the program, checked; to be called before anything is served."""
    return {name: load_prompt(name, folder=folder) for name in HASHES}
