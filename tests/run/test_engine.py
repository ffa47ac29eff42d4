"""The engine renders, and says what it cannot do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.cost.parameters import count_parameters
from gigafactory.describe.errors import InputError
from gigafactory.describe.group import GroupTask
from gigafactory.describe.layout import Layout
from gigafactory.describe.model import Block
from gigafactory.describe.rank import Step, Task, checkpoint_name, read_told
from gigafactory.describe.study import Study
from gigafactory.net.network import Network
from gigafactory.run.engines import ours

LAYOUT = Layout(dp=2, micro_batch=4)


def test_commands_and_task(micro: Study, tmp_path: Path) -> None:
    ours.check(micro, LAYOUT)
    task = ours.render_task(micro, LAYOUT, generation=4, restore_step=10, directory=tmp_path)
    assert Task.model_validate_json(task.model_dump_json()) == task
    assert task.rendezvous == f"file://{tmp_path}/rendezvous/generation-4"
    assert task.heartbeat_s * 4 <= micro.policy.heartbeat_timeout_s
    file = tmp_path / "task.json"
    first, second = ours.render_commands(LAYOUT, task_file=file, gpus_per_host=2)
    assert first.argv[1:] == ("-m", "gigafactory.train.worker", "--config", str(file))
    assert (first.environment["RANK"], second.environment["RANK"]) == ("0", "1")
    assert second.environment["WORLD_SIZE"] == "2"
    assert (first.host, second.host) == (0, 0)
    apart = ours.render_commands(LAYOUT, task_file=file, gpus_per_host=1)
    assert [command.host for command in apart] == [0, 1]


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        (
            {"pp": 2, "vpp": 2},
            r"layout\.pp: 2 is not possible.*torchtitan.*megatron",
        ),
        ({"cp": 2}, r"layout\.cp: 2 is not possible.*torchtitan.*megatron"),
        ({"dp": 2, "tp": 4}, r"num_kv_heads: 2 is not a multiple of layout\.tp"),
        ({"tp": 2, "etp": 2}, r"layout\.etp: 2 is not possible"),
        ({"dp": 3, "ep": 3}, r"model\.num_experts: 4 is not a multiple of layout\.ep = 3"),
        ({"dp": 4, "ep": 4, "sharding": "hsdp", "shard": 2}, r"ranks of a copy .*: 2 is not"),
        ({"dp": 2, "recompute": "full"}, r"layout\.recompute: full is not possible; use none"),
        ({"dp": 2, "precision": "fp16"}, r"layout\.precision: fp16 .* use fp32, bf16 or fp8"),
        ({"tp": 2, "precision": "fp8"}, r"layout\.tp: 2 is not possible with precision fp8"),
        ({"dp": 2, "offload": True}, r"layout\.offload: true is not possible"),
    ],
)
def test_impossible_layouts(micro: Study, layout: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ours.check(micro, Layout(**layout))


def test_eight_bits_want_whole_units(micro: Study) -> None:
    model = micro.model.model_copy(update={"hidden": 40})
    with pytest.raises(InputError, match=r"hidden: 40 is not a multiple of what fp8 .* = 16"):
        ours.check(micro.model_copy(update={"model": model}), Layout(precision="fp8"))
    ours.check(micro, Layout(dp=2, sharding="fsdp", precision="fp8"))


@pytest.mark.parametrize(
    "layout",
    [
        {"tp": 2},
        {"dp": 4, "ep": 2, "sharding": "hsdp", "shard": 2},
        {"dp": 2, "tp": 2, "ep": 4, "sharding": "fsdp"},
        {"dp": 3, "sharding": "zero2"},  # 8 sequences do not divide by 3, and need not
    ],
)
def test_possible_layouts(micro: Study, layout: dict[str, Any]) -> None:
    ours.check(micro, Layout(**layout))


def test_impossible_studies(micro: Study) -> None:
    with pytest.raises(InputError, match="train: missing"):
        ours.check(micro.model_copy(update={"train": None}), LAYOUT)
    llama = micro.model.model_copy(update={"block": Block.LLAMA})
    with pytest.raises(InputError, match="block llama; it can be grok-1, grok-2, qwen3-moe"):
        ours.check(micro.model_copy(update={"model": llama}), LAYOUT)
    job = micro.job.model_copy(update={"seq_len": 65})
    with pytest.raises(InputError, match=r"job\.seq_len: 65 is longer than model\.context 64"):
        ours.check(micro.model_copy(update={"job": job}), LAYOUT)


def test_disk_need_counts_the_network_that_is_built(micro: Study) -> None:
    import torch

    with torch.device("meta"):
        net = Network(micro.model)
    built = sum(weight.numel() for weight in net.parameters())
    assert built == count_parameters(micro.model).total
    assert ours.disk_bytes(micro, num_kept=3) == built * (4 * 12 + 4)


def test_names_sort_by_step() -> None:
    assert sorted(map(checkpoint_name, (9, 10, 100000))) == [
        "step-00000009",
        "step-00000010",
        "step-00100000",
    ]


def test_reports_are_read_by_kind_and_foreign_lines_refused() -> None:
    assert read_told('{"kind":"ready","step":3}').kind == "ready"
    for foreign in ("hello", '{"kind":"ready"}', '{"kind":"odd"}', '{"kind":"heartbeat","x":1}'):
        with pytest.raises(ValueError, match=r"."):
            read_told(foreign)


def test_a_loss_that_is_no_number_survives_the_pipe() -> None:
    step = Step(
        step=1,
        loss=math.nan,
        grad_norm=math.inf,
        learning_rate=1e-3,
        step_s=0.1,
        tokens=8,
        finite=False,
    )
    again = read_told(step.model_dump_json())
    assert isinstance(again, Step)
    assert math.isnan(again.loss)
    assert again.grad_norm == math.inf


def grouped(**changes: Any) -> Study:
    root = Path(__file__).resolve().parents[2]
    study = load_study(root / "studies" / "replicas.yaml")
    assert study.layout is not None
    return study.model_copy(update={"layout": study.layout.model_copy(update=changes)})


def test_a_process_of_a_group_is_told_about_one_replica(tmp_path: Path) -> None:
    study = grouped()
    assert study.layout is not None
    ours.check_groups(study, study.layout)
    task = ours.render_group_task(study, study.layout, num_replicas=3, directory=tmp_path)
    assert GroupTask.model_validate_json(task.model_dump_json()) == task
    assert (task.num_replicas, task.task.layout.dp) == (3, 1)
    file = tmp_path / "task.json"
    (command,) = ours.render_group(study.layout, replica=2, host=2, task_file=file)
    assert command.argv[1:] == ("-m", "gigafactory.train.group.worker", "--config", str(file))
    assert (command.environment["RANK"], command.environment["WORLD_SIZE"]) == ("0", "1")


def test_what_groups_cannot_do_is_said_with_what_would_be_right() -> None:
    study = grouped(sharding="fsdp")
    assert study.layout is not None
    with pytest.raises(InputError, match=r"layout\.sharding: fsdp .* use none"):
        ours.check_groups(study, study.layout)


def test_chaos_needs_groups(micro: Study) -> None:
    from gigafactory.plan.search import plan
    from gigafactory.run.driver import check_groups

    study = micro.model_copy(update={"drill": None})
    with pytest.raises(InputError, match=r"chaos needs policy\.recovery: replicas"):
        check_groups(study, plan(study))
