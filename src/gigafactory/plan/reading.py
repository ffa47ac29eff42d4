"""Reading one row of a table of runs: text into specifications, or the reason why not."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gigafactory.cost.engine import Engine
from gigafactory.describe.cluster import (
    Cluster,
    Fabric,
    FabricKind,
    Gpu,
    Host,
    Precision,
    Site,
    Storage,
)
from gigafactory.describe.layout import Layout, Recompute, Sharding
from gigafactory.describe.model import Block, Mla, Model

Row = Mapping[str, str]

_GBIT = 1e9 / 8
#: Classes of the table and the names of the catalog.
_GPUS = {
    "A100-40GB": "a100-40gb-sxm",
    "A100-80GB": "a100-80gb-sxm",
    "A100": "a100-80gb-sxm",
    "H100-80GB-SXM": "h100-sxm",
    "H200": "h200-sxm",
    "B200": "b200-sxm",
    "B300": "b300-sxm",
    "GB200": "gb200",
    "GB300": "gb300",
}
#: A NIC a GPU of the generation, where the row is silent: HDR 200, NDR 400, XDR 800 Gb/s.
_NIC_GBIT = {"a100": 200, "h100": 400, "h200": 400, "b200": 400, "gb200": 400, "b300": 800}
_NIC_GBIT_LATEST = 800
_LINK_GBIT = {"HDR": 200, "NDR": 400, "XDR": 800}
#: Racks in which 72 GPUs share one scale-up domain.
_NVL72 = {"gb200": 72, "gb300": 72}
#: DeepSeek-V2's latent attention (arXiv:2405.04434), the only published sizes; tables say "yes".
_MLA = Mla(
    q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128
)
_HEAD_DIM = 128
#: First year in which engines used flash attention, and overlapped data-parallel traffic.
_FLASH_YEAR, _OVERLAP_YEAR = 2022.9, 2023.0
#: First year in which engines sent a token to a host once without being told.
_SPARSE_YEAR = 2026.0
_NOWHERE = "a row of a table of measured runs"


class UnscorableError(ValueError):
    """The row cannot be scored; the message says why."""


#: No count and no time in a table of runs is larger.
_LARGEST = 1e18


def number(row: Row, key: str) -> float:
    """The number in column ``key``; UnscorableError where there is none."""
    found = _optional(row, key)
    if found is None:
        raise UnscorableError(f"{key} is not stated")
    return found


def _optional(row: Row, key: str) -> float | None:
    text = row.get(key, "").strip()
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        raise UnscorableError(f"{key} is {text!r}, not a number") from None
    if not 0 <= found < _LARGEST:
        raise UnscorableError(f"{key} is {text!r}, out of all bounds")
    return found


#: For the readers of other tables.
optional = _optional


def measured_step_s(row: Row) -> float:
    """The stated step time, else the one derived from tokens per second."""
    if row.get("trust", "").strip() == "C":
        raise UnscorableError("trust C: not to be scored")
    if "lora" in " ".join((row.get("task", ""), row.get("other_flags", ""))).lower():
        raise UnscorableError("trains adapters, not the model")
    for key in ("step_time_s", "derived_step_time_s"):
        found = _optional(row, key)
        if found:
            return found
    raise UnscorableError("no step time and no tokens per second (a FLOP rate is never scored)")


def gpu_name_of(row: Row) -> str:
    """Catalog name of the row's GPU; the class itself where the catalog has none."""
    told = row.get("gpu_class", "")
    return _GPUS.get(told, told)


def precision_of(row: Row) -> Precision:
    """Format of the matrix multiplications; UnscorableError where the row itself doubts it."""
    text = row.get("precision", "").lower().strip()
    if not text:
        raise UnscorableError("precision is not stated")
    if "?" in text:
        raise UnscorableError(f"precision is uncertain: {text}")
    for word, precision in (
        ("nvfp4", Precision.NVFP4),
        ("fp8", Precision.FP8),
        ("bf16", Precision.BF16),
        ("fp16", Precision.FP16),
    ):
        if word in text:
            return precision
    raise UnscorableError(f"precision {text!r} is not modelled")


def model_of(row: Row) -> Model:
    """The architecture; UnscorableError where its shape is not stated."""
    hidden = int(number(row, "hidden"))
    heads = int(_optional(row, "heads") or max(hidden // _HEAD_DIM, 1))
    experts = int(_optional(row, "experts") or 0)
    gated = row.get("gated_ffn", "").startswith("yes")
    shape = {
        "num_layers": int(number(row, "layers")),
        "hidden": hidden,
        "num_heads": heads,
        "num_kv_heads": int(_optional(row, "kv_heads") or heads),
        "head_dim": int(_optional(row, "head_dim") or hidden // heads),
        "ffn": int(_optional(row, "ffn") or 0),
        "gated_ffn": gated,
        "vocab": int(number(row, "vocab")),
        "tied_embeddings": row.get("tied_embeddings", "").startswith("yes"),
        "mla": _MLA if row.get("mla", "").startswith("yes") else None,
    }
    if experts:
        moe_ffn = int(number(row, "moe_ffn"))
        shape |= {
            "num_experts": experts,
            "topk": int(number(row, "topk")),
            "moe_ffn": moe_ffn,
            "num_shared_experts": _shared_experts(row, moe_ffn),
            "num_dense_layers": int(_optional(row, "dense_layers") or 0),
        }
    block = Block.LLAMA if gated else Block.GPT
    return Model(name="row", block=block, source=_NOWHERE, **shape)


def _shared_experts(row: Row, moe_ffn: int) -> int:
    """A number of experts, or ``1x20480``: one of that width, counted in routed experts."""
    text = row.get("shared_experts", "").rstrip("?")
    if "x" in text:
        count, width = text.split("x")
        return round(int(count) * int(width) / moe_ffn)
    return int(float(text or 0))


def layout_of(row: Row, *, precision: Precision) -> Layout:
    """The mesh; UnscorableError where TP, PP or the microbatch can neither be read nor derived."""
    if _optional(row, "TP") is None or _optional(row, "PP") is None:
        raise UnscorableError("no layout is stated")
    tp, pp = int(number(row, "TP")), int(number(row, "PP"))
    cp = int(_optional(row, "CP") or 1)
    ranks = int(number(row, "n_gpus"))
    if ranks % (tp * pp * cp):
        raise UnscorableError(f"{ranks} GPUs do not divide by TP x PP x CP = {tp * pp * cp}")
    dp = ranks // (tp * pp * cp)
    experts = _optional(row, "experts")
    return Layout(
        tp=tp,
        pp=pp,
        vpp=int(_optional(row, "VPP") or 1) if pp > 1 else 1,
        cp=cp,
        dp=dp,
        ep=int(_optional(row, "EP") or 1) if experts else 1,
        # unstated, experts are not cut: what Megatron recommends since parallel folding
        etp=int(_optional(row, "ETP") or 1) if experts else 1,
        micro_batch=_micro_batch(row, dp=dp, pp=pp),
        recompute=_recompute(row),
        sharding=_sharding(row),
        precision=precision,
    )


def _micro_batch(row: Row, *, dp: int, pp: int) -> int:
    stated = _optional(row, "micro_batch")
    if stated:
        return int(stated)
    steps = _optional(row, "grad_accum")
    if steps:
        return max(int(number(row, "global_batch") / dp / steps), 1)
    if pp > 1:
        return 1
    raise UnscorableError("neither micro_batch nor grad_accum is stated")


def _recompute(row: Row) -> Recompute:
    text = row.get("act_recompute", "").lower()
    if text.startswith("full"):
        return Recompute.FULL
    if not text:
        return Recompute.NONE if year_of(row) >= _OVERLAP_YEAR else Recompute.FULL
    return Recompute.NONE if text.startswith("none") else Recompute.SELECTIVE


def _sharding(row: Row) -> Sharding:
    text = row.get("dp_sharding", "").lower()
    rules = (
        (("zero1", "zero-1", "zero2", "zero-2", "distributed optimizer"), Sharding.ZERO1),
        (("fsdp", "zero3", "zero-3"), Sharding.FSDP),
        (("none", "ddp", "zero-0"), Sharding.NONE),
    )
    for words, sharding in rules:
        if any(word in text for word in words):
            return sharding
    return Sharding.ZERO1 if year_of(row) >= _OVERLAP_YEAR else Sharding.NONE


def year_of(row: Row) -> float:
    """``2024-11`` as 2024.88; UnscorableError where the row has no date."""
    match = re.match(r"(\d{4})(?:-(\d{2}))?", row.get("date", ""))
    if not match:
        raise UnscorableError("date is not stated")
    return int(match[1]) + (int(match[2]) - 0.5 if match[2] else 6.0) / 12


def engine_of(row: Row) -> Engine:
    """What the software of the row can do, from its framework, flags and date."""
    framework, year = row.get("framework", "").lower(), year_of(row)
    overlap, flags = row.get("overlap_flags", "").lower(), row.get("other_flags", "").lower()
    compiled = bool(re.search(r"jax|maxtext|paxml", framework))
    megatron = bool(re.search(r"megatron|nemo|megascale|internevo|primus", framework))
    tuned = compiled or bool(re.search(r"nemo|megatron-bridge|megascale$", framework))
    return Engine(
        sequence_parallel=row.get("seq_parallel", "") != "no",
        flash_attention=year >= _FLASH_YEAR,
        fused_kernels=compiled or megatron,
        overlap_tp=_flag(overlap, ("ub_tp_comm", "tp/pp/dp"), default=tuned),
        overlap_dp="no dp overlap" not in overlap and year >= _OVERLAP_YEAR,
        overlap_pp=_flag(overlap, ("overlap_p2p", "tp/pp/dp"), default=tuned),
        overlap_ep="moe_a2a_overlap=true" in flags,
        sparse_dispatch=year >= _SPARSE_YEAR or "hybridep" in flags or "deepep" in flags,
        cuda_graphs="cuda_graph_scope" in flags and "cuda_graph_impl=none" not in flags,
        year=year,
    )


def _flag(text: str, words: tuple[str, ...], *, default: bool) -> bool:
    """Whether the flags name it; where there are none, ``default``."""
    return any(word in text for word in words) if text else default


def cluster_of(row: Row, *, gpu: Gpu) -> Cluster:
    """The hosts of the run; power, price and storage play no part in a step."""
    per_host = int(_optional(row, "gpus_per_node") or 8)
    nics_bytes_per_s = _host_nics_bytes_per_s(row, gpu, per_host)
    ranks = int(number(row, "n_gpus"))
    return Cluster(
        name="row",
        num_hosts=max(-(-ranks // per_host), 1),
        host=Host(
            name="row",
            gpu=gpu,
            num_gpus=per_host,
            num_nics=per_host,
            nic_bandwidth_bytes_per_s=nics_bytes_per_s / per_host,
            scaleup_gpus=_NVL72.get(gpu.name),
            dram_bytes=1e12,
            rated_w=per_host * gpu.tdp_w,
            training_w=per_host * gpu.tdp_w,
            idle_w=per_host * gpu.tdp_w,
            source=_NOWHERE,
        ),
        fabric=Fabric(
            name="row",
            kind=FabricKind.CLOS,
            port_bandwidth_bytes_per_s=nics_bytes_per_s / per_host,
            oversubscription=_oversubscription(row),
            source=_NOWHERE,
        ),
        storage=Storage(
            name="row",
            write_bandwidth_bytes_per_s=1e9,
            read_bandwidth_bytes_per_s=1e9,
            source=_NOWHERE,
        ),
        site=Site(
            name="row", pue=1.0, electricity_usd_per_j=0.0, carbon_kg_per_j=0.0, source=_NOWHERE
        ),
        source=_NOWHERE,
    )


def _oversubscription(row: Row) -> float:
    match = re.search(r"1:(\d+) oversubscription", row.get("interconnect", ""))
    return float(match[1]) if match else 1.0


def _host_nics_bytes_per_s(row: Row, gpu: Gpu, per_host: int) -> float:
    """Bandwidth of all NICs of a host, from the text or, where it is silent, the generation."""
    text = row.get("interconnect", "")
    many = re.search(r"(\d+)x[^;,]*?(\d+)\s?Gb", text)
    if many:
        return int(many[1]) * int(many[2]) * _GBIT
    whole = re.search(r"(\d+)\s?Gb(?:ps|/s)[^;,]*node", text)
    if whole:
        return int(whole[1]) * _GBIT
    for word, gbit in _LINK_GBIT.items():
        if word in text:
            return per_host * gbit * _GBIT
    family = gpu.name.split("-")[0]
    return per_host * _NIC_GBIT.get(family, _NIC_GBIT_LATEST) * _GBIT
