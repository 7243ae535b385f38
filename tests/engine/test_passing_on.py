"""Buckets that pass rows on to each other: a transfer between them is what it is within one data folder."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.giving.small import START_US, number, word, write
from trunkline.bootstrap.catalogues import load_mappings, tariff_files
from trunkline.bootstrap.kafka import new_held, plan_of
from trunkline.charging.subscribers import read_subscribers, time_zones_of
from trunkline.charging.tariffs import compile_catalogue, empty_register, with_time_zones
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.kafka.bucket import Bucket
from trunkline.engines.plan import STREAM
from trunkline.engines.wire import Message, progress_in, rows_in
from trunkline.records import charging, giving, usage

BUCKETS = 4
OPENED, AMOUNT, FEE = 30_000_000, 2_000_000, 130_000


@dataclass
class Cluster:
    """The buckets of one prefix, and the work topic between them; what a turn wrote is committed at once."""

    folder: Path
    buckets: list[Bucket] = field(init=False)
    catalogue: Catalogue = field(init=False)
    work: deque[Message] = field(default_factory=deque)
    told: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, list[pl.DataFrame]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Everybody is enrolled."""
        tariffs = write(self.folder)
        people = (tariffs / "subscribers.csv").read_bytes()
        register = with_time_zones(empty_register(), time_zones_of(people))
        catalogue, _ = compile_catalogue(tariff_files(tariffs), register)
        self.catalogue, self.tariff = catalogue, catalogue.fingerprint
        self.plan = plan_of("t", BUCKETS)
        tables = {
            usage.MAPPINGS.name: load_mappings(None),
            usage.MEMBERS.name: catalogue.members,
            charging.TARIFFS.name: catalogue,
        }
        self.buckets = [Bucket(at, self.plan, tables, new_held) for at in range(BUCKETS)]
        self.hand_in(charging.SUBSCRIBERS.name, read_subscribers("subscribers.csv", people, catalogue))

    def hand_in(self, stream: str, rows: pl.DataFrame) -> None:
        """Orders, as a router parts them, and everything that follows from them."""
        where = self.plan.part(giving.OFFERS, rows)
        for at in np.unique(where).tolist():
            self.carry(at, stream, rows.filter(pl.Series(where == at)))
        self.run()

    def carry(self, at: int, stream: str, rows: pl.DataFrame) -> None:
        """One turn of a bucket."""
        self.buckets[at].carry(stream, rows)
        self.end_turn(at)

    def end_turn(self, at: int) -> None:
        """Commit what a bucket has carried."""
        for message in self.buckets[at].turn(self.buckets[at].position + 1):
            if message.topic == self.plan.work:
                self.work.append(message)
            elif message.topic == self.plan.answers:
                self.told.append(progress_in(message.value))
            else:
                for known in self.plan.results:
                    if message.topic == self.plan.topic(known):
                        self.results.setdefault(known.name, []).append(rows_in(message.value, known.record))

    def run(self) -> None:
        """Carry what buckets passed on to each other, until there is nothing."""
        streams = {flow.steps[0].reads.name: flow.steps[0].reads for flow in self.plan.carried_whole}
        while self.work:
            message = self.work.popleft()
            name = str(dict(message.headers or [])[STREAM])
            self.carry(message.partition, name, rows_in(message.value, streams[name].record))

    def offer(self, name: str, giver: int, receiver: int, amount: int) -> None:
        """Order a transfer."""
        said = {
            "transfer_id": name, "subscriber": word(receiver), "giver": word(giver), "time_us": START_US,
            "balance": "main", "amount": amount,
        }  # fmt: skip
        rows = pl.DataFrame([said], schema_overrides={"subscriber": pl.UInt64, "giver": pl.UInt64})
        self.hand_in(giving.OFFERS.name, giving.OFFERS.record.conform(rows))

    def money(self, at: int) -> int:
        """What somebody has in the main balance."""
        key = np.array([word(at)], np.uint64)
        bucket = self.buckets[int(self.plan.part(giving.OFFERS, pl.DataFrame({"subscriber": key}))[0])]
        rows = bucket.gather(charging.ACCOUNTS, key).rows
        mine = (rows["kind"] == charging.RowKind.BALANCE) & (rows["definition"] == 1)
        return int(rows["value"][mine].sum())

    def answers(self, name: str) -> list[tuple[str, str]]:
        """What was answered to a transfer."""
        return [(each["status"], each["reason"]) for each in self.told if each.get("transfer_id") == name]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Everybody has 30.00."""
    made = Cluster(tmp_path)
    assert [made.money(at) for at in range(4)] == [OPENED] * 4
    return made


def apart(made: Cluster) -> tuple[int, int]:
    """Two who lie in different buckets."""
    key = pl.DataFrame({"subscriber": np.array([word(at) for at in range(8)], np.uint64)})
    where = made.plan.part(giving.OFFERS, key).tolist()
    other = next(at for at in range(1, 7) if where[at] != where[0])
    return 0, other


def test_both_sides_are_booked_once(cluster: Cluster) -> None:
    """However often the order comes, and the movement that the giver's side sent on, too."""
    giver, receiver = apart(cluster)
    cluster.offer("t1", giver, receiver, AMOUNT)
    cluster.offer("t1", giver, receiver, AMOUNT)
    sides = pl.concat(cluster.results[giving.SIDES.name])
    cluster.hand_in(charging.MOVEMENTS.name, sides.filter(pl.col("amount") > 0))
    assert (cluster.money(giver), cluster.money(receiver)) == (OPENED - AMOUNT - FEE, OPENED + AMOUNT)
    assert cluster.answers("t1") == [("booked", ""), ("repeated", "")]
    moved = [each for each in cluster.told if each.get("movement_id") == "transfer:t1:in"]
    assert [each["status"] for each in moved] == ["booked", "repeated"]
    assert sides["movement_id"].to_list() == ["transfer:t1:out", "transfer:t1:fee", "transfer:t1:in"]
    (handed,) = cluster.results[giving.HANDED.name]
    names = ("transfer_id", "subscriber", "receiver", "amount", "fee_micros")
    assert handed.select(names).rows() == [("t1", word(giver), word(receiver), AMOUNT, FEE)]
    entries = pl.concat(cluster.results[charging.ENTRIES.name])
    over = {
        side: entries.filter(pl.col(side).cast(pl.String) == "transfers")["amount"].sum()
        for side in ("debit", "credit")
    }
    assert over == {"debit": AMOUNT, "credit": AMOUNT}, "the account of transfers comes to nothing"


def test_two_in_one_bucket(cluster: Cluster) -> None:
    """It is the same where both lie together."""
    key = pl.DataFrame({"subscriber": np.array([word(at) for at in range(7)], np.uint64)})
    where = cluster.plan.part(giving.OFFERS, key).tolist()
    receiver, giver = next((a, b) for a in range(7) for b in range(a) if where[a] == where[b])
    cluster.offer("t1", giver, receiver, AMOUNT)
    assert (cluster.money(giver), cluster.money(receiver)) == (OPENED - AMOUNT - FEE, OPENED + AMOUNT)


def test_refused_on_the_givers_side(cluster: Cluster) -> None:
    """In words, with nothing booked; a name that was refused is refused again, whatever there is by then."""
    giver, receiver = apart(cluster)
    cluster.offer("t1", giver, receiver, 20_000_000)
    cluster.offer("t2", giver, receiver, 20_000_000)
    cluster.offer("t3", giver, giver, AMOUNT)
    cluster.offer("t4", giver, 99, AMOUNT)
    assert [cluster.answers(f"t{at}") for at in (2, 3, 4)] == [
        [("refused", "not_enough")], [("refused", "same_subscriber")], [("refused", "unknown_subscriber")],
    ]  # fmt: skip
    cluster.offer("t5", receiver, giver, 19_000_000)
    cluster.offer("t2", giver, receiver, 20_000_000)
    assert cluster.answers("t2") == [("refused", "not_enough")] * 2
    refused = pl.concat(cluster.results[giving.NOT_HANDED.name])
    assert refused["transfer_id"].to_list() == ["t2", "t3", "t4"]
    whole = cluster.money(giver) + cluster.money(receiver)
    assert whole == 2 * OPENED - 350_000 - 340_000
    assert number(giver) != number(receiver)
