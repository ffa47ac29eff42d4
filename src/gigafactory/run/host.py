"""One host of a job: ``python -m gigafactory.run.host``, started by whatever scheduler gave it.

Every host keeps an agent going; the first one has the driver too. They find each other in
``$GIGA_OUTPUT``, a folder that all of them see. The program ends on every host when the driver has,
with the driver's status: 0 done or stopped, 1 failed, 2 the input is wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from gigafactory.describe.errors import InputError, JobError
from gigafactory.describe.study import Study
from gigafactory.plan.search import plan as search
from gigafactory.run.engines.ours_hosts import ORDER_FILE
from gigafactory.run.engines.program import FILES, HOST_RANK, MASTER, OUTPUT
from gigafactory.run.floors import Gathering, drive_on
from gigafactory.run.launchers.remote import Door
from gigafactory.run.opening import num_hosts_of
from gigafactory.run.progress import Progress

_AGAIN_S = 0.5
_FOLDER = "hosts"
#: Hosts start at different times, each after its image was pulled.
_MEET_S = 1800.0
_KNOCK_PORT = 9


@dataclass(frozen=True, slots=True)
class Place:
    """Where the hosts of a job meet, below the folder of the run."""

    root: Path

    @property
    def meet(self) -> Path:
        """Where the driver listens."""
        return self.root / _FOLDER / "meet.json"

    @property
    def over(self) -> Path:
        """The driver's status, when it has ended."""
        return self.root / _FOLDER / "over.json"

    def door(self, host: str) -> Path:
        """Where a host answers to knocks; its age is when the host began."""
        return self.root / _FOLDER / f"{host}.json"


@dataclass(slots=True)
class GivenFloor:
    """Implements ``Floor`` with hosts that keep their agents going themselves."""

    hosts: tuple[str, ...]
    place: Place
    name: str = "program of ours"

    def raise_agents(self, hosts: Sequence[str]) -> None:
        """They come by themselves."""

    def door(self, host: str) -> Door | None:
        """As the host wrote it down."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            told = json.loads(self.place.door(host).read_text())
            return Door(told["address"], told["port"])
        return None

    def set_aside(self, host: str, *, reason: str) -> None:
        """Not used any more; the scheduler is the one to drain it."""
        print(f"giga: {host} is set aside: {reason}", flush=True)

    def close(self) -> None:
        """The hosts see that it is over."""


def main() -> int:
    """This host's part; the exit status."""
    rank, master = int(os.environ[HOST_RANK]), os.environ[MASTER]
    try:
        study = _order(Path(os.environ[FILES]) / ORDER_FILE)
    except InputError as error:
        print(f"giga: {error}", file=sys.stderr)
        return 2
    place = Place(Path(os.environ[OUTPUT]).resolve() / study.study)
    name = f"host-{rank}"
    began_s = _open_door(place, name, towards=master)
    agents = threading.Thread(
        target=_keep_agent, args=(place, name), kwargs={"began_s": began_s}, daemon=True
    )
    if rank:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        return _keep_agent(place, name, began_s=began_s)
    agents.start()
    status = _drive(study, place, address=_own_address(master))
    draft = place.over.with_suffix(".part")
    draft.write_text(json.dumps({"status": status}))
    draft.replace(place.over)
    return status


def _order(path: Path) -> Study:
    try:
        return Study.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise InputError(f"{path}: not what `giga run` writes there: {error}") from None


def _drive(study: Study, place: Place, *, address: str) -> int:
    """The driver of the whole job; what it sees goes to the log."""
    try:
        plan = search(study)
        hosts = tuple(f"host-{rank}" for rank in range(num_hosts_of(study, plan)))
        result = drive_on(
            lambda: GivenFloor(hosts, place), study=study, plan=plan, run_dir=place.root,
            gathering=Gathering(meet=place.meet, address=address, meet_s=_MEET_S),
            observer=_Log(),
        )  # fmt: skip
    except InputError as error:
        print(f"giga: {error}", file=sys.stderr, flush=True)
        return 2
    except JobError as error:
        print(f"giga: {error}", file=sys.stderr, flush=True)
        return 1
    print(f"giga: {result.outcome} at step {result.steps}", flush=True)
    return 1 if result.outcome == "failed" else 0


class _Log:
    """A line for every message of the driver, and for a step now and then."""

    def __init__(self) -> None:
        self._said_s = 0.0

    def __call__(self, seen: Progress) -> None:
        is_due = seen.loss is not None and time.monotonic() - self._said_s >= 10.0
        if seen.message or is_due:
            self._said_s = time.monotonic()
            loss = f", loss {seen.loss:.3f}" if seen.loss is not None else ""
            words = f": {seen.message}" if seen.message else ""
            print(f"giga: step {seen.step} of {seen.num_steps}{loss}{words}", flush=True)


def _keep_agent(place: Place, name: str, *, began_s: float) -> int:
    """An agent as long as the driver is at work; its status at last."""
    argv = [sys.executable, "-m", "gigafactory.run.launchers.agent"]
    while True:
        status = _status(place, began_s)
        if status is not None:
            return status
        if place.meet.exists():
            subprocess.run(
                [*argv, "--meet", str(place.meet), "--host", name], check=False,
                stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        time.sleep(_AGAIN_S)


def _status(place: Place, began_s: float) -> int | None:
    """The driver's, where it ended after this host began: an older one is another attempt's."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        if place.over.stat().st_mtime > began_s:
            return int(json.loads(place.over.read_text())["status"])
    return None


def _open_door(place: Place, name: str, *, towards: str) -> float:
    """Answer to knocks from now on; the file system's time."""
    listener = socket.create_server(("", 0))
    path = place.door(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"address": _own_address(towards), "port": listener.getsockname()[1]}
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(told))
    draft.replace(path)

    def answer() -> None:
        while True:
            with contextlib.suppress(OSError):
                listener.accept()[0].close()

    threading.Thread(target=answer, daemon=True).start()
    return path.stat().st_mtime


def _own_address(towards: str) -> str:
    """The address of this host that the way to ``towards`` goes out from; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, _KNOCK_PORT))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


if __name__ == "__main__":
    sys.exit(main())
