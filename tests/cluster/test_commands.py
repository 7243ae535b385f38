"""Commands by hand on a cluster: the words of a data folder, each order booked once, and silence told with its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.cluster.conftest import Cassandra, Kafka
from tests.cluster.test_giving import Client, Processes, ordered
from tests.giving.small import PEOPLE, number, write
from tests.waiting import until
from trunkline.bootstrap.cluster.cassandra import Node
from trunkline.bootstrap.cluster.kafka import Broker
from trunkline.bootstrap.cluster.servers import settings_file
from trunkline.bootstrap.tokens import add_token
from trunkline.cli import app
from trunkline.cli.cluster_desk import at_cluster
from trunkline.ports import NoAnswer, Refused

PATIENCE_S = 900.0
OPENED = 30_000_000
DONE = ("booked", "repeated")  # the latter where the first answer was too late
CALL = {
    "type": "voice", "source": "msc", "subscriber": number(5), "called": "4915112349999",
    "start": "2026-09-21T10:00:00Z",
}  # fmt: skip


def said(*words: str, typed: str = "") -> str:
    """What a command says, asked again while a server of a slow machine is silent; other trouble is raised."""

    def look() -> tuple[str] | None:
        try:
            return (told(*words, typed=typed),)
        except NoAnswer:
            return None

    found = until(look, f"an answer to {words[0]}", PATIENCE_S, 0.5)
    assert found is not None
    return found[0]


def told(*words: str, typed: str = "") -> str:
    """What a command says the first time; its trouble is raised."""
    done = CliRunner().invoke(app, words, input=typed, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def asked(*words: str, typed: str = "") -> Any:
    """What a command answers as JSON."""
    return json.loads(said(*words, "--json", typed=typed))


@contextmanager
def cluster(
    kafka: Kafka, folder: Path, environment: pytest.MonkeyPatch
) -> Iterator[tuple[Client, Processes, Callable[[], None]]]:
    """A worker and a server, the settings of a shell beside them, and what starts the worker again."""
    told = settings_file(kafka.cluster, (Broker(secure=False), Node()))
    chosen = dict(line.split("=", 1) for line in told.read_text().splitlines())
    chosen |= {
        "TRUNKLINE_KAFKA_PREFIX": "hand", "TRUNKLINE_KAFKA_BUCKETS": "4", "TRUNKLINE_KAFKA_EDGE_PARTITIONS": "2",
        "TRUNKLINE_CASSANDRA_KEYSPACE": "hand", "TRUNKLINE_CASSANDRA_BUCKETS": "4",
    }  # fmt: skip
    running = Processes(chosen, folder)
    work = ["run", "--engine", "kafka", "--tariffs", str(write(folder)), "--data", str(folder / "work")]

    def begin() -> None:
        running.start("worker", work, "is charging on Kafka")

    client = Client(add_token(folder / "serve", "tester", "admin"))
    try:
        begin()
        serve = ["serve", "--port", "0", "--data", str(folder / "serve")]
        client.url = running.start("server", serve, r"The page: (http://127\.0\.0\.1:\d+)/")
        for name, value in {
            **chosen,
            "TRUNKLINE_ENGINE": "kafka",
            "TRUNKLINE_DATA": f"{folder}/serve",
        }.items():
            environment.setenv(name, value)
        yield client, running, begin
    finally:
        running.end()


@pytest.mark.timeout(2700)
def test_a_cluster_by_hand(
    kafka: Kafka, cassandra: Cassandra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handed on, redeemed, chosen and settled by command, each once and written down, as over a data folder."""
    assert cassandra.port
    with cluster(kafka, tmp_path, monkeypatch) as (client, running, begin):
        enrolled(client)
        handed_on(client)
        redeemed(client, tmp_path)
        chosen(tmp_path)
        settled(client, tmp_path / "serve")
        with at_cluster(tmp_path / "serve") as desk:
            audit = desk.reader().audit(500)
            done = set(audit.filter(pl.col("role") == "command line")["action"])
        assert {
            "transfer_out", "transfer_in", "make_vouchers", "read_voucher_codes", "activate_vouchers", "block_voucher",
            "redeem_voucher", "choose_delivery", "read_choices", "forget_delivery", "export_rejects", "decide_held",
            "correct_reject", "read_balances", "read_usage",
        } <= done  # fmt: skip
        silence_is_told(client, running, begin)
        monkeypatch.setenv("TRUNKLINE_CASSANDRA_KEYSPACE", "nowhere")
        with pytest.raises(Refused, match="has no keyspace nowhere"):
            said("delivery", "status")
        monkeypatch.setenv("TRUNKLINE_KAFKA_PREFIX", "nobody")
        with pytest.raises(Refused, match="knows no tariff yet"):
            said("voucher", "list")


def enrolled(client: Client) -> None:
    """Wait until everybody has an account."""
    paths = [f"/api/v1/subscribers/{number(at)}/balances" for at in range(PEOPLE)]
    until(
        lambda: all(client.ask("GET", path).status_code == 200 for path in paths),
        "all are there",
        PATIENCE_S,
        0.5,
    )


def amounts(client: Client, wanted: dict[int, int]) -> None:
    """Wait until people have this."""
    until(lambda: {at: client.money(at) for at in wanted} == wanted, f"they have {wanted}", PATIENCE_S, 0.5)


def handed_on(client: Client) -> None:
    """A transfer and a top-up: once under each name, and refused in words."""
    order = ("transfer", number(0), number(1), "2.00", "--id", "hand-1")
    booked = asked(*order)
    assert booked["status"] in DONE
    assert (booked["amount"], booked["fee_micros"]) == (2_000_000, 130_000)
    assert asked(*order)["status"] == "repeated"
    assert ordered(client, 2, 3, "over-http", 2_000_000).status_code == 201
    with pytest.raises(Refused, match="It was not transferred"):
        said("transfer", number(0), number(1), "30.00")
    with pytest.raises(Refused, match="was used for another transfer"):
        said("transfer", number(0), number(1), "3.00", "--id", "hand-1")
    assert asked("topup", number(4), "1.50", "--id", "top-1")["status"] in DONE
    assert asked("topup", number(4), "1.50", "--id", "top-1")["status"] == "repeated"
    amounts(client, {0: OPENED - 2_130_000, 1: OPENED + 2_000_000, 4: OPENED + 1_500_000})
    (main,) = (row for row in asked("balance", number(4)) if row["name"] == "main")
    assert main["value"] == OPENED + 1_500_000
    with pytest.raises(Refused, match="no such subscriber"):
        said("balance", "4915112399999")


def redeemed(client: Client, folder: Path) -> None:
    """A batch by hand, from its making to its accounting; a code brings something once."""
    make = ("voucher", "make", "spring", "--size", "3", "--amount", "10.00", "--expires", "2099-01-01")
    assert asked(*make)["status"] in ("made", "repeated")
    assert asked(*make)["status"] == "repeated"
    with pytest.raises(Refused, match="no balance gold"):
        said(
            "voucher",
            "make",
            "x",
            "--size",
            "1",
            "--amount",
            "1",
            "--expires",
            "2099-01-01",
            "--balance",
            "gold",
        )
    said("voucher", "codes", "spring", "--to", str(folder / "codes.csv"))
    first, second, _ = (line.split(",")[1] for line in (folder / "codes.csv").read_text().splitlines()[1:])
    with pytest.raises(Refused, match="It was not redeemed"):
        said("voucher", "redeem", number(1), typed=first)
    assert said("voucher", "activate", "spring") == "spring is active\n"
    said("voucher", "block", "spring", "2")
    done = asked("voucher", "redeem", number(1), "--id", "r-1", typed=first)
    assert done["status"] in DONE
    assert done["voucher"] == "spring-1"
    assert asked("voucher", "redeem", number(1), "--id", "r-1", typed=first)["status"] == "repeated"
    for code in (first, second):
        with pytest.raises(Refused, match="It was not redeemed"):
            said("voucher", "redeem", number(2), typed=code)
    assert asked("voucher", "show", "spring", "1")["state"] == "used"
    (row,) = asked("voucher", "list")
    assert [row[name] for name in ("made", "unused", "used", "blocked")] == [3, 1, 1, 1]
    amounts(client, {1: OPENED + 12_000_000})


def chosen(folder: Path) -> None:
    """Choices are kept, shown masked, read from a file whole or not at all, and forgotten."""
    assert asked("delivery", "status")["channels"] == []
    said("delivery", "choices", "set", number(1), "email", "--address", "anna.example@mail.example")
    (row,) = asked("delivery", "choices", "show", number(1))
    assert row["channel"] == "email"
    assert "anna.example" not in row["address"]
    file, head = (
        folder / "choices.csv",
        "subscriber,channel,address,language,time_zone,quiet_hours,opted_out\n",
    )
    file.write_text(f"{head}{number(2)},email,b@mail.example,de,,,\n{number(3)},pigeon,,,,,\n")
    with pytest.raises(Refused, match="pigeon"):
        said("delivery", "choices", "load", str(file))
    file.write_text(f"{head}{number(2)},email,b@mail.example,de,,,\n")
    assert asked("delivery", "choices", "load", str(file)) == {"choices": 1}
    assert said("delivery", "choices", "forget", number(1)) == "1 choices are forgotten.\n"
    assert asked("delivery", "choices", "show", number(1)) == []
    assert asked("delivery", "list") == asked("delivery", "dead") == []
    assert asked("delivery", "retry") == {"again": 0}


def settled(client: Client, folder: Path) -> None:
    """A conflict is charged beside the first record, once however often it is decided; a reject is corrected."""
    calls = [
        {**CALL, "id": "c-1", "duration_ms": 60_000},
        {**CALL, "id": "c-1", "duration_ms": 120_000},
        {**CALL, "id": "c-2", "duration_ms": 60_000, "type": "sms"},
    ]
    lines = "".join(json.dumps(each) + "\n" for each in calls)
    with at_cluster(folder) as desk:
        assert desk.intake.usage("trunkline", lines.encode()).records == 3
    (held,) = until(lambda: asked("held", "list"), "the conflict is shown", PATIENCE_S, 0.5)
    (reject,) = until(lambda: asked("rejects", "list"), "the reject is shown", PATIENCE_S, 0.5)
    assert (held["record_id"], reject["reason"]) == ("c-1", "tariff_not_found")
    with pytest.raises(Refused, match="discard"):
        said("held", "decide", str(held["number"]), "keep")
    said("rejects", "export", "--out", str(folder / "rejects.ndjson"))
    assert '"c-2"' in (folder / "rejects.ndjson").read_text()
    said("held", "decide", str(held["number"]), "charge")
    with pytest.raises(Refused, match="settled already"):
        said("held", "decide", str(held["number"]), "charge")
    said("rejects", "correct", str(reject["number"]), json.dumps({**calls[2], "type": "voice"}))

    def used() -> list[tuple[str, int]]:
        items = client.ask("GET", f"/api/v1/subscribers/{number(5)}/usage").json()["items"]
        return sorted((each["record_id"], each["charged_micros"]) for each in items)

    name = f"c-1~{held['number']}"
    wanted = [("c-1", 120_000), (name, 240_000), ("c-2", 120_000)]
    until(lambda: used() == sorted(wanted), "all three are charged", PATIENCE_S, 0.5)
    assert asked("held", "list") == asked("rejects", "list") == []
    assert sorted(each["record_id"] for each in asked("usage", number(5))) == sorted(["c-1", "c-2", name])
    assert asked("alerts") == []
    amounts(client, {5: OPENED - 480_000})


def silence_is_told(client: Client, running: Processes, begin: Callable[[], None]) -> None:
    """No worker is there: the order's name is told, and the same order is booked once when there is one again."""
    before = client.money(6)
    running.kill("worker")
    with pytest.raises(NoAnswer, match="order it again with --id late-1"):
        told("topup", number(6), "4.00", "--id", "late-1")
    begin()
    assert asked("topup", number(6), "4.00", "--id", "late-1")["status"] in DONE
    assert asked("topup", number(6), "4.00", "--id", "late-1")["status"] == "repeated"
    amounts(client, {6: before + 4_000_000})
