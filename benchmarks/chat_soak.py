"""The chat service for a long time, under load and ill treated: its memory has to stay flat.

    python benchmarks/chat_soak.py --seconds 1800

Round after round: ordinary streams, clients that hang up in the middle, requests that are wrong,
keys that are made and revoked while they are in use. At the end no request is left over, every
answered token is in the ledger, and the memory of the second half grew by less than 3 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from gateway import NUM_TOKENS, free_port, running

from gigafactory.chat.http1 import BrokenOffError, Client
from gigafactory.chat.load import Load, shoot
from gigafactory.chat.opening import add_key, revoke_key
from gigafactory.chat.store import open_store

_MOST_GROWTH = 0.03
_WARM_SHARE = 0.5
"""Of the time: pools and caches fill before memory is judged."""


def rss_bytes(pid: int) -> int:
    """Resident memory now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return 1024 * int(line.split()[1])
    raise SystemExit("no VmRSS in /proc")


async def hang_up(url: str, key: str, num_clients: int) -> None:
    """Clients that leave after the first words."""
    client = Client(url, headers={"Authorization": f"Bearer {key}"})
    body = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    ).encode()

    async def one() -> None:
        response = await client.post("/chat/completions", body)
        async for _ in response.parts():
            break
        response.close()

    await asyncio.gather(*(one() for _ in range(num_clients)), return_exceptions=True)
    client.close()


async def send_wrong(url: str, key: str, dice: random.Random, num_requests: int) -> list[int]:
    """Bodies of all kinds; the statuses that came back."""
    client = Client(url, headers={"Authorization": f"Bearer {key}"})
    statuses = []
    for _ in range(num_requests):
        body = dice.choice(
            [dice.randbytes(200), b"[" * 5000, b'{"model": "m"}', b'{"model": 3, "messages": 4}']
        )
        try:
            response = await client.post("/chat/completions", body)
        except (OSError, BrokenOffError):
            continue
        await response.whole(most_bytes=10_000)
        statuses.append(response.status)
        response.close()
    client.close()
    return statuses


async def soak(url: str, store: str, pid: int, seconds: float) -> dict[str, object]:
    """All rounds; what came of them."""
    dice = random.Random(0)
    began_s = time.monotonic()
    samples: list[tuple[float, int]] = []
    counts = {"rounds": 0, "answered": 0, "refused_4xx": 0, "other_statuses": 0}
    while (passed_s := time.monotonic() - began_s) < seconds:
        key, secret = add_key(store, f"round {counts['rounds']}")
        await asyncio.sleep(0.4)  # the service looks for new keys five times a second
        load = Load(base_url=url, model="m", api_key=secret, num_requests=60, num_clients=20,
                    max_tokens=NUM_TOKENS)  # fmt: skip
        shots = await shoot(load)
        counts["answered"] += sum(shot.error is None for shot in shots)
        await hang_up(url, secret, 10)
        statuses = await send_wrong(url, secret, dice, 40)
        counts["refused_4xx"] += sum(400 <= status < 500 for status in statuses)
        counts["other_statuses"] += sum(not 400 <= status < 500 for status in statuses)
        leaving = asyncio.create_task(hang_up(url, secret, 5))
        revoke_key(store, key.id)
        await leaving
        counts["rounds"] += 1
        samples.append((passed_s, rss_bytes(pid)))
    return {**counts, **growth(samples, seconds)}


def growth(samples: list[tuple[float, int]], seconds: float) -> dict[str, float]:
    """How memory went in the second half: its last quarter over its first."""
    late = [rss for at_s, rss in samples if at_s >= _WARM_SHARE * seconds] or [samples[-1][1]]
    part = max(1, len(late) // 4)
    first, last = statistics.fmean(late[:part]), statistics.fmean(late[-part:])
    return {"first_mb": first / 1e6, "last_mb": last / 1e6, "growth": last / first - 1}


async def left_over(url: str) -> int:
    """Requests that are still present."""
    client = Client(url.removesuffix("/v1"))
    response = await client.get("/health")
    present = json.loads(await response.whole(most_bytes=10_000))["num_present"]
    response.close()
    client.close()
    return sum(present.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    seconds = parser.parse_args().seconds
    up, port = free_port(), free_port()
    upstream = [sys.executable, str(Path(__file__).with_name("gateway.py")), "--upstream", str(up)]
    with tempfile.TemporaryDirectory() as folder, running(upstream, up):
        store, url = f"{folder}/chat.db", f"http://127.0.0.1:{port}/v1"
        service = [sys.executable, "-m", "gigafactory.cli", "chat", "--port", str(port),
                   "--engine", f"m=http://127.0.0.1:{up}/v1", "--store", store]  # fmt: skip
        with running(service, port) as pid:
            found = asyncio.run(soak(url, store, pid, seconds))
            time.sleep(1.0)
            found["left_over"] = asyncio.run(left_over(url))
        with open_store(store) as opened:
            done = [e for e in opened.entries() if e.outcome == "done"]
            found["tokens_in_ledger"] = sum(e.completion_tokens for e in done)
    print(json.dumps(found, indent=2))
    faults = {
        "memory grew": float(str(found["growth"])) > _MOST_GROWTH,
        "requests are left over": bool(found["left_over"]),
        "tokens are missing": found["tokens_in_ledger"] < NUM_TOKENS * int(str(found["answered"])),
        "wrong requests were not refused": bool(found["other_statuses"]),
        "nothing was answered": not found["answered"],
    }
    if any(faults.values()):
        sys.exit("; ".join(what for what, is_so in faults.items() if is_so))


if __name__ == "__main__":
    main()
