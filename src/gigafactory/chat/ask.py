"""One question, one answer: the chat without a server."""

from __future__ import annotations

from gigafactory.chat.completion import Job, answer
from gigafactory.chat.engine import Engine, Message, Role, Sampling
from gigafactory.chat.errors import ApiError, prompt_too_long
from gigafactory.describe.errors import InputError, JobError


def ask(engine: Engine, question: str, *, max_tokens: int = 100) -> str:
    """What ``engine`` says to ``question``, the same each time.

    InputError where the question is empty or longer than the context, JobError where no answer
    comes.
    """
    if not question.strip():
        raise InputError("the question is empty; put some words to the models")
    messages = (Message(Role.USER, question),)
    prompt_tokens = engine.num_tokens(messages)
    room = engine.context_tokens - prompt_tokens
    if room < 1:
        raise InputError(
            str(
                prompt_too_long(
                    prompt_tokens, context_tokens=engine.context_tokens, name=engine.name
                )
            )
        )
    job = Job(messages, Sampling(min(max_tokens, room), seed=0), (), prompt_tokens)
    try:
        return "".join(piece.text for piece in answer(job, engine=engine)).strip()
    except ApiError as error:
        raise JobError(str(error)) from None
