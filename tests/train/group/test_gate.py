"""Who computes what, and whether a step may pass: plain functions, plain tests."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from gigafactory.describe.errors import InputError
from gigafactory.describe.group import STEPS_UNTIL_USUAL, Why
from gigafactory.train.group.band import FACTOR, Band
from gigafactory.train.group.checksum import checksum, is_finite
from gigafactory.train.group.gate import Decision, Ruling, Verdict, judge, judge_again, read_verdict
from gigafactory.train.group.shards import num_shards, share_out, slices


def verdict(**changes: object) -> Verdict:
    usual: dict[str, object] = {"step": 5, "state": "s", "sum": "g", "losses": {0: 1.5}, "epoch": 2}
    return Verdict(**(usual | changes))  # type: ignore[arg-type]


def ruling(*said: Verdict, is_repeated: bool = False) -> Decision:
    return judge(dict(enumerate(said)), is_repeated=is_repeated)


@pytest.mark.parametrize(
    ("microbatches", "replicas", "shards"), [(6, 3, 6), (12, 3, 6), (3, 3, 3), (4, 2, 2), (5, 1, 1)]
)
def test_shards_are_even_for_all_groups_and_for_one_fewer(microbatches, replicas, shards):
    assert num_shards(microbatches, num_replicas=replicas) == shards
    assert microbatches % shards == 0


def test_microbatches_that_groups_cannot_share_are_refused():
    with pytest.raises(InputError, match=r"7 microbatches .* 3 replica groups"):
        num_shards(7, num_replicas=3)


def test_every_shard_has_one_owner_and_nobody_does_much_more_than_others():
    dice = random.Random(3)
    for _ in range(200):
        members = dice.sample(range(6), dice.randint(1, 5))
        held = {m: dice.sample(range(12), 3) for m in members if dice.random() < 0.4}
        owned = share_out(12, members=members, held=held)
        assert sorted(s for shards in owned.values() for s in shards) == list(range(12))
        for member, shards in held.items():
            others = {s for m, some in held.items() if m != member for s in some}
            assert set(shards) - others <= set(owned[member])  # nothing is computed twice
    assert share_out(6, members=(2, 0), held={}) == {0: (0, 2, 4), 2: (1, 3, 5)}


def test_slices_cover_the_sum_once():
    parts = slices(10, members=(4, 1, 2))
    assert [parts[m] for m in (1, 2, 4)] == [slice(0, 3), slice(3, 6), slice(6, 10)]


def test_a_step_passes_where_all_agree():
    assert ruling(verdict(), verdict(epoch=3)) == Decision(ruling=Ruling.COMMIT, epoch=2)
    assert read_verdict(verdict(not_finite=(1,)).to_bytes()) == verdict(not_finite=(1,))


def test_an_odd_gradient_is_held_if_nothing_else_is_wrong():
    assert ruling(verdict(), verdict(odd=True, epoch=4)) == Decision(ruling=Ruling.HOLD, epoch=2)
    assert ruling(verdict(odd=True), verdict(intact=False)).why is Why.CORRUPT
    assert read_verdict(verdict(odd=True).to_bytes()).odd


def test_what_is_odd_is_known_after_some_steps_only():
    band = Band()
    for norm in [1.0, 2.0] * (STEPS_UNTIL_USUAL // 2):
        assert not band.is_odd(1e9)
        band.add(norm)
    assert not band.is_odd(1.49 * FACTOR)
    assert band.is_odd(1.51 * FACTOR)  # the median is 1.5
    assert not band.is_odd(float("nan"))  # which the gate sees by itself
    for _ in range(100):
        band.add(50.0)
    assert not band.is_odd(50.0 * FACTOR)  # what is usual changes


@pytest.mark.parametrize("wrong", [{"intact": False}, {"changed": True}, {"state": "t"}])
def test_whoever_is_wrong_is_named_and_nothing_passes(wrong):
    found = ruling(verdict(), verdict(**wrong), verdict())
    assert found == Decision(ruling=Ruling.DISCARD, why=Why.CORRUPT, culprits=(1,))


def test_one_against_one_is_no_majority():
    assert ruling(verdict(), verdict(state="t")).why is Why.DISAGREE
    assert ruling(verdict(), verdict(sum="h")).ruling is Ruling.AGAIN
    assert ruling(verdict(), verdict(sum="h"), is_repeated=True).why is Why.SUMS_DIFFER
    assert ruling(verdict(), verdict(intact=False)).culprits == (1,)  # it says so itself


def test_what_is_not_finite_is_computed_by_somebody_else():
    assert ruling(verdict(not_finite=(3, 5)), verdict()) == Decision(
        ruling=Ruling.RECOMPUTE, shards=(3, 5)
    )
    owners = {3: 0, 5: 0}
    assert judge_again(owners, {3: False, 5: True}).culprits == (0,)
    assert judge_again(owners, {3: False, 5: False}).why is Why.NOT_FINITE


def test_a_checksum_finds_every_flipped_bit():
    tensors = [torch.randn(33), torch.randn(4, 5), torch.tensor(1.0)]
    whole = checksum(tensors)
    assert checksum([t.clone() for t in tensors]) == whole
    assert checksum([tensors[1], tensors[0], tensors[2]]) != whole
    dice = random.Random(4)
    for _ in range(300):
        victim = dice.choice(tensors)
        words = victim.view(-1).numpy().view(np.uint32)
        place, bit = dice.randrange(len(words)), np.uint32(1 << dice.randrange(32))
        words[place] ^= bit
        assert checksum(tensors) != whole
        words[place] ^= bit
    assert checksum(tensors) == whole
    assert not is_finite(torch.tensor([1.0, float("nan")]))
