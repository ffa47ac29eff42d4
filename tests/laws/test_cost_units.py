"""Rescale the second, the byte and the FLOP: every result scales as its name says."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_study
from gigafactory.cost.calibration import published
from gigafactory.cost.memory import memory
from gigafactory.cost.step import mfu, step_time
from gigafactory.plan.candidates import candidates

STUDIES = [load_study(f"studies/{name}.yaml") for name in ("grok-1-512", "llama-405b-16k")]
LEGAL = [candidates(study) for study in STUDIES]

#: What a name's suffix says about (second, byte, FLOP); a watt is a joule per second.
SUFFIXES = {
    "_bytes_per_s": (-1, 1, 0),
    "_flops_per_s": (-1, 0, 1),
    "_flops_per_j": (0, 0, 1),
    "_bytes": (0, 1, 0),
    "_flops": (0, 0, 1),
    "_w": (-1, 0, 0),
    "_s": (1, 0, 0),
}


def factor(name, units):
    for suffix, powers in SUFFIXES.items():
        if name.endswith(suffix):
            return float(np.prod([unit**power for unit, power in zip(units, powers, strict=True)]))
    return 1.0


def scaled_constants(units):
    base = published()
    names = [f.name for f in fields(base)]
    return replace(base, **{name: getattr(base, name) * factor(name, units) for name in names})


def scaled(spec, units):
    """A specification with every quantity in other units."""
    changes = {}
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, float):
            changes[name] = value * factor(name, units)
        elif isinstance(value, dict):
            changes[name] = {k: v * factor(name, units) for k, v in value.items()}
        elif hasattr(type(value), "model_fields"):
            changes[name] = scaled(value, units)
    return spec.model_copy(update=changes)


UNITS = st.tuples(*[st.sampled_from([0.25, 1.0, 1000.0])] * 3)


@settings(max_examples=40, deadline=None)
@given(which=st.sampled_from([0, 1]), index=st.integers(0, 10**9), units=UNITS)
def test_steps_and_bytes_scale_as_their_names_say(which, index, units):
    study = STUDIES[which]
    columns = LEGAL[which].take(np.array([index % len(LEGAL[which])]))
    cluster, constants = scaled(study.cluster, units), scaled_constants(units)
    there = (study.model, study.job, cluster, columns)
    here = (study.model, study.job, study.cluster, columns)
    for told, was in (
        (step_time(*there, constants=constants), step_time(*here)),
        (memory(*there, constants=constants), memory(*here)),
    ):
        for name, value in told.parts().items():
            expected = was.parts()[name] * factor(name, units)
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-12), name


@settings(max_examples=20, deadline=None)
@given(index=st.integers(0, 10**9), units=UNITS)
def test_mfu_has_no_unit(index, units):
    study = STUDIES[1]
    columns = LEGAL[1].take(np.array([index % len(LEGAL[1])]))
    was = step_time(study.model, study.job, study.cluster, columns).step_s
    base = mfu(was, model=study.model, job=study.job, cluster=study.cluster, columns=columns)
    told = mfu(
        was * units[0],
        model=study.model,
        job=study.job,
        cluster=scaled(study.cluster, units),
        columns=columns,
        constants=scaled_constants(units),
    )
    assert told == pytest.approx(base)
