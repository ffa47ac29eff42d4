"""Reading one row of a table of serving runs: text into specifications, or the reason why not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gigafactory.describe.cluster import Gpu, Precision
from gigafactory.describe.model import Model
from gigafactory.describe.serving import Replica, Runtime, Slo, Traffic
from gigafactory.plan.reading import UnscorableError, number, optional, year_of

Row = Mapping[str, str]

#: GPUs of the tables and names of the catalog.
_GPUS = {
    "A100-SXM": "a100-80gb-sxm",
    "H100-SXM": "h100-sxm",
    "H200-SXM": "h200-sxm",
    "H200-NVL": "h200-nvl",
    "H800": "h800-sxm",
    "GH200": "gh200-144gb",
    "B200": "b200-sxm",
    "B300": "b300-sxm",
    "GB200": "gb200",
    "GB300": "gb300",
}
#: Hosts whose processor is a Grace.
_ARM = frozenset(("gh200-144gb", "gb200", "gb300"))
#: Model names of the tables and of the catalog, where they differ by more than punctuation.
_MODELS = {"llama4scout": "llama-4-scout", "minimaxm25": "minimax-m2"}
#: Mean prompt tokens of public request sets, by a word of their name, where a table says no more.
#: The last two are MLCommons' figures, from memory. Of the first two only the limit is known;
#: the means were set by hand so that the rates of MLPerf runs agree, so they are fitted on those.
_PROMPT_TOKENS = {"mbxp": 600.0, "openorca": 300.0, "cnn/dailymail": 778.0, "math/code/qa": 800.0}
_MEAN = re.compile(r"mean about ([\d.]+)\s*K", re.I)
#: Settings of engines that tables leave out: requests at once and tokens of a step.
_MAX_BATCH = {Runtime.NATIVE: 2048, Runtime.TUNED: 2048, Runtime.PORTABLE: 1024}
_MAX_TOKENS = 8192


class Mode(StrEnum):
    """How load was put on the service."""

    SATURATED = "saturated"
    """Everything queued from the start."""
    SERVED = "served"
    """Random arrivals, turned up to the limits on latency."""
    CLOSED = "closed loop"
    PREFILL = "prefill"


@dataclass(frozen=True)
class ServingQuestion:
    """What one row asks."""

    model: Model
    gpu: Gpu
    replica: Replica
    traffic: Traffic
    mode: Mode
    slo: Slo
    num_replicas: float
    requests_per_s: float | None = None
    """Of one replica, as measured."""
    concurrency: float | None = None
    """Of one replica."""


def serving_question(
    row: Row, gpus: Mapping[str, Gpu], models: Mapping[str, Model]
) -> ServingQuestion:
    """The question of ``row``; UnscorableError says what is missing."""
    if row.get("trust", "").strip() == "C":
        raise UnscorableError("trust C: not to be scored")
    gpu = _gpu(row, gpus)
    model = _model(row, models)
    mode = _mode(row)
    replica = _replica(row, model=model, gpu=gpu, mode=mode)
    count = number(row, "n_gpus") / replica.num_gpus
    rate = optional(row, "requests_per_s")
    clients = optional(row, "batch_or_concurrency")
    return ServingQuestion(
        model=model,
        gpu=gpu,
        replica=replica,
        traffic=_traffic(row),
        mode=mode,
        slo=_slo(row),
        num_replicas=count,
        requests_per_s=rate / count if rate else None,
        concurrency=clients / count if clients else None,
    )


def _gpu(row: Row, gpus: Mapping[str, Gpu]) -> Gpu:
    told = row.get("gpu", "").strip()
    name = _GPUS.get(told, told.lower())
    if name not in gpus:
        raise UnscorableError(f"the catalog has no GPU {told or '(not stated)'}")
    return gpus[name]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _model(row: Row, models: Mapping[str, Model]) -> Model:
    told = row.get("model_id", "").strip() or row.get("model", "").strip()
    known = {_plain(name): model for name, model in models.items()}
    found = known.get(_plain(_MODELS.get(_plain(told), told)))
    if found is None:
        raise UnscorableError(f"the catalog has no architecture of {told or '(not stated)'}")
    return found


def _mode(row: Row) -> Mode:
    text = row.get("serving_mode", "").lower()
    if "offline" in text:
        return Mode.SATURATED
    if "closed loop" in text or "concurrency" in text:
        if optional(row, "batch_or_concurrency") is None:
            raise UnscorableError("batch_or_concurrency is not stated")
        return Mode.CLOSED
    if text.startswith(("server", "interactive")):
        return Mode.SERVED
    if "prefill" in text:
        return Mode.PREFILL
    raise UnscorableError(f"how many requests were served at once is not stated ({text or '-'})")


def _precision(row: Row, model: Model) -> Precision:
    text = row.get("precision", "").lower()
    if "see model" in text:
        if model.released_precision is None:
            raise UnscorableError("precision is not stated")
        return model.released_precision
    for word, precision in (
        ("fp4", Precision.NVFP4),
        ("fp8", Precision.FP8),
        ("bf16", Precision.BF16),
        ("fp16", Precision.FP16),
    ):
        if word in text:
            return precision
    raise UnscorableError(f"precision {text!r} is not modelled" if text else _MISSING)


_MISSING = "precision is not stated"


def _kv_precision(row: Row, runtime: Runtime) -> Precision:
    text = row.get("kv_precision", "").lower()
    if "fp8" in text:
        return Precision.FP8
    if "16" in text:
        return Precision.BF16
    # what the engines do unless told otherwise
    return Precision.BF16 if runtime is Runtime.PORTABLE else Precision.FP8


def runtime_of(row: Row) -> Runtime:
    """The family of the engine; UnscorableError where it is not known."""
    text = row.get("framework", "").lower()
    if "pytorch backend" in text:
        return Runtime.TUNED
    if "vllm" in text or "sglang" in text:
        return Runtime.PORTABLE
    if "tensorrt" in text:
        return Runtime.NATIVE
    raise UnscorableError(f"the framework {text or '(not stated)'} is not modelled")


def _replica(row: Row, *, model: Model, gpu: Gpu, mode: Mode) -> Replica:
    runtime = runtime_of(row)
    precision = _precision(row, model)
    gpus = int(number(row, "n_gpus"))
    tp, dp, ep = _parallel(row, model, gpus, mode, runtime)
    batch, tokens = optional(row, "max_batch"), optional(row, "max_num_tokens")
    return Replica(
        tp=tp,
        dp=dp,
        pp=int(optional(row, "PP") or 1),
        ep=ep,
        precision=precision,
        kv_precision=_kv_precision(row, runtime),
        max_batch=int(batch or _MAX_BATCH[runtime]),
        max_num_tokens=int(tokens or _MAX_TOKENS),
        runtime=runtime,
        arm_host=gpu.name in _ARM,
        year=year_of(row),
    )


def _parallel(
    row: Row, model: Model, gpus: int, mode: Mode, runtime: Runtime
) -> tuple[int, int, int]:
    """(tp, dp, ep). EP beyond TP means that attention runs data-parallel over the rest."""
    ep = int(optional(row, "EP") or 0)
    told = optional(row, "TP")
    if told is None and not (ep and mode is Mode.PREFILL):
        raise UnscorableError("TP is not stated")
    tp = int(told or 1)
    if ep > tp and gpus % ep == 0:
        return tp, ep // tp, ep
    if model.num_moe_layers and tp > 1 and not ep and runtime is not Runtime.PORTABLE:
        # compiled engines spread whole experts over the ranks and keep attention apart on each
        return 1, tp, tp
    return tp, 1, min(ep, tp) if ep else 1


def _traffic(row: Row) -> Traffic:
    output = optional(row, "osl") or optional(row, "derived_mean_osl")
    if not output:
        raise UnscorableError("the output length is not stated")
    return Traffic(input_tokens=_prompt_tokens(row), output_tokens=max(output, 1.0))


def _prompt_tokens(row: Row) -> float:
    stated = optional(row, "isl")
    if stated:
        return stated
    text = row.get("dataset", "")
    mean = _MEAN.search(text)
    if mean:
        return float(mean[1]) * 1000
    for word, tokens in _PROMPT_TOKENS.items():
        if word in text.lower():
            return tokens
    raise UnscorableError("the prompt length is not stated")


def _slo(row: Row) -> Slo:
    ttft, tpot = optional(row, "ttft_limit_ms"), optional(row, "tpot_limit_ms")
    return Slo(
        ttft_s=ttft / 1000 if ttft else None,
        tpot_s=tpot / 1000 if tpot else None,
    )
