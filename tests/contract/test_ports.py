"""The promises of `ports`: what was handed in is durable, answered once, and read back by anyone.

Each store that stands behind the ports is given to the same tests: the embedded one here, Cassandra in
`tests/cluster/cassandra`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import until
from trunkline.bootstrap.platform import Platform, opened
from trunkline.bootstrap.serve import MONEY
from trunkline.engines.embedded.intake import EngineIntake
from trunkline.engines.embedded.sources import LiveSources
from trunkline.kernel.dial import to_key
from trunkline.ports import Busy, Intake, Movement, Reader, Refused
from trunkline.records.charging import NEVER_S, Cause, RowKind
from trunkline.settings import Folders
from trunkline.stores.embedded.reader import EmbeddedReader

EVER = (-(2**62), 2**62)
ANNA, BEN = to_key("447700900001"), to_key("447700900002")

TARIFF = """
operator: {name: Test, currency: EUR, time_zone: Europe/London, country_code: "44"}
destinations:
  uk_mobile: {prefixes: ["447"]}
rates:
  national: {price: "0.60", per: 60s, increments: [1s]}
balances:
  main: {unit: money, main: true, low: ["1.00"], hysteresis: "0.50"}
---
plan: payg
effective: 2026-01-01
payment: prepaid
prices:
  - {usage: voice, to: [uk_mobile], rate: national}
"""


@dataclass
class Running:
    """A platform that runs, through its ports."""

    platform: Platform
    intake: Intake
    reader: Reader
    sources: LiveSources


def call(
    name: str, duration_ms: int = 60_000, called: str = "447700900009", subscriber: str = "447700900001"
) -> bytes:
    """One call as a line of our own schema."""
    return (
        f'{{"id":"{name}","type":"voice","subscriber":"{subscriber}","called":"{called}",'
        f'"start":"2026-03-01T10:00:00Z","duration_ms":{duration_ms}}}\n'
    ).encode()


def tariff_folder(folder: Path) -> Path:
    """The tariff and its two subscribers."""
    tariffs = folder / "tariffs"
    tariffs.mkdir()
    operator, plan = TARIFF.split("---\n")
    (tariffs / "operator.yaml").write_text(operator)
    (tariffs / "plan_payg.yaml").write_text(plan)
    people = "subscriber,plan,balance\n447700900001,payg,5.00\n447700900002,payg,1.50\n"
    (tariffs / "subscribers.csv").write_text(people)
    return tariffs


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """The embedded engine, driven in a thread."""
    with opened(Folders(data=tmp_path / "data", tariffs=str(tariff_folder(tmp_path)))) as platform:
        sources = LiveSources(platform.store, platform.store.disk, [], platform.mappings.__getitem__)
        stop = threading.Event()
        driving = threading.Thread(target=platform.engine.drive, args=(sources, stop))
        driving.start()
        intake = EngineIntake(platform.engine, MONEY, sources, most_unread_octets=1 << 20)
        yield Running(platform, intake, EmbeddedReader(tmp_path / "data"), sources)
        stop.set()
        driving.join()


def balance(running: Running, subscriber: int) -> int:
    """What is left of the money."""
    rows = running.reader.account(subscriber)
    return int(rows[rows["kind"] == RowKind.BALANCE]["value"].sum())


def charged(running: Running, count: int) -> None:
    """Wait until so many records came out of the flow."""
    until(
        lambda: sum(row.received for row in running.reader.accounting()) >= count,
        f"{count} records are counted",
    )


def topup(name: str, amount: int, subscriber: int = ANNA, balance_name: str = "main") -> Movement:
    """A top-up."""
    return Movement(name, int(Cause.TOPUP), subscriber, balance_name, amount, 1_772_359_200_000_000, NEVER_S)


def test_usage_is_charged_soon_after_it_was_taken(running: Running) -> None:
    """A receipt names the records; the balance moves; history, ledger and accounting agree."""
    receipt = running.intake.usage("trunkline", call("a") + call("b", 30_000))
    assert receipt.records == 2
    charged(running, 2)
    assert balance(running, ANNA) == 5_000_000 - 600_000 - 300_000
    assert sorted(running.reader.usage(ANNA, *EVER, 10)["record_id"]) == ["a", "b"]
    assert running.reader.usage(BEN, *EVER, 10).is_empty()
    assert running.reader.usage_record("trunkline", "b")["charged_micros"].to_list() == [300_000]
    assert running.reader.usage_record("trunkline", "c").is_empty()
    assert running.reader.entries(ANNA, *EVER, 10)["amount"].sum() == 5_000_000 + 900_000
    assert running.reader.subscribers(0, 10) == [ANNA, BEN]
    assert running.reader.subscribers(ANNA, 10) == [BEN]
    for after, limit, words in ((0, 1, [ANNA]), (0, 10, [ANNA, BEN]), (ANNA, 10, [BEN]), (BEN, 10, [])):
        accounts = running.reader.accounts_after(after, limit)
        assert accounts.keys.tolist() == words
        for word in words:
            assert accounts.rows_of(word).tolist() == running.reader.account(word).tolist()


def test_the_same_usage_again_is_a_duplicate(running: Running) -> None:
    """A sender that did not hear the answer may send again."""
    for _ in range(3):
        running.intake.usage("trunkline", call("a"))
    charged(running, 3)
    (row,) = running.reader.accounting()
    assert (row.received, row.rated, row.duplicate) == (3, 1, 2)
    assert balance(running, ANNA) == 4_400_000


def test_a_movement_is_booked_once(running: Running) -> None:
    """The same name is booked once, with the same answer; what cannot be booked says why."""
    (first,) = running.intake.move([topup("t1", 2_000_000)])
    (again,) = running.intake.move([topup("t1", 2_000_000)])
    twice = running.intake.move([topup("t2", 10), topup("t2", 10), topup("t3", 5, balance_name="nothing")])
    assert (first["status"], again["status"]) == ("booked", "repeated")
    assert [answer["status"] for answer in twice] == ["booked", "repeated", "refused"]
    assert twice[2]["reason"] == "unknown_balance"
    assert running.intake.move([topup("t3", 5, balance_name="nothing")])[0]["status"] == "refused"
    assert balance(running, ANNA) == 7_000_010
    assert running.reader.movements(ANNA, 10)["status"].to_list() == ["refused", "booked", "booked"]


def test_movements_from_many_threads_all_count(running: Running) -> None:
    """Orders that come at once are carried one after another, beside usage."""
    threads = [
        threading.Thread(target=lambda part=part: running.intake.move([topup(f"p{part}", 1)]))
        for part in range(20)
    ]
    for thread in threads:
        thread.start()
    running.intake.usage("trunkline", call("a"))
    for thread in threads:
        thread.join()
    charged(running, 1)
    assert balance(running, ANNA) == 5_000_000 + 20 - 600_000


def test_a_low_balance_is_told_once(running: Running) -> None:
    """An alert is in the list after the commit that crossed the mark."""
    running.intake.usage("trunkline", call("a", subscriber="447700900002"))
    running.intake.usage("trunkline", call("b", 1000, subscriber="447700900002"))
    charged(running, 2)
    alerts = running.reader.alerts(0, 10)
    assert (alerts["subscriber"].to_list(), alerts["kind"].to_list()) == ([BEN], ["low_balance"])
    assert running.reader.alerts(alerts["number"][0], 10).is_empty()
    assert running.reader.alerts(0, 10, ANNA).is_empty()


def test_a_reject_is_corrected_and_offered_again(running: Running) -> None:
    """A rejected record keeps its octets, is charged once corrected, and leaves the list."""
    wrong = call("a", called="12")
    running.intake.usage("trunkline", wrong + b"rubbish\n")
    charged(running, 2)
    rejects = running.reader.rejects(None, 10)
    assert rejects["reason"].to_list() == ["tariff_not_found", "unreadable"] or len(rejects) == 2
    number = rejects.row(0, named=True)["number"]
    assert rejects["raw"].to_list()[0] == wrong.rstrip(b"\n")
    running.intake.settle_reject(number, call("a"), "anna")
    charged(running, 3)
    running.intake.settle_reject(rejects["number"][1], None, "anna")
    assert running.reader.rejects(None, 10).is_empty()
    assert balance(running, ANNA) == 4_400_000
    with pytest.raises(Refused, match="settled already"):
        running.intake.settle_reject(number, None, "ben")


def test_a_conflict_is_decided_by_a_person(running: Running) -> None:
    """The second record of a name waits; charged, it is usage of its own; discarded, it is not."""
    running.intake.usage("trunkline", call("a") + call("a", 120_000) + call("b") + call("b", 6_000))
    charged(running, 4)
    held = running.reader.held(10)
    assert held["record_id"].to_list() == ["a", "b"]
    running.intake.settle_held(held["number"][0], "charge", "anna")
    running.intake.settle_held(held["number"][1], "discard", "anna")
    assert running.reader.held(10).is_empty()
    assert balance(running, ANNA) == 5_000_000 - 600_000 - 600_000 - 1_200_000
    with pytest.raises(Refused):
        running.intake.settle_held(held["number"][0], "charge", "anna")
    with pytest.raises(Refused, match="discard"):
        running.intake.settle_held(held["number"][0], "burn", "anna")


def test_what_cannot_be_taken_is_said(running: Running) -> None:
    """An unknown mapping, nothing at all, and too much at once."""
    with pytest.raises(Refused, match="no mapping"):
        running.intake.usage("nothing", b"{}\n")
    with pytest.raises(Refused, match="nothing in it"):
        running.intake.usage("trunkline", b"\n")
    with pytest.raises(Refused, match="heading"):
        running.intake.usage("trunkline_csv", b"id\n")
    with running.sources._counting:
        running.sources._appended_to[10**6] = 1 << 30
    with pytest.raises(Busy) as busy:
        running.intake.usage("trunkline", call("z"))
    assert busy.value.retry_after_s >= 1


def test_status_says_how_it_stands(running: Running) -> None:
    """Counts and sizes of everything, in one answer."""
    running.intake.usage("trunkline", call("a"))
    charged(running, 1)
    status = running.reader.status()
    assert status["streams"]["charging.usage"]["rows"] == 1
    assert status["files"]["spool"]["files"] == 1
    assert (status["rejected_open"], status["held_open"], status["spool_octets"]) == (0, 0, 0)
    memory = running.platform.store.status()["states"]["usage.seen"]
    assert memory["memory_keys"] == 1
