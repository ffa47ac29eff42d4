"""What the tests of the exported forms share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tokenizers import Tokenizer

from gigafactory.train.tokens import train_tokenizer


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Matrices this small are slower with two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Of two sentences."""
    return train_tokenizer(["hello there, how are you?", "i am well, thank you"] * 5, vocab=300)
