"""The load for measurements is plain, large, and known to the tariff and the list of subscribers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from trunkline.simulator import bench_lines, bench_subscribers


def test_lines_are_plain_and_of_the_promised_size(tmp_path: Path) -> None:
    """A third of data, the rest calls and messages; about 160 octets a line; ids once each; times ascend."""
    octets = bench_lines(5, 20_000, 700, tmp_path / "usage.ndjson")
    records = [json.loads(line) for line in (tmp_path / "usage.ndjson").read_bytes().splitlines()]
    assert len(records) == len({record["id"] for record in records}) == 20_000
    assert (tmp_path / "usage.ndjson").stat().st_size == octets
    assert 150 <= octets / 20_000 <= 175
    kinds = Counter(record["type"] for record in records)
    assert kinds["voice"] > kinds["data"] > kinds["sms"] > 0
    starts = [record["start"] for record in records]
    assert starts == sorted(starts)
    assert starts[-1] < "2026-11-02T23"


def test_every_payer_is_a_subscriber(tmp_path: Path) -> None:
    """The list of subscribers holds everybody who uses anything, once."""
    bench_lines(5, 5_000, 300, tmp_path / "usage.ndjson")
    bench_subscribers(5, 300, tmp_path / "subscribers.csv")
    header, *rows = (tmp_path / "subscribers.csv").read_text().splitlines()
    assert header == "subscriber,plan,from,payment,credit_limit,time_zone,cycle_day,balance"
    listed = [row.split(",")[0] for row in rows]
    assert all(len(row.split(",")) == 8 for row in rows)
    assert len(set(listed)) == 300
    payers = {
        json.loads(line)["subscriber"] for line in (tmp_path / "usage.ndjson").read_bytes().splitlines()
    }
    assert payers <= set(listed)


def test_the_same_seed_writes_the_same_lines(tmp_path: Path) -> None:
    """A measurement can be repeated on the same input."""
    for name in ("one", "two"):
        bench_lines(9, 3_000, 100, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
