"""The pretrained model that talks, with its real weights."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gigafactory.chat.ask import ask
from gigafactory.chat.completion import Job, prepare
from gigafactory.chat.engine import Finish, Message, Piece, Role, Sampling
from gigafactory.chat.errors import ApiError
from gigafactory.chat.request import as_request
from gigafactory.chat.smollm import SmolLM2, SmolLM2Batch, why_missing

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


def asked(engine: SmolLM2, text: str, **fields: Any) -> Job:
    message = {"role": "user", "content": text}
    fields = {
        "model": engine.name,
        "messages": [message],
        "temperature": 0,
        "max_tokens": 20,
    } | fields
    return prepare(as_request(fields), engine=engine, seed=0)


def shape(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_many_are_answered_at_once_and_a_bad_schema_hurts_nobody_else(engine: SmolLM2) -> None:
    core = SmolLM2Batch(engine)
    france = "What is the capital of France?"
    jobs = [
        asked(engine, france),
        asked(engine, "A person with name and age, as JSON.", response_format=shape(PERSON),
              max_tokens=60),
        asked(engine, "Tell me a long story about the sea."),
        asked(engine, france, stop=["Paris"]),
        asked(engine, "Tell me a long story about the sea."),
    ]  # fmt: skip
    for ident, job in enumerate(jobs):
        assert core.add(ident, job) == ()
    said: dict[int, list[Any]] = {ident: [] for ident in range(7)}
    bad = {"type": "nonsense"}
    for step in range(200):
        if step == 3:
            said[5] = [
                error for _, error in core.add(5, asked(engine, "x", response_format=shape(bad)))
            ]
            core.drop(4)
        for ident, piece in core.step():
            said[ident].append(piece)
        if core.is_idle and step > 3:
            break
    texts = {i: "".join(p.text for p in ps if isinstance(p, Piece)) for i, ps in said.items()}
    assert "Paris" in texts[0]
    assert set(json.loads(texts[1])) == {"name", "age"}
    assert said[2][-1].finish is Finish.LENGTH
    assert "Paris" not in texts[3]
    assert said[3][-1].finish is Finish.STOP
    [error] = said[5]
    assert isinstance(error, ApiError)
    assert error.param == "response_format.json_schema.schema.type"
    assert not core._talks


CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}


def test_a_tool_that_has_to_be_called_is_called_by_its_schema(engine: SmolLM2) -> None:
    core = SmolLM2Batch(engine)
    weather = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
    clock = {"type": "function", "function": {"name": "clock"}}
    question = "What is the weather in Paris, in C?"
    tools = [weather, clock]
    core.add(0, asked(engine, question, tools=tools, tool_choice="required", max_tokens=80))
    core.add(1, asked(engine, question, tools=tools, tool_choice="none", max_tokens=20))
    chosen = {"type": "function", "function": {"name": "weather"}}
    core.add(2, asked(engine, question, tools=tools, tool_choice=chosen, max_tokens=80))
    said: dict[int, list[Any]] = {0: [], 1: [], 2: []}
    while not core.is_idle:
        for ident, piece in core.step():
            said[ident].append(piece)
    for ident in (0, 2):
        assert said[ident][-1].finish is Finish.TOOL_CALLS
        assert "".join(piece.text for piece in said[ident]) == ""
        [call] = [c for p in said[ident] if p.more for c in p.more.tool_calls or ()]
        assert call["function"]["name"] in ("weather", "clock")
    arguments = json.loads(call["function"]["arguments"])
    assert set(arguments) == {"city", "unit"}
    assert arguments["unit"] in ("C", "F")
    assert "".join(piece.text for piece in said[1]).strip()
