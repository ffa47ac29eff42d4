"""Our engine for many users at once, held against the one for a single user; and its shell."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

pytest.importorskip("torch", reason="the trained model needs the extra train")
pytest.importorskip("tokenizers", reason="the trained model needs the extra train")

import torch

from gigafactory.chat.batch import Batch
from gigafactory.chat.completion import Job
from gigafactory.chat.engine import Finish, Message, Origin, Piece, Role, Sampling
from gigafactory.chat.errors import ApiError
from gigafactory.chat.ours_batch import PagedTrained
from gigafactory.chat.paging import block_keys
from gigafactory.chat.request import as_request
from gigafactory.chat.text import Decoder
from gigafactory.describe.model import Block, Model
from gigafactory.net.network import Network, initialise
from gigafactory.net.paged import Span, empty_pages, step_logits
from gigafactory.net.sample import choose

TINY = {
    "name": "tiny", "num_layers": 2, "hidden": 32, "num_heads": 4, "num_kv_heads": 2,
    "head_dim": 8, "vocab": 60, "context": 64, "source": "this test",
}  # fmt: skip
BLOCKS = {
    "grok-1": {"block": Block.GROK1, "tied_embeddings": True, "num_experts": 4, "topk": 2,
               "moe_ffn": 32},
    "grok-2": {"block": Block.GROK2, "tied_embeddings": False, "num_experts": 4, "topk": 2,
               "moe_ffn": 32, "ffn": 32, "dense_residual": True},
    "qwen3": {"block": Block.QWEN3_MOE, "tied_embeddings": True, "ffn": 32},
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tiny products are slower on two threads, and much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(kind: str = "grok-1") -> Network:
    net = Network(Model(**(TINY | BLOCKS[kind])))
    initialise(net, seed=0)
    return net.eval()


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_paged_step_is_the_network_itself(kind: str) -> None:
    net = network(kind)
    pages = empty_pages(net.model, num_blocks=20, block_tokens=4)
    dice = torch.Generator().manual_seed(1)
    talks = [torch.randint(60, (n,), generator=dice).tolist() for n in (13, 6, 9)]
    tables = [[7, 3, 11, 0], [1, 19], [5, 2, 8]]
    # in chunks of different sizes at the same time, the last one token by token
    cuts = [[0, 5, 12, 13], [0, 1, 5, 6], [0, 3, 8, 9]]
    for step in range(3):
        spans = [
            Span(ids[c[step] : c[step + 1]], c[step], table[: -(-c[step + 1] // 4)])
            for ids, table, c in zip(talks, tables, cuts, strict=True)
        ]
        logits = step_logits(net, pages, spans)
    with torch.inference_mode():
        for row, ids in enumerate(talks):
            alone = net(torch.tensor([ids]))[0][0, -1]
            torch.testing.assert_close(logits[row], alone, atol=2e-5, rtol=1e-4)


class Words:
    """What PagedTrained needs of a trained engine, with one token a letter."""

    name, about, context_tokens = "tiny", "It is tiny.", 64
    weights_sha256 = ""

    def __init__(self) -> None:
        self.network = network()
        self.stop_ids = [59]
        self.choose = choose

    def encode(self, messages: Sequence[Message]) -> list[int]:
        return [1 + ord(c) % 50 for message in messages for c in message.content]

    def num_tokens(self, messages: Sequence[Message]) -> int:
        return len(self.encode(messages))

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(65 + i) for i in ids)

    def dice(self, seed: int) -> Any:
        return torch.Generator().manual_seed(seed)


@torch.inference_mode()
def alone(words: Words, text: str, sampling: Sampling) -> str:
    """The same answer by the whole network, without cache, batch or blocks."""
    ids = words.encode([Message(Role.USER, text)])
    said: list[int] = []
    while len(said) < sampling.max_tokens:
        logits = words.network(torch.tensor([ids + said]))[0][0, -1].float()
        if not said:
            logits[words.stop_ids] = -torch.inf
        token = int(logits.argmax())
        if token in words.stop_ids:
            break
        said.append(token)
    decoder = Decoder(words.decode)
    return "".join(decoder.hear(token) for token in said)


def job(text: str, max_tokens: int, stops: tuple[str, ...] = (), **fields: Any) -> Job:
    message = {"role": "user", "content": text}
    request = as_request({"model": "tiny", "messages": [message], **fields})
    return Job((Message(Role.USER, text),), Sampling(max_tokens, 0, 0.0), stops, len(text), request)


def run(core: PagedTrained) -> dict[int, list[Piece]]:
    said: dict[int, list[Piece]] = {}
    while not core.is_idle:
        for ident, piece in core.step():
            assert isinstance(piece, Piece)
            said.setdefault(ident, []).append(piece)
    return said


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_in_company_everybody_gets_the_answer_they_get_alone() -> None:
    words = Words()
    core = PagedTrained(words, max_running=3)  # type: ignore[arg-type]
    asked = {0: ("hello there, who are you?", 12), 1: ("hi", 20), 2: ("hello there, who is he", 9),
             3: ("a" * 40, 20), 4: ("hello there, who are you?", 12),
             5: ("b" * 30, 25)}  # fmt: skip
    for ident, (text, most) in asked.items():
        assert core.add(ident, job(text, most)) == []
    said = run(core)
    for ident, (text, most) in asked.items():
        assert text_of(said[ident]) == alone(words, text, Sampling(most, 0, 0.0))
        assert said[ident][-1].finish in (Finish.LENGTH, Finish.STOP)
    assert len(core._tables.free) + len(core._tables._published) == core._limits.num_blocks
    assert core._talks == {}


def test_the_same_beginning_is_computed_once() -> None:
    words = Words()
    core = PagedTrained(words)  # type: ignore[arg-type]
    answers = []
    for ident in range(2):
        core.add(ident, job("hello there, who are you?", 6))
        answers.append(run(core)[ident])
    assert text_of(answers[0]) == text_of(answers[1])
    assert answers[0][0].more is None
    assert answers[1][0].more is not None
    assert answers[1][0].more.usage is not None
    assert answers[1][0].more.usage.cached_tokens == 16


def test_stop_words_logprobs_and_those_who_leave() -> None:
    words = Words()
    whole = alone(words, "hello", Sampling(12, 0, 0.0))
    core = PagedTrained(words)  # type: ignore[arg-type]
    core.add(0, job("hello", 12, stops=(whole[3:5],)))
    core.add(1, job("hello", 12, logprobs=True, top_logprobs=2))
    core.add(2, job("hello", 12))
    core.step()
    core.drop(2)
    core.drop(9)
    said = run(core)
    first = whole[: whole.index(whole[3:5])]
    assert text_of(said[0]) == first[1:] or text_of(said[0]) == first
    entries = [entry for p in said[1] if p.more for entry in p.more.logprobs or ()]
    assert all(entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 2 for entry in entries)
    assert len(said.get(2, [])) <= 1
    assert core._talks == {}


def test_what_does_not_fit_is_refused() -> None:
    core = PagedTrained(Words(), max_running=1)  # type: ignore[arg-type]
    [(ident, error)] = core.add(5, job("a" * 60, 30))
    assert ident == 5
    assert isinstance(error, ApiError)
    assert error.code == "context_length_exceeded"


def test_a_block_is_named_by_all_that_stands_before_it() -> None:
    one = block_keys([1, 2, 3, 4, 5, 6, 7], block_tokens=2)
    other = block_keys([1, 2, 3, 5, 5, 6], block_tokens=2)
    assert len(one) == 3
    assert one[0] == other[0]
    assert one[2] != other[2]
    assert block_keys([1, 2], block_tokens=2, salt="key-1")[0] != one[0]


class Slow:
    """A core that waits to be let on, and breaks down when asked to."""

    name, origin, about, context_tokens, abilities = (
        "slow", Origin.TRAINED, "Slow.", 100, frozenset(),
    )  # fmt: skip

    weights_sha256 = ""

    def __init__(self) -> None:
        self.talks: dict[int, int] = {}
        self.dropped: list[int] = []
        self.may_go_on = threading.Event()

    @property
    def is_idle(self) -> bool:
        return not self.talks

    def num_tokens(self, messages: Sequence[Message]) -> int:
        return len(messages[0].content)

    def add(self, ident: int, job: Job) -> Any:
        if job.messages[0].content == "refuse":
            return [(ident, ApiError(503, "no"))]
        self.talks[ident] = 0
        self.breaks = job.messages[0].content == "break"
        return []

    def drop(self, ident: int) -> None:
        self.talks.pop(ident, None)
        self.dropped.append(ident)

    def step(self) -> Any:
        self.may_go_on.wait(10)
        if self.breaks:
            raise RuntimeError("out of memory")
        said = []
        for ident in tuple(self.talks):
            self.talks[ident] += 1
            finish = Finish.STOP if self.talks[ident] == 3 else None
            said.append((ident, Piece("x", 1, finish)))
            if finish:
                del self.talks[ident]
        return said


async def collect(batch: Batch, text: str) -> str:
    request = as_request({"model": "slow", "messages": [{"role": "user", "content": text}]})
    with batch.place():
        job = await batch.prepare(request)
        return "".join([p.text async for bunch in batch.said(job) for p in bunch])


def in_batch(core: Slow, work: Any, **options: Any) -> Any:
    async def main() -> Any:
        batch = Batch(core, **options)
        try:
            return await work(batch)
        finally:
            await batch.close()

    return asyncio.run(main())


def test_a_prompt_is_counted_beside_the_step_under_way() -> None:
    core = Slow()

    async def work(batch: Batch) -> int:
        first = asyncio.create_task(collect(batch, "hello"))
        while not core.talks:
            await asyncio.sleep(0)
        asked = as_request({"model": "slow", "messages": [{"role": "user", "content": "next"}]})
        job = await asyncio.wait_for(batch.prepare(asked), 5)
        assert not first.done()
        core.may_go_on.set()
        assert await first == "xxx"
        return job.prompt_tokens

    assert in_batch(core, work) == 4


def test_the_shell_serves_many_at_once() -> None:
    core = Slow()
    core.may_go_on.set()

    async def work(batch: Batch) -> list[str]:
        return await asyncio.gather(*(collect(batch, "hi") for _ in range(5)))

    assert in_batch(core, work) == ["xxx"] * 5


@pytest.mark.parametrize(("text", "words"), [("refuse", "no"), ("break", "out of memory"),
                                             ("z" * 200, "context of slow")])  # fmt: skip
def test_the_shell_tells_what_went_wrong_and_goes_on(text: str, words: str) -> None:
    core = Slow()
    core.may_go_on.set()

    async def work(batch: Batch) -> str:
        with pytest.raises(ApiError, match=words):
            await collect(batch, text)
        return await collect(batch, "hi")

    assert in_batch(core, work) == "xxx"


def test_whoever_leaves_is_dropped_and_the_room_is_bounded() -> None:
    core = Slow()

    async def work(batch: Batch) -> None:
        leaving = asyncio.create_task(collect(batch, "hi"))
        while not core.talks:
            await asyncio.sleep(0.01)
        with pytest.raises(ApiError, match="one request at a time") as caught:
            await collect(batch, "hi")
        assert caught.value.status == 503
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        core.may_go_on.set()
        assert batch.num_present == 0
        assert await collect(batch, "hi") == "xxx"

    in_batch(core, work, max_present=1)
    assert core.dropped == [0]
