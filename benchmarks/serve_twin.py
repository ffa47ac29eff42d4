"""The twin of a serving engine beside the real service, at three loads.

    python benchmarks/serve_twin.py [--rounds 3] [--requests 150]

`giga chat` serves a network with random weights in a process of its own, on one thread. A few
constants of its steps are measured through its own door: the time of a step with 1 to 16 answers,
of a prompt's token, by how much reading a request and opening an answer hold up the steps around
them (one processor computes, reads and writes), and what HTTP adds to a first token. Then Poisson
arrivals (`giga chat load`) at three rates; the twin's engine, with the scheduler that also runs in
the service, gets the same requests at the same instants. The constants are measured before and
after each load, so that a busy machine counts in both; told are the medians of the rounds.

Where the system lets it, service and client have the first processor to themselves and to a witness
that comes before both of them and does nothing but wake up every 2 ms. When it wakes up late, the
(virtual) machine itself stood still; the twin's stands still as long then.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gigafactory.chat.load import _WORDS, Load, shoot
from gigafactory.chat.load_figures import Shot
from gigafactory.control.batching import ServingLimits
from gigafactory.simulate.serving.clock import picoseconds, seconds
from gigafactory.simulate.serving.engine import Engine
from gigafactory.simulate.serving.step_times import MeasuredTimes

NAME = "random"
MAX_TOKENS = 48
PROMPT_WORDS = 48
CONTEXT = 512
BATCHES = (1, 4, 8, 16)
PROMPTS = (16, 192)
SHARES = (0.3, 0.5, 0.7)
#: As PagedTrained has them.
LIMITS = ServingLimits(
    max_running=16, max_waiting=64, num_blocks=8 * CONTEXT // 16, max_step_tokens=256
)
#: A machine that had nothing to do is slower at first: here so many times after so long.
RESTS_S, NUM_RESTED = (0.05, 0.2, 0.6), 12
#: A first token is with its reader a little later than those of the same step.
_JUST_S = 0.004
#: Requests that are turned away at the door, and how many of them a second.
NUM_REFUSED, REFUSED_PER_S = 120, 60.0


def write_model(folder: Path) -> None:
    """A dense network of 4 million random weights whose tokens are whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers

    from gigafactory.describe.model import Block, Model
    from gigafactory.net.dialogue import Mark
    from gigafactory.net.export import save_exported
    from gigafactory.net.network import Network

    words = [*Mark, "?", *dict.fromkeys(_WORDS), *(f"w{n}" for n in range(1000))]
    vocabulary = {str(word): ident for ident, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([str(mark) for mark in Mark])
    model = Model(
        name=NAME, block=Block.QWEN3_MOE, num_layers=4, hidden=256, num_heads=4, num_kv_heads=4,
        head_dim=64, ffn=768, vocab=len(words), context=CONTEXT, source="this benchmark",
    )  # fmt: skip
    torch.manual_seed(0)
    net = Network(model)
    with torch.no_grad():
        for weights in net.parameters():
            weights.normal_(std=0.02) if weights.dim() > 1 else weights.fill_(1.0)
    folder.mkdir(parents=True)
    save_exported(folder / "model", model=model, state=net.state_dict(), tokenizer=tokenizer)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The OpenAI address of the service."""
    program = [sys.executable, "-m", "gigafactory.cli", "chat", str(folder), "--port", "0"]
    server = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        address = line.split("OpenAI endpoint: ")[1].split(";")[0]
        with urllib.request.urlopen(address + "/models", timeout=60):
            yield address
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


#: Every load has its own words: a prompt that was there before would be found in the cache.
_SEEDS = itertools.count(1)


def shots_of(address: str, **how: object) -> list[Shot]:
    """Answers that came whole."""
    plain = {"base_url": address, "model": NAME, "prompt_words": PROMPT_WORDS,
             "max_tokens": MAX_TOKENS, "num_clients": 64, "seed": 1000 * next(_SEEDS)}  # fmt: skip
    shots = asyncio.run(shoot(Load(**(plain | how))))
    return [shot for shot in shots if shot.error is None and shot.word_times_s]


#: The witness sleeps so long, and tells of what is longer by more than the second figure.
_NAP_S, _LATE_S = 0.002, 0.004
_WITNESS = f"""
import os, time
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
except OSError:
    raise SystemExit("no")
print("yes", flush=True)
before = time.monotonic()
while True:
    time.sleep({_NAP_S})
    now = time.monotonic()
    if now - before > {_NAP_S + _LATE_S}:
        print(before, now, flush=True)
    before = now
"""
Pause = tuple[float, float]


@contextmanager
def one_processor() -> Iterator[list[Pause]]:
    """All that is started within shares the first processor; fills with (begin, end), seconds of
    the monotonic clock, for which that one stood still. Nothing where the system forbids it."""
    pauses: list[Pause] = []
    if not hasattr(os, "sched_setaffinity"):
        yield pauses
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    witness = subprocess.Popen([sys.executable, "-c", _WITNESS], stdout=subprocess.PIPE, text=True)
    assert witness.stdout is not None
    lines = witness.stdout
    try:
        if lines.readline().strip() == "yes":
            threading.Thread(
                target=lambda: pauses.extend(tuple(map(float, line.split())) for line in lines),
                daemon=True,
            ).start()
        else:
            print("no witness: the system grants no precedence", flush=True)
        yield pauses
    finally:
        witness.kill()
        witness.wait()
        os.sched_setaffinity(0, allowed)


@dataclass(frozen=True)
class Constants:
    """What was measured, in seconds."""

    batches: Sequence[float]
    """Answers at once."""
    steps_s: Sequence[float]
    """With so many."""
    reading_s: float
    """By which a request holds up the step during which it comes."""
    opening_s: float
    """By which an answer that begins holds up the step after its first token."""
    part_s: float
    """What a prompt adds to the step that computes it, whatever its length."""
    prompt_token_s: float
    door_s: float
    """Of a first token: what is not the engine's step."""
    wakes_s: Sequence[float] = (0.0,) * len(RESTS_S)
    """By how much later the first token comes when nothing was done for ``RESTS_S`` before."""

    def wake_s(self, rest_s: float) -> float:
        """After such a rest."""
        return float(np.interp(rest_s, (0.0, *RESTS_S), (0.0, *self.wakes_s)))

    def prompt_s(self, tokens: float) -> float:
        """By which a request of so many tokens holds up the others, all in all."""
        fixed = self.reading_s + self.opening_s + self.part_s
        return fixed + tokens * self.prompt_token_s

    def times(self) -> MeasuredTimes:
        """For the twin: straight lines between the batches that were measured."""
        slope = (self.steps_s[-1] - self.steps_s[-2]) / (self.batches[-1] - self.batches[-2])
        beyond = self.steps_s[-1] + slope * (LIMITS.max_running - self.batches[-1])
        batches, steps_s = [*self.batches, LIMITS.max_running], [*self.steps_s, beyond]
        steps = np.interp(range(LIMITS.max_running + 1), batches, steps_s).tolist()
        return MeasuredTimes(
            steps=[picoseconds(step) for step in steps],
            part=picoseconds(self.part_s),
            prompt=picoseconds(self.prompt_token_s),
        )


def measured(address: str) -> Constants:
    """Through the door of the service."""
    alone = shots_of(address, num_clients=1, num_requests=12)
    step = statistics.fmean(gap for shot in alone for gap in shot.itl_s[1:])
    # most of the cost is some hundred microseconds, and a pause of a busy machine is milliseconds
    later = (s.itl_s[0] - statistics.median(s.itl_s[1:]) for s in alone if len(s.itl_s) > 1)
    opening = max(0.0, statistics.median(later))
    reading = max(0.0, reading_cost(address, step_s=step))
    costs = [prompt_cost(address, words=words, step_s=step) for words in PROMPTS]
    slope, fixed = np.polyfit([n for n, _ in costs], [cost for _, cost in costs], 1)
    part = max(0.0, float(fixed) - reading - opening)
    batches, steps = [1.0], [step]
    for batch in BATCHES[1:]:
        shots = shots_of(address, num_clients=batch, num_requests=4 * batch)
        batches.append(float(batch))
        steps.append(statistics.fmean(undisturbed_s(shots, num_answers=batch)))
    inside = Constants(batches, steps, reading, opening, part, float(slope), door_s=0.0)
    rested = [ttft_after_s(address, rest_s) for rest_s in RESTS_S]
    shots = shots_of(address, num_clients=1, num_requests=40)
    awake = statistics.median(shot.ttft_s for shot in shots)
    told = statistics.median(ttft for ttft, _ in simulated(shots, inside))
    wakes = np.maximum.accumulate([max(0.0, ttft - awake) for ttft in rested]).tolist()
    return replace(inside, door_s=awake - told, wakes_s=wakes)


def undisturbed_s(shots: Sequence[Shot], *, num_answers: int) -> list[float]:
    """Gaps between the tokens of so many answers at once, while nobody waits for a first token and
    none has just begun to speak."""
    waits = np.array([(shot.began_s, shot.word_times_s[0] + _JUST_S) for shot in shots])
    talks = np.array([(shot.word_times_s[0], shot.word_times_s[-1]) for shot in shots])
    gaps = []
    for shot in shots:
        for begin, end in itertools.pairwise(shot.word_times_s):
            is_calm = not ((waits[:, 0] < end) & (waits[:, 1] > begin)).any()
            if is_calm and ((talks[:, 0] < end) & (talks[:, 1] > begin)).sum() == num_answers:
                gaps.append(end - begin)
    return gaps


def ttft_after_s(address: str, rest_s: float) -> float:
    """Median time to the first token of requests that find the service at rest for so long."""
    found = []
    for _ in range(NUM_RESTED):
        time.sleep(rest_s)
        found += [shot.ttft_s for shot in shots_of(address, num_clients=1, num_requests=1)]
    return statistics.median(found)


def reading_cost(address: str, *, step_s: float) -> float:
    """Seconds by which a request that is turned away at the door (nobody has its model's name)
    holds up an answer that is under way."""
    shots, refused = beside_answers(
        address, model="nobody", num_requests=NUM_REFUSED, rate_per_s=REFUSED_PER_S, num_clients=8
    )
    return held_up_s(shots, [shot.ended_s for shot in refused], step_s=step_s)


def prompt_cost(address: str, *, words: int, step_s: float) -> tuple[int, float]:
    """(tokens of a prompt, seconds by which it holds up an answer that is under way)."""
    shots, prompts = beside_answers(
        address, model=NAME, num_requests=80, num_clients=1, prompt_words=words, max_tokens=1
    )
    spoke = [prompt.word_times_s[0] for prompt in prompts]
    return prompts[0].prompt_tokens, held_up_s(shots, spoke, step_s=step_s)


def beside_answers(address: str, **others: object) -> tuple[list[Shot], list[Shot]]:
    """Answers one after the other, and what came of ``others`` meanwhile."""
    long = Load(base_url=address, model=NAME, num_clients=1, num_requests=16, max_tokens=MAX_TOKENS,
                prompt_words=PROMPT_WORDS, seed=1000 * next(_SEEDS))  # fmt: skip
    short = Load(base_url=address, seed=1000 * next(_SEEDS), **others)

    async def together() -> list[list[Shot]]:
        return await asyncio.gather(shoot(long), shoot(short))

    answers, beside = asyncio.run(together())
    return answers, beside


def held_up_s(answers: Sequence[Shot], instants: Sequence[float], *, step_s: float) -> float:
    """Seconds by which each of ``instants`` lengthened the answers under way."""
    begun = [s for s in answers if s.word_times_s and s.word_times_s[-1] <= instants[-1]]
    spans = [(shot.word_times_s[0], shot.word_times_s[-1]) for shot in begun]
    num = sum(any(first < instant <= last for first, last in spans) for instant in instants)
    gaps = [gap for shot in begun for gap in shot.itl_s]
    return (sum(gaps) - len(gaps) * step_s) / num


def simulated(
    shots: Sequence[Shot], constants: Constants, *, pauses: Sequence[Pause] = ()
) -> list[tuple[float, float]]:
    """(TTFT, TPOT) of the same requests in the twin, in their order; the processor stands still
    during ``pauses``."""
    engine = Engine(LIMITS, times=constants.times(), leaps=False)
    waiting = deque(sorted((picoseconds(shot.began_s), n) for n, shot in enumerate(shots)))
    reading, opening = picoseconds(constants.reading_s), picoseconds(constants.opening_s)
    first, ended, idle_since = {}, {}, 0
    still = deque(sorted((picoseconds(a), picoseconds(b - a)) for a, b in pauses))
    while waiting or engine.end is not None:
        due = min(
            engine.end if engine.end is not None else waiting[0][0],
            waiting[0][0] if waiting else engine.end or 0,
        )
        while still and still[0][0] <= due:
            at, duration = still.popleft()
            engine.hold_up(duration, at=at)
        if engine.end is not None and (not waiting or engine.end <= waiting[0][0]):
            now = idle_since = engine.end
            heard = engine.finish(now)
            engine.hold_up(opening * len(heard.first), at=now)
            first |= dict.fromkeys(heard.first, now)
            ended |= dict.fromkeys(heard.ended, now)
            continue
        at, index = waiting.popleft()
        rested_s = seconds(at - idle_since) if engine.end is None else 0.0
        engine.hold_up(reading, at=at)
        shot = shots[index]
        engine.arrive(
            index, at=at, prompt_tokens=shot.prompt_tokens, answer_tokens=shot.completion_tokens
        )
        engine.hold_up(picoseconds(constants.wake_s(rested_s)), at=at)
    return [
        (
            seconds(first[index] - picoseconds(shot.began_s)) + constants.door_s,
            seconds(ended[index] - first[index]) / max(1, shot.completion_tokens - 1),
        )
        for index, shot in enumerate(shots)
    ]


def quantiles(values: Sequence[float]) -> tuple[float, float]:
    return float(np.quantile(values, 0.5)), float(np.quantile(values, 0.99))


def compared(
    shots: Sequence[Shot], constants: Constants, *, pauses: Sequence[Pause]
) -> dict[str, tuple[float, float]]:
    """Figure -> (measured, simulated), seconds."""
    twin = simulated(shots, constants, pauses=pauses)
    many = [index for index, shot in enumerate(shots) if shot.completion_tokens > 1]
    pairs = {
        "TTFT": ([s.ttft_s for s in shots], [t for t, _ in twin]),
        "TPOT": ([shots[n].tpot_s for n in many], [twin[n][1] for n in many]),
    }
    return {
        f"{name} {which}": (real[place], told[place])
        for name, values in pairs.items()
        for real, told in [tuple(map(quantiles, values))]
        for place, which in enumerate(("P50", "P99"))
    }


def capacity_per_s(address: str, constants: Constants) -> float:
    """Requests a second of a full batch, from the constants alone."""
    shots = shots_of(address, num_clients=8, num_requests=24)
    tokens = statistics.fmean(shot.completion_tokens for shot in shots)
    prompt = constants.prompt_s(shots[0].prompt_tokens)
    return constants.batches[-1] / (
        tokens * (constants.steps_s[-1] + prompt * constants.batches[-1] / tokens)
    )


def between(before: Constants, after: Constants) -> Constants:
    """Their means: the speed of a shared machine drifts while it is under load."""
    return Constants(
        batches=[(a + b) / 2 for a, b in zip(before.batches, after.batches, strict=True)],
        steps_s=[(a + b) / 2 for a, b in zip(before.steps_s, after.steps_s, strict=True)],
        reading_s=(before.reading_s + after.reading_s) / 2,
        opening_s=(before.opening_s + after.opening_s) / 2,
        part_s=(before.part_s + after.part_s) / 2,
        prompt_token_s=(before.prompt_token_s + after.prompt_token_s) / 2,
        door_s=(before.door_s + after.door_s) / 2,
        wakes_s=[(a + b) / 2 for a, b in zip(before.wakes_s, after.wakes_s, strict=True)],
    )


def one_round(
    address: str, *, number: int, num_requests: int, pauses: Sequence[Pause]
) -> list[dict]:
    before = measured(address)
    most = capacity_per_s(address, before)
    tell(before, most=most, number=number)
    told = []
    for share in SHARES:
        zero_s = time.monotonic()
        shots = shots_of(address, rate_per_s=share * most, num_requests=num_requests)
        still = [(a - zero_s, b - zero_s) for a, b in tuple(pauses) if a > zero_s]
        after = measured(address)
        told.append(compared(shots, between(before, after), pauses=still))
        before = after
        print(
            f"  the machine stood still {len(still)} times, {sum(b - a for a, b in still):.3f} s, "
            f"at most {max((b - a for a, b in still), default=0.0):.3f} s"
        )
        for name, (real, twin) in told[-1].items():
            print(
                f"  {share * most:5.2f} requests/s  {name}  measured {1e3 * real:7.1f} ms  "
                f"simulated {1e3 * twin:7.1f} ms  ratio {twin / real:.3f}",
                flush=True,
            )
    return told


def tell(constants: Constants, *, most: float, number: int) -> None:
    steps = ", ".join(f"{1e3 * step:.2f}" for step in constants.steps_s)
    print(
        f"round {number}: steps {steps} ms with "
        f"{', '.join(f'{batch:.1f}' for batch in constants.batches)} answers, a prompt "
        f"{1e3 * constants.part_s:.1f} ms and {1e6 * constants.prompt_token_s:.0f} us a token, "
        f"reading one {1e3 * constants.reading_s:.1f} ms, "
        f"opening an answer {1e3 * constants.opening_s:.1f} ms, "
        f"the door {1e3 * constants.door_s:.1f} ms, a rest of {RESTS_S} s "
        f"{', '.join(f'{1e3 * wake:.1f}' for wake in constants.wakes_s)} ms, "
        f"capacity {most:.2f} requests/s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=150)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, one_processor() as pauses:
        folder = Path(place) / NAME
        write_model(folder)
        with served(folder) as address:
            shots_of(address, num_requests=20)  # warm
            # what is here by now needs no looking through again in the middle of a load
            gc.collect()
            gc.freeze()
            rounds = [
                one_round(address, number=n, num_requests=asked.requests, pauses=pauses)
                for n in range(1, asked.rounds + 1)
            ]
    print(f"medians of {asked.rounds} rounds:")
    for level, share in enumerate(SHARES):
        for name in rounds[0][level]:
            pairs = [told[level][name] for told in rounds]
            real, twin = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(b / a for a, b in pairs)
            print(
                f"  load {share:.0%}  {name}  measured {1e3 * real:7.1f} ms  simulated "
                f"{1e3 * twin:7.1f} ms  ratio {ratio:.3f}"
            )


if __name__ == "__main__":
    main()
