"""`make demo`: the main job from end to end, in the commands a person would type."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

from rich.console import Console

from gigafactory.cli.main import status

QUESTION = "What is the capital of France?"


def commands(runs: Path) -> list[tuple[str, str]]:
    """(what it shows, the command) in order; the studies lie beside the Makefile."""
    big, small, measured = runs / "colossus", runs / "first-light", runs / "calibration.yaml"
    return [
        ("What is a 100,000-GPU factory?", f"describe studies/colossus.yaml --dir {big}"),
        ("How should the next Grok lie on it?", f"plan studies/colossus.yaml --dir {big}"),
        ("How would 90 days go?", f"simulate studies/colossus.yaml --dir {big}"),
        ("The same for this machine", f"describe studies/first-light.yaml --dir {small}"),
        ("How fast is it?", f"calibrate --quick --device cpu --ranks 2 --out {measured}"),
        (
            "The twin of the real run",
            f"simulate studies/first-light.yaml --set calibration={measured} --dir {small}",
        ),
        (
            "Really train; one worker is killed on the way",
            f"run studies/first-light.yaml --set calibration={measured} --dir {small} --fresh",
        ),
        ("The recorded run, fed to the same brain again", f"replay {small}/ledger.jsonl"),
        ("A word with the models", f"chat {small} --ask {shlex.quote(QUESTION)}"),
        ("Plan, twin and reality on one page", f"report {big} {small} --out {runs}/report.html"),
    ]


def main(runs: Path) -> int:
    """Run every command; stop at the first that fails, with its status."""
    say = Console(stderr=True, highlight=False)
    begin_s = time.monotonic()
    for title, line in commands(runs):
        say.rule(f"[bold]{title}")
        say.print(f"$ giga {line}", style="cyan", soft_wrap=True)
        failed = status(shlex.split(line))
        if failed:
            return failed
    say.rule()
    say.print(f"[bold green]Done in {time.monotonic() - begin_s:.0f} s.")
    say.print(f"The report:   {(runs / 'report.html').resolve()}", soft_wrap=True)
    say.print(f"The chat page: .venv/bin/giga chat {runs}/first-light", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs")))
