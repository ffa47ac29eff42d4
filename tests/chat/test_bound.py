"""Our engine bound to a JSON schema, and its vectors; a tiny network with a real tokenizer."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest

pytest.importorskip("torch", reason="the trained model needs the extra train")
pytest.importorskip("tokenizers", reason="the trained model needs the extra train")
pytest.importorskip("llguidance", reason="needs the extra chat")

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from gigafactory.chat.answerer import Answerer
from gigafactory.chat.engine import Ability, Finish, Piece
from gigafactory.chat.engines import as_answerers
from gigafactory.chat.errors import ApiError
from gigafactory.chat.grammar import Grammars
from gigafactory.chat.ours import Trained
from gigafactory.chat.request import as_request
from gigafactory.describe.model import Block, Model
from gigafactory.net.dialogue import Mark
from gigafactory.net.export import save_exported
from gigafactory.net.network import Network, initialise

SCHEMA = {
    "type": "object",
    "properties": {
        "word": {"type": "string", "maxLength": 6},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "kind": {"enum": ["a", "bc"]},
    },
    "required": ["word", "count", "kind"],
    "additionalProperties": False,
}
IMPOSSIBLE = {"type": "string", "minLength": 9, "maxLength": 1}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(Mark),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["hello there", "the sea is wide"], trainer)
    model = Model(
        name="tiny", block=Block.QWEN3_MOE, num_layers=2, hidden=32, num_heads=4, num_kv_heads=2,
        head_dim=8, vocab=tokenizer.get_vocab_size(), ffn=32, tied_embeddings=True, context=256,
        source="this test",
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    folder.mkdir()
    net = Network(model)
    initialise(net, seed=0)
    save_exported(folder / "model", model=model, state=net.state_dict(), tokenizer=tokenizer)
    return Trained(folder)


def served(engine: Trained, work: Any) -> Any:
    async def main() -> Any:
        [answerer] = as_answerers([engine])
        try:
            return await work(answerer)
        finally:
            await answerer.close()

    return asyncio.run(main())


async def pieces(answerer: Answerer, seed: int, **fields: Any) -> list[Piece]:
    body = {
        "model": "tiny", "messages": [{"role": "user", "content": "hello"}], "seed": seed,
        "temperature": 1.5, "max_tokens": 150, **fields,
    }  # fmt: skip
    job = await answerer.prepare(as_request(body))
    return [piece async for bunch in answerer.said(job) for piece in bunch]


def shape(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"schema": schema}}


def test_many_bound_answers_at_once_fit_their_schemas(engine: Trained) -> None:
    async def work(answerer: Answerer) -> list[list[Piece]]:
        bound = [pieces(answerer, seed, response_format=shape(SCHEMA)) for seed in range(6)]
        return await asyncio.gather(*bound, pieces(answerer, 9, max_tokens=20))

    *bound, free = served(engine, work)
    for said in bound:
        document = json.loads("".join(piece.text for piece in said))
        assert set(document) == {"word", "count", "kind"}
        assert len(document["word"]) <= 6
        assert 0 <= document["count"] <= 99
        assert document["kind"] in ("a", "bc")
        assert said[-1].finish is Finish.STOP
    assert not "".join(piece.text for piece in free).startswith("{")


def test_any_object_is_an_object(engine: Trained) -> None:
    said = served(
        engine, lambda a: pieces(a, 3, response_format={"type": "json_object"}, max_tokens=230)
    )
    text = "".join(piece.text for piece in said)
    assert text.startswith("{")
    if said[-1].finish is Finish.STOP:
        assert isinstance(json.loads(text), dict)


def test_logprobs_under_a_grammar_are_of_what_could_be_drawn(engine: Trained) -> None:
    wanted = {"response_format": shape({"enum": ["ab", "ac", "b"]})}
    said = served(engine, lambda a: pieces(a, 1, **wanted, logprobs=True, top_logprobs=20))
    entries = [entry for p in said if p.more for entry in p.more.logprobs or ()]
    assert entries
    choices = 0
    for entry in entries:
        shares = [math.exp(other["logprob"]) for other in entry["top_logprobs"]]
        assert math.fsum(shares) == pytest.approx(1, abs=1e-4)
        choices += len(shares) > 1
        assert entry["token"] in [other["token"] for other in entry["top_logprobs"]]
    assert choices >= 1
    assert entries[0]["logprob"] == pytest.approx(0, abs=1e-4)  # the quotation mark has to come


@pytest.mark.parametrize("schema", [{"$ref": "#/x"}, IMPOSSIBLE])
def test_a_schema_that_cannot_be_kept_disturbs_nobody(engine: Trained, schema: Any) -> None:
    async def work(answerer: Answerer) -> Any:
        return await asyncio.gather(
            pieces(answerer, 1, response_format=shape(schema)),
            pieces(answerer, 2, max_tokens=12),
            return_exceptions=True,
        )

    refused, free = served(engine, work)
    assert isinstance(refused, ApiError)
    assert refused.status == 400
    assert free[-1].finish is not None


def test_a_tokenizer_that_is_not_known_is_said_so() -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    with pytest.raises(ApiError, match="cannot be bound") as caught:
        Grammars(words.to_str(), num_tokens=2, end=1)
    assert caught.value.status == 400


def test_a_text_becomes_the_mean_of_its_hidden_states(engine: Trained) -> None:
    async def work(answerer: Answerer) -> Any:
        assert Ability.EMBEDDINGS in answerer.abilities
        return await asyncio.gather(
            answerer.embed(["hello there", "the sea", "hello there"]),
            pieces(answerer, 2, max_tokens=12),
        )

    embedded, _ = served(engine, work)
    one, other, again = embedded.vectors
    assert one == again != other
    assert math.hypot(*one) == pytest.approx(1)
    assert len(one) == 32
    ids = engine._tokenizer.encode("hello there", add_special_tokens=False).ids
    with torch.inference_mode():
        states, _ = engine.network.hidden(torch.tensor([[0, *ids]]))
    mean = states[0, 1:].float().mean(0)
    torch.testing.assert_close(torch.tensor(one), mean / mean.norm())
    assert embedded.prompt_tokens == 2 * (1 + len(ids)) + 1 + len(
        engine._tokenizer.encode("the sea", add_special_tokens=False).ids
    )


def test_a_text_longer_than_the_context_is_refused(engine: Trained) -> None:
    with pytest.raises(ApiError, match="takes 256"):
        served(engine, lambda answerer: answerer.embed(["sea " * 300]))
