"""One generation of training: from a restored step to the last, with every step told."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist
from torch import Tensor

from gigafactory.describe.errors import InputError
from gigafactory.describe.model import differences
from gigafactory.describe.rank import Ready, Restoring, Step, Task
from gigafactory.net.network import Network, initialise
from gigafactory.train.batches import Batch, pieces
from gigafactory.train.checkpoint import Checkpointer, State, remove_unfit
from gigafactory.train.copies import agree, clip
from gigafactory.train.gang import Gang, form
from gigafactory.train.mixture import Mixture, mix
from gigafactory.train.objective import documents_of, num_targets, objective
from gigafactory.train.optimise import Optimiser
from gigafactory.train.owners import Ownership
from gigafactory.train.packing import INPUTS, TARGETS
from gigafactory.train.parallel import accumulating, autocast, check_format, device_here, full
from gigafactory.train.reduce import Reducer
from gigafactory.train.schedule import learning_rate
from gigafactory.train.spread import spread
from gigafactory.train.telling import Tell
from gigafactory.train.tokens import Text


class NonFiniteError(ArithmeticError):
    """Loss or gradient is not a number on some rank; the update was not made."""


class ReplicasDifferError(RuntimeError):
    """Replicas that must hold equal parameters do not; nothing was saved."""


@dataclass(slots=True)
class Trainer:
    """What a rank holds in memory between two steps."""

    task: Task
    mixture: Mixture
    gang: Gang
    net: Network
    reducer: Reducer | None
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
    gang = form(task.layout, device=device_here())
    check_format(task.layout.precision, gang.device)
    net = Network(task.model)
    initialise(net, seed=task.train.seed)
    if task.train.base is not None and task.restore_step is None:
        begin_with(net, Path(task.train.base))
    net.to(gang.device)
    reducer = spread(net, gang, compiles=task.train.compile)
    return Trainer(
        task=task,
        mixture=mix(text, task.train, seq_len=task.job.seq_len),
        gang=gang,
        net=net,
        reducer=reducer,
        optimiser=Optimiser(
            net,
            train=task.train,
            precision=task.layout.precision,
            ownership=Ownership(net, gang),
        ),
        checkpointer=Checkpointer(
            Path(task.directory) / "checkpoints",
            num_kept=task.num_kept_checkpoints,
            timeout_s=task.collective_timeout_s,
            tell=tell,
        ),
        tell=tell,
    )


def begin_with(net: Network, base: Path) -> None:
    """Take over the weights that a finished run left; InputError where they do not fit."""
    from gigafactory.net.export import load_exported

    found = load_exported(base / "model").model
    wrong = differences(found.model, net.model)
    if wrong:
        raise InputError(f"train.base {base} is another model: {'; '.join(wrong)}")
    net.load_state_dict(found.state_dict())


def state_of(trainer: Trainer) -> State:
    """All that the next step depends on, as live tensors, under names and with shapes that do not
    depend on the layout. Batches and schedule follow from the step alone, and nothing is drawn."""
    return {
        "model": dict(trainer.net.named_parameters()),
        "optimiser": trainer.optimiser.state(),
    }


def restore(trainer: Trainer, step: int) -> None:
    """Read ``step`` from its checkpoint, which the driver has verified; any layout may have
    written it."""
    with torch.no_grad():
        trainer.checkpointer.restore(state_of(trainer), step=step)


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
    grad_norm = clip(trainer.net.parameters(), max_norm=train_.clip_norm)
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
    """Leave the global batch's mean gradient in the parameters; returns this rank's part of the
    loss."""
    batch = trainer.mixture.batch(step=step, num_sequences=trainer.task.job.global_batch)
    return accumulate(trainer, batch, rank=trainer.gang.data_rank, of=trainer.gang.num_data_ranks)


def accumulate(trainer: Trainer, batch: Batch, *, rank: int, of: int) -> float:
    """Add to the gradients what share ``rank`` of ``of`` contributes to the batch's mean gradient,
    summed over the gang; returns what it contributes to the batch's loss."""
    task, device = trainer.task, trainer.gang.device
    parts = list(pieces(batch, rank=rank, num_ranks=of, micro_batch=task.layout.micro_batch))
    target_share = 1 / num_targets(batch)
    total = torch.zeros((), dtype=torch.float64, device=device)
    for index, (ids, num_counted) in enumerate(parts):
        piece = torch.from_numpy(ids).to(device)
        is_last = index == len(parts) - 1
        with accumulating(trainer.net, trainer.reducer, is_last=is_last):
            with autocast(task.layout.precision, device):
                logits, routing = trainer.net(
                    piece[:, INPUTS], documents=documents_of(piece, task.train)
                )
            loss, nats = objective(
                logits,
                piece[:, TARGETS],
                routing,
                train=task.train,
                target_share=target_share if num_counted else 0.0,
                sequence_share=num_counted / len(batch),
            )
            torch.autograd.backward(loss)
        total += nats
    return total.item()


def _agree(trainer: Trainer, loss: float, grad_norm: float) -> tuple[float, bool, bool]:
    """(loss of the batch, finite everywhere, saving asked for anywhere): the same on every rank."""
    bad = not (math.isfinite(loss) and math.isfinite(grad_norm))
    sums = torch.tensor([loss, float(bad), float(trainer.save_wanted)], dtype=torch.float64)
    trainer.save_wanted = False
    dist.all_reduce(sums)
    total, num_bad, num_asking = sums.tolist()
    # tensor-parallel ranks computed the same loss
    return total / trainer.gang.layout.tp, num_bad == 0, num_asking > 0


def _replicas_agree(trainer: Trainer, step: int, save_asked: bool) -> bool:
    """Compared where a checkpoint follows: all of what is to be saved and more than one holds."""
    task = trainer.task
    is_due = step % task.train.checkpoint_steps == 0 or step == task.num_steps
    if not (is_due or save_asked):
        return True
    state = dict(trainer.net.named_parameters()) | {
        f"{name}.{kind}": tensor
        for name, kinds in trainer.optimiser.state().items()
        for kind, tensor in kinds.items()
    }
    return agree(state)


def whole_state(trainer: Trainer) -> dict[str, Tensor]:
    """All parameters, whole; every rank must call it."""
    return {name: full(weight) for name, weight in trainer.net.named_parameters()}


def _save_on_signal(trainer: Trainer) -> None:
    def ask(_number: int, _frame: FrameType | None) -> None:
        trainer.save_wanted = True

    signal.signal(signal.SIGUSR1, ask)
