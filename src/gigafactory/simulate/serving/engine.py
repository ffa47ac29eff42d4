"""One replica on virtual time: the real scheduler, and steps that take as long as is told.

Decoding whose batch stays the same is taken in one jump, to the first answer that ends or to the
step under way when somebody comes. That gives what step after step would give, to the picosecond
(`tests/laws/test_serving_twin_laws.py`): the scheduler permits the repeats, times are integers, and
the length of every answer grows by one a step.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from gigafactory.control.batching import (
    Arrived,
    Compute,
    Computed,
    Displaced,
    Refused,
    ServingAction,
    ServingLimits,
    Started,
)
from gigafactory.control.blocks import Key
from gigafactory.control.serving import Scheduler
from gigafactory.simulate.serving.clock import SECOND
from gigafactory.simulate.serving.step_times import StepTimes


@dataclass(frozen=True, slots=True)
class Groups:
    """Ranks of a replica that attend for requests of their own; a prompt lies in one of them."""

    num: int = 1
    stall: float = 0.0
    """Of the time by which the group with the longest prompt is behind the mean of all, what the
    others wait for it."""

    def felt_tokens(self, prompt_tokens: int, *, longest: int) -> int:
        """Of prompts that are spread evenly and take as long as these."""
        behind = self.num * longest - prompt_tokens
        return prompt_tokens + int(self.stall * behind) if behind > 0 else prompt_tokens


@dataclass(slots=True)
class Heard:
    """What became of a replica's requests, until somebody takes note."""

    first: list[int] = field(default_factory=list)
    """Had their first token with the last step; whose cache came whole had it elsewhere."""
    ended: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)


class Engine:
    """A replica: requests in, and at the end of each jump what was said."""

    def __init__(
        self,
        limits: ServingLimits,
        *,
        times: StepTimes,
        groups: Groups | None = None,
        leaps: bool = True,
    ) -> None:
        self.scheduler = Scheduler(limits)
        self.heard = Heard()
        self.end: int | None = None
        """When the steps under way end; None: nothing to do."""
        self.busy = 0
        self.step_time = 0
        """Of the last step."""
        self.num_cached_tokens = 0
        """Prompt tokens that were found in the cache."""
        self._times = times
        self._groups = groups
        self._leaps = leaps
        self._block_tokens = limits.block_tokens
        self._step: Compute | None = None
        self._begin = 0
        self._repeats = 1
        self._held_up = 0
        """Of the last step."""
        self._first, self._slope, self._num = 0, 0, 0
        """Of the steps of a jump: how long the first takes, a token held, and who decodes."""
        self._ticks = 0
        self._left: dict[int, int] = {}
        """Tokens to come, of who does not decode."""
        self._due: dict[int, int] = {}
        """The tick with which the answer of who decodes ends."""
        self._dues: list[tuple[int, int]] = []
        self._prompts: dict[int, int] = {}

    @property
    def num_inside(self) -> int:
        """Requests that wait or are computed."""
        return len(self._left) + len(self._due)

    @property
    def inside(self) -> list[int]:
        """Who waits or is computed, in the order in which they came."""
        return sorted([*self._left, *self._due])

    def arrive(
        self,
        ident: int,
        *,
        at: int,
        prompt_tokens: int,
        answer_tokens: int,
        keys: Sequence[Key] = (),
        ready_tokens: int = 0,
    ) -> None:
        """Somebody asks; `end` may move."""
        self._left[ident] = answer_tokens
        event = Arrived(at / SECOND, ident, prompt_tokens, answer_tokens, tuple(keys), ready_tokens)
        actions = self.scheduler.handle(event)
        if actions:
            self._carry_out(actions, at=at)
        if self._repeats > 1 and self.end is not None:
            self._cut_short(at)

    def hold_up(self, duration: int, *, at: int) -> None:
        """Something else has the processor: the step under way takes so much longer."""
        if self.end is not None:
            if self._repeats > 1:
                self._cut_short(at)
            self._held_up += duration
            self.end += duration

    def finish(self, at: int) -> Heard:
        """The steps under way are done, at ``end``; who spoke for the first time, who ended."""
        step, repeats = self._step, self._repeats
        assert step is not None
        passed = at - self._begin
        self.busy += passed
        self.step_time = passed // repeats
        first: list[int] = []
        ended: list[int] = []
        if step.decodes:
            self._ticks = ticks = self._ticks + repeats
            if self._dues and self._dues[0][0] <= ticks:
                self._hush(ended)
        for chunk in step.chunks:
            if chunk.is_last:
                first.append(chunk.id)
                self._speak(chunk.id, ended)
        self._step = self.end = None
        event = Computed(at / SECOND, repeats, tuple(ended))
        self._carry_out(self.scheduler.handle(event), at=at)
        refused = self.heard.refused
        if refused:
            self.heard.refused = []
        return Heard(first, ended, refused)

    def _hush(self, ended: list[int]) -> None:
        """Whose answer ended with the last tick."""
        dues, ticks = self._dues, self._ticks
        while dues and dues[0][0] <= ticks:
            due, ident = heapq.heappop(dues)
            if self._due.get(ident) == due:
                del self._due[ident]
                ended.append(ident)

    def _speak(self, ident: int, ended: list[int]) -> None:
        """A prompt is done, and a token came out with it."""
        left = self._left.pop(ident) - 1
        if left:
            self._decode(ident, left)
        else:
            ended.append(ident)

    def _carry_out(self, actions: Sequence[ServingAction], *, at: int) -> None:
        for action in actions:
            kind = type(action)
            if kind is Compute:
                self._compute(action, at=at)  # type: ignore[arg-type]
            elif kind is Started:
                self._start(action)  # type: ignore[arg-type]
            elif kind is Displaced or kind is Refused:
                self._send_away(action)  # type: ignore[arg-type]

    def _start(self, action: Started) -> None:
        ident, num_shared, decodes = action
        self.num_cached_tokens += num_shared * self._block_tokens
        if decodes:
            self._decode(ident, self._left.pop(ident))

    def _decode(self, ident: int, left: int) -> None:
        """A token more with every tick, for so many."""
        due = self._ticks + left
        self._due[ident] = due
        heapq.heappush(self._dues, (due, ident))

    def _send_away(self, action: Displaced | Refused) -> None:
        """For ever, or until there is room again."""
        if isinstance(action, Refused):
            del self._left[action.id]
            self.heard.refused.append(action.id)
        elif action.id in self._due:
            self._left[action.id] = self._due.pop(action.id) - self._ticks

    def _compute(self, step: Compute, *, at: int) -> None:
        self._step, self._begin, self._held_up = step, at, 0
        num, held = len(step.decodes), step.held_tokens
        if step.chunks:
            prompt = double_keys = longest = 0
            for chunk in step.chunks:
                new = chunk.num_tokens
                prompt += new
                double_keys += new * (2 * chunk.first + new + 1)
                longest = max(longest, new)
            if self._groups is not None:
                felt = self._groups.felt_tokens(prompt, longest=longest)
                prompt, double_keys = felt, double_keys * felt // prompt
            self._repeats = 1
            self.end = at + self._times.mixed(
                num, held, prompt_tokens=prompt, double_keys=double_keys
            )
            return
        first, self._slope = self._times.decode(num)
        self._first = first + self._slope * held
        self._num = num
        self._repeats = self._most_repeats(step) if self._leaps else 1
        self.end = at + self._duration(self._repeats)

    def _most_repeats(self, step: Compute) -> int:
        dues = self._dues
        while self._due.get(dues[0][1]) != dues[0][0]:
            heapq.heappop(dues)
        left, most = dues[0][0] - self._ticks, step.max_repeats
        return left if left < most else most

    def _duration(self, repeats: int) -> int:
        """Of so many repeats of the step under way: caches grow by a token a request and step."""
        return repeats * self._first + self._slope * self._num * (repeats * (repeats - 1) // 2)

    def _cut_short(self, at: int) -> None:
        """Somebody came: the jump ends with the step that is under way at ``at``."""
        assert self.end is not None
        passed, most = at - self._begin, self._repeats
        # steps become longer, so that at least so many were made
        repeats = min(most, passed * most // (self.end - self._begin) + 1)
        ends = self._duration(repeats)
        while ends <= passed and repeats < most:
            repeats += 1
            ends = self._duration(repeats)
        self._repeats, self.end = repeats, self._begin + ends + self._held_up
