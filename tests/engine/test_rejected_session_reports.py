"""A session's report that rating rejects leaves no trace: offered again, it brings all of its units."""

from __future__ import annotations

import json
from pathlib import Path

from trunkline.bootstrap.platform import ingest, load_subscribers, opened
from trunkline.settings import Folders
from trunkline.stores.embedded.reader import EmbeddedReader

TARIFF = """
operator: {name: Test, currency: EUR, time_zone: UTC, country_code: "44", home_plmn: [23415]}
balances: {main: {unit: money, main: true}}
plan: data
effective: 2026-01-01
prices:
  - {usage: data, to: any, rate: {price: "1.00", per: 1MB, increments: [1MB]}}
"""
KNOWN, STRANGER = "447700900001", "447700900002"


def report(subscriber: str, number: int, megabytes: int) -> str:
    """The session's report `number`, with its counter so far."""
    record = {
        "id": f"{subscriber}-{number}", "type": "data", "subscriber": subscriber,
        "start": f"2026-11-21T10:{number:02d}:00Z",
        "session": subscriber, "session_start": "2026-11-21T10:00:00Z", "report": "interim",
        "octets_up": 0, "octets_down": megabytes * 1_000_000, "service": "internet",
    }  # fmt: skip
    return json.dumps(record) + "\n"


def test_a_rejected_report_brings_its_units_when_it_comes_again(tmp_path: Path) -> None:
    """The stranger's reports are rejected; once the subscriber is loaded, the same lines cost what they always did."""
    tariffs = tmp_path / "tariffs"
    tariffs.mkdir()
    (tariffs / "tariff.yaml").write_text(TARIFF)
    lines = tmp_path / "reports.ndjson"
    lines.write_text(
        "".join(report(who, number, 2 * number) for number in (1, 2, 3) for who in (KNOWN, STRANGER))
    )
    with opened(Folders(data=tmp_path / "data", tariffs=str(tariffs))) as platform:
        load_subscribers(platform, "first.csv", f"subscriber,plan\n{KNOWN},data\n".encode())
        first = ingest(platform, [lines], None, None).totals
        load_subscribers(platform, "second.csv", f"subscriber,plan\n{STRANGER},data\n".encode())
        second = ingest(platform, [lines], None, None).totals
    assert (first.rated, first.rejected, first.charged_micros) == (3, 3, 6_000_000)
    assert (second.rated, second.duplicate, second.charged_micros) == (3, 3, 6_000_000)
    assert sum(each.charged_micros for each in EmbeddedReader(tmp_path / "data").accounting()) == 12_000_000
