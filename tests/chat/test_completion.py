from __future__ import annotations

from typing import Any

import pytest

from gigafactory.chat.ask import ask
from gigafactory.chat.completion import answer, choose, prepare
from gigafactory.chat.errors import ApiError
from gigafactory.chat.request import ChatRequest
from gigafactory.describe.errors import InputError, JobError


def request(text: str, **fields: Any) -> ChatRequest:
    messages = [{"role": "user", "content": text}]
    return ChatRequest.model_validate({"model": "parrot", "messages": messages, **fields})


def said(parrot: Any, text: str, **fields: Any) -> str:
    job = prepare(request(text, **fields), engine=parrot, seed=0)
    return "".join(piece.text for piece in answer(job, engine=parrot))


def test_an_answer_ends_with_its_reason(parrot: Any) -> None:
    job = prepare(request("one two three"), engine=parrot, seed=0)
    pieces = list(answer(job, engine=parrot))
    assert [piece.finish for piece in pieces] == [None, None, None, "stop"]
    assert sum(piece.num_tokens for piece in pieces) == 3
    assert job.prompt_tokens == 4


def test_settings_reach_the_engine(parrot: Any) -> None:
    said(parrot, "hi", temperature=0.5, top_p=0.25, seed=9, max_tokens=3)
    sampling = parrot.heard[0][1]
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.5, 0.25, 9)
    assert sampling.max_tokens == 3


def test_a_seed_is_given_where_none_is_asked_for(parrot: Any) -> None:
    assert prepare(request("hi"), engine=parrot, seed=5).sampling.seed == 5


def test_the_wish_is_cut_to_the_room(parrot: Any) -> None:
    job = prepare(request("word " * 38, max_tokens=100), engine=parrot, seed=0)
    assert job.sampling.max_tokens == 1
    assert [piece.finish for piece in answer(job, engine=parrot)] == ["length"]


def test_a_prompt_without_room_is_refused_with_figures(parrot: Any) -> None:
    with pytest.raises(ApiError, match="40 tokens and the context of parrot is 40") as caught:
        prepare(request("word " * 39), engine=parrot, seed=0)
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")


def test_a_stop_text_ends_the_answer_and_the_engine(parrot: Any) -> None:
    assert said(parrot, "one two three four", stop=["thr"]) == "one two "
    assert parrot.num_steps == 3
    assert parrot.was_closed.is_set()


@pytest.mark.parametrize("text", ["say nothing", "only blanks"])
def test_silence_is_an_error(parrot: Any, text: str) -> None:
    with pytest.raises(ApiError) as caught:
        said(parrot, text)
    assert caught.value.status == 502


def test_closing_an_answer_closes_the_engine(parrot: Any) -> None:
    pieces = answer(prepare(request("for ever"), engine=parrot, seed=0), engine=parrot)
    next(pieces)
    pieces.close()
    assert parrot.was_closed.is_set()


def test_an_unknown_model_is_refused_with_the_list(parrot: Any) -> None:
    assert choose([parrot], "parrot") is parrot
    with pytest.raises(ApiError, match=r"'owl'.*parrot") as caught:
        choose([parrot], "owl")
    assert (caught.value.status, caught.value.param) == (404, "model")


def test_an_empty_question_is_refused(parrot: Any) -> None:
    with pytest.raises(InputError, match="the question is empty"):
        ask(parrot, " ")


def test_asking_without_a_server(parrot: Any) -> None:
    assert ask(parrot, "one two three", max_tokens=2) == "one two"
    with pytest.raises(JobError, match="without a word"):
        ask(parrot, "say nothing")
    with pytest.raises(InputError, match="61 tokens"):
        ask(parrot, "word " * 60)
