"""How well support is judged: the cases of this package, or a file of the same form."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

from gigafactory.chat.truth.support import Verdict, judge


class Lot(StrEnum):
    """The parts of the scored set; each a file of cases."""

    DEVELOPMENT = "development"
    HELD_OUT = "held_out"
    TRAPS = "traps"
    SEALED = "sealed"
    FRESH = "fresh"
    BLIND = "blind"
    UNSEEN = "unseen"
    HOSTILE = "hostile"
    STRANGE = "strange"
    TWISTED = "twisted"
    POSTED = "posted"
    FRAMED = "framed"
    MIXED = "mixed"
    LAST = "last"
    PRESS = "press"


@dataclass(frozen=True, slots=True)
class Case:
    """A claim, a source, and what the source does for the claim."""

    id: str
    kind: str
    expect: Verdict
    claim: str
    source: str
    is_answered_for: bool = False
    """Whether the source is by somebody who answers for it (see ``judge``)."""


@dataclass(frozen=True, slots=True)
class Score:
    """Precision and recall of "supported", and who was taken for what."""

    num_cases: int
    precision: float | None
    recall: float | None
    contradicted_precision: float | None
    contradicted_recall: float | None
    table: dict[str, dict[str, int]]
    wrong: tuple[str, ...]


def read_cases(lot: Lot) -> Iterator[Case]:
    """The cases of ``lot``."""
    path = files("gigafactory.chat.truth").joinpath("cases", f"{lot}.jsonl")
    for line in path.read_text("utf-8").splitlines():
        fields = json.loads(line)
        yield Case(**{**fields, "expect": Verdict(fields["expect"])})


def score(cases: Sequence[Case]) -> Score:
    """Judge every case."""
    pairs = Counter[tuple[Verdict, Verdict]]()
    wrong = []
    for case in cases:
        found = judge(case.claim, case.source, is_answered_for=case.is_answered_for).verdict
        pairs[case.expect, found] += 1
        if found is not case.expect:
            wrong.append(case.id)
    table = {str(e): {str(f): pairs[e, f] for f in Verdict} for e in Verdict}
    return Score(
        num_cases=len(cases),
        precision=_share(pairs, Verdict.SUPPORTED, of_found=True),
        recall=_share(pairs, Verdict.SUPPORTED, of_found=False),
        contradicted_precision=_share(pairs, Verdict.CONTRADICTED, of_found=True),
        contradicted_recall=_share(pairs, Verdict.CONTRADICTED, of_found=False),
        table=table,
        wrong=tuple(wrong),
    )


def _share(
    pairs: Counter[tuple[Verdict, Verdict]], verdict: Verdict, *, of_found: bool
) -> float | None:
    total = sum(n for pair, n in pairs.items() if pair[of_found] is verdict)
    return pairs[verdict, verdict] / total if total else None
