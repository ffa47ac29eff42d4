"""The bridging algorithm: agreement across camps counts, applause from one does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gigafactory import api
from gigafactory.chat.truth.bridging import (
    FACTOR_PENALTY,
    INTERCEPT_PENALTY,
    Rating,
    Status,
    _cost,
    _fit,
    rate,
)
from gigafactory.describe.errors import InputError


def camps(num_users: int = 40) -> list[Rating]:
    views = {"bridge": (1.0, 1.0), "left": (1.0, 0.0), "right": (0.0, 1.0), "bad": (0.0, 0.0)}
    return [
        Rating(f"u{user}", note, view[user % 2])
        for user in range(num_users)
        for note, view in views.items()
    ]


def test_only_what_both_camps_find_helpful_is_helpful() -> None:
    rated = {one.note: one for one in rate(camps())}
    assert rated["bridge"].status is Status.HELPFUL
    assert rated["bad"].status is Status.NOT_HELPFUL
    for note in ("left", "right"):
        assert rated[note].status is Status.NEEDS_RATINGS
        assert abs(rated[note].factor) > abs(rated["bridge"].factor)
    assert rated["left"].factor * rated["right"].factor < 0


def test_the_larger_camp_does_not_win_by_number() -> None:
    crowd = [Rating(f"c{user}", "left", 1.0) for user in range(200)]
    crowd += [Rating(f"c{user}", "right", 0.0) for user in range(200)]
    rated = {one.note: one for one in rate([*camps(), *crowd])}
    assert rated["left"].num_ratings == 240
    assert rated["left"].status is not Status.HELPFUL


def test_four_ratings_are_too_few() -> None:
    few = [rating for rating in camps() if rating.note != "bridge" or int(rating.user[1:]) < 4]
    rated = {one.note: one for one in rate(few)}
    assert rated["bridge"].num_ratings == 4
    assert rated["bridge"].status is Status.NEEDS_RATINGS


def test_the_same_ratings_in_another_order_give_the_same() -> None:
    ratings = camps()
    shuffled = [ratings[at] for at in np.random.default_rng(3).permutation(len(ratings))]
    for one, other in zip(rate(ratings), rate(shuffled), strict=True):
        assert one.status is other.status
        assert one.intercept == pytest.approx(other.intercept, abs=1e-6)


def test_the_fit_is_a_minimum_of_the_published_cost() -> None:
    ratings = camps(12)
    users, notes = sorted({r.user for r in ratings}), sorted({r.note for r in ratings})
    user_of = np.array([users.index(r.user) for r in ratings])
    note_of = np.array([notes.index(r.note) for r in ratings])
    values = np.array([r.value for r in ratings])
    fit = _fit(values, user_of, note_of, sizes=(len(users), len(notes)), seed=0)
    best = _cost(values, fit, user_of, note_of)
    user, note = fit.user[user_of], fit.note[note_of]
    error = values - (fit.mu + user[:, 0] + note[:, 0] + user[:, 1] * note[:, 1])
    by_hand = (error**2).sum() + INTERCEPT_PENALTY * (
        fit.mu**2 + (fit.user[:, 0] ** 2).sum() + (fit.note[:, 0] ** 2).sum()
    )
    by_hand += FACTOR_PENALTY * ((fit.user[:, 1] ** 2).sum() + (fit.note[:, 1] ** 2).sum())
    assert best == pytest.approx(by_hand)
    for table in (fit.user, fit.note):
        for column in (0, 1):
            for step in (0.02, -0.02):
                table[0, column] += step
                assert _cost(values, fit, user_of, note_of) > best
                table[0, column] -= step


def test_ratings_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    lines = [json.dumps({"user": r.user, "note": r.note, "value": r.value}) for r in camps()]
    path.write_text("\n".join(lines))
    assert {row["note"]: row["status"] for row in api.rate_answers(path)}["bridge"] == "helpful"
    path.write_text('{"user": "a", "note": "b", "value": 0.7}')
    with pytest.raises(InputError, match=r"0\.7 is none of"):
        api.rate_answers(path)
