"""How fast layouts are evaluated and searched, on one core.

    python benchmarks/speed_search.py [repeats]

Times are CPU seconds of this process, so that other work on the machine counts little. Baselines in
the same run: every row priced by itself (a layer evaluated for each row, as before equal rows were
merged), and one layout a call. Public figures: ANCHORS and the papers of the tools.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from gigafactory.catalog.studies import load_study
from gigafactory.cost import step
from gigafactory.cost.collectives import hierarchical_all_reduce_s
from gigafactory.cost.columns import AXES, Columns, Ints
from gigafactory.cost.memory import memory
from gigafactory.describe.study import Study
from gigafactory.plan.candidates import blocks
from gigafactory.plan.search import plan

#: Layouts whose evaluation is timed.
NUM_LAYOUTS = 400_000
SEARCHES = {
    "grok-next, 97,280 of 100,000 H100": ("colossus", ()),
    "grok-next, 98,304 H100": (
        "colossus",
        ("cluster.num_spare_hosts=212", "job.global_batch=12288"),
    ),
    "grok-next, 100,000 H100": (
        "colossus",
        ("cluster.num_spare_hosts=0", "job.global_batch=12500"),
    ),
    "Llama 405B, 98,304 H100": (
        "llama-405b-16k",
        ("cluster=colossus-100k", "cluster.num_spare_hosts=212", "job.global_batch=12288"),
    ),
    "Llama 405B, 100,000 H100": (
        "llama-405b-16k",
        ("cluster=colossus-100k", "cluster.num_spare_hosts=0", "job.global_batch=12500"),
    ),
    "grok-next, any number of GPUs": ("colossus", ("plan.gpus=free", "plan.goal=cheapest")),
}


def cpu_s(work: Callable[[], object]) -> float:
    begin_s = time.process_time()
    work()
    return time.process_time() - begin_s


def evaluate(study: Study, columns: Columns) -> None:
    """Memory and step of every layout, in chunks as the search does it."""
    for begin in range(0, len(columns), 8192):
        part = columns.take(slice(begin, begin + 8192))
        _ = memory(study.model, study.job, study.cluster, part).total_bytes
    step.step_seconds(study.model, study.job, study.cluster, columns)


def every_row(columns: Columns, *, names: tuple[str, ...]) -> tuple[Columns, Ints]:
    """The baseline of ``distinct``: nothing is merged."""
    del names
    return columns, np.arange(len(columns))


def some_layouts(study: Study) -> Columns:
    """The first of the search's blocks, as legal layouts come."""
    parts, count = [], 0
    for block in blocks(study):
        parts.append(block)
        count += len(block)
        if count > NUM_LAYOUTS:
            break
    return Columns(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in AXES})


def rates(study: Study, repeats: int) -> dict[str, float]:
    """Layouts a second: as it is, with every row priced by itself, one a call."""
    found = some_layouts(study)
    few = found.take(slice(0, 50))
    merged, plain, single = [], [], []
    # tables of measured kernels are read once a process
    evaluate(study, few)
    real = step.distinct
    for _ in range(repeats):
        merged.append(cpu_s(lambda: evaluate(study, found)))
        step.distinct = every_row
        plain.append(cpu_s(lambda: evaluate(study, found)))
        step.distinct = real
        rows = [few.take(slice(i, i + 1)) for i in range(len(few))]
        single.append(cpu_s(lambda rows=rows: [evaluate(study, row) for row in rows]))
    return {
        "equal rows merged": len(found) / statistics.median(merged),
        "every row by itself": len(found) / statistics.median(plain),
        "one layout a call": len(few) / statistics.median(single),
    }


def main(repeats: int) -> None:
    study = load_study("studies/colossus.yaml")
    print("| evaluated: memory and step | layouts/s a core |\n|---|---|")
    for name, rate in rates(study, repeats).items():
        print(f"| {name} | {rate:,.0f} |")
    print("\n| exhaustive search | legal layouts | fit | CPU s | layouts/s | peak RSS, MB |")
    print("|---|---|---|---|---|---|")
    for name, (file, overrides) in SEARCHES.items():
        asked = load_study(f"studies/{file}.yaml", overrides=overrides)
        times = [cpu_s(lambda asked=asked: plan(asked)) for _ in range(repeats)]
        found, peak = plan(asked), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        middle = statistics.median(times)
        print(
            f"| {name} | {found.num_candidates:,} | {found.num_feasible:,} | {middle:.2f} "
            f"| {found.num_candidates / middle:,.0f} | {peak:.0f} |"
        )
    calls = 10_000
    levels = {"sizes": (8, 12_500), "bytes_per_s": (450e9, 50e9), "latency_s": (5e-7, 5e-7)}
    spent = cpu_s(lambda: [hierarchical_all_reduce_s(2.0**30, **levels) for _ in range(calls)])
    print(f"\nall_reduce over 100,000 ranks, closed form: {spent / calls * 1e6:.1f} us a call")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
