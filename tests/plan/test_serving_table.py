"""Rows of a table of serving runs: what is read, what is refused, and in which unit."""

from __future__ import annotations

import pytest

from gigafactory.catalog.tables import catalog_gpus, catalog_models
from gigafactory.describe.serving import Runtime
from gigafactory.plan.serving_reading import Mode, serving_question
from gigafactory.plan.serving_table import Quantity, ServingTable, measured_s, predict_serving

ROW = {
    "row_id": "r1",
    "source_id": "s",
    "trust": "A",
    "date": "2025-09",
    "gpu": "H100-SXM",
    "n_gpus": "2",
    "framework": "TensorRT-LLM (PyTorch backend)",
    "model_id": "llama3-70b",
    "precision": "fp8",
    "kv_precision": "fp8",
    "TP": "2",
    "PP": "1",
    "serving_mode": "offline max throughput",
    "isl": "1000",
    "osl": "1000",
    "output_tokens_per_s_total": "4000",
}
GPUS, MODELS = catalog_gpus(), catalog_models()


def asked(**changes):
    return serving_question(ROW | changes, GPUS, MODELS)


def predicted(**changes):
    return predict_serving(ServingTable(rows=(ROW | changes,), gpus=GPUS, models=MODELS))


def test_a_rate_is_a_total_or_per_gpu_by_the_column_that_is_filled():
    total = measured_s(ROW)
    alone = measured_s(
        ROW | {"output_tokens_per_s_total": "", "output_tokens_per_s_per_gpu": "2000"}
    )
    assert total == alone == {Quantity.THROUGHPUT: pytest.approx(1 / 2000)}


def test_every_measured_quantity_has_its_entry():
    served = {
        "serving_mode": "Server",
        "requests_per_s": "3",
        "ttft_mean_ms": "300",
        "ttft_p99_ms": "900",
        "tpot_mean_ms": "60",
        "tpot_p99_ms": "80",
        "ttft_limit_ms": "2000",
        "tpot_limit_ms": "200",
    }
    told = predicted(**served)
    assert [row.quantity for row in told] == ["throughput", "ttft", "ttft_p99", "tpot", "tpot_p99"]
    assert all(row.error == pytest.approx(row.predicted_s / row.measured_s - 1) for row in told)
    assert [row.measured_s for row in told[1:]] == pytest.approx([0.3, 0.9, 0.06, 0.08])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"precision": ""}, "precision is not stated"),
        ({"TP": ""}, "TP is not stated"),
        ({"isl": ""}, "prompt length is not stated"),
        ({"osl": ""}, "output length is not stated"),
        ({"gpu": "TPU-v9"}, "no GPU TPU-v9"),
        ({"model_id": "gpt-17"}, "no architecture of gpt-17"),
        ({"framework": "abacus"}, "not modelled"),
        ({"serving_mode": "decode"}, "how many requests"),
        ({"trust": "C"}, "trust C"),
        ({"model_id": "llama3-405b"}, "do not fit"),
        ({"precision": "nvfp4"}, "no nvfp4 peak"),
        ({"isl": "many"}, "not a number"),
    ],
)
def test_a_row_without_what_is_needed_is_skipped_with_the_reason(change, reason):
    (row,) = predicted(**change)
    assert reason in row.skipped
    assert row.error is None
    assert row.quantity == "throughput"


def test_columns_decide_about_layout_and_engine():
    pooled = asked(model_id="deepseek-v3", gpu="B200", precision="fp4", TP="1", EP="4", n_gpus="4")
    assert (pooled.replica.tp, pooled.replica.dp, pooled.replica.ep) == (1, 4, 4)
    assert asked(n_gpus="8").num_replicas == 4
    assert asked(framework="vLLM 0.9").replica.runtime is Runtime.PORTABLE
    assert asked(framework="TensorRT 10.2, CUDA 12").replica.runtime is Runtime.NATIVE
    assert asked(gpu="GB200").replica.arm_host
    assert asked().mode is Mode.SATURATED


def test_a_closed_loop_is_shared_among_the_replicas():
    loop = asked(serving_mode="closed loop", batch_or_concurrency="64", n_gpus="8")
    assert loop.concurrency == 16


def test_names_do_not_matter():
    one, other = predicted()[0], predicted(source_id="x", org="y", row_id="z")[0]
    assert one.predicted_s == other.predicted_s
