"""SGLang as a serving engine: a configuration file and a command line, rendered.

Names as in `python -m sglang.launch_server --help` of 0.5. With attention by data parallelism its
tp-size counts all ranks (our tp x dp), limits of requests and of prefill count all groups together.
"""

from __future__ import annotations

from collections.abc import Iterator

from gigafactory.describe.cluster import Precision
from gigafactory.describe.model import Model
from gigafactory.describe.serve import Role
from gigafactory.describe.serving import Replica
from gigafactory.run.engines.catalog import ServingEngine, check_serving, whole_hosts
from gigafactory.run.engines.program import FILES, HOST_RANK, MASTER, MASTER_PORT, Program

CONFIG_FILE = "sglang.yaml"
_NO_CHUNKS = -1
_ROUTER = "sglang's router, started with --pd-disaggregation, names each prompt both its sides"


def program(
    model: Model, replica: Replica, *, gpus_per_host: int, weights: str, role: Role = Role.WHOLE
) -> Program:
    """``weights``: folder with the model in the form of safetensors, the same on all hosts."""
    check_serving(replica, block=model.block, kind=ServingEngine.SGLANG)
    hosts, each = whole_hosts(replica.num_gpus, gpus_per_host)
    lines = [f"{key}: {value}" for key, value in _config(model, replica, weights)]
    if role is not Role.WHOLE:
        lines.append(f"disaggregation-mode: {role}")
    command = f'python3 -m sglang.launch_server --config "${FILES}/{CONFIG_FILE}"'
    over = (
        f' --nnodes {hosts} --node-rank "${HOST_RANK}" --dist-init-addr "${MASTER}:{MASTER_PORT}"'
        if hosts > 1
        else ""
    )
    return Program(
        engine=ServingEngine.SGLANG,
        num_hosts=hosts,
        gpus_per_host=each,
        command=command + over,
        files={CONFIG_FILE: "\n".join(lines) + "\n"},
        notes=() if role is Role.WHOLE else (_ROUTER,),
    )


def _config(model: Model, replica: Replica, weights: str) -> Iterator[tuple[str, str | int]]:
    yield "model-path", weights
    yield "served-model-name", model.name
    yield "host", "0.0.0.0"
    yield "context-length", model.context
    yield "tp-size", replica.tp * replica.dp
    yield "pp-size", replica.pp
    if replica.dp > 1:
        yield "dp-size", replica.dp
        yield "enable-dp-attention", "true"
    if replica.ep > 1:
        yield "ep-size", replica.ep
    if replica.precision is Precision.FP8 and model.released_precision is not Precision.FP8:
        yield "quantization", "fp8"
    if replica.precision is not Precision.FP8:
        yield "dtype", {Precision.BF16: "bfloat16", Precision.FP16: "float16"}[replica.precision]
    yield "kv-cache-dtype", "fp8_e4m3" if replica.kv_precision is Precision.FP8 else "auto"
    yield "max-running-requests", replica.max_batch * replica.dp
    chunk = replica.max_num_tokens * replica.dp if replica.chunked_prefill else _NO_CHUNKS
    yield "chunked-prefill-size", chunk
