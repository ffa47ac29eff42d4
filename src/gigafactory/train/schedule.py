"""The learning rate of a step: a pure function, so that a restart needs no state for it."""

from __future__ import annotations

import math

from gigafactory.describe.job import Schedule, Train


def learning_rate(train: Train, *, step: int, num_steps: int) -> float:
    """For step 1, 2, ... of ``num_steps``: up over ``warmup_steps``, then as scheduled."""
    if step <= train.warmup_steps:
        return train.learning_rate * step / train.warmup_steps
    return train.learning_rate * _share(train, step=step, num_steps=num_steps)


def _share(train: Train, *, step: int, num_steps: int) -> float:
    """Of the peak, after the warm-up."""
    final = train.final_share
    match train.schedule:
        case Schedule.CONSTANT:
            return 1.0
        case Schedule.COSINE:
            done = _done(step, begin=train.warmup_steps, end=num_steps)
            return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2
        case Schedule.LINEAR:
            return 1 - (1 - final) * _done(step, begin=train.warmup_steps, end=num_steps)
        case Schedule.WSD:
            begin = max(train.warmup_steps, round(num_steps * (1 - train.decay_share)))
            return 1 - (1 - final) * _done(step, begin=begin, end=num_steps)


def _done(step: int, *, begin: int, end: int) -> float:
    """How much of the way from ``begin`` to ``end`` lies behind, 0 to 1."""
    return min(1.0, max(0, step - begin) / max(1, end - begin))
