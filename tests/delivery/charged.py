"""A real data folder in which everybody's balance has just fallen below one euro: an alert each."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trunkline.bootstrap.platform import ingest, opened
from trunkline.settings import Folders
from trunkline.stores.embedded.reader import EmbeddedReader

PEOPLE = 40
OPERATOR = """
operator: {name: Example, currency: EUR, time_zone: Europe/Berlin, home_plmn: [26201], country_code: "49"}
zones: {world: {default: true}}
destinations: {germany: {prefixes: ["49"]}}
balances: {main: {unit: money, main: true, low: ["1.00"]}}
rates: {message: {price: "1.50", per: 1}}
"""
PLAN = "plan: plain\nprices:\n  - {usage: sms, zones: any, to: any, rate: message}\n"


def number(at: int) -> str:
    """The n-th customer."""
    return f"4915112345{at:03d}"


def charged(folder: Path) -> Path:
    """A data folder in which everybody's balance fell below one euro just now: an alert each."""
    tariffs, data = folder / "tariffs", folder / "data"
    tariffs.mkdir()
    (tariffs / "operator.yaml").write_text(OPERATOR)
    (tariffs / "plain.yaml").write_text(PLAN)
    people = ["subscriber,plan,balance", *(f"{number(at)},plain,2.00" for at in range(PEOPLE))]
    (tariffs / "subscribers.csv").write_text("\n".join(people) + "\n")
    start = (datetime.now(UTC) - timedelta(minutes=5)).isoformat(timespec="seconds")
    records = [
        {
            "id": f"m{at}",
            "type": "sms",
            "subscriber": number(at),
            "called": number(0),
            "start": start,
            "events": 1,
        }
        for at in range(PEOPLE)
    ]
    usage = folder / "usage.ndjson"
    usage.write_text("\n".join(json.dumps(record) for record in records) + "\n")
    with opened(Folders(data=data, tariffs=str(tariffs))) as platform:
        ingest(platform, [usage], None, None)
    assert len(EmbeddedReader(data).alerts(0, 1000)) == PEOPLE
    return data
