"""One row of a table: what is read, what is assumed, what is refused."""

from __future__ import annotations

import pytest

from gigafactory.catalog.tables import catalog_gpus
from gigafactory.cost.engine import Graphs
from gigafactory.describe.cluster import Precision
from gigafactory.describe.layout import Recompute, Sharding
from gigafactory.plan.reading import (
    UnscorableError,
    cluster_of,
    engine_of,
    layout_of,
    measured_step_s,
    model_of,
    precision_of,
)

GPUS = catalog_gpus()
ROW = {
    "row_id": "x-1", "source_id": "x", "trust": "A", "date": "2024-11", "task": "pretrain",
    "gpu_class": "H100-80GB-SXM", "n_gpus": "128", "gpus_per_node": "8", "framework": "NeMo 24.09",
    "seq_len": "8192", "precision": "bf16", "TP": "4", "PP": "4", "VPP": "5", "CP": "2",
    "micro_batch": "1", "global_batch": "128", "step_time_s": "10.0",
    "layers": "80", "hidden": "8192", "ffn": "28672", "gated_ffn": "yes", "heads": "64",
    "kv_heads": "8", "head_dim": "128", "vocab": "128256", "tied_embeddings": "no",
}  # fmt: skip


def layout(**changes):
    return layout_of(ROW | changes, precision=Precision.BF16)


def test_data_parallel_ranks_are_what_is_left():
    assert layout().dp == 4
    assert layout(CP="").dp == 8
    with pytest.raises(UnscorableError, match="128 GPUs do not divide"):
        layout(TP="3")


def test_a_missing_microbatch_follows_from_the_steps_of_accumulation():
    assert layout(micro_batch="", grad_accum="16").micro_batch == 2
    assert layout(micro_batch="").micro_batch == 1  # a pipeline
    with pytest.raises(UnscorableError, match="micro_batch"):
        layout(micro_batch="", PP="1", VPP="")


@pytest.mark.parametrize(
    ("text", "sharding"),
    [
        ("DDP + distributed optimizer (zero1)", Sharding.ZERO1),
        ("FSDP FULL_SHARD (zero3)", Sharding.FSDP),
        ("FSDP=128 x DP replicas (HSDP)", Sharding.FSDP),
        ("none (DDP)", Sharding.NONE),
        ("", Sharding.ZERO1),
    ],
)
def test_sharding(text, sharding):
    assert layout(dp_sharding=text).sharding is sharding


@pytest.mark.parametrize(
    ("text", "recompute"),
    [
        ("full block, 5 layers/PP-stage", Recompute.FULL),
        ("none (yaml null)", Recompute.NONE),
        ("selective:mla_up_proj", Recompute.SELECTIVE),
        ("core_attn (v25.07 table)", Recompute.SELECTIVE),
        ("", Recompute.NONE),
    ],
)
def test_recompute(text, recompute):
    assert layout(act_recompute=text).recompute is recompute


def test_before_2023_unstated_recompute_was_full():
    assert layout(date="2021-04").recompute is Recompute.FULL


@pytest.mark.parametrize(
    ("text", "gbit"),
    [
        ("Selene: NVLink3/NVSwitch, 8x HDR-200 InfiniBand", 1600),
        ("4x Omni-Path 100 Gb/s per node", 400),
        ("NVLink3; 4x Omni-Path 100 Gb/s per node", 400),
        ("1600 Gbps RoCE node-node", 1600),
        ("inter-node 800 Gb/s per node (from config json); NVLink in node", 800),
        ("4x100Gb RoCE per node", 400),
        ("8x200Gb/s RDMA NICs per node, multi-rail", 1600),
        ("Eos: NVLink4 450GB/s uni; IB NDR 400Gb/s per GPU", 3200),
        ("AWS p4d EFA 400 Gb/s per node", 400),
        ("4x ConnectX-8 IB XDR 800 Gb/s", 3200),
        ("", 3200),
    ],
)
def test_interconnect(text, gbit):
    host = cluster_of(ROW | {"interconnect": text}, gpu=GPUS["h100-sxm"]).host
    assert host.num_nics * host.nic_bandwidth_bytes_per_s * 8e-9 == pytest.approx(gbit)


def test_oversubscription_and_racks():
    text = "RoCE 400Gb/s per GPU, 3-layer Clos (1:7 oversubscription at aggregation)"
    assert (
        cluster_of(ROW | {"interconnect": text}, gpu=GPUS["h100-sxm"]).fabric.oversubscription == 7
    )
    rack = cluster_of(ROW | {"gpus_per_node": "4"}, gpu=GPUS["gb200"])
    assert rack.host.scaleup_domain_gpus == 72


@pytest.mark.parametrize(
    ("text", "precision"),
    [("mxfp8", Precision.FP8), ("fp8 (current scaling)", Precision.FP8), ("nvfp4", Precision.NVFP4),
     ("bf16/fp16 (not stated)", Precision.BF16), ("fp16", Precision.FP16)],
)  # fmt: skip
def test_precision(text, precision):
    assert precision_of({"precision": text}) is precision


def test_doubtful_precision_is_not_scored():
    with pytest.raises(UnscorableError, match="uncertain"):
        precision_of({"precision": "fp8/nvfp4?"})


def test_step_time_or_the_derived_one_and_never_a_flop_rate():
    assert measured_step_s(ROW) == 10.0
    assert measured_step_s(ROW | {"step_time_s": "", "derived_step_time_s": "7"}) == 7.0
    with pytest.raises(UnscorableError, match="FLOP rate"):
        measured_step_s(ROW | {"step_time_s": "", "tflops_per_gpu": "400"})
    with pytest.raises(UnscorableError, match="trust C"):
        measured_step_s(ROW | {"trust": "C"})
    with pytest.raises(UnscorableError, match="adapters"):
        measured_step_s(ROW | {"task": "LoRA finetune"})


def test_models_with_experts():
    moe = {"experts": "64", "topk": "8", "moe_ffn": "2560", "shared_experts": "1x20480"}
    shape = model_of(ROW | moe)
    assert (shape.num_experts, shape.topk, shape.num_shared_experts) == (64, 8, 8)
    latent = model_of(ROW | moe | {"mla": "yes", "shared_experts": "1", "dense_layers": "3"})
    assert latent.mla is not None
    assert latent.num_moe_layers == 77
    with pytest.raises(UnscorableError, match="hidden is not stated"):
        model_of(ROW | {"hidden": ""})
    with pytest.raises(UnscorableError, match="vocab is 'many'"):
        model_of(ROW | {"vocab": "many"})


def test_engines_follow_framework_flags_and_date():
    assert engine_of(ROW).overlap_tp
    assert not engine_of(ROW | {"overlap_flags": "TP/PP overlap disabled"}).overlap_tp
    assert not engine_of(ROW | {"overlap_flags": "x (no DP overlap)"}).overlap_dp
    assert not engine_of(ROW | {"date": "2021-04"}).flash_attention
    assert not engine_of(ROW | {"framework": "Composer (PyTorch FSDP)"}).fused_kernels
    flags = "cuda_graph_impl=local; moe_a2a_overlap=True; cuda_graph_scope=full_iteration"
    told = engine_of(ROW | {"other_flags": flags})
    assert told.graphs is Graphs.WHOLE
    assert told.overlap_ep
    assert engine_of(ROW | {"date": "2024"}).year == pytest.approx(2024.5)


@pytest.mark.parametrize("text", ["inf", "nan", "1e400", "-5"])
def test_a_number_out_of_all_bounds_is_not_scored(text):
    with pytest.raises(UnscorableError, match=r"layers is .* out of all bounds"):
        model_of(ROW | {"layers": text})
