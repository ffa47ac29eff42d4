"""Every `giga` command shown in README and docs runs, in the order shown, in one folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)
#: a training of minutes does here with a sixth of its steps, and its worker is killed earlier;
#: a run is shot at once and not three times (tests/real/test_survive.py does it in every way)
SHORTER = {
    "giga run studies/first-light.yaml": "--set job.tokens=81920 --set drill.kill_at_step=20",
    "giga run studies/replicas.yaml --chaos 1 --faults 3 --dir runs/chaos": "--faults 1",
}
#: run first, whatever page shows it: others read what it leaves behind
FIRST = "giga run"


def shown() -> list[str]:
    """The commands of all pages without doubles; those that leave a run's folder come first."""
    lines: list[str] = []
    for page in PAGES:
        for block in FENCE.findall(page.read_text(encoding="utf-8")):
            joined = block.replace("\\\n", " ")
            lines += [line.strip() for line in joined.splitlines() if line.startswith("giga ")]
    unique = list(dict.fromkeys(line.split(" # ")[0].strip() for line in lines))
    return sorted(unique, key=lambda line: (rank(line), unique.index(line)))


def rank(line: str) -> int:
    """Writers of a folder before its readers."""
    if line.startswith(FIRST):
        return 0
    return 1 if "--dir" in line else 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("docs")
    (where / "studies").symlink_to(ROOT / "studies")
    return where


def giga(line: str) -> list[str]:
    return [sys.executable, "-m", "gigafactory.cli", *shlex.split(line)[1:]]


def serves(line: str) -> bool:
    tools = ("keys", "load", "posts", "truth", "x")
    is_quick = "--ask" in line or line.startswith(tuple(f"giga chat {tool} " for tool in tools))
    return line.startswith("giga chat") and not is_quick


@pytest.mark.real
@pytest.mark.timeout(600)
@pytest.mark.parametrize("line", [line for line in shown() if not serves(line)])
def test_a_command_of_the_docs_runs(line: str, folder: Path) -> None:
    if "shared/data" in line and not (ROOT.parent / "shared").is_dir():
        pytest.skip("the tables of measured runs are not beside this checkout")
    line = f"{line} {SHORTER.get(line, '')}"
    line = line.replace("../shared/", f"{ROOT.parent / 'shared'}/")
    done = subprocess.run(giga(line), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert done.stdout.strip(), f"{line} prints nothing"
    if "--json" in line:
        json.loads(done.stdout)


@pytest.mark.real
@pytest.mark.parametrize("line", [line for line in shown() if serves(line)])
def test_a_chat_command_of_the_docs_serves_and_ends(line: str, folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = re.sub(r"--port \d+", "", line) + f" --port {port}"
    server = subprocess.Popen(giga(line), cwd=folder, start_new_session=True)
    try:
        models = _models(port, server)
        assert models
    finally:
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait(timeout=30) in (0, 1)


def _models(port: int, server: subprocess.Popen[bytes]) -> list[object]:
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5) as reply:
                found: list[object] = json.load(reply)["data"]
                return found
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer on port {port}, server status {server.poll()}")


def test_what_is_shortened_is_shown() -> None:
    assert set(SHORTER) <= set(shown())


def test_the_docs_show_every_verb() -> None:
    from gigafactory.cli.main import VERBS

    verbs = {line.split()[1] for line in shown()}
    assert verbs >= set(VERBS)


def test_every_verb_has_its_chapter() -> None:
    from gigafactory.cli.main import VERBS

    assert {page.stem for page in PAGES} >= set(VERBS)
