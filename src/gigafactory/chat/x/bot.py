"""The bot: mentions in, quotes out, within the rules and the day's budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gigafactory.chat.truth.answers import Answer
from gigafactory.chat.truth.desk import Desk
from gigafactory.chat.truth.erasure import delete_posts
from gigafactory.chat.truth.switch import Stopped
from gigafactory.chat.x.budget import Budget, Cost, Spent, cost_of
from gigafactory.chat.x.memory import Memory, State
from gigafactory.chat.x.platform import Account, Broken, Forbidden, Gap, Mention, Platform, TooMany
from gigafactory.chat.x.rules import Refusal, compose, question_of, refusal

X_ID = "x:"
"""Posts of the library whose id begins so are posts on X: they are erased when deleted there."""
_MOST_IDS = 100
_MOST_REPLIES = 500
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one mention."""

    mention: str
    text: str | None = None
    """The reply; None: there is none."""
    reply: str | None = None
    """Its id; None where nothing was posted, as in a dry run."""
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was taken back because it was deleted on X."""

    num_replies: int
    num_posts: int


class Bot:
    """One account. ``is_live`` False: everything is done but posting and deleting."""

    def __init__(
        self,
        platform: Platform,
        desk: Desk,
        *,
        budget: Budget,
        memory: Memory,
        clock: Clock,
        is_live: bool = False,
    ) -> None:
        self._platform, self._desk, self._budget = platform, desk, budget
        self._clock, self._is_live = clock, is_live
        self._memory = memory
        self._me: Account | None = None

    @property
    def me(self) -> Account:
        """Who the bot is; asked once."""
        if self._me is None:
            self._budget.spend(Cost.READ, at_s=self._clock())
            self._me = self._platform.me()
        return self._me

    def catch_up(self) -> Iterator[Outcome]:
        """Deal with everything since the last time, oldest first; Spent, TooMany or Broken stop
        it, and
        the next call goes on where it stopped."""
        for mention in self._fetched():
            yield self.handle(mention)
            if self._is_live:
                self._memory.saw(mention.id)

    def _fetched(self) -> list[Mention]:
        me = self.me
        found: dict[str, Mention] = {}
        for page in self._platform.mentions(since=self._memory.newest):
            for mention in page:  # a page boundary that moves shows a post twice
                found.setdefault(mention.id, mention)
            if page:
                self._budget.spend(Cost.READ, at_s=self._clock(), count=len(page))
        return sorted((m for m in found.values() if m.author_id != me.id), key=lambda m: int(m.id))

    def follow(self) -> Iterator[Outcome]:
        """Deal with posts as they come; after a break, with those that came meanwhile."""
        yield from self.catch_up()
        for event in self._platform.stream():
            if isinstance(event, Gap):
                yield from self.catch_up()
                continue
            self._budget.spend(Cost.READ, at_s=self._clock())
            yield self.handle(event)

    def handle(self, mention: Mention) -> Outcome:
        """Answer one mention, or say why not."""
        done = self._memory.get(mention.id)
        is_done = done is not None and done.state is not State.POSTING
        why = refusal(mention, me=self.me, is_done=is_done)
        if why is not None:
            return Outcome(mention.id, refusal=why)
        try:
            told = self._desk.ask(question_of(mention, me=self.me), at_s=self._clock())
        except Stopped:
            return Outcome(mention.id, refusal=Refusal.OFF)
        return self._give(mention, told.answer)

    def _give(self, mention: Mention, given: Answer) -> Outcome:
        reply = compose(given, to=mention.id)
        if not self._is_live:
            return Outcome(mention.id, text=reply.text)
        cites = tuple(dict.fromkeys(quote.post.id for quote in given.quotes))
        try:
            self._budget.spend(cost_of(reply.text), at_s=self._clock())
            if self._gone([mention.id]):
                return self._refuse(mention, Refusal.GONE)
        except Spent:
            return Outcome(mention.id, text=reply.text, refusal=Refusal.BUDGET)
        self._memory.put(mention.id, State.POSTING, cites=cites)
        try:
            ident: str | None = self._platform.reply(reply)
        except Forbidden as forbidden:
            if not forbidden.is_duplicate:
                return self._refuse(mention, Refusal.PLATFORM)
            ident = None  # an earlier try, of which no answer came back, stands there
        self._memory.put(mention.id, State.REPLIED, reply=ident, cites=cites)
        return Outcome(mention.id, text=reply.text, reply=ident)

    def _refuse(self, mention: Mention, why: Refusal) -> Outcome:
        self._memory.put(mention.id, State.REFUSED, why=str(why))
        return Outcome(mention.id, refusal=why)

    def _gone(self, idents: list[str]) -> set[str]:
        self._budget.spend(Cost.READ, at_s=self._clock(), count=len(idents))
        return self._platform.gone(idents)

    def tidy(self) -> Tidied:
        """Honour deletes: a reply whose question or source is gone on X goes too, and gone sources
        leave
        the library with all their traces."""
        stored = self._desk.connection.execute(
            "SELECT id FROM posts WHERE id LIKE ? ORDER BY id", (f"{X_ID}%",)
        ).fetchall()
        sources = [row[0].removeprefix(X_ID) for row in stored]
        replies = self._memory.replied(last=_MOST_REPLIES)
        asked = list(dict.fromkeys([*sources, *(done.mention for done in replies)]))
        lost: set[str] = set()
        for at in range(0, len(asked), _MOST_IDS):
            lost |= self._gone(asked[at : at + _MOST_IDS])
        gone = {f"{X_ID}{ident}" for ident in sources if ident in lost}
        if gone:
            delete_posts(self._desk.connection, sorted(gone), at_s=self._clock())
        stale = [d for d in replies if d.mention in lost or gone & set(d.cites)]
        for done in stale if self._is_live else ():
            if done.reply is not None:
                self._platform.delete(done.reply)
            self._memory.put(done.mention, State.WITHDRAWN, reply=done.reply)
        return Tidied(len(stale), len(gone))


PASSING = (TooMany, Broken)
"""What is tried again later."""
