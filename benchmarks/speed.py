"""How long the verbs take, as whole commands: median of several runs, and of the bare interpreter.

    python benchmarks/speed.py [repeats]

The bare interpreter is the baseline: machines differ, so compare the ratio to it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "bare interpreter": ["-c", "pass"],
    "giga --help": ["-m", "gigafactory.cli", "--help"],
    "giga describe colossus": ["-m", "gigafactory.cli", "describe", "studies/colossus.yaml"],
    "giga plan colossus": ["-m", "gigafactory.cli", "plan", "studies/colossus.yaml"],
    "giga plan llama-405b-16k": ["-m", "gigafactory.cli", "plan", "studies/llama-405b-16k.yaml"],
    "giga simulate colossus": ["-m", "gigafactory.cli", "simulate", "studies/colossus.yaml"],
}


def once_s(args: list[str]) -> float:
    begin_s = time.perf_counter()
    subprocess.run([sys.executable, *args], check=True, capture_output=True)
    return time.perf_counter() - begin_s


def main(repeats: int) -> None:
    # one of each in turn, so that a slow minute of the machine falls on all alike
    rounds = [{name: once_s(args) for name, args in COMMANDS.items()} for _ in range(repeats)]
    medians = {name: statistics.median(r[name] for r in rounds) for name in COMMANDS}
    base_s = medians["bare interpreter"]
    print(f"| command | median of {repeats}, s | least | most | times the interpreter |")
    print("|---|---|---|---|---|")
    for name, median_s in medians.items():
        times = [r[name] for r in rounds]
        print(
            f"| {name} | {median_s:.3f} | {min(times):.3f} | {max(times):.3f} "
            f"| {median_s / base_s:.0f} |"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
