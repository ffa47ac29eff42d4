"""One rank: ``python -m gigafactory.train.worker --config FILE``.

RANK and WORLD_SIZE say who it is, GIGA_REPORT_FD where to tell (default: standard output).
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path

from gigafactory.describe.rank import REPORT_FD_VARIABLE, Finished, Joined, Task
from gigafactory.train.telling import Tell, beat, describe_failure, die_with_parent, into_pipe

_FAILED = 1


def main() -> None:
    """Run the rank to its end; the exit status is 0 only when the job is done."""
    parent = os.getppid()
    parser = argparse.ArgumentParser(prog="python -m gigafactory.train.worker")
    parser.add_argument("--config", type=Path, required=True, help="the task, as JSON")
    arguments = parser.parse_args()
    die_with_parent(parent)
    task = Task.model_validate_json(arguments.config.read_text())
    tell = into_pipe(int(os.environ.get(REPORT_FD_VARIABLE, "1")))
    beat(tell, interval_s=task.heartbeat_s, parent=parent)
    status = 0
    try:
        work(
            task, rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]), tell=tell
        )
    except BaseException as error:  # torch's CheckpointException is no Exception
        import traceback

        traceback.print_exc()
        tell(describe_failure(error))
        status = _FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    # threads of a broken gang may wait for ever for peers that are gone: do not join them
    os._exit(status)


def work(task: Task, *, rank: int, world_size: int, tell: Tell) -> None:
    """Join the gang, train to the last step, evaluate and export."""
    import torch

    from gigafactory.train import evaluate, loop, parallel, tokens

    torch.set_num_threads(task.train.threads_per_worker)
    torch.use_deterministic_algorithms(True)
    # only for catching reads of memory never written; costs a tenth of a step
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    directory = Path(task.directory)
    corpus = directory / "corpus"
    if rank == 0:
        tokens.prepare(task.train, directory=corpus)
    tell(Joined(pid=os.getpid()))
    parallel.join(task, rank=rank, world_size=world_size)
    text = tokens.load(task.train, directory=corpus)
    trainer, step = loop.set_up(task, text, tell=tell)
    # all that the start made stays; each look through it would hold up a step, and all ranks
    gc.collect()
    gc.freeze()
    loop.train(trainer, after=step)
    score = evaluate.evaluate(
        trainer.net,
        text,
        train=task.train,
        seq_len=task.job.seq_len,
        gang=trainer.gang,
    )
    state = loop.whole_state(trainer)
    if rank == 0:
        from gigafactory.net.export import save_exported

        save_exported(directory / "model", model=task.model, state=state, tokenizer=text.tokenizer)
    tell(
        Finished(
            held_out_loss=score.nats_per_token,
            held_out_bits_per_byte=score.bits_per_byte,
            bits_per_byte_by_source=score.bits_per_byte_by_source,
        )
    )
    torch.distributed.barrier()


if __name__ == "__main__":
    main()
