"""llama.cpp itself, in this process, answers from our GGUF what our network answers."""

from __future__ import annotations

import dataclasses
import json
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor

from gigafactory import api
from gigafactory.cli.main import status
from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Block, Model
from gigafactory.net import gguf_form, recipe
from gigafactory.net.dialogue import Mark, mark_id, prompt_ids, text_ids
from gigafactory.net.export import Exported, save_exported
from gigafactory.net.gguf_file import save_gguf
from gigafactory.net.network import Network, initialise

pytestmark = pytest.mark.usefixtures("one_thread")

llama = pytest.importorskip("xllamacpp", reason="llama.cpp's wheel xllamacpp is not installed")

NUM_TOKENS = 32
SHAPES = {
    "name": "small", "block": "grok-1", "num_layers": 3, "hidden": 64, "num_heads": 4,
    "num_kv_heads": 2, "head_dim": 16, "vocab": 700, "num_experts": 4, "topk": 2, "moe_ffn": 48,
    "context": 128, "source": "made for the test",
}  # fmt: skip
DENSE = {"num_experts": 0, "topk": 0, "moe_ffn": 0, "ffn": 96}
#: changes, llama.cpp's graph, how far a log-probability may be off
VARIANTS: dict[str, tuple[dict[str, Any], str, float]] = {
    "grok": ({}, "grok", 5e-3),
    "grok, tied": ({"tied_embeddings": True}, "grok", 5e-3),
    "grok, dense": (DENSE, "grok", 5e-3),
    "grok, one of eight experts, a key for each head": (
        {"num_experts": 8, "topk": 1, "num_kv_heads": 4}, "grok", 5e-3,
    ),
    "grok, three of eight experts, one key for all heads": (
        {"num_experts": 8, "topk": 3, "num_kv_heads": 1, "hidden": 192, "head_dim": 48,
         "moe_ffn": 128, "num_layers": 2}, "grok", 5e-3,
    ),
    "qwen3": ({"block": "qwen3-moe"} | DENSE, "qwen3", 1e-4),
    "qwen3-moe, wide heads, tied": (
        {"block": "qwen3-moe", "head_dim": 32, "num_experts": 8, "topk": 3,
         "tied_embeddings": True}, "qwen3moe", 1e-4,
    ),
}  # fmt: skip


def network(**changes: object) -> Network:
    net = Network(Model.model_validate(SHAPES | changes))
    initialise(net, seed=5)
    with torch.no_grad():  # norms away from their start, so that a wrong one shows
        for name, weight in net.named_parameters():
            if weight.dim() == 1:
                weight.copy_(torch.linspace(0.5, 1.5, weight.numel()).roll(len(name)))
    return net.eval().requires_grad_(False)


class Served:
    """llama.cpp's server with a file, computing in float32 throughout."""

    def __init__(self, path: Path) -> None:
        params = llama.CommonParams()
        params.model.path, params.warmup = str(path), False
        params.n_ctx, params.n_parallel, params.n_gpu_layers = SHAPES["context"], 1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.cache_type_k = params.cache_type_v = llama.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.fit_params, params.verbosity = False, -1
        self._server = llama.Server(params)

    def ask(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        address = self._server.listening_address + path
        sent = urllib.request.Request(
            address, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(sent, timeout=60) as reply:
            found: dict[str, Any] = json.load(reply)
        return found

    def greedy(self, ids: Sequence[int]) -> list[int]:
        """The likeliest tokens one after the other, the end left out."""
        found: list[int] = self._go_on(ids, NUM_TOKENS)["tokens"]
        return found

    def logprobs(self, ids: Sequence[int]) -> dict[int, float]:
        """Of every token that may follow; {} where the likeliest is half a letter: none is told."""
        steps = self._go_on(ids, 1).get("completion_probabilities", [])
        return {top["id"]: top["logprob"] for step in steps for top in step["top_logprobs"]}

    def _go_on(self, ids: Sequence[int], num_tokens: int) -> dict[str, Any]:
        return self.ask(
            "/completion",
            {"prompt": list(ids), "n_predict": num_tokens, "temperature": 0, "ignore_eos": True,
             "n_probs": SHAPES["vocab"], "return_tokens": True, "cache_prompt": False},
        )  # fmt: skip


def greedy(net: Network, ids: Sequence[int], *, never: int) -> tuple[list[int], Tensor]:
    """The same from our network: tokens, and log-probabilities (NUM_TOKENS, V)."""
    found, rows = list(ids), []
    for _ in range(NUM_TOKENS):
        logits = net(torch.tensor([found]))[0][0, -1]
        rows.append(torch.log_softmax(logits, -1))
        logits[never] = -torch.inf
        found.append(int(logits.argmax()))
    return found[len(ids) :], torch.stack(rows)


def compare(path: Path, net: Network, tokenizer: Tokenizer) -> tuple[int, int, float]:
    """How many of 64 tokens are the same, how many differ from each other, and the largest
    difference of a log-probability."""
    served, end = Served(path), mark_id(tokenizer, Mark.END)
    dice = torch.Generator().manual_seed(1)
    num_same, seen, worst = 0, set[int](), 0.0
    for _ in range(2):
        ids = torch.randint(4, 300, (8,), generator=dice).tolist()
        ours, logprobs = greedy(net, ids, never=end)
        num_same += sum(a == b for a, b in zip(ours, served.greedy(ids), strict=True))
        seen |= set(ours)
        for at in range(0, NUM_TOKENS, 8):
            theirs = served.logprobs([*ids, *ours[:at]])
            gaps = [abs(float(logprobs[at, i]) - p) for i, p in theirs.items() if i != end]
            worst = max([worst, *gaps])
    return num_same, len(seen), worst


@pytest.mark.parametrize("variant", VARIANTS)
def test_greedy_tokens_are_the_same(tmp_path: Path, tokenizer: Tokenizer, variant: str) -> None:
    changes, graph, tolerance = VARIANTS[variant]
    net = network(**changes)
    assert gguf_form.arch_of(net.model) == graph
    save_gguf(tmp_path / "model.gguf", exported=Exported(net, tokenizer), name="small")
    num_same, num_seen, worst = compare(tmp_path / "model.gguf", net, tokenizer)
    assert num_same == 2 * NUM_TOKENS
    assert num_seen > 3  # not one token repeated, which would prove little
    assert 0 < worst < tolerance
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]


def test_a_trained_model_talks_the_same_way(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """From the words of a person to the end of the turn, through the template."""
    turns = [(Mark.USER, "Hello there!"), (Mark.ASSISTANT, " How ARE you?")]
    turns.append((Mark.USER, f"I am well{Mark.END}, thank you"))
    asked = prompt_ids(tokenizer, turns, max_tokens=100)
    end = mark_id(tokenizer, Mark.END)
    reply = text_ids(tokenizer, "how well you are there, thank you")
    net = taught([*asked, *reply, end])
    save_gguf(tmp_path / "model.gguf", exported=Exported(net, tokenizer), name="small")
    served = Served(tmp_path / "model.gguf")
    roles = {Mark.USER: "user", Mark.ASSISTANT: "assistant"}
    messages = [{"role": roles[mark], "content": text} for mark, text in turns]
    prompt = served.ask("/apply-template", {"messages": messages})["prompt"]
    body = {"content": prompt, "add_special": True, "parse_special": True}
    assert served.ask("/tokenize", body)["tokens"] == asked
    answered = served.ask(
        "/v1/chat/completions", {"messages": messages, "temperature": 0, "max_tokens": 40}
    )["choices"][0]
    assert answered["message"]["content"] == tokenizer.decode(reply)
    assert answered["finish_reason"] == "stop"
    assert compare(tmp_path / "model.gguf", net, tokenizer)[0] == 2 * NUM_TOKENS


def taught(ids: Sequence[int]) -> Network:
    """A network that learnt these ids by heart."""
    net = network().requires_grad_(True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    batch = torch.tensor([ids])
    for _ in range(60):
        logits, _routing = net(batch[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits[0], batch[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1
    return net.requires_grad_(False)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "grok-2": ({"block": "grok-2"}, "router cap, attention temperature and positions"),
    "a dense MLP beside experts": ({"dense_residual": True, "ffn": 40}, "dense_residual"),
    "dense layers first": ({"num_dense_layers": 1, "ffn": 48}, "1 dense layers before"),
    "heads narrower than the hidden state": ({"head_dim": 8}, "num_heads x head_dim = 32"),
    "qwen3, dense layers first": (
        {"block": "qwen3-moe", "num_dense_layers": 1, "ffn": 48}, "1 dense layers before",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_llama_cpp_computes_otherwise_is_refused(
    tmp_path: Path, tokenizer: Tokenizer, case: str
) -> None:
    changes, why = REFUSED[case]
    with pytest.raises(InputError, match=why):
        save_gguf(
            tmp_path / "model.gguf", exported=Exported(network(**changes), tokenizer), name="small"
        )
    assert list(tmp_path.iterdir()) == []


FEATURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "router cap": ({}, {"router_cap": 1.0}),
    "temperature": ({}, {"temperature_len": 4}),
    "dense MLP beside experts": ({"dense_residual": True, "ffn": 48}, {}),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_the_refusals_are_needed(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, feature: str
) -> None:
    """When this fails, llama.cpp has learnt the feature: export it."""
    shapes, features = FEATURES[feature]
    grok = dataclasses.replace(recipe.RECIPES[Block.GROK1], **features)
    monkeypatch.setattr(recipe, "RECIPES", {Block.GROK1: grok})
    monkeypatch.setattr(gguf_form, "differs", lambda _model: [])
    net = network(**shapes)
    save_gguf(tmp_path / "model.gguf", exported=Exported(net, tokenizer), name="small")
    assert compare(tmp_path / "model.gguf", net, tokenizer)[0] < NUM_TOKENS


def test_words_split_as_in_training(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_gguf(tmp_path / "model.gguf", exported=Exported(network(), tokenizer), name="small")
    served = Served(tmp_path / "model.gguf")
    for text in (" i'm well,  thank you!?", " 12 of 3.5\n\nhow they'll", " caf\u00e9 \u20ac9"):
        found = served.ask("/tokenize", {"content": text, "parse_special": True})
        assert found["tokens"] == text_ids(tokenizer, text)


def test_the_command(
    tmp_path: Path,
    tokenizer: Tokenizer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "first"
    net = network()
    assert status(["export", str(run)]) == 2
    assert "first/model is not an exported model" in capsys.readouterr().err
    save_exported(run / "model", model=net.model, state=net.state_dict(), tokenizer=tokenizer)
    assert status(["export", str(run)]) == 0
    assert capsys.readouterr().out.split() == [str(run / "model" / "model.gguf")]
    assert compare(run / "model" / "model.gguf", net, tokenizer)[0] == 2 * NUM_TOKENS
    save_exported(run / "model", model=net.model, state=net.state_dict(), tokenizer=tokenizer)
    assert not (run / "model" / "model.gguf").exists()  # of the weights before
    other = tmp_path / "other.gguf"
    assert status(["export", str(run), "--out", str(other), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["architecture"] == "grok"
    assert document["size_bytes"] == other.stat().st_size
    assert status(["export", str(run), "--out", str(tmp_path / "no" / "x.gguf")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "gguf", None)
    other.unlink()
    with pytest.raises(InputError, match=r"pip install 'gigafactory\[gguf\]'"):
        api.export(run, out=other)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["first"]
