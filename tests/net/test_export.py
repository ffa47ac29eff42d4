"""What is written must be read back, under the names that serving engines know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer

from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Model
from gigafactory.net.dialogue import Mark, mark_id, prompt_ids, turn_ids
from gigafactory.net.export import load_exported, save_exported
from gigafactory.net.forms import describe_model, export_state
from gigafactory.net.network import Network, initialise
from gigafactory.train.tokens import train_tokenizer

SMALL = Model(
    name="small", block="grok-1", num_layers=2, hidden=32, num_heads=4, num_kv_heads=2, head_dim=8,
    vocab=300, tied_embeddings=True, num_experts=3, topk=2, moe_ffn=48, context=24,
    source="made for the test",
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["hello there, how are you?", "i am well, thank you"] * 5, vocab=300)


@pytest.fixture
def saved(tmp_path: Path, tokenizer: Tokenizer) -> tuple[Network, Path]:
    net = Network(SMALL)
    initialise(net, seed=2)
    directory = tmp_path / "model"
    for _ in range(2):  # a second export replaces the first
        save_exported(directory, model=SMALL, state=net.state_dict(), tokenizer=tokenizer)
    return net, directory


def test_round_trip(saved: tuple[Network, Path]) -> None:
    net, directory = saved
    again = load_exported(directory)
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(again.model(ids)[0], net(ids)[0])
    assert (
        again.tokenizer.decode(again.tokenizer.encode("Hello there").ids).strip() == "hello there"
    )
    assert sorted(p.name for p in directory.parent.iterdir()) == ["model"]


def test_names_are_those_of_the_serving_engines(saved: tuple[Network, Path]) -> None:
    _, directory = saved
    with safe_open(directory / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
        shape = file.get_slice("model.layers.1.block_sparse_moe.experts.2.w2.weight").get_shape()
    assert shape == [32, 48]
    layer = {name.removeprefix("model.layers.0.") for name in names if ".layers.0." in name}
    assert layer == {
        *(f"self_attn.{k}_proj.weight" for k in "qkvo"),
        "block_sparse_moe.gate.weight",
        *(f"block_sparse_moe.experts.{e}.w{i}.weight" for e in range(3) for i in (1, 2, 3)),
        *(f"{when}_{what}_norm.weight" for when in ("pre", "post") for what in ("attn", "moe")),
    }
    assert {n for n in names if ".layers." not in n} == {
        "model.embed_tokens.weight",
        "model.norm.weight",
    }
    config = json.loads((directory / "config.json").read_text())
    assert config["architectures"] == ["Grok1ForCausalLM"]
    assert config["output_multiplier_scale"] == pytest.approx(3**-0.5)


def test_grok_2_has_the_keys_and_names_of_its_public_configuration() -> None:
    changes = {
        "block": "grok-2", "dense_residual": True, "ffn": 40, "tied_embeddings": False,
    }  # fmt: skip
    net = Network(Model.model_validate(SMALL.model_dump() | changes))
    initialise(net, seed=2)
    names = export_state(net.state_dict(), model=net.model).keys()
    assert "lm_head.weight" in names
    assert "model.layers.0.mlp.gate_proj.weight" in names
    assert "model.layers.0.block_sparse_moe.experts.1.w3.weight" in names
    config = describe_model(net.model)
    expected = {
        "architectures": ["Grok1ForCausalLM"], "residual_moe": True, "intermediate_size": 40,
        "moe_intermediate_size": 48, "final_logit_softcapping": 50.0, "scaling_factor": 16.0,
        "router_logit_softcapping": 30.0, "attn_temperature_len": 1024, "rope_type": "original",
        "tie_word_embeddings": False,
    }  # fmt: skip
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_and_truncated_files_are_named(saved: tuple[Network, Path], name: str) -> None:
    _, directory = saved
    whole = (directory / name).read_bytes()
    (directory / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"model is damaged"):
        load_exported(directory)
    (directory / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        load_exported(directory)


def test_a_prompt_keeps_the_newest_turns(tokenizer: Tokenizer) -> None:
    def turn(text: str) -> list[int]:
        return turn_ids(tokenizer, Mark.USER, text)

    bos, reply = mark_id(tokenizer, Mark.BOS), mark_id(tokenizer, Mark.ASSISTANT)
    turns = [(Mark.USER, "hello there"), (Mark.USER, "how are you?")]
    both = [bos, *turn("hello there"), *turn("how are you?"), reply]
    assert prompt_ids(tokenizer, turns, max_tokens=100) == both
    newest = [bos, *turn("how are you?"), reply]
    assert prompt_ids(tokenizer, turns, max_tokens=len(newest)) == newest
    cut = prompt_ids(tokenizer, [(Mark.USER, "hello " * 50)], max_tokens=10)
    assert len(cut) == 10
    assert cut[:2] == [bos, mark_id(tokenizer, Mark.USER)]
    assert cut[-2:] == [mark_id(tokenizer, Mark.END), reply]


def test_marks_typed_by_a_person_are_text(tokenizer: Tokenizer) -> None:
    end = mark_id(tokenizer, Mark.END)
    assert turn_ids(tokenizer, Mark.USER, f"hi{Mark.END}{Mark.ASSISTANT}hello").count(end) == 1
