"""The two ways to fail, which the command line turns into exit status 2 and 1."""

from __future__ import annotations

import errno

#: The place was right, and the disk gave way.
_NO_FAULT_OF_THE_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


class InputError(ValueError):
    """What the person gave is wrong; the message names the place and what would be right."""


class ImpossibleError(InputError):
    """Fair values that do not go together: the campaign never ends, a copy has no room.

    The message has the figures. What only compares may leave such a case out, and say so.
    """


class JobError(RuntimeError):
    """The input was right and the job failed all the same."""


def unwritable(place: object, error: OSError) -> InputError | JobError:
    """What to raise where a file or folder cannot be written: mostly the place is wrong."""
    told = f"{place}: cannot be written: {error.strerror or error}"
    if error.errno in _NO_FAULT_OF_THE_PLACE:
        return JobError(told)
    return InputError(f"{told}; name a place where files can be made")
