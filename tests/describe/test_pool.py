"""What a pool may be, and what is wrong with those that may not."""

from __future__ import annotations

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.describe.errors import InputError

POOL = {
    "num_hosts": "8",
    "demand": "{users: 1 M, requests_per_user: 1 /d}",
    "request": "{input_tokens: 1000, output_tokens: 200}",
    "slo": "{ttft: 2 s, tpot: 50 ms}",
}


def load(*more: str, **other: str):
    pool = [f"pool.{key}={value}" for key, value in (POOL | other).items()]
    cluster = ("cluster.num_hosts=72", "cluster.num_spare_hosts=8")
    return load_study("studies/grok-1-512.yaml", overrides=(*cluster, *pool, *more))


def test_units_and_defaults() -> None:
    pool = load("pool.lending.notice=5 min").pool
    assert pool is not None
    assert pool.slo.tpot_s == 0.05
    assert pool.lending.notice_s == 300.0
    assert pool.demand.peak_per_s == pytest.approx(1e6 / 86400 * 2 / 1.4)
    assert load_study("studies/grok-1-512.yaml").pool is None


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("num_hosts", "9", r"more than the 8 of cluster\.num_spare_hosts"),
        ("demand", "{users: 5, requests_per_user: 1 /d, peak_requests: 9 /s}", r"not both"),
        ("demand", "{}", r"not both or none"),
        ("demand", "{users: 5}", r"or users and requests_per_user"),
        ("demand", "{users: 5 kg}", r"is not a quantity in people.*'117 M'"),
        ("slo", "{tpot: 1 s}", r"slo\.ttft is missing"),
        ("slo", "{ttft: 2}", r"no unit"),
        ("lending.min_hosts", "9", r"min_hosts 9 is more than num_hosts 8"),
        ("replica_hosts", "3", r"not a multiple of replica_hosts 3"),
        ("replica.tp", "4", r"pool\.replica fills 4 GPUs, pool\.replica_hosts have 8"),
    ],
)
def test_bad_pools_say_what_would_be_right(key: str, value: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load(**{key: value})
