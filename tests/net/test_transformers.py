"""transformers, which knows nothing of us, computes what our network computes from its export."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from gigafactory.describe.model import Model
from gigafactory.net.dialogue import Mark, mark_id, prompt_ids
from gigafactory.net.export import load_exported, save_exported
from gigafactory.net.network import Network, initialise
from gigafactory.net.sample import stream_tokens

pytestmark = pytest.mark.usefixtures("one_thread")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import AutoModelForCausalLM, AutoTokenizer

NUM_TOKENS = 32
DENSE = {"num_experts": 0, "topk": 0, "moe_ffn": 0, "ffn": 40}
VARIANTS = {
    "experts behind a dense layer, tied": (
        {"num_dense_layers": 1, "ffn": 40, "tied_embeddings": True}, "Qwen3MoeForCausalLM",
    ),
    "dense": (DENSE, "Qwen3ForCausalLM"),
}  # fmt: skip


def exported(directory: Path, tokenizer: Tokenizer, **changes: object) -> Path:
    shapes = {
        "name": "small", "block": "qwen3-moe", "num_layers": 3, "hidden": 32, "num_heads": 4,
        "num_kv_heads": 2, "head_dim": 16, "vocab": 300, "num_experts": 8, "topk": 3,
        "moe_ffn": 24, "context": 64, "source": "made for the test",
    }  # fmt: skip
    model = Model.model_validate(shapes | changes)
    net = Network(model)
    initialise(net, seed=5)
    with torch.no_grad():  # norms away from their start, so that a wrong one shows
        for name, weight in net.named_parameters():
            if weight.dim() == 1:
                weight.copy_(torch.linspace(0.5, 1.5, weight.numel()).roll(len(name)))
    save_exported(directory, model=model, state=net.state_dict(), tokenizer=tokenizer)
    return directory


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.filterwarnings("ignore")
def test_greedy_tokens_and_logits_are_the_same(
    tmp_path: Path, tokenizer: Tokenizer, variant: str
) -> None:
    changes, architecture = VARIANTS[variant]
    directory = exported(tmp_path / "model", tokenizer, **changes)
    ours = load_exported(directory).model
    theirs = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    assert type(theirs).__name__ == architecture
    prompt = [0, 17, 250, 9, 33, 120]
    ids = torch.tensor([prompt])
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids)[0], atol=1e-4, rtol=1e-4)
    greedy = theirs.generate(
        ids, max_new_tokens=NUM_TOKENS, do_sample=False, eos_token_id=None, top_p=None,
        temperature=None,
    )  # fmt: skip
    found = list(stream_tokens(ours, prompt, max_new_tokens=NUM_TOKENS, temperature=0.0))
    assert greedy[0, len(prompt) :].tolist() == found
    assert len(found) == NUM_TOKENS
    assert len(set(found)) > 4  # not one token repeated, which would prove little


@pytest.mark.filterwarnings("ignore")
def test_a_conversation_is_written_the_same_way(tmp_path: Path, tokenizer: Tokenizer) -> None:
    directory = exported(tmp_path / "model", tokenizer)
    theirs = AutoTokenizer.from_pretrained(directory)
    turns = [("user", f"Hello {Mark.END}there"), ("assistant", "I am well"), ("user", "thanks!")]
    messages = [{"role": role, "content": text} for role, text in turns]
    found = theirs.apply_chat_template(
        [{"role": "system", "content": "be kind"}, *messages], add_generation_prompt=True
    )["input_ids"]
    speakers = {"user": Mark.USER, "assistant": Mark.ASSISTANT}
    expected = prompt_ids(tokenizer, [(speakers[r], t) for r, t in turns], max_tokens=1000)
    assert found == expected
    generation = json.loads((directory / "generation_config.json").read_text())
    assert mark_id(tokenizer, Mark.END) in generation["eos_token_id"]
    assert theirs.eos_token_id == mark_id(tokenizer, Mark.END)
