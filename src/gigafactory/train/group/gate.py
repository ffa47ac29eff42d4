"""The gate before a step is committed: a pure function of what all members say.

Every member hears the same verdicts and comes to the same decision, so no vote is counted
anywhere. A step passes only where every contribution is finite, every sum is the same
everywhere, and every member still holds the state that all had after the step before.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum

from gigafactory.describe.group import Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one member says of the step in flight."""

    step: int
    state: str
    """Checksum of parameters and moments, taken when the last step was committed."""
    sum: str
    """Checksum of the gradient summed over all shards."""
    losses: dict[int, float]
    """By shard; not finite ones included."""
    intact: bool = True
    """State and sums are what they were when they were written down."""
    changed: bool = False
    """A shard came out differently when it was computed again."""
    not_finite: tuple[int, ...] = ()
    """Shards of its own that are not finite, twice over."""
    odd: bool = False
    """The sum is far larger than sums usually are."""
    epoch: int = 0
    """The newest it was told of, to change over to after this step."""

    def to_bytes(self) -> bytes:
        """For the way to a peer."""
        return json.dumps(asdict(self)).encode()


def read_verdict(source: bytes | bytearray) -> Verdict:
    """The inverse of ``to_bytes``."""
    plain = json.loads(source.decode())
    plain["losses"] = {int(shard): loss for shard, loss in plain["losses"].items()}
    plain["not_finite"] = tuple(plain["not_finite"])
    return Verdict(**plain)


class Ruling(Enum):
    """What becomes of the step."""

    COMMIT = "commit"
    AGAIN = "again"
    """The sums differ: exchange them once more."""
    RECOMPUTE = "recompute"
    """Shards that are not finite are computed by another member too."""
    HOLD = "hold"
    """All is well but the size of the gradient: ask before it is committed."""
    DISCARD = "discard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The ruling, and who is to blame where that is known."""

    ruling: Ruling
    why: Why | None = None
    culprits: tuple[int, ...] = ()
    shards: tuple[int, ...] = ()
    """To recompute."""
    epoch: int = 0
    """Known to all members: they change over to it after this step."""


def judge(verdicts: Mapping[int, Verdict], *, is_repeated: bool = False) -> Decision:
    """Decide on a step; ``is_repeated``: the sums were exchanged twice already."""
    wrong = [m for m, said in sorted(verdicts.items()) if not said.intact or said.changed]
    if wrong:
        return _corrupt(wrong)
    states = _odd_ones({m: said.state for m, said in verdicts.items()})
    if states is not None:
        return _corrupt(states, otherwise=Why.DISAGREE)
    bad = tuple(sorted(s for said in verdicts.values() for s in said.not_finite))
    if bad:
        return Decision(ruling=Ruling.RECOMPUTE, shards=bad)
    sums = _odd_ones({m: said.sum for m, said in verdicts.items()})
    if sums is not None:
        wrong_sums = _corrupt(sums, otherwise=Why.SUMS_DIFFER)
        return wrong_sums if is_repeated else Decision(ruling=Ruling.AGAIN)
    epoch = min(said.epoch for said in verdicts.values())
    is_odd = any(said.odd for said in verdicts.values())
    return Decision(ruling=Ruling.HOLD if is_odd else Ruling.COMMIT, epoch=epoch)


def judge_again(owners: Mapping[int, int], others_finite: Mapping[int, bool]) -> Decision:
    """After shards that were not finite were computed by somebody else.

    ``owners``: member by shard; ``others_finite``: whether the shard came out finite elsewhere.
    Where it did, its owner computes wrongly; where it did not, the text or the model is to blame.
    """
    culprits = sorted({owners[shard] for shard, finite in others_finite.items() if finite})
    if culprits:
        return _corrupt(culprits)
    return Decision(ruling=Ruling.DISCARD, why=Why.NOT_FINITE)


def _corrupt(members: list[int], *, otherwise: Why = Why.CORRUPT) -> Decision:
    why = Why.CORRUPT if members else otherwise
    return Decision(ruling=Ruling.DISCARD, why=why, culprits=tuple(members))


def _odd_ones(said: Mapping[int, str]) -> list[int] | None:
    """Members that differ from the majority; [] where there is none; None where all agree."""
    counts = Counter(said.values()).most_common()
    if len(counts) == 1:
        return None
    value, num = counts[0]
    if 2 * num <= len(said):
        return []
    return sorted(member for member, what in said.items() if what != value)
