"""Simulated days of which many calls and sessions are told in parts, agreed by the second opinion to the micro-unit."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.opinion.audit import audit
from tests.opinion.test_simulated_days import EVER_US, Outcome, assert_agreed
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.platform import ingest, opened
from trunkline.bootstrap.reconcile import reconcile
from trunkline.charging.under_way import open_calls
from trunkline.records.charging import CHARGED
from trunkline.settings import Folders
from trunkline.simulator.settings import Settings
from trunkline.simulator.simulate import simulate
from trunkline.stores.embedded.reader import EmbeddedReader


def in_parts(lines: list[bytes], chance: Random) -> list[bytes]:
    """Every third call in up to six parts, among the records that follow; some parts twice, shuffled, or lost."""
    made: list[tuple[float, bytes]] = []
    for at, line in enumerate(lines):
        said = _said(line)
        if said.get("type") != "voice" or said.get("duration_ms", 0) < 10_000 or chance.random() < 0.66:
            made.append((at, line))
            continue
        ends = sorted(chance.sample(range(1, said["duration_ms"]), chance.randint(0, 5))) + [
            said["duration_ms"]
        ]
        start_us, begin = int(datetime.fromisoformat(said.pop("start")).timestamp() * 1_000_000), 0
        for number, end in enumerate(ends, 1):
            more = {"id": f"{said['id']}/{number}", "session": said["id"], "part": number}
            more |= {"start_us": start_us + begin * 1000, "duration_ms": end - begin}
            more |= {"report": "partial"} if number < len(ends) else {}
            begin = end
            place = at + (chance.random() * 40 if chance.random() < 0.3 else number / 10)
            if chance.random() < 0.03:
                continue
            made.append((place, json.dumps(said | more).encode()))
            if chance.random() < 0.05:
                made.append((place + chance.random() * 20, made[-1][1]))
            if chance.random() < 0.03:
                made.append(
                    (place + 30, json.dumps(said | more | {"id": f"{said['id']}/{number}/again"}).encode())
                )
    return [line for _, line in sorted(made, key=lambda each: each[0])]


def _said(line: bytes) -> dict[str, Any]:
    """What a line says; nothing when it is damaged, or says something odd of its length."""
    try:
        said = json.loads(line)
        datetime.fromisoformat(said["start"])
    except (ValueError, KeyError, TypeError):
        return {}
    return said if isinstance(said.get("duration_ms"), int) and said.get("id") else {}


@pytest.mark.parametrize("seed", [5, 6])
def test_long_calls(tmp_path: Path, seed: int) -> None:
    """Every record, entry, alert and balance is the same in both books, and reconciliation finds nothing."""
    people = int(os.environ.get("TRUNKLINE_TEST_LONG_CALLS_SUBSCRIBERS", "80"))
    simulate(Settings(seed=seed, subscribers=people, cells=20, hours=24), tmp_path / "sim")
    files = sorted((tmp_path / "sim" / "cdrs").iterdir())
    lines = [line for path in files for line in path.read_bytes().splitlines() if line.strip()]
    usage = tmp_path / "usage.ndjson"
    usage.write_bytes(b"".join(line + b"\n" for line in in_parts(lines, Random(seed))))
    data, tariffs = tmp_path / "data", tmp_path / "sim" / "tariffs"
    with opened(Folders(data=data, tariffs=str(tariffs))) as platform:
        done = ingest(platform, [usage], None, None)
    now_us = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    found = audit(tariffs, tmp_path / "sim" / "subscribers.csv", [usage], now_us)
    outcome = Outcome(EmbeddedReader(data), done.totals, found)
    assert_agreed(outcome)
    parts = sum(
        len(frame.filter(frame["part"] > 0)) for frame in outcome.reader.scan(CHARGED, -EVER_US, EVER_US)
    )
    assert parts > 20
    assert "part_again" in {verdict.reason for verdict in found.books.verdicts}
    left = sum(not call.over for calls in found.books.calls.values() for call in calls)
    words = outcome.reader.subscribers(0, 10**6)
    assert left == sum(len(open_calls(outcome.reader.account(word))) for word in words)
    books = reconcile(outcome.reader, load_catalogue(data, None), load_mappings())
    assert (books["differences"], books["account_differences"]) == (0, 0), books
