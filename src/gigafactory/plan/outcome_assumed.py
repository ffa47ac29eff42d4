"""What published campaigns leave unstated, as ranges with their sources.

A range is taken where a row says nothing; it depends on the words of the row that describe how the
system recovers, never on whose system it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from gigafactory.plan.outcome_reading import MINUTE_S, PER_KDAY, Range, Row

#: FT-HSDP at 32,000 GPUs (arXiv:2602.00277) to RSC-1 (arXiv:2410.21680): well-run and new fleets.
HOST_RATE_PER_S = Range(2.3, 6.5).times(PER_KDAY)
#: Llama 3 (arXiv:2407.21783), table 5.
USUAL_HOST_RATE_PER_S = 3.8 * PER_KDAY
#: The job's own hazard, derived from RSC-1's measured 7.9 h at 1,024 GPUs.
JOB_RATE_PER_S = Range(0.0, 2.21).times(1000 * PER_KDAY)
#: Large pretraining runs state 5 to 20 min between checkpoints where they state anything.
INTERVAL_S = Range(5.0, 20.0).times(MINUTE_S)
STEP_S = Range(5.0, 30.0)
#: Mean repair, StepFun trace (584 faults of 400 hosts): heavy-tailed, median 0.85 days.
REPAIR_S = 5.54 * 86400.0
#: Share of its failures that come in batches, their mean size; how much the trace's failure rate
#: varies from month to month (squared coefficient); hosts of a batch stay away together.
BATCH_SHARE, BATCH_HOSTS, RATE_VARIATION, TOGETHER = 0.146, 4.0, 0.30, 0.19
#: With which a fleet is to be whole where no confidence is stated; cloud providers state 95 %.
CONFIDENCE = 0.95
#: Gamma shape of the hosts' rates: 0.93 by the counts of the StepFun trace; 0.15 where 3 of 63
#: hosts have half of the exclusions (Lablup, arXiv:2605.09370).
FRAILTY_SHAPE = Range(0.15, 0.93)
#: Share of the hosts that is taken out as lemons: 40 of RSC-1's some 2,000 up to one in ten.
LEMON_SHARE = Range(0.02, 0.10)
#: MegaScale (0.5 % of machines slow by a tenth) and FALCON (episodes up to half as slow again).
SLOW_HOST_SHARE, SLOWDOWN = Range(0.0005, 0.005), Range(1.1, 1.5)
#: TPU machines that fail in a day (TPUv4, NSDI 2024: 0.08 %) up to the rate of GPU hosts.
TPU_RATE_PER_S = Range(0.8, 2.3).times(PER_KDAY)
#: Optical switches set anew (10 s) up to a slice that starts again within a minute or two.
RECONFIGURE_S = Range(10.0, 120.0)
#: Pods of one job, the time a slice is away, and the work lost meanwhile.
NUM_PODS, SLICE_AWAY_S, SLICE_WORK = Range(1, 4), Range(10.0, 60.0).times(MINUTE_S), 0.03


class Repairing(StrEnum):
    """How a system gets over a failure, as the words of a row tell it."""

    PEOPLE = "people find the fault and restart"
    STORE = "automatic restart from the store"
    DIAGNOSED = "automatic diagnosis, isolation and restart"
    HOT = "spare at hand and state in memory"


@dataclass(frozen=True)
class Recovering:
    """From the failure until training goes on."""

    recovery_s: Range
    usual_s: float
    source: str


RECOVERING = {
    Repairing.PEOPLE: Recovering(
        Range(68.0, 120.0).times(MINUTE_S), 90 * MINUTE_S,
        "68 min a failure without automation (Unicron, arXiv:2401.00134) to 2 h",
    ),
    Repairing.STORE: Recovering(
        Range(5.0, 20.0).times(MINUTE_S), 10 * MINUTE_S,
        "5 to 20 min (RSC-1, arXiv:2410.21680); 10 min (FT-HSDP at 98,000 GPUs)",
    ),
    Repairing.DIAGNOSED: Recovering(
        Range(1.0, 5.0).times(MINUTE_S), 2 * MINUTE_S,
        "detection in 10 to 60 s (ByteRobust, table 3) and a restart",
    ),
    Repairing.HOT: Recovering(
        Range(1.0, 10.0).times(MINUTE_S), 5 * MINUTE_S,
        "warm communicators within minutes; hangs are seen after up to 10 min",
    ),
}  # fmt: skip
#: Recovery with state in memory over recovery from the store: 5.4 to 10.9 times faster (ByteRobust,
#: arXiv:2509.16293), 80 to 93 % shorter (AWS).
HOT_OVER_STORE = Range(0.07, 0.20)

_WORDS = (
    (Repairing.HOT, r"warm standby|hot spare|in-memory|redundant cop|checkpointless|flash check|"
     r"peer memory|hot update"),
    (Repairing.DIAGNOSED, r"diagnos|C4D|isolat"),
    (Repairing.PEOPLE, r"manual|without automation|by hand"),
)  # fmt: skip


def repairing(row: Row) -> Repairing:
    """How the system of a row recovers; restart from the store where no word tells better."""
    text = " ".join(row[key] for key in ("published_inputs", "repro_method", "metric"))
    for kind, words in _WORDS:
        if re.search(words, text, re.I):
            return kind
    return Repairing.STORE
