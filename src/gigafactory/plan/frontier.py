"""Days against dollars: the numbers of GPUs that nothing beats in both."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gigafactory.cost.columns import Ints
from gigafactory.plan.outlook import Outlook

_NUM_POINTS = 8


@dataclass
class Frontier:
    """The fastest layout for every number of GPUs that was looked at."""

    fastest: dict[int, dict[str, float]] = field(default_factory=dict)

    def take(self, num_gpus: Ints, told: Outlook) -> None:
        """Look at more layouts."""
        order = np.lexsort((told.duration_s, num_gpus))
        counts, first = np.unique(num_gpus[order], return_index=True)
        for count, row in zip(counts.tolist(), order[first].tolist(), strict=True):
            known = self.fastest.get(count)
            if known is None or told.duration_s[row] < known["duration_s"]:
                self.fastest[count] = told.row(row)

    def points(self) -> tuple[dict[str, float], ...]:
        """Some of the frontier, fastest first; both ends are among them."""
        best: list[dict[str, float]] = []
        ranked = sorted(self.fastest.items(), key=lambda item: item[1]["duration_s"])
        for count, row in ranked:
            if not best or row["cost_usd"] < best[-1]["cost_usd"]:
                best.append({"num_gpus": count} | row)
        if len(best) <= _NUM_POINTS:
            return tuple(best)
        wanted = np.linspace(0, len(best) - 1, _NUM_POINTS).round().astype(int)
        return tuple(best[i] for i in wanted)
