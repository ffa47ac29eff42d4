"""The bot through X's own SDK against the local fake: what it answers, and what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gigafactory.chat.x.budget import Spent
from gigafactory.chat.x.memory import Memory, State
from gigafactory.chat.x.platform import Broken, TooMany
from gigafactory.chat.x.rules import Refusal

TOKEN = "token-of-the-test"
DEEP = "@quotesbot How deep is the lake?"


def test_a_mention_is_answered_with_a_quote_and_marked(scene: Any) -> None:
    asked = scene.ask(DEEP)
    [outcome] = list(scene.bot().catch_up())
    [reply] = [p for p in scene.world.posts.values() if p.author_id == scene.account.id]
    assert (outcome.mention, outcome.reply) == (asked, reply.id)
    assert reply.replies_to == asked
    assert reply.made_with_ai is True
    assert "The lake is 30 metres deep." in reply.text
    assert "[7;" in reply.text
    # me 1 read, mention 1, is it still there 1, one post
    assert scene.bot()._budget.spent_usd(scene.clock[0]) == pytest.approx(3 * 0.005 + 0.015)


def test_a_dry_run_posts_nothing_and_forgets_it(scene: Any) -> None:
    scene.ask(DEEP)
    for _ in range(2):
        [outcome] = list(scene.bot(is_live=False).catch_up())
        assert outcome.text is not None
        assert outcome.reply is None
    assert scene.replies() == []


def test_nobody_is_answered_twice_or_uncalled(scene: Any) -> None:
    scene.ask(DEEP)
    scene.ask("How deep is the lake?")
    assert len(list(scene.bot().catch_up())) == 1
    assert list(scene.bot().catch_up()) == []
    Memory(scene.desk.connection)._connection.execute(
        "DELETE FROM settings WHERE name = 'x_newest'"
    )
    [again] = list(scene.bot().catch_up())
    assert again.refusal is Refusal.DONE
    assert len(scene.replies()) == 1


def test_many_pages_come_oldest_first_and_once(scene: Any) -> None:
    asked = [scene.ask(f"{DEEP} {at}") for at in range(230)]
    outcomes = list(scene.bot(is_live=False).catch_up())
    assert [outcome.mention for outcome in outcomes] == asked


def test_a_rate_limit_stops_and_the_next_round_goes_on(scene: Any) -> None:
    scene.world.limits = {"create": 2}
    asked = [scene.ask(f"{DEEP} {at}") for at in range(4)]
    bot = scene.bot()
    done: list[str] = []
    with pytest.raises(TooMany) as caught:
        _note(bot.catch_up(), done)
    assert done == asked[:2]
    assert caught.value.reset_s == int(scene.world.clock_s) + 900
    scene.world.clock_s += 901
    assert [outcome.mention for outcome in scene.bot().catch_up()] == asked[2:]
    assert len(scene.replies()) == 4


def _note(outcomes: Iterator[Any], done: list[str]) -> None:
    for outcome in outcomes:
        done.append(outcome.mention)


def test_a_lost_answer_is_not_posted_twice(scene: Any) -> None:
    asked = scene.ask(DEEP)
    scene.world.faults.num_lost_answers = 1
    with pytest.raises(Broken):
        list(scene.bot().catch_up())
    assert len(scene.replies()) == 1
    memory = Memory(scene.desk.connection)
    assert memory.get(asked).state is State.POSTING
    [outcome] = list(scene.bot().catch_up())  # the platform refuses the copy
    assert outcome.refusal is None
    assert memory.get(asked).state is State.REPLIED
    assert len(scene.replies()) == 1


def test_a_failing_platform_is_tried_again_later(scene: Any) -> None:
    scene.ask(DEEP)
    scene.world.faults.num_server_errors = 1
    with pytest.raises(Broken, match="503"):
        list(scene.bot().catch_up())
    assert len(list(scene.bot().catch_up())) == 1


def test_a_question_deleted_meanwhile_is_not_answered(scene: Any) -> None:
    asked = scene.ask(DEEP)
    bot = scene.bot()
    [mention] = bot._fetched()
    del scene.world.posts[asked]
    assert bot.handle(mention).refusal is Refusal.GONE
    assert scene.replies() == []


def test_the_platform_refuses_replies_to_those_who_did_not_call(scene: Any) -> None:
    from gigafactory.chat.x.platform import Call, Forbidden, Mention, Reply

    uncalled = scene.ask("the lake is deep, I think")
    bot = scene.bot()
    with pytest.raises(Forbidden, match="did not mention or quote"):
        bot._platform.reply(Reply("It is 30 metres.", uncalled))
    lying = Mention(uncalled, scene.ann.id, "How deep is the lake?", Call.MENTION)
    assert bot.handle(lying).refusal is Refusal.PLATFORM
    assert bot.handle(lying).refusal is Refusal.DONE
    assert scene.replies() == []


def test_deletes_are_honoured(scene: Any) -> None:
    scene.world._next_id = 50_000
    asked = [scene.ask("@quotesbot Did the old ferry sink in 1931?"), scene.ask(DEEP)]
    for ident in ("55",):
        scene.world.posts[ident] = type(scene.world.posts[asked[0]])(
            ident, scene.ann.id, "The old ferry sank in 1931."
        )
    assert len(list(scene.bot().catch_up())) == 2
    assert scene.bot().tidy().num_replies == 0
    del scene.world.posts["55"]  # a source
    tidied = scene.bot().tidy()
    assert (tidied.num_replies, tidied.num_posts) == (1, 1)
    assert scene.desk.library.get("x:55") is None
    del scene.world.posts[asked[1]]  # a question
    assert scene.bot().tidy().num_replies == 1
    assert scene.replies() == []
    assert scene.bot().tidy().num_replies == 0
    assert scene.desk.audit.check().faults == ()


def test_an_empty_purse_answers_nothing(scene: Any) -> None:
    scene.ask(DEEP)
    [outcome] = list(scene.bot(usd_per_day=0.014).catch_up())
    assert outcome.refusal is Refusal.BUDGET
    with pytest.raises(Spent):
        list(scene.bot(usd_per_day=0.0).catch_up())
    assert scene.replies() == []


def test_the_kill_switch_holds_here_too(scene: Any) -> None:
    scene.ask(DEEP)
    scene.desk.switch.stop("test", at_s=1.0)
    [outcome] = list(scene.bot().catch_up())
    assert outcome.refusal is Refusal.OFF
    assert scene.replies() == []


def test_a_broken_stream_loses_and_doubles_nothing(scene: Any) -> None:
    scene.world.limits = {"stream": 1_000}  # so that the fake counts who listens
    scene.world.faults.stream_posts = 1
    scene.world.faults.repeats = True
    first = scene.ask(f"{DEEP} 0")
    outcomes = scene.bot().follow()
    assert next(outcomes).mention == first
    seen: list[Any] = []

    def listen() -> None:
        for outcome in outcomes:
            if outcome.refusal is not Refusal.DONE:
                seen.append(outcome.mention)
            if len(seen) == 4:
                outcomes.close()
                return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    scene.wait(lambda: (TOKEN, "stream") in scene.world._used)
    asked: list[str] = []
    scene.world.faults.while_cut = lambda: asked.extend(
        scene.ask(f"{DEEP} {at}") for at in (1, 2, 3)
    )
    asked.append(scene.ask(f"{DEEP} 4"))
    listener.join(30)
    assert not listener.is_alive()
    assert sorted(seen) == sorted(asked)
    assert len(scene.replies()) == 5


def test_a_quote_of_the_bot_calls_it(scene: Any) -> None:
    from gigafactory.chat.x.platform import Call
    from gigafactory.chat.x.sdk import mentions_of

    own = scene.world.add_post(scene.account, "The lake is 30 metres deep.")
    quoting = scene.world.add_post(scene.ann, "How deep is the lake?", quotes=own.id)
    other = scene.world.add_post(scene.ann, "so it is", quotes=quoting.id)
    for for_stream in (False, True):
        posts = [quoting, other]
        answer = {
            "data": [scene.world.body(post, for_stream=for_stream) for post in posts],
            **scene.world.includes(posts, for_stream=for_stream),
        }
        me = scene.bot().me
        assert [m.call for m in mentions_of(answer, me=me)] == [Call.QUOTE, Call.NONE]
