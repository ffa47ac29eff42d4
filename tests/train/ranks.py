"""One rank of a gang that works through many cases: ``python ranks.py FILE``.

FILE holds a list of cases, each a Task, the steps to do, and whether to keep a checkpoint at the
end. Rank 0 writes what came out beside it: losses, norms, held-out loss and the weights, whole.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from gigafactory.describe.rank import Step, Task, Told
from gigafactory.train import evaluate, loop, parallel, tokens
from gigafactory.train.copies import agree, part

EXPERTS = "layers.1.block_sparse_moe.experts.w1"


def run(case: dict[str, Any]) -> None:
    task = Task.model_validate(case["task"])
    told: list[Told] = []
    text = tokens.load(task.train, directory=Path(task.directory) / "corpus")
    trainer = loop.build(task, text, tell=told.append)
    if task.restore_step is not None:
        loop.restore(trainer, task.restore_step)
    for step in range((task.restore_step or 0) + 1, case["last_step"] + 1):
        loop.one_step(trainer, step)
    if case["keeps"]:
        trainer.checkpointer.begin(loop.state_of(trainer), step=case["last_step"])
        trainer.checkpointer.finish()
        dist.barrier()
    score = evaluate.evaluate(
        trainer.net, text, train=task.train, seq_len=task.job.seq_len, gang=trainer.gang
    )
    weights = loop.whole_state(trainer)
    damage = find_damage(trainer)
    if dist.get_rank() == 0:
        steps = [report for report in told if isinstance(report, Step)]
        torch.save(
            {
                "losses": [step.loss for step in steps],
                "norms": [step.grad_norm for step in steps],
                "held_out": score.nats_per_token,
                "weights": weights,
                "damage": damage,
            },
            case["out"],
        )


def find_damage(trainer: loop.Trainer) -> dict[str, bool]:
    """By parameter: whether one flipped bit of it, on the last rank alone, is noticed by all."""
    noticed = {}
    weights = dict(trainer.net.named_parameters())
    for name in ("layers.0.self_attn.q_proj.weight", "norm.weight", EXPERTS):
        if name not in weights:
            continue
        held = part(weights[name])
        is_hit = dist.get_rank() == dist.get_world_size() - 1 and held.numel() > 0
        if is_hit:
            held.view(torch.int32).view(-1)[0] ^= 1
        noticed[name] = not agree(weights)
        if is_hit:
            held.view(torch.int32).view(-1)[0] ^= 1
    assert agree(weights)
    return noticed


def main() -> None:
    cases = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    evaluate.MAX_WINDOWS = 6
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    first = Task.model_validate(cases[0]["task"])
    parallel.join(first, rank=rank, world_size=world_size)
    for case in cases:
        run(case)
    dist.barrier()
    os._exit(0)


if __name__ == "__main__":
    main()
