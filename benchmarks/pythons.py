"""Same seed, same ledger on every supported Python: compares the hashes of short campaigns.

    python benchmarks/pythons.py [python3.12 python3.13 ...]

Each interpreter gets an environment of its own with the newest dependencies of the core (the one
that runs this keeps its own). Without names it looks for python3.11 to python3.13 on the PATH and
among those of pyenv. Exit status 1 where two differ.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ("colossus", "colossus-shared", "llama-405b-16k")
RECOVERIES = ("hot", "restart", "replicas")


def hashes() -> dict[str, str]:
    """Study and recovery -> hash of the ledger, in this interpreter."""
    from gigafactory import api
    from gigafactory.ledger.writer import LedgerWriter
    from gigafactory.plan.search import plan
    from gigafactory.simulate.campaign import simulate

    found = {}
    for name in STUDIES:
        path = ROOT / "studies" / f"{name}.yaml"
        planned = plan(api.load(path))
        for recovery in RECOVERIES:
            told = [f"policy.recovery={recovery}", "campaign.duration=6 d"]
            ledger = LedgerWriter(keep=False)
            simulate(api.load(path, overrides=told), plan=planned, seed=3, ledger=ledger)
            found[f"{name} {recovery}"] = ledger.ledger_hash
    return found


def interpreters() -> list[str]:
    """Those of the supported versions that start, one of each version."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {sys.version_info[:2]: sys.executable}
    for minor in (11, 12, 13):
        on_path = shutil.which(f"python3.{minor}")
        of_pyenv = sorted(pyenv.glob(f"3.{minor}.*/bin/python"))
        for path in [on_path, *map(str, of_pyenv)]:
            if path and (3, minor) not in found and _starts(path):
                found[3, minor] = path
    return [found[version] for version in sorted(found)]


def _starts(path: str) -> bool:
    return subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0


def hashes_of(python: str, *, place: Path) -> dict[str, str]:
    """The hashes in another interpreter, with the core installed at ``place``."""
    if python != sys.executable:
        subprocess.run([python, "-m", "venv", str(place)], check=True)
        python = str(place / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", "-e", str(ROOT)], check=True)
    told = subprocess.run(
        [python, __file__, "--hashes"], check=True, capture_output=True, text=True
    )
    found: dict[str, str] = json.loads(told.stdout)
    return found


def main() -> int:
    """Print a line for each interpreter and study; 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="*", help="interpreters to compare")
    parser.add_argument("--hashes", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.hashes:
        print(json.dumps(hashes()))
        return 0
    pythons = asked.pythons or interpreters()
    seen: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory() as place:
        for number, python in enumerate(pythons):
            for what, digest in hashes_of(python, place=Path(place) / str(number)).items():
                print(f"{python}  {what:24}  {digest}")
                seen.setdefault(what, set()).add(digest)
    different = [what for what, digests in seen.items() if len(digests) > 1]
    print(f"{len(pythons)} interpreters; different: {', '.join(different) or 'nothing'}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
