"""Ours beside a plain Starlette gateway: what each adds, bears and weighs, in one run.

    python benchmarks/gateway.py [--requests 2000] [--clients 64]

An upstream in a process of its own answers every request with a stream of 16 tokens. The gateways
stand before it in turn: ours with keys, budget and a usage ledger on disk; the same with httpx as
its client; the plain one with nothing. What is said of "one core" is requests by second of
processor time that the gateway took, so that a busy machine does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gigafactory.chat.keys import Allowance
from gigafactory.chat.load import Load, shoot
from gigafactory.chat.load_figures import Promise, figures
from gigafactory.chat.opening import add_key

NUM_TOKENS = 16
GAP_S = 0.005
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


async def upstream(port: int) -> None:
    """Answers anything with 16 tokens, one every 5 ms."""
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _framed(json.dumps({**head, "choices": [choice]}))

    words = [chunk({"content": " word"}) for _ in range(NUM_TOKENS)]
    usage = {"prompt_tokens": 9, "completion_tokens": NUM_TOKENS, "total_tokens": 25}
    end = (
        chunk({}, "stop")
        + _framed(json.dumps({**head, "choices": [], "usage": usage}))
        + _framed("[DONE]")
        + b"0\r\n\r\n"
    )
    begin = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(asked.split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(begin)
                for word in words:
                    if writer.is_closing():
                        return
                    writer.write(word)
                    await asyncio.sleep(GAP_S)
                writer.write(end)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=1000)
    async with server:
        await server.serve_forever()


def _framed(payload: str) -> bytes:
    event = f"data: {payload}\n\n".encode()
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """The process id of ``command``, once its port answers."""
    with subprocess.Popen(command) as process:
        try:
            _wait(port)
            yield process.pid
        finally:
            process.terminate()
            process.wait(20)


def _wait(port: int) -> None:
    for _ in range(1200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("a server did not start within a minute")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    raise SystemExit("no VmHWM in /proc")


def ttft_ms(url: str, key: str | None, num_requests: int) -> float:
    """The median to the first byte of a stream at one client."""
    load = Load(base_url=url, model="m", api_key=key, num_requests=num_requests, num_clients=1,
                max_tokens=NUM_TOKENS)  # fmt: skip
    found = figures(asyncio.run(shoot(load)), promise=Promise())
    return float(str(found["median_ttft_ms"]))


def measure(url: str, key: str | None, pid: int, args: argparse.Namespace) -> dict[str, float]:
    """All figures of the gateway at ``url``; it has been warmed up before."""
    ttft_ms(url, key, 20)
    direct = [ttft_ms(args.direct, None, 40) for _ in range(2)]
    through = [ttft_ms(url, key, 40) for _ in range(2)]
    load = Load(base_url=url, model="m", api_key=key, num_requests=args.requests,
                num_clients=args.clients, max_tokens=NUM_TOKENS)  # fmt: skip
    before_s = cpu_s(pid)
    found = figures(asyncio.run(shoot(load)), promise=Promise())
    used_s = cpu_s(pid) - before_s
    if found["failed"]:
        raise SystemExit(f"{found['failed']} requests failed: {found['errors']}")
    return {
        "added_ttft_ms": statistics.fmean(through) - statistics.fmean(direct),
        "requests_per_cpu_s": args.requests / used_s,
        "requests_per_s": float(str(found["request_throughput"])),
        "median_ttft_ms_under_load": float(str(found["median_ttft_ms"])),
        "peak_mb": peak_bytes(pid) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.upstream:
        asyncio.run(upstream(args.upstream))
        return
    here = Path(__file__).parent
    up, plain, ours = free_port(), free_port(), free_port()
    args.direct = f"http://127.0.0.1:{up}/v1"
    found = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running([sys.executable, __file__, "--upstream", str(up)], up),
    ):
        on_httpx = [str(here / "gateway_on_httpx.py")]
        for name, program in (("ours", ["-m", "gigafactory.cli"]), ("ours_on_httpx", on_httpx)):
            store = f"{folder}/{name}.db"
            _, key = add_key(store, "bench", allowance=Allowance(budget_tokens=10**12))
            command = [sys.executable, *program, "chat", "--engine", f"m={args.direct}",
                       "--store", store, "--port", str(ours)]  # fmt: skip
            with running(command, ours) as pid:
                found[name] = measure(f"http://127.0.0.1:{ours}/v1", key, pid, args)
        command = [sys.executable, str(here / "plain_gateway.py"), args.direct, str(plain)]
        with running(command, plain) as pid:
            found["plain"] = measure(f"http://127.0.0.1:{plain}/v1", None, pid, args)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
