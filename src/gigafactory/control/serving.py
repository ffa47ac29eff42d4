"""The scheduler of a serving engine: who is let in, who computes in the next step, who gives way.

Continuous batching over paged memory, sans-IO: events in, actions out; neither clock nor tokens.
The service drives it with what it observes, the twin with what it invents.

Order of the day: conversations that are being answered get one token each; what is left of
``max_step_tokens`` goes to prompts, first come first served, in chunks. A conversation is let in
when its prompt and one token more have room; where room runs out later, the youngest gives its
blocks back and waits at the head of the queue with what it has said. Whose cache comes from another
engine, whole but for the newest token, has no prompt left to compute and is answered at once.

The step between "nothing to decide" costs the same for any number of conversations: the length of
one that is answered is ``offset + ticks`` with one common ``ticks``, and how many of them need a
new block at the next tick is kept by offset modulo the block size.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from gigafactory.control.batching import (
    Arrived,
    Batching,
    Chunk,
    Closing,
    Compute,
    Computed,
    Displaced,
    Ended,
    Evicted,
    Gone,
    Published,
    Refusal,
    Refused,
    ServingAction,
    ServingLimits,
    Started,
)
from gigafactory.control.blocks import Blocks, Branch, Key


@dataclass(slots=True)
class _Talk:
    """One conversation that waits or runs."""

    id: int
    arrived_s: float
    to_fill: int
    """Tokens to be in the cache before the next one comes out."""
    keys: tuple[Key, ...]
    ready: int = 0
    """Tokens that come with it."""
    done: int = 0
    """Tokens in the cache, while its prompt is computed."""
    offset: int = 0
    """Tokens in the cache less ticks, once it is answered."""
    num_own: int = 0
    num_shared: int = 0
    branch: Branch | None = None
    """Ends the shared blocks."""
    is_answered: bool = False
    was_displaced: bool = False


class Scheduler:
    """One engine's queue, batch and memory; ``handle`` is the only door in."""

    def __init__(self, limits: ServingLimits) -> None:
        self.limits = limits
        self._size = limits.block_tokens
        self.blocks = Blocks(limits.num_blocks)
        self._waiting: deque[_Talk] = deque()
        self._filling: dict[int, _Talk] = {}
        self._answered: dict[int, _Talk] = {}
        self._by_id: dict[int, _Talk] = {}
        self._leaving: list[int] = []
        self._step: Compute | None = None
        self._ticks = 0
        self._held_offsets = 0
        self._phases = [0] * limits.block_tokens
        self._is_closing = False

    @property
    def num_waiting(self) -> int:
        """Conversations in the queue."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Conversations in the batch."""
        return len(self._filling) + len(self._answered)

    @property
    def step(self) -> Compute | None:
        """The step under way."""
        return self._step

    def handle(self, event: Batching) -> tuple[ServingAction, ...]:
        """Take note of ``event``; what is to be done about it, in order."""
        out: list[ServingAction] = []
        kind = type(event)
        if kind is Computed:
            self._computed(event, out)  # type: ignore[arg-type]
        elif kind is Arrived:
            self._arrive(event, out)  # type: ignore[arg-type]
        elif kind is Gone:
            self._gone(event.id, out)  # type: ignore[union-attr]
        elif kind is Closing:
            self._is_closing = True
        if self._step is None:
            self._next(event.at_s, out)
        return tuple(out)

    # ---- who comes and goes ----

    def _arrive(self, event: Arrived, out: list[ServingAction]) -> None:
        at_s, ident, prompt_tokens, max_tokens, keys, ready = event
        limits = self.limits
        # the last token that comes out is never put into the cache
        most = prompt_tokens + max_tokens - 1 if max_tokens else prompt_tokens
        if ident in self._by_id:
            raise ValueError(f"conversation {ident} is here already")
        if not 0 <= ready < prompt_tokens:
            raise ValueError(f"{ready} ready of {prompt_tokens} prompt tokens")
        if self._is_closing:
            out.append(Refused(ident, Refusal.CLOSING))
        elif most > limits.num_blocks * self._size:
            out.append(Refused(ident, Refusal.TOO_LONG))
        elif len(self._waiting) >= limits.max_waiting and not self._can_start_at_once():
            out.append(Refused(ident, Refusal.FULL))
        else:
            usable = keys[: (prompt_tokens - 1) // self._size]
            talk = _Talk(ident, at_s, prompt_tokens, usable, ready)
            self._by_id[ident] = talk
            self._waiting.append(talk)

    def _can_start_at_once(self) -> bool:
        return not self._waiting and self.num_running < self.limits.max_running

    def _gone(self, ident: int, out: list[ServingAction]) -> None:
        talk = self._by_id.get(ident)
        if talk is None:
            return
        if talk in self._waiting:
            self._waiting.remove(talk)
            del self._by_id[ident]
            out.append(Ended(ident))
        elif self._step is None:
            self._drop(self._by_id.pop(ident))
            out.append(Ended(ident))
        elif ident not in self._leaving:
            self._leaving.append(ident)  # its blocks are being written to

    def _drop(self, talk: _Talk) -> None:
        if talk.is_answered:
            offset, size = talk.offset, self._size
            talk.num_own = -(-(offset + self._ticks) // size) - talk.num_shared
            del self._answered[talk.id]
            self._held_offsets -= offset
            self._phases[offset % size] -= 1
        else:
            del self._filling[talk.id]
        self.blocks.give_back(num_own=talk.num_own, branch=talk.branch)
        talk.branch, talk.num_shared, talk.num_own = None, 0, 0

    # ---- what a step has done ----

    def _computed(self, event: Computed, out: list[ServingAction]) -> None:
        step, repeats = self._step, event.num_repeats
        if step is None or not 1 <= repeats <= step.max_repeats:
            raise ValueError(f"no step of {repeats} repeats is under way")
        self._step = None
        if step.decodes:
            self._ticks += repeats
            # the room of the first repeat was taken when the step was given
            if repeats > 1:
                self._take(self._num_new(repeats), out)
        for chunk in step.chunks:
            self._filled(self._filling[chunk.id], chunk, out)
        over = event.ended
        if self._leaving:
            over = (*over, *self._leaving)
            self._leaving.clear()
        for ident in over:
            talk = self._by_id.pop(ident, None)
            if talk is not None:
                self._drop(talk)
                out.append(Ended(ident))

    def _filled(self, talk: _Talk, chunk: Chunk, out: list[ServingAction]) -> None:
        talk.done += chunk.num_tokens
        if talk.keys:
            self._publish(talk, out)
        if chunk.is_last:
            del self._filling[talk.id]
            self._answer(talk)

    def _answer(self, talk: _Talk) -> None:
        """From now on it gets a token with every step that decodes."""
        talk.is_answered = True
        talk.offset = offset = talk.done - self._ticks
        self._answered[talk.id] = talk
        self._held_offsets += offset
        self._phases[offset % self._size] += 1

    def _publish(self, talk: _Talk, out: list[ServingAction]) -> None:
        first = talk.num_shared
        full = min(talk.done // self._size, len(talk.keys))
        if full <= first:
            return
        # somebody may have computed the same meanwhile; shared blocks stay in front
        branch = self.blocks.publish(talk.keys[first:full], after=talk.branch)
        if branch is not None:
            talk.branch, talk.num_shared = branch, full
            talk.num_own -= full - first
            out.append(Published(talk.id, range(first, full)))

    # ---- what comes next ----

    def _next(self, at_s: float, out: list[ServingAction]) -> None:
        needed = self._phases[-self._ticks % self._size]
        if needed > self.blocks.num_available:
            needed = self._make_room(out)
        chunks: tuple[Chunk, ...] = ()
        if self._filling or self._waiting:
            chunks = self._chunks(at_s, needed, out)
        if chunks or self._answered:
            # those that came ready may need a block too
            needed = self._phases[-self._ticks % self._size]
            if needed:
                self._take(needed, out)
            self._step = self._give(chunks)
            out.append(self._step)

    def _chunks(self, at_s: float, needed: int, out: list[ServingAction]) -> tuple[Chunk, ...]:
        """Parts of the prompts that are begun, then of those that have room to begin."""
        limits, waiting = self.limits, self._waiting
        filling, num = self._filling, len(self._answered)
        room, phase = limits.max_step_tokens - num, -self._ticks % self._size
        chunks: list[Chunk] = []
        longest = limits.max_chunk_tokens
        for talk in filling.values():
            if room:
                chunks.append(_chunk(talk, room if room < longest else longest))
                room -= chunks[-1].num_tokens
        places = limits.max_running - num - len(filling)
        while waiting and places and room:
            talk = waiting[0]
            if at_s - talk.arrived_s > limits.max_wait_s and not talk.was_displaced:
                out.append(self._turn_away())
                continue
            num_known = self.blocks.num_known(talk.keys) if talk.keys else 0
            # one block more than the prompt, lest it be displaced by its own first words
            more = needed + 1 if num or filling else needed
            if not self._fits(talk, num_known=num_known, more=more):
                break
            places -= 1
            if self._start(waiting.popleft(), num_shared=num_known, out=out):
                room -= 1
                num += 1
                needed = self._phases[phase]
            else:
                chunk = _chunk(talk, room if room < longest else longest)
                chunks.append(chunk)
                room -= chunk.num_tokens
        return tuple(chunks)

    def _give(self, chunks: tuple[Chunk, ...]) -> Compute:
        held = self._held_offsets + self._ticks * len(self._answered)
        repeats = 1 if chunks else self._max_repeats()
        return Compute(chunks, self._answered.keys(), held, repeats)

    def _turn_away(self) -> Refused:
        talk = self._waiting.popleft()
        del self._by_id[talk.id]
        return Refused(talk.id, Refusal.WAITED)

    def _fits(self, talk: _Talk, *, num_known: int, more: int) -> bool:
        """Its blocks, and so many more."""
        wanted = -(-talk.to_fill // self._size) + more
        available = self.blocks.num_available
        if wanted <= available:
            return True
        num_idle = self.blocks.num_idle(talk.keys[:num_known])
        return wanted - num_known + num_idle <= available

    def _start(self, talk: _Talk, *, num_shared: int, out: list[ServingAction]) -> bool:
        """It takes its blocks; whether it is answered at once."""
        if num_shared:
            talk.branch = self.blocks.use(talk.keys[:num_shared])
            talk.num_shared = num_shared
        size, ready = self._size, talk.ready
        known = num_shared * size
        talk.done = known if known > ready else ready
        decodes = 0 < ready == talk.to_fill - 1
        # the block of a token that decoding adds is taken with the step
        talk.num_own = num_own = -(-(ready if decodes else talk.to_fill) // size) - num_shared
        evicted = self.blocks.take(num_own)
        if evicted:
            out.append(Evicted(evicted))
        out.append(Started(talk.id, num_shared, decodes))
        if not decodes:
            self._filling[talk.id] = talk
            return False
        if talk.keys:
            self._publish(talk, out)
        self._answer(talk)
        return True

    def _make_room(self, out: list[ServingAction]) -> int:
        """Blocks that decoding takes in the next tick, of which there are so many."""
        while True:
            needed = self._phases[-self._ticks % self._size]
            if needed <= self.blocks.num_available:
                return needed
            out.append(self._displace())

    def _displace(self) -> Displaced:
        youngest = next(reversed(self._filling or self._answered))
        talk = self._by_id[youngest]
        if talk.is_answered:
            held = talk.offset + self._ticks
            talk.to_fill = held + 1  # the newest token came out and is not in the cache yet
        self._drop(talk)
        talk.is_answered, talk.was_displaced, talk.done, talk.ready = False, True, 0, 0
        self._waiting.appendleft(talk)
        return Displaced(talk.id)

    # ---- counting blocks ----

    def _take(self, num_blocks: int, out: list[ServingAction]) -> None:
        evicted = self.blocks.take(num_blocks)
        if evicted:
            out.append(Evicted(evicted))

    def _num_new(self, num_repeats: int) -> int:
        """Blocks that decoding took in the ticks just made less the first, whose blocks were taken
        with the step."""
        size, phases = self._size, self._phases
        rounds, rest = divmod(num_repeats - 1, size)
        # whose phase is (- tick) mod size needs a block at that tick: backwards, and round
        last = -(self._ticks - num_repeats + 1) % size
        some = sum(phases[max(0, last - rest + 1) : last + 1])
        if rest > last + 1:
            some += sum(phases[size - rest + last + 1 :])
        return rounds * len(self._answered) + some

    def _max_repeats(self) -> int:
        """Ticks for which there is room, counting the one whose blocks are taken already; where
        that is a whole block for everybody, no odd ticks are counted."""
        size = self._size
        rounds, left = divmod(self.blocks.num_available, len(self._answered) or 1)
        repeats = 1 + rounds * size
        if rounds:
            return repeats
        for tick in range(self._ticks + 1, self._ticks + size):
            left -= self._phases[-tick % size]
            if left < 0:
                break
            repeats += 1
        return repeats


def _chunk(talk: _Talk, room: int) -> Chunk:
    left = talk.to_fill - talk.done
    is_last = left <= room
    return Chunk(talk.id, talk.done, left if is_last else room, is_last)
