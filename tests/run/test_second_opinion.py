"""Who computes a held step again, and who erred: plain words in, an opinion out."""

from __future__ import annotations

import itertools

import pytest

from gigafactory.control.actions import ReplaySteps, Token
from gigafactory.describe.group import Compare, Compared, Held
from gigafactory.run.second_opinion import Opinion, SecondOpinion, compare


def holding(*members: int, epoch: int = 2, step: int = 20) -> SecondOpinion:
    opinion = SecondOpinion()
    said = Held(epoch=epoch, step=step, norm=9.0)
    *first, last = members
    assert not any(opinion.hear(member, said, members) for member in first)
    assert opinion.hear(last, said, members)
    assert not opinion.hear(last, said, members)  # said again
    return opinion


def asked(opinion: SecondOpinion, *, attempt: int = 5, localise: bool = False) -> Compare | None:
    opinion.asked = ReplaySteps(token=Token(1, attempt), step=20, localise=localise)
    return opinion.order()


def answers(opinion: SecondOpinion, *, wrong: set[int], localise: bool) -> Opinion | None:
    """Every member computes as a member does; those that are wrong get something of their own."""
    order = asked(opinion, localise=localise)
    assert order is not None
    members = sorted(opinion.members)

    def print_of(shard: int, by: int) -> str:
        return f"{shard} by {by}" if by in wrong else f"{shard}"

    found = None
    for place, member in enumerate(members):
        assert found is None
        other = members[(place - order.shift) % len(members)]
        said = Compared(
            token=order.token,
            step=order.step,
            own={member: print_of(member, member)},
            others={other: print_of(other, member)} if other != member else {},
        )
        found = opinion.answer(member, said)
    return found


def test_equal_values_are_odd_text() -> None:
    opinion = holding(0, 1, 4)
    assert answers(opinion, wrong=set(), localise=False) == Opinion(differs=False)
    assert not opinion.is_wrong


@pytest.mark.parametrize("wrong", [0, 1, 4])
def test_of_three_or_more_the_second_round_names_who_errs(wrong: int) -> None:
    for members in [(0, 1, 4), (0, 1, 3, 4), (0, 1, 2, 3, 4)]:
        opinion = holding(*members)
        assert answers(opinion, wrong={wrong}, localise=False) == Opinion(differs=True)
        assert opinion.is_wrong
        found = answers(opinion, wrong={wrong}, localise=True)
        assert found == Opinion(differs=True, replicas=(wrong,))


def test_two_cannot_tell_who_errs_and_one_has_nobody_to_ask() -> None:
    pair = holding(0, 1)
    assert answers(pair, wrong={1}, localise=False) == Opinion(differs=True)
    pair.asked = ReplaySteps(token=Token(1, 6), step=20, localise=True)
    assert not pair.can_answer
    assert answers(holding(3), wrong={3}, localise=False) == Opinion(differs=False)


def test_no_well_member_is_ever_named() -> None:
    members = range(6)
    for wrong in itertools.combinations(members, 2):
        opinion = holding(*members)
        answers(opinion, wrong=set(wrong), localise=False)
        found = answers(opinion, wrong=set(wrong), localise=True)
        assert found is not None
        assert set(found.replicas) <= set(wrong)


def test_a_new_epoch_forgets_what_was_said() -> None:
    opinion = holding(0, 1, 2)
    answers(opinion, wrong={1}, localise=False)
    again = Held(epoch=3, step=20, norm=9.0)
    assert not opinion.hear(0, again, (0, 2))
    assert not opinion.is_of(2)
    assert opinion.hear(2, again, (0, 2))
    assert opinion.is_of(3)
    assert not opinion.is_wrong
    opinion.end()
    assert not opinion.is_of(3)


def test_an_answer_to_another_question_is_not_counted() -> None:
    opinion = holding(0)
    assert asked(opinion) is not None
    stale = Compared(token=4, step=20, own={}, others={})
    assert opinion.answer(0, stale) is None
    assert opinion.answer(0, stale.model_copy(update={"token": 5, "step": 19})) is None
    assert opinion.answer(0, stale.model_copy(update={"token": 5})) == Opinion(differs=False)


def test_one_against_one_names_nobody() -> None:
    assert compare({0: {1: "a", 2: "b"}}) == Opinion(differs=True)
    assert compare({0: {1: "a", 2: "b", 3: "c"}}) == Opinion(differs=True)


def test_a_question_is_put_once_and_again_to_others() -> None:
    opinion = holding(0, 1, 2)
    assert asked(opinion) is not None
    assert opinion.order() is None
    again = Held(epoch=3, step=20, norm=9.0)
    opinion.hear(0, again, (0, 2))
    opinion.hear(2, again, (0, 2))
    assert opinion.order() == Compare(token=5, step=20, shift=1)
    assert opinion.asked is not None
    for member in (0, 2):
        opinion.answer(member, Compared(token=5, step=20, own={}, others={}))
    assert opinion.asked is None


def test_a_question_about_another_step_is_not_put() -> None:
    opinion = holding(0, 1, step=21)
    assert asked(opinion) is None
