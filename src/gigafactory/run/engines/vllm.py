"""vLLM as a serving engine: a configuration file and a command line, rendered.

One replica of the model on one or more hosts. Names as in `vllm serve --help` of 0.24: expert
parallelism takes all of tp x dp or nothing; over several hosts either data parallelism is spread
(whole groups on each host) or one group is (multi-node multiprocessing).
"""

from __future__ import annotations

from collections.abc import Iterator

from gigafactory.describe.cluster import Precision
from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Model
from gigafactory.describe.serve import Role
from gigafactory.describe.serving import Replica
from gigafactory.run.engines.catalog import ServingEngine, check_serving, whole_hosts
from gigafactory.run.engines.program import FILES, HOST_RANK, MASTER, MASTER_PORT, Program

CONFIG_FILE = "vllm.yaml"
_RPC_PORT = 13345
#: docs.vllm.ai, features/nixl_connector_usage: both sides take both roles, a proxy decides.
_TRANSFER = '{"kv_connector": "NixlConnector", "kv_role": "kv_both"}'
_PROXY = "a proxy that knows NIXL (llm-d, Dynamo) sends each prompt to one side and then the other"


def program(
    model: Model, replica: Replica, *, gpus_per_host: int, weights: str, role: Role = Role.WHOLE
) -> Program:
    """``weights``: folder with the model in the form of safetensors, the same on all hosts."""
    check_serving(replica, block=model.block, kind=ServingEngine.VLLM)
    hosts, each = whole_hosts(replica.num_gpus, gpus_per_host)
    _check_spread(replica, hosts, each)
    lines = [f"{key}: {value}" for key, value in _config(model, replica, weights)]
    if role is not Role.WHOLE:
        lines.append(f"kv-transfer-config: '{_TRANSFER}'")
    command = f'vllm serve --config "${FILES}/{CONFIG_FILE}"'
    more = _over_hosts(replica, hosts, each)
    return Program(
        engine=ServingEngine.VLLM,
        num_hosts=hosts,
        gpus_per_host=each,
        command=" ".join([command, *more]),
        files={CONFIG_FILE: "\n".join(lines) + "\n"},
        notes=() if role is Role.WHOLE else (_PROXY,),
    )


def _config(model: Model, replica: Replica, weights: str) -> Iterator[tuple[str, str | int]]:
    yield "model", weights
    yield "served-model-name", model.name
    yield "host", "0.0.0.0"
    yield "max-model-len", model.context
    yield "tensor-parallel-size", replica.tp
    yield "pipeline-parallel-size", replica.pp
    yield "data-parallel-size", replica.dp
    if replica.ep > 1:
        yield "enable-expert-parallel", "true"
    if replica.precision is Precision.FP8 and model.released_precision is not Precision.FP8:
        yield "quantization", "fp8"  # made while loading; published fp8 weights say so themselves
    if replica.precision is not Precision.FP8:
        yield "dtype", {Precision.BF16: "bfloat16", Precision.FP16: "float16"}[replica.precision]
    yield "kv-cache-dtype", "fp8" if replica.kv_precision is Precision.FP8 else "auto"
    yield "max-num-seqs", replica.max_batch
    yield "max-num-batched-tokens", replica.max_num_tokens
    yield "enable-chunked-prefill", str(replica.chunked_prefill).lower()


def _check_spread(replica: Replica, hosts: int, each: int) -> None:
    if replica.ep not in (1, replica.tp * replica.dp):
        raise InputError(
            f"vllm spreads experts over all {replica.tp * replica.dp} ranks of tp x dp or over "
            f"none; ep {replica.ep} is neither (sglang takes it)"
        )
    group = replica.tp * replica.pp
    if hosts > 1 and replica.dp > 1 and each % group:
        raise InputError(
            f"vllm keeps whole data-parallel groups on a host; one of {group} GPUs does not fit "
            f"into {each}"
        )


def _over_hosts(replica: Replica, hosts: int, each: int) -> list[str]:
    if hosts == 1:
        return []
    quiet = f'$([ "${HOST_RANK}" = 0 ] || echo --headless)'
    if replica.dp == 1:
        return [
            f"--nnodes={hosts}", f'--node-rank="${HOST_RANK}"', f'--master-addr="${MASTER}"',
            f"--master-port={MASTER_PORT}", quiet,
        ]  # fmt: skip
    local = each // (replica.tp * replica.pp)
    return [
        f"--data-parallel-size-local={local}",
        f"--data-parallel-start-rank=$((${HOST_RANK} * {local}))",
        f'--data-parallel-address="${MASTER}"', f"--data-parallel-rpc-port={_RPC_PORT}", quiet,
    ]  # fmt: skip
