"""How long all stand still when a replica group is lost: the real run, the twin, and others.

    python benchmarks/stalls.py --out benchmarks/stalls.md [--rounds 4]

Shoots at `studies/replicas.yaml` from outside, twice. The first round of blows measures how long
the others take to regroup on this machine (`faults.regroup`), a group to start
(`faults.warm_start_base`), and how far a step has come when it is done in spite of a death; with
these figures and the timeout ladder of the study the twin predicts the stalls of the second, blow
by blow. A stall runs from the last step before the blow to the first one without the group that was
hit, less what these steps took by themselves.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from gigafactory.catalog.studies import load_study
from gigafactory.control.actions import JoinReplica
from gigafactory.control.events import ReplicaReady
from gigafactory.describe.faults import FaultClass
from gigafactory.describe.study import Study
from gigafactory.ledger.entries import ActionTaken, Entry, EventSeen, Steps
from gigafactory.ledger.reader import read_ledger
from gigafactory.plan.search import plan as search
from gigafactory.run.chaos.director import Director, Kind
from gigafactory.run.chaos.verdict import Blow
from gigafactory.simulate.again import Hit, regrouped_after_s, stall_s, stalls_s, was_done

STUDY = Path(__file__).resolve().parents[1] / "studies" / "replicas.yaml"
KINDS = (Kind.KILL, Kind.KILL_TWO, Kind.STOP, Kind.HANG)
#: All are back before the next blow, in the twin too, where every start takes the usual time.
CALM_S = 2.0
SILENT = (Kind.STOP, Kind.HANG)
OTHERS = """\
| others, as measured elsewhere | a death | a hung thread |
|---|---|---|
| torchft nightly 2026-10 | its heartbeat timeout, at least 0.5 s | 20 s; with two groups: dead |
| NVIDIA resiliency-ext | 2 to 3 s and 6 to 7 steps redone; rank 0: never | 97 s by default |
| torchrun | 7 to 9 s in two of five kills, the others exited or stuck | - |
"""


def shoot(folder: Path, *, rounds: int, seed: int, corpus: Path | None) -> list[Blow]:
    """Blows of every kind, in turn; judged like any soak."""
    folder.mkdir(parents=True)
    if corpus is not None:
        (folder / "corpus").symlink_to(corpus.resolve())
    argv = [sys.executable, "-m", "gigafactory.cli", "run", str(STUDY), "--set", "job.tokens=1 G"]
    script = KINDS * rounds
    director = Director(
        argv=argv, folder=folder, seed=seed, num_faults=len(script), script=script,
        watcher=lambda words: print(words, file=sys.stderr), calm_s=CALM_S,
    )  # fmt: skip
    soak = director.run()
    if soak.broken:
        sys.exit("laws were broken: " + "; ".join(soak.broken))
    return director.blows


def hits_of(entries: list[Entry], blows: list[Blow]) -> list[tuple[Kind, Hit, float]]:
    """(kind, hit, how long all stood still) for each blow."""
    steps = [e.at_s for e in entries if isinstance(e.content, Steps)]
    found, before_s = [], 0.0
    for blow in blows:
        kind = Kind(blow.kind)
        done_s = max((s for s in steps if s <= blow.struck_s), default=0.0)
        fault = FaultClass.HANG if kind in SILENT else FaultClass.PROCESS
        hit = Hit(
            after_s=blow.struck_s - before_s, since_s=blow.struck_s - done_s, fault=fault,
            hosts=blow.replicas, heart_beats=kind is Kind.HANG,
        )  # fmt: skip
        before_s = blow.struck_s
        found.append((kind, hit, stall_s(entries, blow.struck_s)))
    return found


def table(
    study: Study, *, found: list[tuple[Kind, Hit, float]], step_s: float, share: float
) -> list[str]:
    """Stall by kind: the median of the real ones, that of the twin's, and their ratio."""
    hits = [hit for _, hit, _ in found]
    predicted = stalls_s(
        study, plan=search(study), step_s=step_s, hits=hits, handed_over_share=share
    )
    lines = ["| blow | times | real, s | twin, s | twin / real |", "|---|---|---|---|---|"]
    for kind in KINDS:
        real = [s for k, _, s in found if k is kind]
        twin = [p for (k, _, _), p in zip(found, predicted, strict=True) if k is kind]
        if real:
            a, b = statistics.median(real), statistics.median(twin)
            lines.append(f"| {kind.value} | {len(real)} | {a:.3f} | {b:.3f} | {b / a:.2f} |")
    return lines


def usual_regroup_s(entries: list[Entry], blows: list[Blow]) -> float:
    """From a death until the others go on."""
    deaths = [b for b in blows if Kind(b.kind) not in SILENT]
    found = [regrouped_after_s(entries, blow.struck_s) for blow in deaths]
    return statistics.median(s for s in found if s is not None)


def handed_over_share(entries: list[Entry], blows: list[Blow]) -> float:
    """Of a step: what comes after it is done in spite of a death, as far as these deaths tell."""
    step_s = usual_step_s(entries)
    deaths = [
        (hit.since_s / step_s, was_done(entries, blow.struck_s))
        for blow, (_, hit, _) in zip(blows, hits_of(entries, blows), strict=True)
        if hit.fault is FaultClass.PROCESS
    ]

    def num_wrong(cut: float) -> int:
        return sum((share > cut) != is_done for share, is_done in deaths)

    cuts = [0.0, 1.0, *(share for share, _ in deaths)]
    least = min(map(num_wrong, cuts))
    return statistics.median(cut for cut in cuts if num_wrong(cut) == least)


def usual_join_s(entries: list[Entry]) -> float:
    """From the order to start a group until it is taken in."""
    asked_s: dict[int, float] = {}
    found = []
    for entry in entries:
        match entry.content:
            case ActionTaken(action=JoinReplica(replica=replica)):
                asked_s[replica] = entry.at_s
            case EventSeen(event=ReplicaReady(replica=replica)) if replica in asked_s:
                found.append(entry.at_s - asked_s.pop(replica))
    return statistics.median(found)


def usual_step_s(entries: list[Entry]) -> float:
    return statistics.median([e.content.step_s for e in entries if isinstance(e.content, Steps)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="a prepared corpus, to save its minute")
    options = parser.parse_args()
    study = load_study(STUDY, overrides=("job.tokens=1 G",))
    with tempfile.TemporaryDirectory() as where:
        books = []
        for name in ("first", "second"):
            folder = Path(where) / name
            blows = shoot(folder, rounds=options.rounds, seed=options.seed, corpus=options.corpus)
            books.append((read_ledger(folder / "shot" / "ledger.jsonl"), blows))
    (first, first_blows), (second, second_blows) = books
    regroup_s, join_s = usual_regroup_s(first, first_blows), usual_join_s(first)
    share = handed_over_share(first, first_blows)
    step_s, found = usual_step_s(second), hits_of(second, second_blows)
    measured = {"regroup_s": regroup_s, "warm_start_base_s": join_s, "warm_start_per_gpu_s": 0.0}
    faults = study.faults.model_copy(update=measured)
    lines = [
        f"Regrouping took {regroup_s:.3f} s, the start of a group {join_s:.1f} s, a step "
        f"{step_s:.3f} s, of which {share:.0%} pass before a death does no harm to it.",
        "",
        *table(
            study.model_copy(update={"faults": faults}), found=found, step_s=step_s, share=share
        ),
        "",
        OTHERS,
    ]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
