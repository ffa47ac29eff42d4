"""A process that has its imports behind it and waits: ``python -m ...warm FD MODULE...``.

Most of a worker's start is importing torch. A warm process has done that; one line on its standard
input tells it what to become, and it goes on as if it had just been started with that command. It
cannot outlive its agent, and where it is never needed it costs its memory only.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gigafactory.describe.rank import REPORT_FD_VARIABLE


def order(argv: Sequence[str], *, environment: Mapping[str, str], log: Path) -> bytes:
    """The line that makes a warm process become ``argv``."""
    words = {"argv": list(argv[2:]), "environment": dict(environment), "log": str(log)}
    return json.dumps(words).encode() + b"\n"


def can_become(argv: Sequence[str]) -> bool:
    """Whether a warm process is of the same program: a module of this Python."""
    return len(argv) > 2 and argv[0] == sys.executable and argv[1] == "-m"


def main() -> None:
    """Import, wait, become."""
    descriptor, modules = sys.argv[1], sys.argv[2:]
    for module in modules:
        # whoever needs it will say better what is wrong
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    given = json.loads(line)
    _redirect(given["log"])
    os.environ.update(given["environment"] | {REPORT_FD_VARIABLE: descriptor})
    sys.argv = given["argv"]
    runpy.run_module(given["argv"][0], run_name="__main__", alter_sys=True)


def _redirect(log: str) -> None:
    """Output into the rank's log, nothing to read: as in a process started cold."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)


if __name__ == "__main__":
    main()
