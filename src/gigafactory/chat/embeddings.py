"""Embeddings as the OpenAI protocol asks for them and gets them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from gigafactory.chat.answerer import Embedded
from gigafactory.chat.reading import Wire, check, read_fields

MAX_TEXTS = 2048


class EmbeddingRequest(Wire):
    """The fields that are understood here; texts only, no token ids."""

    model: str
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[
            list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=MAX_TEXTS)
        ]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: None = None

    @property
    def texts(self) -> list[str]:
        """What is to be embedded."""
        return [self.input] if isinstance(self.input, str) else self.input


def read_embedding_request(body: bytes) -> EmbeddingRequest:
    """Parse and check a body; ApiError 400 names the first wrong field."""
    return check(read_fields(body, wanted="model and input"), form=EmbeddingRequest)


def embedding_document(asked: EmbeddingRequest, embedded: Embedded) -> dict[str, object]:
    """The answer in one document."""
    as_text = asked.encoding_format == "base64"
    entries = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _packed(vector) if as_text else list(vector),
        }
        for index, vector in enumerate(embedded.vectors)
    ]
    count = {"prompt_tokens": embedded.prompt_tokens, "total_tokens": embedded.prompt_tokens}
    return {"object": "list", "data": entries, "model": asked.model, "usage": count}


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
