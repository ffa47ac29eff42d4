"""What runs on a host of a Ray cluster: an actor that holds the host's bundle and one process."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_END_S = 5.0
_LOG_LINES = 1000
_LOOK_S = 1.0


class Seat:
    """One process on this host; it ends with the actor, and the actor with its host."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None

    def start(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        log: str = "",
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; ``files`` are written into a folder of their own, where it runs.

        With files it is a job's, and ends when the raylet does, because Ray gives the job up then
        and leaves the processes (seen with 2.60). Without it is a driver's agent: as long as it is
        well and its driver hears it, a lost raylet is no reason to end it.
        """
        folder = None
        if files is not None:
            threading.Thread(
                target=self._end_with_raylet, args=(os.getppid(),), daemon=True
            ).start()
            folder = Path(tempfile.mkdtemp(prefix="giga-"))
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8")
        self._log = Path(log) if log else (folder or Path(tempfile.gettempdir())) / "output.log"
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                argv, cwd=folder, env=os.environ | dict(environment), stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - nothing but one system call
            )  # fmt: skip

    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll() if self._process else None

    def end(self) -> None:
        """SIGTERM to its group, then SIGKILL."""
        if self._process is None:
            return
        for number, patience_s in ((signal.SIGTERM, _END_S), (signal.SIGKILL, _END_S)):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(patience_s)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue

    def _end_with_raylet(self, raylet: int) -> None:
        while os.getppid() == raylet:
            time.sleep(_LOOK_S)
        self.end()
        os._exit(1)

    def lines(self) -> list[str]:
        """The end of what it printed."""
        if self._log is None or not self._log.exists():
            return []
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]


def _end_with_parent() -> None:
    """The kernel kills the process when the actor's ends (Linux)."""
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
