"""A decision taken otherwise changes what it names, and nothing beside it."""

from __future__ import annotations

import numpy as np
import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.describe.faults import Repair
from gigafactory.describe.policy import Policy
from gigafactory.simulate.lifetimes import durations_s
from gigafactory.simulate.rng import stream
from gigafactory.simulate.variants import Question, variants
from gigafactory.units import DAY_S


def changed(study, question: Question) -> list:
    found = variants(study, num_mesh_hosts=12_160, interval_s=600.0)
    return [variant for variant in found if variant.question is question]


def drawn_mean_s(law: Repair) -> float:
    """Of what is drawn: the modes, where there are some."""
    return sum(mode.share * mode.mean_s for mode in law.modes) if law.modes else law.mean_s


def test_a_day_more_is_a_day_more_for_every_law_of_repair(lab):
    base = load_study(lab.studies / "colossus.yaml")
    (variant,) = changed(base, Question.REPAIR)
    pairs = [(base.faults.repair, variant.study.faults.repair)]
    for before, after in zip(base.faults.causes, variant.study.faults.causes, strict=True):
        assert (before.repair is None) == (after.repair is None)
        if before.repair is not None and after.repair is not None:
            pairs.append((before.repair, after.repair))
    assert len(pairs) > 5
    for before, after in pairs:
        assert after.mean_s - before.mean_s == DAY_S
        assert drawn_mean_s(after) - drawn_mean_s(before) == pytest.approx(DAY_S)
        # the added day is in the stays themselves
        stays_s = durations_s(after, dice=stream("stays", seed=0), num=20_000)
        assert np.quantile(stays_s, 0.5) > DAY_S


def test_plain_restart_asks_for_no_copies(lab):
    over = ("policy.local_copies=true", "policy.peer_copies=true", "policy.shrink=false")
    base = load_study(lab.studies / "colossus.yaml", overrides=over)
    names = [variant.name for variant in changed(base, Question.RECOVERY)]
    plain = next(v for v in changed(base, Question.RECOVERY) if "plain" in v.name).study.policy
    assert len(names) == 2
    assert (plain.recovery, plain.peer_copies, plain.local_copies) == ("restart", False, False)
    assert not plain.shrink
    assert Policy.model_validate(plain.model_dump()) == plain


def test_the_tiers_beside_the_one_that_is_used(lab):
    base = load_study(lab.studies / "colossus.yaml")
    names = [variant.name for variant in changed(base, Question.TIER)]
    assert names == ["no copies in peers' memory", "copies on the hosts' own disks alone"]
    policy = base.policy.model_copy(update={"local_copies": True, "local_interval_s": 60.0})
    both = base.model_copy(update={"policy": policy})
    without = [v.study.policy for v in changed(both, Question.TIER)]
    assert [(p.peer_copies, p.local_copies) for p in without] == [(False, True), (True, False)]
