"""Where the queue of a replica has a closed form, the twin's engine meets it."""

from __future__ import annotations

import numpy as np
import pytest

from gigafactory.control.batching import ServingLimits
from gigafactory.simulate.serving.engine import Engine
from gigafactory.simulate.serving.step_times import MeasuredTimes

MS = 10**9


def served_one_by_one(at: list[int], *, times: MeasuredTimes) -> list[int]:
    """When each prompt, computed alone and answered with one token, is done."""
    limits = ServingLimits(max_running=1, max_waiting=10**6, num_blocks=100, max_step_tokens=64)
    engine, ends, index = Engine(limits, times=times), [0] * len(at), 0
    while index < len(at) or engine.end is not None:
        if engine.end is not None and (index == len(at) or engine.end <= at[index]):
            now = engine.end
            for ident in engine.finish(now).ended:
                ends[ident] = now
        else:
            engine.arrive(index, at=at[index], prompt_tokens=10, answer_tokens=1)
            index += 1
    return ends


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_prompts_one_by_one_wait_as_in_a_queue_with_fixed_service(busy: float) -> None:
    """M/D/1 (Pollaczek-Khinchine): mean wait = rho S / (2 (1 - rho))."""
    served, num = 10 * MS, 40_000
    gaps = np.random.default_rng(7).exponential(served / busy, num)
    at = np.cumsum(gaps).astype(np.int64).tolist()
    ends = served_one_by_one(at, times=MeasuredTimes((served, served)))
    wait = (np.array(ends) - np.array(at) - served).mean()
    assert wait == pytest.approx(busy * served / (2 * (1 - busy)), rel=0.06)


def test_answers_of_a_full_batch_come_at_its_pace() -> None:
    """B answers of n tokens that begin together end after the prompts' step and n - 1 others."""
    limits = ServingLimits(max_running=8, max_waiting=8, num_blocks=1000, max_step_tokens=1000)
    engine = Engine(limits, times=MeasuredTimes([(5 + n) * MS for n in range(9)], held=1000))
    for ident in range(8):
        engine.arrive(ident, at=0, prompt_tokens=20, answer_tokens=101)
    ended = []
    while engine.end is not None:
        now = engine.end
        ended += [(now, ident) for ident in engine.finish(now).ended]
    # the first to come is alone in the first step, the others enter with the second
    held = sum(8 * 20 + 1 + 8 * tick for tick in range(99))
    lone = 20
    expected = 5 * MS + (5 + 1) * MS + lone * 1000 + 99 * 13 * MS + 1000 * held
    assert ended[0] == (expected, 0)
    assert len(ended) == 8
