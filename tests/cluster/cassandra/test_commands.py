"""Commands by hand on a cluster: the words of a data folder, each order booked once, and silence told with its name.

The worker and the delivery live in this process and all commands meet the same ones, so starting them is paid once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.cluster.cassandra.conftest import BUCKETS, KEYSPACE, contact
from tests.cluster.conftest import Cassandra, Kafka
from tests.cluster.kafka.running import EDGE_PARTITIONS, Day
from tests.giving.small import PEOPLE, number, word, write
from tests.waiting import until
from trunkline.bootstrap import intake
from trunkline.bootstrap.balance_delivery import deliver
from trunkline.bootstrap.cluster.cassandra import Node
from trunkline.bootstrap.cluster.kafka import Broker
from trunkline.bootstrap.cluster.servers import settings_file
from trunkline.bootstrap.kafka import enrol
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.cli import app
from trunkline.cli.cluster_desk import at_cluster
from trunkline.ports import NoAnswer, Refused
from trunkline.records.bills import BILLS
from trunkline.records.charging import TARIFFS, RowKind
from trunkline.settings import Folders
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.reader import CassandraReader
from trunkline.stores.embedded.bill_files import BillFiles

PATIENCE_S = 300.0
OPENED = 30_000_000
BILL = "202611-0123456789abcdef0123"
DONE = ("booked", "repeated")  # the latter where the first answer was too late
CALL = {
    "type": "voice", "source": "msc", "subscriber": number(5), "called": "4915112349999",
    "start": "2026-09-21T10:00:00Z", "duration_ms": 60_000,
}  # fmt: skip


def told(*words: str, typed: str = "") -> str:
    """What a command says; its trouble is raised."""
    done = CliRunner().invoke(app, words, input=typed, catch_exceptions=False)
    assert done.exit_code == 0, (words, done.output)
    return done.stdout


def said(*words: str, typed: str = "") -> str:
    """The same, asked again while a server of a slow machine is silent."""

    def look() -> tuple[str] | None:
        try:
            return (told(*words, typed=typed),)
        except NoAnswer:
            return None

    found = until(look, f"an answer to {words[0]}", PATIENCE_S, 0.1)
    assert found is not None
    return found[0]


def asked(*words: str, typed: str = "") -> Any:
    """What a command answers as JSON."""
    return json.loads(said(*words, "--json", typed=typed))


@dataclass(frozen=True)
class Running:
    """A cluster that charges and delivers, and what was delivered."""

    day: Day
    reader: CassandraReader
    catalogue: Catalogue

    def money(self, at: int) -> int:
        """What somebody has."""
        rows = self.reader.account(word(at))
        mine = (rows["kind"] == RowKind.BALANCE) & (rows["definition"] == self.catalogue.main_balance)
        return int(rows["value"][mine].sum())

    def have(self, wanted: dict[int, int]) -> None:
        """Wait until people have this."""
        until(lambda: {at: self.money(at) for at in wanted} == wanted, f"they have {wanted}", PATIENCE_S)


@contextmanager
def delivering(day: Day, cassandra: Cassandra) -> Iterator[None]:
    """Results go into Cassandra, as a process that serves carries them."""
    stop = threading.Event()
    _, wait = deliver(day.server, day.plan, lambda: Connection(contact(cassandra)), stop)
    try:
        yield
    finally:
        stop.set()
        wait()


@pytest.fixture
def running(
    kafka: Kafka,
    cassandra: Cassandra,
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Running]:
    """The cluster without a worker, and a shell with its settings."""
    shell = settings_file(kafka.cluster, (Broker(secure=False), Node())).read_text()
    chosen = dict(line.split("=", 1) for line in shell.splitlines()) | {
        "TRUNKLINE_KAFKA_PREFIX": "hand", "TRUNKLINE_KAFKA_BUCKETS": "4",
        "TRUNKLINE_KAFKA_EDGE_PARTITIONS": str(EDGE_PARTITIONS), "TRUNKLINE_CASSANDRA_KEYSPACE": KEYSPACE,
        "TRUNKLINE_CASSANDRA_BUCKETS": str(BUCKETS), "TRUNKLINE_ENGINE": "kafka",
        "TRUNKLINE_DATA": str(tmp_path / "serve"), "TRUNKLINE_SPARK_CHECKPOINT": str(tmp_path / "spark"),
    }  # fmt: skip
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Refused, match="knows no tariff yet"):
        told("voucher", "list")
    day = Day.made(tmp_path, kafka.settings(), "hand")
    folders = Folders(tariffs=str(write(tmp_path)))
    catalogue = day.work("enrolling").tables[TARIFFS.name]
    assert isinstance(catalogue, Catalogue)
    assert enrol(day.server, day.plan, folders, catalogue) == PEOPLE
    with delivering(day, cassandra):
        yield Running(day, CassandraReader(connection), catalogue)


def test_a_cluster_by_hand(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handed on, redeemed, chosen, settled and billed by command, each once and written down, as over a data folder."""
    with running.day.running():
        running.have(dict.fromkeys(range(PEOPLE), OPENED))
        handed_on(running)
        redeemed(running, tmp_path)
        chosen()
        settled(running, tmp_path)
        billed(running, tmp_path)
    silence_is_told(running, monkeypatch)
    done = set(running.reader.audit(500).filter(pl.col("role") == "command line")["action"])
    assert {
        "transfer_out", "transfer_in", "make_vouchers", "read_voucher_codes", "activate_vouchers", "redeem_voucher",
        "choose_delivery", "read_choices", "forget_delivery", "export_rejects", "decide_held", "correct_reject",
        "read_balances", "read_usage",
    } <= done  # fmt: skip
    monkeypatch.setenv("TRUNKLINE_CASSANDRA_KEYSPACE", "nowhere")
    with pytest.raises(Refused, match="has no keyspace nowhere"):
        said("delivery", "status")


def handed_on(running: Running) -> None:
    """A transfer and a top-up: once under each name, and refused in words."""
    order = ("transfer", number(0), number(1), "2.00", "--id", "hand-1")
    booked = asked(*order)
    assert booked["status"] in DONE
    assert (booked["amount"], booked["fee_micros"]) == (2_000_000, 130_000)
    assert asked(*order)["status"] == "repeated"
    with pytest.raises(Refused, match="It was not transferred"):
        said("transfer", number(0), number(1), "30.00")
    with pytest.raises(Refused, match="was used for another transfer"):
        said("transfer", number(0), number(1), "3.00", "--id", "hand-1")
    assert asked("topup", number(4), "1.50", "--id", "top-1")["status"] in DONE
    assert asked("topup", number(4), "1.50", "--id", "top-1")["status"] == "repeated"
    running.have({0: OPENED - 2_130_000, 1: OPENED + 2_000_000, 4: OPENED + 1_500_000})
    (main,) = (row for row in asked("balance", number(4)) if row["name"] == "main")
    assert main["value"] == OPENED + 1_500_000


def redeemed(running: Running, folder: Path) -> None:
    """A batch by hand, from its making to its accounting; a code brings something once."""
    make = ("voucher", "make", "spring", "--size", "2", "--amount", "10.00", "--expires", "2099-01-01")
    assert asked(*make)["status"] in ("made", "repeated")
    assert asked(*make)["status"] == "repeated"
    said("voucher", "codes", "spring", "--to", str(folder / "codes.csv"))
    code = (folder / "codes.csv").read_text().splitlines()[1].split(",")[1]
    assert said("voucher", "activate", "spring") == "spring is active\n"
    redeem = ("voucher", "redeem", number(2), "--id", "r-1")
    assert asked(*redeem, typed=code)["status"] in DONE
    assert asked(*redeem, typed=code)["status"] == "repeated"
    with pytest.raises(Refused, match="It was not redeemed"):
        said("voucher", "redeem", number(3), typed=code)
    (row,) = asked("voucher", "list")
    assert [row[name] for name in ("made", "unused", "used")] == [2, 1, 1]
    running.have({2: OPENED + 10_000_000, 3: OPENED})


def chosen() -> None:
    """Choices are kept, shown masked, and forgotten."""
    said("delivery", "choices", "set", number(1), "email", "--address", "anna.example@mail.example")
    (row,) = asked("delivery", "choices", "show", number(1))
    assert row["channel"] == "email"
    assert "anna.example" not in row["address"]
    assert said("delivery", "choices", "forget", number(1)) == "1 choices are forgotten.\n"
    assert asked("delivery", "list") == []


def settled(running: Running, folder: Path) -> None:
    """A conflict is charged beside the first record, once however often it is decided; a reject is corrected.

    Both came from somebody who names no mapping: they are read again as they were read.
    """
    calls = [
        {**CALL, "id": "c-1"}, {**CALL, "id": "c-1", "duration_ms": 120_000}, {**CALL, "id": "c-2", "type": "sms"},
    ]  # fmt: skip
    lines = "".join(json.dumps(each) + "\n" for each in calls)
    running.day.hand_in(lines.encode())
    until(lambda: len(running.reader.held(5)) and len(running.reader.rejects(None, 5)), "both are shown")
    (held,), (reject,) = asked("held", "list"), asked("rejects", "list")
    assert (held["record_id"], reject["reason"]) == ("c-1", "tariff_not_found")
    said("rejects", "export", "--out", str(folder / "rejects.ndjson"))
    assert '"c-2"' in (folder / "rejects.ndjson").read_text()
    said("held", "decide", str(held["number"]), "charge")
    with pytest.raises(Refused, match="settled already"):
        said("held", "decide", str(held["number"]), "charge")
    said("rejects", "correct", str(reject["number"]), json.dumps({**calls[2], "type": "voice"}))
    running.have({5: OPENED - 480_000})
    until(lambda: len(running.reader.usage(word(5), 0, 2**62, 10)) == 3, "all three are shown")
    names = sorted(["c-1", "c-2", f"c-1~{held['number']}"])
    assert sorted(each["record_id"] for each in asked("usage", number(5))) == names
    assert asked("held", "list") == asked("rejects", "list") == []


def billed(running: Running, folder: Path) -> None:
    """Previewed out of what was delivered; a bill that is kept is disputed and credited, once, and exported."""
    with pytest.raises(Refused, match="engine kafka do not make bills"):
        told("bill", "list")
    spark = ("--engine", "spark")
    (folder / "spark").mkdir()
    preview = until(lambda: _of_three(asked("bill", "preview", number(5), *spark)), "all is delivered")
    assert (preview["state"], preview["total_micros"]) == ("preview", 480_000)
    with at_cluster(folder / "serve") as desk:
        row = desk.bills().preview(word(5))
    assert row is not None
    kept = {name: row[name] for name in BILLS.record.schema} | {"bill_id": BILL}
    BillFiles(folder / "spark" / "bills").add(0, 0, pl.DataFrame([kept], BILLS.record.schema))
    with pytest.raises(Refused, match="billed already"):
        told("bill", "preview", number(5), *spark)
    said("bill", "dispute", BILL, "--reason", "the second call", *spark)
    assert [each["state"] for each in asked("bill", "list", *spark)] == ["disputed"]
    credit = ("bill", "credit", BILL, "0.10", "--reason", "goodwill", *spark)
    assert asked(*credit) == asked(*credit)
    running.have({5: OPENED - 380_000})
    shown = asked("bill", "show", BILL, *spark)
    assert [note["action"] for note in shown["notes"]] == ["dispute", "credit"]
    assert shown["credited_micros"] == 100_000
    with pytest.raises(Refused, match="at most what is left"):
        told("bill", "credit", BILL, "0.40", "--reason", "more", *spark)
    said("bill", "export", BILL, str(folder / "bill.json"), "--format", "json", "--items", *spark)
    assert len(json.loads((folder / "bill.json").read_text())["items"]) == 3
    trail = (folder / "serve" / "audit.ndjson").read_text()
    assert all(action in trail for action in ("preview_bill", "dispute_bill", "credit_bill", "export_bill"))


def _of_three(bill: Any) -> Any:
    return bill if sum(line["uses"] for line in bill["lines"]) == 3 else None


def silence_is_told(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is there: the order's name is told, and the same order is booked once when there is one again."""
    before = running.money(6)
    order = ("topup", number(6), "4.00", "--id", "late-1")
    with monkeypatch.context() as hurried:
        hurried.setattr(intake, "ANSWER_S", 1.0)
        with pytest.raises(NoAnswer, match="order it again with --id late-1"):
            told(*order)
    with running.day.running():
        assert asked(*order)["status"] in DONE
        assert asked(*order)["status"] == "repeated"
        running.have({6: before + 4_000_000})
