"""Our own training program as an engine: what it can do, and how a rank of it is started.

Everything here is pure: a study, a layout and a checkpoint give a task and command lines.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gigafactory.cost.parameters import count_parameters
from gigafactory.describe.errors import InputError
from gigafactory.describe.group import GroupTask
from gigafactory.describe.layout import Layout, Sharding
from gigafactory.describe.rank import Task
from gigafactory.describe.study import Study
from gigafactory.net.recipe import cannot_build
from gigafactory.run.engines.possible import wrong_axes, wrong_shapes
from gigafactory.run.launchers.launcher import RankCommand

NAME = "ours"
#: A parameter and two moments, all in float32.
CHECKPOINT_BYTES_PER_PARAMETER = 12
EXPORT_BYTES_PER_PARAMETER = 4

_NEVER_BYTES = str(1 << 40)


def check(study: Study, layout: Layout) -> None:
    """InputError with everything that this engine cannot do, each with what would be right."""
    wrong = [
        *_wrong_study(study),
        *wrong_axes(layout),
        *wrong_shapes(study.model, study.job, layout),
    ]
    if wrong:
        raise InputError(
            f"study {study.study!r} cannot be run by the engine {NAME!r}:\n  " + "\n  ".join(wrong)
        )


def _wrong_study(study: Study) -> list[str]:
    wrong = []
    if study.train is None:
        wrong.append("train: missing; add `train: {corpus: chitchat}` to say what to train on")
    wrong += [f"model: {fault}" for fault in cannot_build(study.model)]
    if study.job.seq_len > study.model.context:
        wrong.append(
            f"job.seq_len: {study.job.seq_len} is longer than model.context {study.model.context}"
        )
    if study.drill and study.layout and study.drill.kill_rank >= study.layout.num_gpus:
        wrong.append(
            f"drill.kill_rank: there is no rank {study.drill.kill_rank} among "
            f"{study.layout.num_gpus} (0 to {study.layout.num_gpus - 1})"
        )
    return wrong


def render_task(
    study: Study, layout: Layout, *, generation: int, restore_step: int | None, directory: Path
) -> Task:
    """What the ranks of one generation are told; ``check`` must have passed."""
    assert study.train is not None
    policy = study.policy
    return Task(
        study=study.study,
        model=study.model,
        job=study.job,
        train=study.train,
        layout=layout,
        generation=generation,
        num_steps=study.job.num_steps,
        restore_step=restore_step,
        directory=str(directory),
        rendezvous=f"file://{directory / 'rendezvous' / f'generation-{generation}'}",
        heartbeat_s=min(1.0, policy.heartbeat_timeout_s / 4),
        # a dead peer is seen at once; the timeout is for a silent one, and the driver is to
        # notice that first, because it knows which one is silent
        collective_timeout_s=2 * policy.progress_timeout_s,
        join_timeout_s=policy.start_timeout_s,
    )


def render_commands(layout: Layout, *, task_file: Path, gpus_per_host: int) -> list[RankCommand]:
    """One command line a rank, hosts filled in order."""
    return [
        RankCommand(
            rank=rank,
            host=rank // gpus_per_host,
            argv=(sys.executable, "-m", "gigafactory.train.worker", "--config", str(task_file)),
            environment=rank_environment(rank, num_ranks=layout.num_gpus),
        )
        for rank in range(layout.num_gpus)
    ]


def group_ranks(layout: Layout) -> int:
    """Processes of one replica group."""
    return layout.replica_gpus


def check_groups(study: Study, layout: Layout) -> None:
    """InputError with all that keeps replica groups of this engine from doing the layout."""
    wrong = []
    if layout.sharding is not Sharding.NONE:
        wrong.append(
            f"layout.sharding: {layout.sharding} is not possible; each group holds the whole "
            "state, which is what outlives the others: use none, or policy.recovery: restart"
        )
    if wrong:
        raise InputError(
            f"study {study.study!r} cannot be run with replica groups by the engine {NAME!r}:\n  "
            + "\n  ".join(wrong)
        )


def render_group_task(
    study: Study, layout: Layout, *, num_replicas: int, directory: Path
) -> GroupTask:
    """What every process of a run with replica groups is told, in all its lives."""
    inner = layout.model_copy(update={"dp": layout.dp // num_replicas, "sharding": Sharding.NONE})
    task = render_task(study, inner, generation=0, restore_step=None, directory=directory)
    place = f"file://{directory / 'rendezvous' / 'group'}"
    return GroupTask(
        task=task.model_copy(update={"rendezvous": place}),
        num_replicas=num_replicas,
        orphan_s=study.policy.start_timeout_s,
    )


def render_group(layout: Layout, *, replica: int, host: int, task_file: Path) -> list[RankCommand]:
    """One command line a process of one replica group."""
    num_ranks = group_ranks(layout)
    argv = (sys.executable, "-m", "gigafactory.train.group.worker", "--config", str(task_file))
    return [
        RankCommand(
            rank=rank,
            host=host,
            argv=argv,
            environment=rank_environment(rank, num_ranks=num_ranks),
        )
        for rank in range(num_ranks)
    ]


def rank_environment(rank: int, *, num_ranks: int) -> dict[str, str]:
    """What a rank of a gang on this machine finds in its environment."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(num_ranks),
        "GLOO_SOCKET_IFNAME": "lo",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "PYTHONUNBUFFERED": "1",
        # without it cuBLAS may sum in another order the next time
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        # each rank would start a pool of as many compilers as there are cores
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        # glibc gives large blocks back as soon as they are free, and every step would pay again
        # for the same pages, a tenth of its time
        "MALLOC_MMAP_THRESHOLD_": _NEVER_BYTES,
        "MALLOC_TRIM_THRESHOLD_": _NEVER_BYTES,
    }


def disk_bytes(study: Study, *, num_kept: int) -> float:
    """What a run writes: the kept checkpoints, the one under way, and the exported model."""
    total = count_parameters(study.model).total
    checkpoints = (num_kept + 1) * CHECKPOINT_BYTES_PER_PARAMETER
    return float(total * (checkpoints + EXPORT_BYTES_PER_PARAMETER))
