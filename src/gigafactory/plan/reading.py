"""Reading one row of a table of runs: text into specifications, or the reason why not."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gigafactory.cost.engine import Engine, Graphs, Repeats
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
#: First year in which the vendor's engines captured what they could in graphs by default.
_GRAPHS_YEAR = 2025.8
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
            "num_dense_layers": _dense_layers(row),
        }
    block = Block.LLAMA if gated else Block.GPT
    return Model(name="row", block=block, source=_NOWHERE, **shape)


def _dense_layers(row: Row) -> int:
    """Leading dense layers; a run cut to a few layers keeps one of them, where the model has any.

    The column is that of the whole model. Three of 61 would be three of four.
    """
    stated = int(_optional(row, "dense_layers") or 0)
    return min(stated, 1) if row.get("proxy_layers", "") else stated


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
        recompute_layers=_recompute_layers(row),
        sharding=_sharding(row, replicas=dp * cp),
        shard=_shard(row, replicas=dp * cp),
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
    if text.startswith("full") or "every-other layer" in text:
        return Recompute.FULL
    if not text:
        return Recompute.NONE if year_of(row) >= _OVERLAP_YEAR else Recompute.FULL
    return Recompute.NONE if text.startswith("none") else Recompute.SELECTIVE


def _recompute_layers(row: Row) -> int:
    """Layers of a virtual stage, where a row names a number; else 0, all of them."""
    text = row.get("act_recompute", "").lower()
    stages = int(_optional(row, "PP") or 1) * int(_optional(row, "VPP") or 1)
    here = max(int(number(row, "layers")) // stages, 1)
    if "every-other layer" in text:
        return max(here // 2, 1)
    match = re.search(r"full.*?(\d+) layers", text)
    return min(int(match[1]), here) if match else 0


def _sharding(row: Row, *, replicas: int) -> Sharding:
    text = row.get("dp_sharding", "").lower()
    rules = (
        (("zero1", "zero-1", "zero2", "zero-2", "distributed optimizer"), Sharding.ZERO1),
        (("fsdp", "zero3", "zero-3"), Sharding.FSDP),
        (("none", "ddp", "zero-0"), Sharding.NONE),
    )
    for words, sharding in rules:
        if any(word in text for word in words):
            some = sharding is Sharding.FSDP and 0 < _shard(row, replicas=replicas) < replicas
            return Sharding.HSDP if some else sharding
    return Sharding.ZERO1 if year_of(row) >= _OVERLAP_YEAR else Sharding.NONE


def _shard(row: Row, *, replicas: int) -> int:
    """Ranks that share one copy of the state, where the row names fewer than all; else 0."""
    match = re.search(r"fsdp=(\d+)|over (\d+) gpus", row.get("dp_sharding", "").lower())
    named = int(match[1] or match[2]) if match else 0
    return named if 1 < named < replicas and replicas % named == 0 else 0


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
        attention_lag=_attention_lag(row, year, vendor=compiled or megatron),
        fused_kernels=compiled or megatron,
        fused_weight_gradients="deepspeed" not in framework and "disabled" not in overlap,
        overlap_tp=_flag(overlap, ("ub_tp_comm", "tp/pp/dp"), default=tuned),
        overlap_dp=not re.search("no dp overlap|overlap disabled", overlap)
        and year >= _OVERLAP_YEAR,
        overlap_pp=_flag(overlap, ("overlap_p2p", "tp/pp/dp"), default=tuned),
        overlap_ep="moe_a2a_overlap=true" in flags,
        sparse_dispatch=year >= _SPARSE_YEAR or "hybridep" in flags or "deepep" in flags,
        graphs=_graphs(flags, compiled=compiled, silent=tuned and year >= _GRAPHS_YEAR),
        dropless="token-drop" not in row.get("notes", "").lower(),
        block_scaling=bool(re.search(r"mxfp8|block|subchannel", row.get("precision", "").lower())),
        repeats=_repeats(row.get("act_recompute", "").lower(), compiled=compiled),
        year=year,
    )


def _attention_lag(row: Row, year: float, *, vendor: bool) -> int:
    """Generations between the newest attention kernel of the year and the one made for the GPU.

    FlashAttention 1 and 2 (2023-07) were made for the A100, 3 and cuDNN 9 for the H100, then came
    those for Blackwell. The vendor's engines had each when it came, the open ones half a year to a
    year later.
    """
    made_for = 1 if gpu_name_of(row).startswith("a100") else 2 if _is_hopper(row) else 3
    dates = (2023.55, 2024.0, 2024.9) if vendor else (2024.2, 2024.9, 2025.7)
    return max(made_for - sum(year >= date for date in dates), 0)


def _is_hopper(row: Row) -> bool:
    return gpu_name_of(row).startswith(("h100", "h200"))


def _graphs(flags: str, *, compiled: bool, silent: bool) -> Graphs:
    """What the host launches as graphs; XLA hands over whole programs.

    ``silent``: what recent engines of the vendor do where a row has no flags at all.
    """
    if silent and not flags.strip():
        return Graphs.OUTSIDE_EXPERTS
    if compiled or ("full_iteration" in flags and "impl=none" not in flags):
        return Graphs.WHOLE
    captures = re.search(r"cuda_graph_scope=\[[^]]", flags) and "impl=none" not in flags
    return Graphs.OUTSIDE_EXPERTS if captures else Graphs.NONE


def _repeats(text: str, *, compiled: bool) -> Repeats:
    """What a policy of selective recompute computes again."""
    if "selective:" in text or "recomputemodule" in text:
        return Repeats(
            pointwise=float(bool(re.search("layernorm|moe_act|mlp", text))),
            core_attention=float("core_attn" in text),
            latent_gemms=float("up_proj" in text),
            ffn_in=float(bool(re.search(r"[:+ ]mlp\b", text))),
            ffn_out=0.0,
        )
    if "core_attn" in text:
        return Repeats(pointwise=0.0, core_attention=1.0)
    if "(op)" in text:
        # torchtitan keeps every second product and attention
        return Repeats(attention_gemms=0.5, latent_gemms=0.5, ffn_in=0.5, ffn_out=0.5)
    if compiled:
        # policies name what is kept; a fused attention is never among it
        kept_all = "dot_only" in text or ("dots" in text and "except" not in text)
        feeds = 0.0 if kept_all else 1.0
        return Repeats(core_attention=1.0, ffn_in=feeds, ffn_out=float("qkv_out" in text))
    return Repeats()


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
