"""The long run of the swarm: many seeds under all laws; failing ones are saved and shrunk.

    python benchmarks/swarm.py --seeds 0:100000 --processes 2 --out runs/swarm

Every seed is run twice: as a job alone, and beside a serving pool that lends it hosts. Goes on
where it was stopped. Exit status 1 where any law was broken.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from gigafactory.catalog.studies import load_study
from gigafactory.simulate.cases import Case, draw_case
from gigafactory.simulate.laws import Law
from gigafactory.simulate.pool_cases import draw_pool_case
from gigafactory.simulate.pool_laws import PoolLaw
from gigafactory.simulate.swarm import run_case, shrink, story

BASE = Path(__file__).resolve().parents[1] / "studies" / "grok-1-512.yaml"
BLOCK = 2


class Kind(StrEnum):
    """What a seed is drawn as."""

    TRAINING = "training"
    POOL = "pool"


Key = tuple[int, Kind]


def case_of(key: Key, *, num_hosts: int | None, days: float) -> Case:
    """The case of a seed."""
    seed, kind = key
    draw = draw_case if kind is Kind.TRAINING else draw_pool_case
    return draw(seed, num_hosts=num_hosts, days=days)


def law_of(name: str) -> StrEnum:
    """By its name."""
    return Law[name] if name in Law.__members__ else PoolLaw[name]


def run_block(keys: list[Key], num_hosts: int | None, days: float) -> list[dict[str, Any]]:
    """What each case showed, as plain JSON."""
    base, found = load_study(BASE), []
    for key in keys:
        since_s = time.process_time()
        case = case_of(key, num_hosts=num_hosts, days=days)
        report = run_case(case, base=base, seeds_replayed=20)
        found.append(
            {
                "seed": key[0],
                "kind": key[1].value,
                "num_hosts": num_hosts,
                "days": days,
                "cpu_s": time.process_time() - since_s,
                "num_events": report.num_events,
                "num_strikes": report.num_strikes,
                "num_crashes": report.num_crashes,
                "num_disturbed": len(report.met),
                "num_loans": report.num_loans,
                "num_recalls": report.num_recalls,
                "broken": [{"law": v.law.name, "words": v.text()} for v in report.violations],
            }
        )
    return found


def explain(row: dict[str, Any], *, num_hosts: int | None, days: float, out: Path) -> None:
    """Shrink a failing seed, save its case and print the shortest list of events."""
    base, law = load_study(BASE), law_of(row["broken"][0]["law"])
    key = row["seed"], Kind(row["kind"])
    case = case_of(key, num_hosts=num_hosts, days=days)
    small = shrink(case, law, base=base, max_runs=150)
    report = run_case(small, base=base, keep=True)
    words = [v.text() for v in report.violations if v.law is law]
    name = f"{row['kind']}-{row['seed']}"
    (out / f"{name}.json").write_text(json.dumps(small.to_json(), indent=1))
    print(f"{name}: {words[0] if words else row['broken'][0]['words']}")
    print("\n".join(f"  {line}" for line in story(report)[-40:]), flush=True)


def done_already(path: Path, *, num_hosts: int | None, days: float) -> dict[Key, dict[str, Any]]:
    """Rows of an earlier run with the same settings; a torn last line is left out."""
    rows: dict[Key, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if (row.get("num_hosts", -1), row.get("days")) == (num_hosts, days):
            rows[row["seed"], Kind(row.get("kind", Kind.TRAINING))] = row
    return rows


def blocks_of(keys: list[Key]) -> Iterator[list[Key]]:
    """The cases still to be run, a few at a time."""
    return (keys[at : at + BLOCK] for at in range(0, len(keys), BLOCK))


def main() -> int:
    """Run, report, shrink."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", default="0:1000", help="first:end, the end not included")
    parser.add_argument(
        "--kinds", type=Kind, nargs="+", default=list(Kind), help="training, pool; default: both"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--hosts", type=int, help="training hosts of every seed; default: drawn")
    parser.add_argument("--days", type=float, default=54.0)
    parser.add_argument("--out", type=Path, default=Path("runs/swarm"))
    parser.add_argument("--shrink", type=int, default=5, help="failing seeds to shrink at the end")
    chosen = parser.parse_args()
    seeds = re.fullmatch(r"(\d+):(\d+)", chosen.seeds)
    if seeds is None or int(seeds[1]) >= int(seeds[2]):
        parser.error(f"--seeds {chosen.seeds}: expected first:end with first below end, like 0:200")
    first, end = int(seeds[1]), int(seeds[2])
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / "seeds.jsonl"
    rows = done_already(path, num_hosts=chosen.hosts, days=chosen.days)
    keys = [(seed, kind) for seed in range(first, end) for kind in chosen.kinds]
    todo = [key for key in keys if key not in rows]
    blocks = partial(run_block, num_hosts=chosen.hosts, days=chosen.days)
    try:
        with Pool(chosen.processes, _deafen) as pool, path.open("a") as file:
            for number, found in enumerate(pool.imap_unordered(blocks, blocks_of(todo)), 1):
                for row in found:
                    rows[row["seed"], Kind(row["kind"])] = row
                    file.write(json.dumps(row) + "\n")
                file.flush()
                _show(rows, num_left=max(0, len(todo) - number * BLOCK))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on", file=sys.stderr)
        return 130
    return _conclude([rows[key] for key in keys], chosen)


def _deafen() -> None:
    """Ctrl-C is for the one who reads the results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _show(rows: dict[Key, dict[str, Any]], *, num_left: int) -> None:
    broken = sum(bool(row["broken"]) for row in rows.values())
    each_s = sum(row["cpu_s"] for row in rows.values()) / len(rows)
    print(
        f"\r{len(rows)} cases, {broken} broke a law, {each_s:.2f} CPU s a case, {num_left} left ",
        end="", file=sys.stderr, flush=True,
    )  # fmt: skip


def _conclude(rows: list[dict[str, Any]], chosen: argparse.Namespace) -> int:
    print(file=sys.stderr)
    failing = [row for row in rows if row["broken"]]
    each_s = sum(row["cpu_s"] for row in rows) / max(1, len(rows))
    print(
        f"{len(rows)} cases, {sum(r['num_events'] for r in rows):,} events, "
        f"{sum(r['num_crashes'] for r in rows):,} crashes of the controller, "
        f"{sum(r['num_disturbed'] for r in rows):,} disturbed messages, "
        f"{sum(r.get('num_loans', 0) for r in rows):,} loans of hosts: "
        f"{len(failing)} cases broke a law; {each_s:.2f} CPU s a case, "
        f"{each_s * 1e5 / 3600:.0f} CPU hours for 100,000"
    )
    for row in failing[: chosen.shrink]:
        explain(row, num_hosts=chosen.hosts, days=chosen.days, out=chosen.out)
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
