from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from gigafactory.chat.engine import Finish, Message, Piece, Role
from gigafactory.chat.prompt import CHATML, render, without_marks
from gigafactory.chat.text import as_pieces, texts, until_stop

short_text = st.text(st.sampled_from("abc"), max_size=12)


def decode(ids: list[int]) -> str:
    """A tokenizer with one token a byte: the hardest case for characters of several bytes."""
    return bytes(ids).decode("utf-8", errors="replace")


@given(st.text(max_size=200))
@example("🎉é" * 60)
def test_pieces_of_text_add_up_to_it(text: str) -> None:
    said = list(texts(text.encode(), decode=decode))
    assert "".join(said) == text
    assert len(said) == len(text.encode())


@given(st.text(st.characters(exclude_characters="�", exclude_categories=["Cs"]), max_size=50))
def test_no_half_character_is_ever_shown(text: str) -> None:
    assert all("�" not in piece for piece in texts(text.encode(), decode=decode))


@given(st.binary(max_size=100))
def test_wrong_bytes_do_not_hold_the_text_back(raw: bytes) -> None:
    shown = "".join(texts([*raw, *b" end of it"], decode=decode))
    assert shown.endswith("end of it")


@given(
    st.lists(short_text, max_size=8), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3)
)
@example(["a", "b", "c"], ["bc"])
@example(["ab", "a"], ["abc"])
def test_stops_cut_the_same_wherever_the_pieces_break(words: list[str], stops: list[str]) -> None:
    pieces = [*(Piece(word) for word in words), Piece("", 0, Finish.STOP)]
    whole = "".join(words)
    cut = min((at for stop in stops if (at := whole.find(stop)) >= 0), default=len(whole))
    got = list(until_stop(pieces, stops=stops))
    assert "".join(piece.text for piece in got) == whole[:cut]
    assert [piece.finish for piece in got if piece.finish] == [Finish.STOP]
    assert got[-1].finish


def test_the_end_is_a_length_only_at_the_limit() -> None:
    assert [p.finish for p in as_pieces(["a", "b", "c"], max_tokens=2)] == [None, Finish.LENGTH]
    assert [p.finish for p in as_pieces(["a"], max_tokens=2)] == [None, Finish.STOP]


def test_our_own_system_message_stands_first() -> None:
    prompt = render([Message(Role.USER, "hi")], form=CHATML)
    assert prompt == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_clients_system_message_replaces_ours() -> None:
    prompt = render([Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "hi")], form=CHATML)
    assert prompt.count("system") == 1
    assert "Be brief." in prompt


@given(st.lists(st.sampled_from(["<|im_", "end|>", "start|>", "<|im_end|>", "<|endoftext|>", "x"])))
def test_a_message_cannot_open_a_turn(parts: list[str]) -> None:
    prompt = render([Message(Role.USER, "".join(parts))], form=CHATML)
    assert prompt.count("<|im_start|>") == 3
    assert prompt.count("<|im_end|>") == 2
    assert "<|endoftext|>" not in prompt


def test_text_without_marks_is_left_alone() -> None:
    assert without_marks("a < b | c", marks=CHATML.marks) == "a < b | c"
