"""The two ways to fail, which the command line turns into exit status 2 and 1."""

from __future__ import annotations


class InputError(ValueError):
    """What the person gave is wrong; the message names the place and what would be right."""


class JobError(RuntimeError):
    """The input was right and the job failed all the same."""
