"""The same charging requests, embedded and through workers on Kafka: answers and ledger are the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.charging_online import CAROL, begun, doors, enrolled, operator, played, script
from tests.cluster.parity.comparing import ALL, EVER, same, same_account
from tests.online.world import ALICE, BOB, running
from tests.waiting import until
from trunkline.bootstrap.online import SOURCE
from trunkline.records import charging
from trunkline.stores.embedded.reader import EmbeddedReader

BALANCES = {ALICE: "3.00", BOB: "0.60", CAROL: "1.00"}
SESSIONS = int(os.environ.get("TRUNKLINE_TEST_SESSIONS", "16"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "5"))


@pytest.mark.timeout(900)
def test_the_same_requests(kafka: Kafka, tmp_path: Path) -> None:
    """Data, calls, messages and members, reports of more than was granted, answers that were lost on their way."""
    steps = script(SEED, SESSIONS)
    operator(tmp_path / "embedded", BALANCES)
    with running(tmp_path / "embedded", BALANCES) as world:
        theirs = played(world.life.root, steps)
    reader = EmbeddedReader(tmp_path / "embedded" / "data")  # at its end it has charged what was used
    rows = {
        charging.CHARGED: reader.usage(None, *EVER, ALL),
        charging.ENTRIES: reader.entries(None, *EVER, ALL),
    }
    accounts = reader.accounts()
    counts = {each.source: each for each in reader.accounting()}[SOURCE]

    day = begun(kafka, tmp_path / "cluster", "online-parity", BALANCES)
    with day.running("one"):
        enrolled(day)
        with doors(day) as (door,):
            ours = played(door.root, steps)
        until(lambda: day.accounts().get(SOURCE, [0])[0] == counts.received, "all of it is charged", 300, 0.2)
    assert ours == theirs, f"seed {SEED}"
    assert {status for status, _ in theirs} >= {200, 201, 204}
    assert sum(status == 201 for status, _ in theirs) >= SESSIONS
    for stream, expected in rows.items():
        assert len(expected) > 10, f"a run without {stream.name} proves nothing of it"
        same(stream.name, day.rows(stream, len(expected)), expected)
    held = day.account(day.built(), accounts.keys)
    assert all(same_account(held[int(key)], accounts.rows_of(int(key))) for key in accounts.keys)
    summed = day.accounts()[SOURCE]
    assert summed == [counts.received, counts.rated, counts.duplicate, counts.rejected, counts.held,
                      counts.charged_micros]  # fmt: skip
