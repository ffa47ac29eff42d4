"""The chapters of power and of the serving pool, from books and documents worked through."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import pytest

from gigafactory.describe.cluster import Battery, Site
from gigafactory.describe.errors import InputError
from gigafactory.ledger.entries import (
    Bucket,
    BucketFrom,
    CheckpointKept,
    Closed,
    FaultStruck,
    Opened,
    PaceFrom,
    PoolFrom,
    PowerFrom,
    Steps,
    World,
)
from gigafactory.ledger.power_hours import power_limits
from gigafactory.ledger.writer import LedgerWriter
from gigafactory.report.buckets import _SHOWN, tone
from gigafactory.report.page import write_report
from gigafactory.units import HOUR_S

from .conftest import keep

SITE = Site(
    name="x", pue=1.25, electricity_usd_per_j=1e-8, carbon_kg_per_j=1e-7, capacity_w=4e6,
    source="test",
)  # fmt: skip
OPENED = Opened(
    world=World.TWIN, study="tiny", num_gpus=2048, gpus_per_host=8, num_spare_gpus=0, num_steps=99,
    tokens_per_step=8192, flops_per_step=1e15, peak_flops_per_s=1e14, step_s=2.0,
    training_w_per_gpu=1000.0, idle_w_per_gpu=250.0,
    **(power_limits(SITE) | {"electricity_usd_per_j": 1e-8}),
)  # fmt: skip
IDLE_W, FULL_W = 2048 * 250.0, 2048 * 1000.0
#: Hours, entry: at work for ten hours with a stop, a quarter of the GPUs missing from hour 4 on.
LINES = (
    (0.0, BucketFrom(bucket=Bucket.PRODUCTIVE)),
    (0.0, PowerFrom(draw_w=FULL_W)),
    (2.0, CheckpointKept(step=3600)),
    (2.0, Steps(step=3600, num_steps=3600, step_s=2.0)),
    (3.0, FaultStruck(cause="gpu", fault="host", hosts=(1,))),
    (3.0, BucketFrom(bucket=Bucket.RESTORE)),
    (3.0, PowerFrom(draw_w=IDLE_W)),
    (4.0, BucketFrom(bucket=Bucket.PRODUCTIVE)),
    (4.0, PaceFrom(num_gpus=1536, slowdown=1.25)),
    (4.0, PowerFrom(draw_w=FULL_W)),
    (10.0, Closed(outcome="done")),
)
POOL = {
    "num_hosts": 40, "requests_per_s_per_host": 2.5, "peak_requests_per_s": 88.0,
    "num_requests": 3456789.0, "slo_kept_share": 0.9999, "slo_kept_time_share": 0.99,
    "short_while_lent_s": 120.0, "lent_host_s": 36000.0, "num_loans": 3, "num_recalls": 2,
    "num_hosts_recalled": 11, "num_recalls_that_hurt": 1, "mean_serving_hosts": 35.0,
    "hours": [
        {"requests_per_s": 30.0, "kept_per_s": 30.0, "serving_hosts": 20.0, "lent_hosts": 20.0},
        {"requests_per_s": 80.0, "kept_per_s": 79.0, "serving_hosts": 40.0, "lent_hosts": 0.0},
    ],
}  # fmt: skip


@pytest.fixture
def site(tmp_path):
    """A folder with a book of ten hours."""

    def write(opened=OPENED, lines=LINES):
        folder = tmp_path / "tiny"
        folder.mkdir()
        with LedgerWriter(folder / "twin.jsonl") as book:
            book.write(opened, at_s=0.0)
            for hours, content in lines:
                book.write(content, at_s=hours * HOUR_S)
        return folder

    return write


def keep_result(folder, **told):
    """What the twin says besides its book."""
    found = hashlib.sha256((folder / "twin.jsonl").read_bytes()).hexdigest()
    document = {"wall_s": 7200.0, "gpus_per_host": 8, "ledger_hash": found}
    keep(folder / "twin.json", document | told)


def chapter(folder, key):
    """The text of one chapter: cells parted by a bar, drawings left out."""
    page = write_report([folder], folder / "report.html").read_text(encoding="utf-8")
    found = re.search(rf'<section class="chapter" id="[^"]*-{key}">(.*?)</section>', page, re.S)
    return page, found and re.sub(r"\|[\s|]*", "|", re.sub(r"<[^>]+>", "|", found[1]))


def test_power_by_the_hour_with_swings_dips_and_what_a_battery_would_be(site):
    _, text = chapter(site(), "power")
    assert "what the site may draw, 4.00 MW" in text
    assert "|hours in which the limit of the site held training back|0 of 10|" in text
    # 2048 GPUs of 1 kW: 0.885 to 1.045, and a quarter of the power for cooling
    assert "|a step swings the site|2.32 MW to 2.65 MW (12.36 %)|" in text
    assert "|stops and checkpoints|3|" in text
    # 2048 GPUs fall by 750 W; the triangle over ten minutes is 128 kWh
    assert "|battery, were it to come within ten minutes|1.54 MW, 128 kWh|" in text
    assert "|CO2|8,525 kg|" in text


def test_a_ramp_and_a_battery_are_judged(site):
    limits = power_limits(
        SITE.model_copy(
            update={
                "ramp_w_per_s": 2e6 / 60, "capacity_w": 1.25 * FULL_W,
                "battery": Battery(power_w=2e6, energy_j=2.5e7),
            }
        )
    )  # fmt: skip
    _, text = chapter(site(replace(OPENED, **limits)), "power")
    assert "|hours in which the limit of the site held training back|9 of 10|" in text
    assert "|the draw may change by|2.00 MW a minute|" in text
    assert "|battery that the deepest dip asks for|1.54 MW, 9.83 kWh|" in text
    assert "|battery that there is|2.00 MW, 6.94 kWh|" in text
    assert "|stops and checkpoints beyond it|2|" in text


def test_missing_and_slow_gpus_are_drawn_in_their_own_colours(site):
    page, text = chapter(site(), "events")
    assert "the height of a state is its share of the GPUs" in text
    assert {"degraded", "stragglers", "productive"} <= set(text.split("|"))
    drawn = re.search(r'id="[^"]*-events">(.*?)</section>', page, re.S)[1]
    tops = {}
    for name in ("productive", "degraded", "straggler"):
        path = re.search(rf'<path class="area c-{tone(name)}" d="([^"]*)"', drawn)[1]
        _, low, high = map(float, re.findall(r"M([\d.]+) ([\d.]+)V([\d.]+)", path)[-1])
        tops[name] = low - high
    band_px = sum(tops.values())
    assert tops["productive"] / band_px == pytest.approx(0.6, abs=0.01)
    assert tops["straggler"] / band_px == pytest.approx(0.15, abs=0.01)
    assert tops["degraded"] / band_px == pytest.approx(0.25, abs=0.01)


def test_every_bucket_has_its_own_colour():
    assert set(_SHOWN) == {bucket.value for bucket in Bucket}
    assert len({tone(bucket) for bucket in _SHOWN}) == len(_SHOWN)


def test_a_pool_tells_what_was_asked_lent_and_late(site):
    lent = (1.0, PoolFrom(num_hosts=40, num_lent=20, requests_per_s=30.0))
    folder = site(lines=(*LINES[:2], lent, *LINES[2:]))
    keep_result(folder, pool=POOL)
    _, text = chapter(folder, "pool")
    assert "|requests beyond the limits|0.01 %|" in text
    assert "|lent to training|80 GPU-h|" in text
    assert "|hosts lent in the mean|5|" in text
    assert "|recalls|2, of 11 hosts|" in text
    assert "The serving pool's hosts are not counted" in chapter(folder, "power")[1].replace(
        "&#39;", "'"
    )


def test_without_a_pool_there_is_no_chapter_and_a_wrong_document_is_named(site):
    folder = site()
    keep_result(folder, pool=None)
    assert chapter(folder, "pool")[1] is None
    keep_result(folder, wall_s=0.0)
    with pytest.raises(InputError, match=r"twin\.json: wall_s"):
        chapter(folder, "pool")


def test_a_document_of_another_campaign_is_not_shown_beside_the_ledger(site):
    folder = site()
    keep_result(folder, ledger_hash="0" * 64)
    with pytest.raises(InputError, match=r"twin\.json: ledger_hash is 000000000000\.\.\., that of"):
        chapter(folder, "pool")


def test_a_twin_whose_steps_are_all_alike_has_no_chapter_on_the_pace(site):
    assert chapter(site(), "pace")[1] is None


def test_the_rarest_causes_are_counted_together(site):
    causes = [f"cause-{number:02}" for number in range(14) for _ in range(14 - number)]
    faults = [(5.0, FaultStruck(cause=one, fault="host", hosts=(1,))) for one in causes]
    _, text = chapter(site(lines=(*LINES[:-1], *faults, LINES[-1])), "events")
    assert "|cause 11|3|" in text
    assert "|cause 12|" not in text
    assert "|3 other causes together: 4.|" in text  # 2 + 1, and the one of LINES
