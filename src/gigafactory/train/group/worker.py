"""One process of a replica group: ``python -m gigafactory.train.group.worker --config FILE``.

RANK and WORLD_SIZE say who it is within its group, GIGA_REPLICA and GIGA_INCARNATION which life of
which group; the driver is found through ``control.json`` beside FILE.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import os
import sys
import threading
import time
from pathlib import Path

from gigafactory.describe.group import (
    CONTROL_FILE,
    INCARNATION_VARIABLE,
    REPLICA_VARIABLE,
    SHOW_MEMORY_VARIABLE,
    Control,
    GroupTask,
    Here,
    Memory,
    defect_name,
    memory_name,
)
from gigafactory.train.group.line import Line, Pulse

_FAILED = 1
_FLUSH_S = 2.0
_SHOW_AGAIN_S = 0.2


def main() -> None:
    """Run the process until an order ends it."""
    parser = argparse.ArgumentParser(prog="python -m gigafactory.train.group.worker")
    parser.add_argument("--config", type=Path, required=True, help="the task, as JSON")
    config: Path = parser.parse_args().config
    task = GroupTask.model_validate_json(config.read_text())
    control_file = config.with_name(CONTROL_FILE)
    secret = Control.model_validate_json(control_file.read_text()).secret
    pulse, speaker = Pulse(), _Speaker(secret)
    line = Line(
        control_file,
        here=speaker.here,
        pulse=pulse,
        heartbeat_s=task.task.heartbeat_s,
        orphan_s=task.orphan_s,
    )
    line.start()
    try:
        work(task, line=line, pulse=pulse, speaker=speaker)
    except BaseException as error:  # torch's CheckpointException is no Exception
        import traceback

        from gigafactory.train.telling import describe_failure

        line.tell(describe_failure(error))
        line.flush(timeout_s=_FLUSH_S)
        with contextlib.suppress(OSError):  # the disk of the log may be full
            traceback.print_exc()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(_FAILED)


class _Speaker:
    """Introduces this process; it knows more once it is prepared."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.replica = int(os.environ[REPLICA_VARIABLE])
        self.rank = int(os.environ["RANK"])
        self.incarnation = int(os.environ[INCARNATION_VARIABLE])
        self.member: object = None

    def here(self) -> Here:
        """Who this is, by now."""
        if self.member is not None:
            from gigafactory.train.group.member import Member

            assert isinstance(self.member, Member)
            return self.member.here(self.incarnation)
        return Here(
            secret=self.secret,
            replica=self.replica,
            rank=self.rank,
            incarnation=self.incarnation,
            pid=os.getpid(),
        )


def work(task: GroupTask, *, line: Line, pulse: Pulse, speaker: _Speaker) -> None:
    """Prepare, say so, and live."""
    import torch

    from gigafactory.train import loop, parallel
    from gigafactory.train.group.links import Listener
    from gigafactory.train.group.member import Member

    torch.set_num_threads(task.task.train.threads_per_worker)
    torch.use_deterministic_algorithms(True)
    # only for catching reads of memory never written; costs a tenth of a step
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    text = _text(task)
    parallel.join(
        _own_rendezvous(task, speaker),
        rank=speaker.rank,
        world_size=int(os.environ["WORLD_SIZE"]),
    )
    trainer = loop.build(task.task, text, tell=line.tell)
    is_shot_at = SHOW_MEMORY_VARIABLE in os.environ
    defect = Path(task.task.directory) / defect_name(os.getpid()) if is_shot_at else None
    member = Member(
        task, trainer, me=speaker.replica, line=line, pulse=pulse,
        listener=Listener(secret=speaker.secret), secret=speaker.secret, defect=defect,
    )  # fmt: skip
    speaker.member = member
    if is_shot_at:
        shown = Memory(pid=os.getpid(), regions=member.gradients.regions())
        file = Path(task.task.directory) / memory_name(speaker.replica)
        threading.Thread(target=_show, args=(shown, file), daemon=True).start()
    line.tell(speaker.here())
    # all that the start made stays; each look through it would hold up a step, and all groups
    gc.collect()
    gc.freeze()
    member.live()


def _show(memory: Memory, file: Path) -> None:
    """Write down where the memory lies, as soon as there is room."""
    while True:
        with contextlib.suppress(OSError):
            file.write_text(memory.model_dump_json())
            return
        time.sleep(_SHOW_AGAIN_S)


def _own_rendezvous(task: GroupTask, speaker: _Speaker):  # type: ignore[no-untyped-def]
    """The task with a place to meet that no earlier life of the group used."""
    place = f"{task.task.rendezvous}-{speaker.replica}-{speaker.incarnation}"
    return task.task.model_copy(update={"rendezvous": place})


def _text(task: GroupTask):  # type: ignore[no-untyped-def]
    """The corpus; one process prepares it, the others wait for that."""
    from gigafactory.train import tokens

    corpus = Path(task.task.directory) / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    with (corpus.parent / "corpus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tokens.prepare(task.task.train, directory=corpus)
    return tokens.load(task.task.train, directory=corpus)


if __name__ == "__main__":
    main()
