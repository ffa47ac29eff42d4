"""Another service, as seen on the wire: the model's name says how it behaves."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

HEAD = {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "theirs"}
BEGIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CALL = {"index": 0, "id": "call_1", "type": "function",
        "function": {"name": "weather", "arguments": '{"city":'}}  # fmt: skip
LOGPROBS = {"content": [{"token": "yes", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}


def framed(payload: bytes) -> bytes:
    return f"{len(payload):x}\r\n".encode() + payload + b"\r\n"


def event(document: Any) -> bytes:
    text = document if isinstance(document, str) else json.dumps(document)
    return framed(f"data: {text}\n\n".encode())


def chunk(delta: Any, finish: str | None = None, logprobs: Any = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    return event({**HEAD, "choices": [choice]})


def usage(prompt: int, completion: int) -> bytes:
    count = {"prompt_tokens": prompt, "completion_tokens": completion,
             "total_tokens": prompt + completion}  # fmt: skip
    return event({**HEAD, "choices": [], "usage": count})


END = event("[DONE]") + b"0\r\n\r\n"
WORDS = [chunk({"content": word}) for word in ("one", " two", " three")]


def error(status: str, message: str) -> bytes:
    body = json.dumps({"error": {"message": message}}).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


#: bytes to write one after the other; None hangs up, a number waits so many seconds
SCRIPTS: dict[str, list[bytes | float | None]] = {
    "good": [BEGIN, *WORDS, chunk({}, "stop"), usage(11, 3), END],
    "tools": [
        BEGIN,
        chunk({"tool_calls": [CALL]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ' "Oslo"}'}}]}),
        chunk({}, "tool_calls"),
        usage(20, 9),
        END,
    ],
    "logprobs": [BEGIN, chunk({"content": "yes"}, logprobs=LOGPROBS), chunk({}, "stop"), END],
    "dies": [BEGIN, *WORDS, None],
    "falls-silent": [BEGIN, *WORDS, END],
    "dies-at-once": [None],
    "fails-inside": [BEGIN, WORDS[0], event({"error": {"message": "out of memory"}}), END],
    "no-json": [BEGIN, WORDS[0], framed(b"data: {broken\n\n"), END],
    "no-http": [b"hello\r\n\r\n", None],
    "busy": [error("429 Too Many", "slow down")],
    "refuses": [error("400 Bad Request", "temperature is odd")],
    "wants-key": [error("401 Unauthorized", "bad key sk-secret")],
    "half-pair": [BEGIN, chunk({"content": "a\ud83d"}), chunk({}, "stop"), END],
    "endless": [BEGIN, *[x for _ in range(20000) for x in (chunk({"content": " w"}), 0.002)]],
    "large": [
        BEGIN,
        *[chunk({"content": "x" * 8000}) for _ in range(3000)],
        chunk({}, "stop"),
        END,
    ],
    "slow": [BEGIN, 1.0, *WORDS, chunk({}, "stop"), END],
}


class Upstream:
    """Serves in a thread until closed."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.num_connections = 0
        self.num_open = 0
        self.hung_up = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._ready.wait(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._closing = asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        async with server:
            await self._closing.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        self.num_open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                fields = json.loads(await reader.readexactly(length))
                self.asked.append({"path": head.split()[1].decode(), "head": head, **fields})
                if not await self._play(fields, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            self.num_open -= 1
            writer.close()

    async def _play(self, fields: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        if "input" in fields:
            data = [{"index": i, "embedding": [0.5, -2.0]} for i, _ in enumerate(fields["input"])]
            body = json.dumps({"data": data, "usage": {"prompt_tokens": 4}}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            return True
        for step in SCRIPTS[fields["model"]]:
            if step is None:
                return False
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await asyncio.sleep(step)
        return True

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(20)
