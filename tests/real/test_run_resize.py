"""A run that is stopped and goes on with other layouts ends as one that nobody touched."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gigafactory.ledger.fold import fold
from gigafactory.ledger.reader import read_ledger
from gigafactory.net.export import load_exported
from gigafactory.train.tokens import keep, train_tokenizer

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
NUM_STEPS = 60
MICRO = (
    "model.block=qwen3-moe", "model.hidden=32", "model.num_layers=2", "model.head_dim=8",
    "model.moe_ffn=64", "model.context=32", "job.tokens=15360", "job.seq_len=32",
    "job.global_batch=8", "job.precision=fp32", "layout.precision=fp32", "layout.micro_batch=2",
    "train.checkpoint_steps=20", "drill=null", "cluster.num_hosts=2",
)  # fmt: skip
DRIVER = """
import sys
from pathlib import Path
from gigafactory.api import run
from gigafactory.describe.errors import InputError
try:
    result = run("studies/first-light.yaml", folder=Path(sys.argv[1]), overrides=sys.argv[2:])
except InputError as error:
    sys.exit(f"InputError: {error}")
print(result.outcome, result.steps, result.resumed_from_step)
"""
LAYOUTS = (
    ("layout.dp=2", "layout.sharding=zero1"),
    ("layout.dp=1", "layout.sharding=none"),
    ("layout.dp=2", "layout.tp=2", "layout.ep=2", "layout.sharding=fsdp"),
)
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("text") / "corpus"
    talk = [
        ["hello there", "how are you?", "fine, thank you", f"and number {n}?"] for n in range(99)
    ]
    tokenizer = train_tokenizer((turn for turns in talk for turn in turns), vocab=300)
    keep(directory, tokenizer=tokenizer, documents={"chitchat": (talk, talk[:9])})
    return directory


Driver = subprocess.Popen[str]


@pytest.fixture
def start(corpus: Path) -> Iterator[Callable[..., Driver]]:
    """``start(place, *overrides)``: a driver; none is left at the end."""
    drivers: list[Driver] = []

    def begin(place: Path, *layout: str) -> Driver:
        place.mkdir(exist_ok=True)
        if not (place / "corpus").exists():
            (place / "corpus").symlink_to(corpus)
        drivers.append(
            subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(place), *MICRO, *layout],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.kill()
        driver.communicate()


def stop_after(process: Driver, place: Path, num_steps: int, *, num_old: int = 0) -> str:
    """SIGINT when the book behind ``num_old`` old ones shows so many steps; what the driver
    said."""
    deadline_s = time.monotonic() + PATIENCE_S
    book = place / "ledger.jsonl"
    while (
        len(list(place.glob("ledger-*"))) < num_old
        or not book.exists()
        or book.read_text().count('"kind":"steps"') < num_steps
    ):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s, "it takes too long"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    return out


def losses(book: Path) -> dict[int, float]:
    return dict(fold(read_ledger(book)).losses)


def test_a_run_goes_on_with_fewer_and_with_more_ranks(
    tmp_path: Path, start: Callable[..., Driver]
) -> None:
    alone, place = tmp_path / "alone", tmp_path / "resized"
    whole = start(alone, *LAYOUTS[1])
    first = stop_after(start(place, *LAYOUTS[0]), place, 5)
    second = stop_after(start(place, *LAYOUTS[1]), place, 4, num_old=1)
    out, err = start(place, *LAYOUTS[2]).communicate(timeout=PATIENCE_S)
    stopped = [int(said.split()[1]) for said in (first, second)]
    assert out.split() == ["done", str(NUM_STEPS), str(stopped[1])], err
    assert whole.communicate(timeout=PATIENCE_S)[0].split() == ["done", str(NUM_STEPS), "None"]

    books = [losses(place / f"ledger{name}.jsonl") for name in ("-1", "-2", "")]
    steps = [step for book in books for step in book]
    assert steps == list(range(1, NUM_STEPS + 1))  # every step is kept once, in one of the books
    together = books[0] | books[1] | books[2]
    assert together == pytest.approx(losses(alone / "ledger.jsonl"), abs=2e-4)
    opened = read_ledger(place / "ledger.jsonl")[0].content
    assert (opened.first_step, opened.num_gpus) == (stopped[1], 4)  # type: ignore[union-attr]
    net = load_exported(place / "model").model
    assert net.model.num_experts == 4
