"""Our own engine for many users at once: continuous batching over paged memory, prefixes reused.

The scheduler is control/serving.py, the very one that the twin runs; the network's step is
net/paged.py. Here are the tokens: prompts, dice, stop words.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gigafactory.chat.batch import Said
from gigafactory.chat.completion import Job
from gigafactory.chat.engine import Ability, Finish, Message, More, Origin, Piece, Usage
from gigafactory.chat.errors import ApiError, busy, prompt_too_long
from gigafactory.chat.grammar import Grammar, can_bind
from gigafactory.chat.ours import TEMPERATURE, TOP_P, Trained
from gigafactory.chat.paging import Tables, block_keys
from gigafactory.chat.schema import check_schema
from gigafactory.chat.text import Decoder, StopWatch
from gigafactory.control.batching import (
    Arrived,
    Batching,
    Compute,
    Computed,
    Ended,
    Gone,
    Refusal,
    Refused,
    ServingLimits,
    Started,
)
from gigafactory.control.serving import Scheduler

_BLOCK_TOKENS = 16
_MAX_RUNNING = 16
_MAX_WAITING = 64
_STEP_TOKENS = 256


@dataclass(slots=True)
class _Talk:
    job: Job
    prompt: list[int]
    dice: Any
    decoder: Decoder
    watch: StopWatch
    grammar: Grammar | None = None
    num_cached: int = 0
    said: list[int] = field(default_factory=list)

    def tokens(self, first: int, num_tokens: int) -> list[int]:
        """Part of prompt and answer."""
        return (self.prompt + self.said)[first : first + num_tokens]


class PagedTrained:
    """The core of a batch around a trained network."""

    origin = Origin.TRAINED

    def __init__(self, engine: Trained, *, max_running: int = _MAX_RUNNING) -> None:
        from gigafactory.net.paged import empty_pages

        self.name, self.about = engine.name, engine.about
        self.context_tokens = engine.context_tokens
        self.weights_sha256 = engine.weights_sha256
        can = {Ability.LOGPROBS, Ability.EMBEDDINGS}
        self.abilities = frozenset(can | {Ability.JSON_SCHEMA} if can_bind() else can)
        self._engine = engine
        # half of the conversations may fill the context; where more do, the youngest give way
        per_talk = -(-self.context_tokens // _BLOCK_TOKENS)
        self._limits = ServingLimits(
            max_running=max_running,
            max_waiting=_MAX_WAITING,
            num_blocks=max(1, max_running // 2) * per_talk,
            block_tokens=_BLOCK_TOKENS,
            max_step_tokens=max(_STEP_TOKENS, max_running),
        )
        self._scheduler = Scheduler(self._limits)
        self._tables = Tables(self._limits.num_blocks, _BLOCK_TOKENS)
        self._pages = empty_pages(
            engine.network.model,
            num_blocks=self._limits.num_blocks,
            block_tokens=_BLOCK_TOKENS,
            dtype=engine.network.embed_tokens.weight.dtype,
        )
        self._talks: dict[int, _Talk] = {}
        self._ended: tuple[int, ...] | None = None
        """By the last step, of which the scheduler is told with the next: who comes between the
        two is in it already."""

    @property
    def is_idle(self) -> bool:
        """No step is to be made."""
        return self._scheduler.step is None

    def num_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that ``messages`` become."""
        return self._engine.num_tokens(messages)

    def embed(self, text: str) -> tuple[Sequence[float], int]:
        """The mean of its hidden states, and its tokens."""
        return self._engine.embed(text)

    def add(self, ident: int, job: Job) -> Sequence[Said]:
        """Put it into the queue; an error where its schema cannot be kept to."""
        schema = job.request.wanted_schema if job.request is not None else None
        grammar = None
        if schema is not None:
            try:
                check_schema(schema)
                grammar = self._engine.grammar(schema)
            except ApiError as error:
                return [(ident, error)]
        prompt = self._engine.encode(job.messages)
        self._tables.keys[ident] = block_keys(prompt, block_tokens=_BLOCK_TOKENS, salt=job.salt)
        self._talks[ident] = _Talk(
            job,
            prompt,
            self._engine.dice(job.sampling.seed),
            Decoder(self._engine.decode),
            StopWatch(job.stops),
            grammar,
        )
        event = Arrived(
            at_s=time.monotonic(),
            id=ident,
            prompt_tokens=len(prompt),
            max_tokens=job.sampling.max_tokens,
            keys=self._tables.keys[ident],
        )
        return self._tell(event)

    def drop(self, ident: int) -> None:
        """Take it out of queue or batch."""
        if ident in self._talks:
            self._tell(Gone(at_s=time.monotonic(), id=ident))

    def step(self) -> Sequence[Said]:
        """One step of the network, and one token for everybody whose prompt is done."""
        said: list[Said] = []
        if self._ended is not None:
            done, self._ended = self._ended, None
            said += self._tell(Computed(at_s=time.monotonic(), ended=done))
        step = self._scheduler.step
        if step is None:
            return said
        speakers, logits = self._compute(step)
        ended: list[int] = []
        for row, ident in enumerate(speakers):
            try:
                piece = self._speak(self._talks[ident], logits[row])
            except ApiError as error:  # its grammar; the others go on
                said.append((ident, error))
                ended.append(ident)
                continue
            said.append((ident, piece))
            if piece.finish is not None:
                ended.append(ident)
        self._ended = tuple(ended)
        return said

    def _tell(self, event: Batching) -> list[Said]:
        told: list[Said] = []
        for action in self._scheduler.handle(event):
            self._tables.carry_out(action)
            if isinstance(action, Refused):
                told.append((action.id, self._refusal(action)))
                self._forget(action.id)
            elif isinstance(action, Ended):
                self._forget(action.id)
            elif isinstance(action, Started):
                self._talks[action.id].num_cached = action.num_shared * _BLOCK_TOKENS
        return told

    def _forget(self, ident: int) -> None:
        self._talks.pop(ident, None)
        self._tables.keys.pop(ident, None)

    def _refusal(self, refused: Refused) -> ApiError:
        if refused.why is Refusal.TOO_LONG:
            num_tokens = len(self._talks[refused.id].prompt)
            return prompt_too_long(num_tokens, context_tokens=self.context_tokens, name=self.name)
        return busy(self.name, num_waiting=self._scheduler.num_waiting, retry_after_s=5)

    def _compute(self, step: Compute) -> tuple[list[int], Any]:
        """Who speaks after this step, and the logits for them."""
        from gigafactory.net.paged import Span, step_logits

        spans, speakers, rows = [], [], []
        for chunk in step.chunks:
            ids = self._talks[chunk.id].tokens(chunk.first, chunk.num_tokens)
            table = self._tables.grown(chunk.id, chunk.first + chunk.num_tokens)
            spans.append(Span(ids, chunk.first, table))
            if chunk.is_last:
                speakers.append(chunk.id)
                rows.append(len(spans) - 1)
        for ident in step.decodes:
            talk = self._talks[ident]
            first = len(talk.prompt) + len(talk.said) - 1
            table = self._tables.grown(ident, first + 1)
            spans.append(Span(talk.said[-1:], first, table))
            speakers.append(ident)
            rows.append(len(spans) - 1)
        return speakers, step_logits(self._engine.network, self._pages, spans)[rows].float()

    def _speak(self, talk: _Talk, logits: Any) -> Piece:
        sampling, engine = talk.job.sampling, self._engine
        if talk.grammar is not None:
            talk.grammar.bind(logits)
        if not talk.said:
            logits[engine.stop_ids] = -math.inf  # a first word has to come
        token = engine.choose(
            logits,
            temperature=TEMPERATURE if sampling.temperature is None else sampling.temperature,
            top_p=TOP_P if sampling.top_p is None else sampling.top_p,
            dice=talk.dice,
        )
        is_first = not talk.said
        if token in engine.stop_ids:
            return talk.watch.pass_on(Piece("", 0, Finish.STOP))
        talk.said.append(token)
        finish = Finish.LENGTH if len(talk.said) == sampling.max_tokens else None
        if talk.grammar is not None:
            talk.grammar.took(token)
            finish = Finish.STOP if talk.grammar.is_over else finish
        more = self._more(talk, token, logits, is_first=is_first)
        return talk.watch.pass_on(Piece(talk.decoder.hear(token), 1, finish, more))

    def _more(self, talk: _Talk, token: int, logits: Any, *, is_first: bool) -> More | None:
        request = talk.job.request
        usage = None
        if is_first and talk.num_cached:
            usage = Usage(len(talk.prompt), 1, talk.num_cached)
        logprobs = None
        if request is not None and request.logprobs:
            logprobs = [self._logprob(token, logits, num_others=request.top_logprobs or 0)]
        return More(logprobs=logprobs, usage=usage) if usage or logprobs else None

    def _logprob(self, token: int, logits: Any, *, num_others: int) -> Mapping[str, object]:
        logprobs = logits.log_softmax(-1)
        values, others = logprobs.topk(num_others)
        return {
            **self._named(token, float(logprobs[token])),
            "top_logprobs": [
                self._named(int(other), float(value))
                for other, value in zip(others, values, strict=True)
                if value > -math.inf  # a grammar forbids it
            ],
        }

    def _named(self, token: int, logprob: float) -> dict[str, object]:
        text = self._engine.decode([token])
        # -inf cannot be written in JSON
        return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode())}
