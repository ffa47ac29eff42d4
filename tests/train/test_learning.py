"""A whole short training in this process: from a mixture, then fine-tuned from what came out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from gigafactory.describe.cluster import Precision
from gigafactory.describe.errors import InputError
from gigafactory.describe.job import Train
from gigafactory.describe.layout import Sharding
from gigafactory.describe.rank import Step, Task, Told
from gigafactory.net.export import load_exported, save_exported
from gigafactory.train import loop, nats, tokens
from gigafactory.train.evaluate import Score, evaluate

QWEN3 = {
    "name": "tiny", "block": "qwen3-moe", "num_layers": 2, "hidden": 32, "num_heads": 4,
    "num_kv_heads": 2, "head_dim": 8, "vocab": 320, "num_experts": 4, "topk": 2, "moe_ffn": 48,
    "context": 64, "source": "test",
}  # fmt: skip
RECIPE: dict[str, Any] = {
    "vocab": 320, "optimizer": "muon", "schedule": "wsd", "learning_rate": 0.02, "warmup_steps": 2,
    "router_z_weight": 1e-3, "output_z_weight": 1e-4, "checkpoint_steps": 50,
}  # fmt: skip


@pytest.fixture(autouse=True)
def gang(tmp_path: Path) -> Iterator[None]:
    """One rank, as strict as a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture
def files(tmp_path: Path) -> list[dict[str, object]]:
    """Plain sentences and questions with answers, as a user would bring them."""
    facts = "\n\n".join(f"the number after {n} is {n + 1}, and so on. " * 30 for n in range(20))
    (tmp_path / "facts.txt").write_text(facts)
    talks = [
        [{"role": "user", "content": f"what comes after {n}?"},
         {"role": "assistant", "content": f"after {n} comes {n + 1}."}]
        for n in range(60)
    ]  # fmt: skip
    lines = [json.dumps({"messages": talk}) for talk in talks]
    (tmp_path / "talks.jsonl").write_text("\n".join(lines))
    return [
        {"path": str(tmp_path / "facts.txt")},
        {"path": str(tmp_path / "talks.jsonl"), "weight": 3.0},
    ]


def learn(
    make_task: Callable[..., Task],
    directory: Path,
    *,
    num_steps: int,
    precision: Precision = Precision.FP32,
    num_layers: int = 2,
    **train: object,
) -> tuple[list[float], Score]:
    """Losses of all steps and the score at the end; leaves the export in ``directory``."""
    directory.mkdir(exist_ok=True)
    task = make_task(1, Sharding.NONE, num_steps=num_steps, micro_batch=4)
    task = task.model_copy(
        update={"train": Train.model_validate(RECIPE | train), "directory": str(directory)}
    )
    layout = task.layout.model_copy(update={"precision": precision})
    model = QWEN3 | {"num_layers": num_layers}
    task = Task.model_validate(task.model_dump() | {"model": model, "layout": layout})
    tokens.prepare(task.train, directory=directory / "corpus")
    text = tokens.load(task.train, directory=directory / "corpus")
    told: list[Told] = []
    trainer, step = loop.set_up(task, text, tell=told.append)
    loop.train(trainer, after=step)
    score = evaluate(trainer.net, text, train=task.train, seq_len=32, gang=trainer.gang)
    save_exported(
        directory / "model", model=task.model, state=loop.whole_state(trainer),
        tokenizer=text.tokenizer,
    )  # fmt: skip
    return [one.loss for one in told if isinstance(one, Step)], score


def test_pretraining_on_a_mixture_then_fine_tuning(
    make_task: Callable[..., Task], tmp_path: Path, files: list[dict[str, object]]
) -> None:
    base = tmp_path / "base"
    losses, score = learn(make_task, base, num_steps=25, mixture=files)
    assert losses[-1] < losses[0] - 1.5
    assert set(score.bits_per_byte_by_source) == {"facts", "talks"}
    assert score.bits_per_byte_by_source["facts"] < 3
    low, high = sorted(score.bits_per_byte_by_source.values())
    assert low <= score.bits_per_byte <= high

    tuned, after = learn(
        make_task, tmp_path / "tuned", num_steps=10, mixture=files[1:], stage="sft",
        base=str(base), separate_documents=True,
    )  # fmt: skip
    assert tuned[0] < losses[0] - 1  # goes on from what was learnt
    assert tuned[-1] < tuned[0]
    assert set(after.bits_per_byte_by_source) == {"talks"}
    one, other = (load_exported(d / "model") for d in (base, tmp_path / "tuned"))
    assert one.tokenizer.to_str() == other.tokenizer.to_str()
    assert not torch.equal(one.model.norm.weight, other.model.norm.weight)


def test_a_base_of_other_shapes_is_refused(
    make_task: Callable[..., Task], tmp_path: Path, files: list[dict[str, object]]
) -> None:
    base = tmp_path / "base"
    learn(make_task, base, num_steps=1, mixture=files)
    config = json.loads((base / "model" / "config.json").read_text())
    config["gigafactory"]["model"]["topk"] = 1
    (base / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="is another model: topk 1 there, 2 here"):
        learn(
            make_task, tmp_path / "tuned", num_steps=1, mixture=files[1:], stage="sft",
            base=str(base),
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # the compiler warns of itself
def test_compiled_layers_learn_the_same(
    make_task: Callable[..., Task],
    tmp_path: Path,
    files: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Traced and differentiated as for compiling; what C++ makes of it takes minutes."""
    compiled: list[nn.Module] = []

    def trace(layer: nn.Module) -> None:
        compiled.append(layer)
        layer._compiled_call_impl = torch.compile(layer._call_impl, backend="aot_eager")

    monkeypatch.setattr(nn.Module, "compile", trace)
    loss = torch.compile(nats._slice_to_compile, backend="aot_eager")
    monkeypatch.setattr(nats, "_compiled_slice", lambda: loss)
    eager, fast = (
        learn(
            make_task, tmp_path / f"{compiles}", num_steps=3, mixture=files, compile=compiles,
            num_layers=1,
        )[0]
        for compiles in (False, True)
    )  # fmt: skip
    assert len(compiled) == 1
    assert fast == pytest.approx(eager, abs=1e-4)


def test_eight_bits_learn_about_the_same(
    make_task: Callable[..., Task], tmp_path: Path, files: list[dict[str, object]]
) -> None:
    wide, narrow = (
        learn(make_task, tmp_path / precision, num_steps=12, mixture=files, precision=precision)[0]
        for precision in (Precision.FP32, Precision.FP8)
    )
    assert wide != narrow
    assert narrow == pytest.approx(wide, abs=0.05)
    assert narrow[-1] < narrow[0] - 1
