"""One generation of training: from a restored step to the last, with every step told."""

from __future__ import annotations

import hashlib
import math
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from gigafactory.describe.layout import Sharding
from gigafactory.describe.rank import Ready, Restoring, Step, Task
from gigafactory.net.grok import Grok, initialise
from gigafactory.train.batches import global_batch, rank_share
from gigafactory.train.checkpoint import Checkpointer, State, remove_unfit
from gigafactory.train.optimise import Optimiser, clip, learning_rate
from gigafactory.train.parallel import accumulating, autocast, full, spread
from gigafactory.train.telling import Tell
from gigafactory.train.tokens import Text

BALANCE_WEIGHT = 0.01
"""Weight of the experts' imbalance in the loss (Switch Transformer, arXiv:2101.03961)."""


class NonFiniteError(ArithmeticError):
    """Loss or gradient is not a number on some rank; the update was not made."""


class ReplicasDifferError(RuntimeError):
    """Replicas that must hold equal parameters do not; nothing was saved."""


@dataclass(slots=True)
class Trainer:
    """What a rank holds in memory between two steps."""

    task: Task
    text: Text
    net: Grok
    model: nn.Module
    optimiser: Optimiser
    checkpointer: Checkpointer
    tell: Tell
    save_wanted: bool = field(default=False)
    """Somebody asked this rank to save at the next step boundary."""


def set_up(task: Task, text: Text, *, tell: Tell) -> tuple[Trainer, int]:
    """Build and restore; returns the trainer and the step it stands at. Needs a joined gang."""
    tell(Restoring())
    directory = Path(task.directory) / "checkpoints"
    if dist.get_rank() == 0:
        directory.mkdir(parents=True, exist_ok=True)
        remove_unfit(directory, restore_step=task.restore_step)
    trainer = build(task, text, tell=tell)
    dist.barrier()
    if task.restore_step is not None:
        restore(trainer, task.restore_step)
    return trainer, task.restore_step or 0


def build(task: Task, text: Text, *, tell: Tell) -> Trainer:
    """Model and optimizer as at step 0, spread over the ranks of a joined gang."""
    net = Grok(task.model)
    initialise(net, seed=task.train.seed)
    model = spread(net, task.layout.sharding)
    optimiser = Optimiser(net, train=task.train, sharding=task.layout.sharding)
    checkpointer = Checkpointer(
        Path(task.directory) / "checkpoints",
        num_kept=task.num_kept_checkpoints,
        timeout_s=task.collective_timeout_s,
        tell=tell,
    )
    return Trainer(task, text, net, model, optimiser, checkpointer, tell)


def state_of(trainer: Trainer) -> State:
    """All that the next step depends on, as live tensors. Batches and schedule follow from the
    step alone, so they need no state of their own."""
    return {
        "model": dict(trainer.net.named_parameters()),
        "optimiser": trainer.optimiser.state(),
        f"dice_{dist.get_rank()}": torch.get_rng_state(),
    }


def restore(trainer: Trainer, step: int) -> None:
    """Read ``step`` from its checkpoint, which the driver has verified."""
    state = state_of(trainer)
    with torch.no_grad():
        trainer.checkpointer.restore(state, step=step)
    torch.set_rng_state(state[f"dice_{dist.get_rank()}"])


def train(trainer: Trainer, *, after: int) -> None:
    """Steps ``after + 1`` to the last; returns when the last one is committed."""
    task = trainer.task
    _save_on_signal(trainer)
    trainer.tell(Ready(step=after))
    for step in range(after + 1, task.num_steps + 1):
        save_asked = one_step(trainer, step)
        is_due = step % task.train.checkpoint_steps == 0 or step == task.num_steps
        if is_due or save_asked:
            trainer.checkpointer.begin(state_of(trainer), step=step)
    trainer.checkpointer.finish()
    dist.barrier()


def one_step(trainer: Trainer, step: int) -> bool:
    """Forward, backward, gate, update, tell; returns whether any rank was asked to save."""
    began_s = time.perf_counter()
    task, train_ = trainer.task, trainer.task.train
    loss = gradients(trainer, step)
    grad_norm = clip(trainer.net, max_norm=train_.clip_norm)
    loss, finite, save_asked = _agree(trainer, loss, grad_norm)
    rate = learning_rate(train_, step=step, num_steps=task.num_steps)
    if finite:
        trainer.optimiser.step(rate)
    agree = _replicas_agree(trainer, step, save_asked)
    trainer.tell(
        Step(
            step=step,
            loss=loss,
            grad_norm=grad_norm,
            learning_rate=rate,
            step_s=time.perf_counter() - began_s,
            tokens=task.job.tokens_per_step,
            finite=finite,
            replicas_agree=agree,
        )
    )
    if not finite:
        raise NonFiniteError(f"loss {loss}, gradient norm {grad_norm} at step {step}")
    if not agree:
        raise ReplicasDifferError(f"the replicas' parameters differ after step {step}")
    return save_asked


def gradients(trainer: Trainer, step: int) -> float:
    """Leave the global batch's mean gradient in the parameters; returns this rank's loss."""
    return accumulate(trainer, _share_of(trainer.task, trainer.text, step))


def accumulate(trainer: Trainer, share: Tensor) -> float:
    """Add the mean gradient of ``share``, (sequences, seq_len + 1), to what is there; its loss."""
    task = trainer.task
    pieces = torch.split(share, task.layout.micro_batch)
    total = 0.0
    for index, ids in enumerate(pieces):
        weight = len(ids) / len(share)
        with accumulating(trainer.model, is_last=index == len(pieces) - 1):
            with autocast(task.layout.precision):
                logits, imbalance = trainer.model(ids[:, :-1])
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
            ((loss + BALANCE_WEIGHT * imbalance.mean()) * weight).backward()
        total += loss.item() * weight
    return total


def _share_of(task: Task, text: Text, step: int) -> Tensor:
    batch = global_batch(
        text.train,
        seed=task.train.seed,
        step=step,
        num_sequences=task.job.global_batch,
        seq_len=task.job.seq_len,
    )
    share = rank_share(batch, rank=dist.get_rank(), num_ranks=dist.get_world_size())
    return torch.from_numpy(np.ascontiguousarray(share))


def _agree(trainer: Trainer, loss: float, grad_norm: float) -> tuple[float, bool, bool]:
    """(mean loss, finite everywhere, saving asked for anywhere): the same on every rank."""
    bad = not (math.isfinite(loss) and math.isfinite(grad_norm))
    sums = torch.tensor([loss, float(bad), float(trainer.save_wanted)], dtype=torch.float64)
    trainer.save_wanted = False
    dist.all_reduce(sums)
    total, num_bad, num_asking = sums.tolist()
    return total / dist.get_world_size(), num_bad == 0, num_asking > 0


def _replicas_agree(trainer: Trainer, step: int, save_asked: bool) -> bool:
    """Compared only where a checkpoint follows; sharded parameters have no replicas."""
    task = trainer.task
    is_due = step % task.train.checkpoint_steps == 0 or step == task.num_steps
    if task.layout.sharding is Sharding.FSDP or not (is_due or save_asked):
        return True
    digest = fingerprint(trainer.net)
    seen = [torch.zeros_like(digest) for _ in range(dist.get_world_size())]
    dist.all_gather(seen, digest)
    return all(torch.equal(other, digest) for other in seen)


def fingerprint(net: nn.Module) -> Tensor:
    """SHA-256 of all parameters, as (32,) bytes."""
    digest = hashlib.sha256()
    for weight in net.parameters():
        digest.update(weight.detach().contiguous().numpy().data)
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def whole_state(trainer: Trainer) -> dict[str, Tensor]:
    """All parameters, whole; every rank must call it."""
    return {name: full(weight) for name, weight in trainer.net.named_parameters()}


def _save_on_signal(trainer: Trainer) -> None:
    def ask(_number: int, _frame: FrameType | None) -> None:
        trainer.save_wanted = True

    signal.signal(signal.SIGUSR1, ask)
