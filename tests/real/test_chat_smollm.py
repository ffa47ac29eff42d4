"""The pretrained model that talks, with its real weights."""

from __future__ import annotations

import pytest

from gigafactory.chat.ask import ask
from gigafactory.chat.engine import Finish, Message, Role, Sampling
from gigafactory.chat.smollm import SmolLM2, why_missing

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(why_missing() is not None, reason=str(why_missing())),
]


@pytest.fixture(scope="module")
def engine() -> SmolLM2:
    return SmolLM2()


def story(seed: int, max_tokens: int = 24) -> tuple[list[Message], Sampling]:
    question = Message(Role.USER, "Tell me a long story about the sea.")
    return [question], Sampling(max_tokens, seed=seed, temperature=1.0)


def test_it_knows_the_capital_of_france(engine: SmolLM2) -> None:
    assert "Paris" in ask(engine, "What is the capital of France?")


def test_it_remembers_the_conversation(engine: SmolLM2) -> None:
    said = [
        Message(Role.USER, "My name is Peter and I like trains."),
        Message(Role.ASSISTANT, "Hello Peter!"),
        Message(Role.USER, "What is my name?"),
    ]
    pieces = engine.stream(said, Sampling(30, seed=0, temperature=0.0))
    assert "Peter" in "".join(piece.text for piece in pieces)


def test_an_answer_comes_in_pieces_and_ends_at_the_limit(engine: SmolLM2) -> None:
    pieces = list(engine.stream(*story(seed=1)))
    assert len(pieces) == 24
    assert pieces[-1].finish is Finish.LENGTH
    assert all(piece.num_tokens == 1 for piece in pieces)


def test_the_same_seed_says_the_same(engine: SmolLM2) -> None:
    said = ["".join(piece.text for piece in engine.stream(*story(seed))) for seed in (1, 1, 2)]
    assert said[0] == said[1]
    assert said[0] != said[2]


def test_stopping_in_the_middle_leaves_the_engine_ready(engine: SmolLM2) -> None:
    for _ in range(20):
        pieces = engine.stream(*story(seed=3, max_tokens=1500))
        next(pieces)
        pieces.close()
    assert "Paris" in ask(engine, "What is the capital of France?")


def test_a_full_context_is_filled_to_the_end(engine: SmolLM2) -> None:
    town = "The mayor of the harbour town of Sel is called Oskar. Its fishermen leave at dawn. "
    said = [Message(Role.USER, town * 98 + "Who is the mayor of Sel?")]
    room = engine.context_tokens - engine.num_tokens(said)
    assert 0 < room < 100
    pieces = list(engine.stream(said, Sampling(room, seed=0, temperature=0.0)))
    assert pieces[-1].finish
    assert "Oskar" in "".join(piece.text for piece in pieces)


def test_characters_of_several_tokens_arrive_whole(engine: SmolLM2) -> None:
    said = [Message(Role.USER, "Repeat after me: 🎉🎊🥳 日本語 éàü")]
    text = "".join(p.text for p in engine.stream(said, Sampling(40, seed=0, temperature=0.0)))
    assert text
    assert "�" not in text
