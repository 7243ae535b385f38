"""The ledger of deliveries in Cassandra: several deliver beside each other, and each alert is told once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.small_catalogue import CATALOGUE
from tests.delivery.small import NOON_US, NUMBERS, Alerts, Clock, Remembering, alert
from trunkline.bootstrap.alert_delivery import AlertDelivery, LedgerDeliveries
from trunkline.bootstrap.alert_ways import load_templates
from trunkline.charging.delivery import Usual
from trunkline.kernel.dial import to_key
from trunkline.ports import AlertMessage, Refused, Undeliverable
from trunkline.stores.cassandra import deliveries as stored
from trunkline.stores.cassandra.connection import Connection, Unreachable
from trunkline.stores.cassandra.deliveries import TAKEN_FOR_US, CassandraDeliveries

CHOSEN = {"address": "", "language": "de", "time_zone": "", "quiet_hours": "", "opted_out": ""}


class Crash(BaseException):
    """The machine stops; nothing after it happens."""


def life(
    connection: Connection,
    rows: list[dict[str, Any]],
    channel: Remembering,
    clock: Clock,
    per_second: int = 1000,
) -> AlertDelivery:
    """One of the processes that deliver."""
    return AlertDelivery(
        Alerts(rows),  # type: ignore[arg-type]  # as much of a reader as delivery asks
        CassandraDeliveries(connection, clock),
        {channel.name: channel},
        Usual((channel.name,)),
        load_templates(),
        lambda: CATALOGUE,
        4,
        per_second,
        clock,
    )


def summed(ledger: CassandraDeliveries) -> dict[str, int]:
    """How many deliveries are in each state, after looking that they add up to what was planned."""
    counts = ledger.counts()
    states: Counter[str] = Counter()
    for of_channel in counts["states"].values():
        states.update(of_channel)
    assert sum(states.values()) + counts["let_go"] == counts["planned"], counts
    return dict(states)


def test_several_deliver_and_each_alert_is_told_once(connection: Connection) -> None:
    """Three processes take up the same alerts at the same moment; nobody is told twice, and all of it adds up."""
    rows, channel = [alert(number) for number in range(1, 31)], Remembering()
    lives = [life(connection, rows, channel, Clock()) for _ in range(3)]
    begin, failed = threading.Barrier(3), list[Unreachable]()

    def go(one: AlertDelivery) -> None:
        begin.wait(60)
        while going(one.take_up):
            pass
        while going(lambda: one.deliver(channel.name)[0]):
            pass

    def going(turn: Callable[[], int]) -> bool:
        try:
            return turn() > 0
        except Unreachable as trouble:  # a slow machine; deliveries try again, too
            failed.append(trouble)
            return len(failed) < 100

    threads = [threading.Thread(target=go, args=(one,)) for one in lives]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    late = Clock(NOON_US + TAKEN_FOR_US)
    assert life(connection, rows, channel, late).deliver(channel.name)[0] <= len(failed)
    assert {message.key for message in channel.taken} == {f"{n:032x}.webhook" for n in range(1, 31)}
    assert len(channel.taken) <= 30 + len(failed)
    ledger = CassandraDeliveries(connection)
    assert summed(ledger) == {"sent": 30}
    assert (ledger.counts()["alerts"], ledger.taken()) == (30, 30)
    assert [row["number"] for row in ledger.deliveries("sent", 3, 1)] == [117, 113, 109]
    assert ledger.deliveries(None, 1)[0]["subscriber"] == to_key(NUMBERS[0])


def test_who_dies_leaves_its_delivery_to_another_one(connection: Connection) -> None:
    """Nobody takes it from one that may still be at it; after that, it is told again, marked, and counted once."""
    rows, clock, seen = [alert(1)], Clock(), []

    def die(_message: AlertMessage) -> None:
        seen.append("once")
        raise Crash

    dying, heir = (
        life(connection, rows, Remembering(fate=fate), clock) for fate in (die, lambda _message: None)
    )
    assert dying.take_up() == 1
    with pytest.raises(Crash):
        dying.deliver("webhook")
    assert heir.deliver("webhook") == (0, True)
    clock.us += TAKEN_FOR_US
    assert heir.deliver("webhook") == (1, True)
    (message,) = heir.channels["webhook"].taken  # type: ignore[attr-defined]
    assert (seen, message.attempt) == (["once"], 2)
    number = heir.ledger.deliveries(None, 1)[0]["number"]
    dying.ledger.change(number, "failed", clock.us, clock.us, "it comes too late to say so")
    assert summed(CassandraDeliveries(connection)) == {"sent": 1}


def test_a_late_word_counts_for_nothing(connection: Connection) -> None:
    """Whose minute is over says nothing any more while another one tries, and a second begin is refused."""
    clock = Clock()
    first, second = (life(connection, [alert(1)], Remembering(), clock) for _ in range(2))
    first.take_up()
    (row,) = first.ledger.due("webhook", clock.us, 9)
    assert first.ledger.begin(row["number"]) == 1
    assert second.ledger.begin(row["number"]) == 0
    clock.us += TAKEN_FOR_US
    assert second.ledger.begin(row["number"]) == 2
    first.ledger.change(row["number"], "failed", clock.us, clock.us, "silence")
    assert second.ledger.deliveries(None, 1)[0]["state"] == "waiting"
    second.ledger.change(row["number"], "sent", clock.us, clock.us)
    assert second.ledger.deliveries(None, 1)[0]["state"] == "sent"


def test_dead_letters_and_choices(connection: Connection) -> None:
    """Given up loudly, offered again by a person; what customers choose is kept, spoken, forgotten."""

    def fate(message: AlertMessage) -> None:
        if message.subscriber == NUMBERS[1] and len(channel.taken) < 3:
            raise Undeliverable("answered 410")

    channel, clock = Remembering(fate=fate), Clock()
    one = life(connection, [alert(number) for number in (1, 2, 3, 4)], channel, clock)
    desk = LedgerDeliveries(one.ledger, one.reader, ("webhook",), tuple(one.templates), clock)
    word = to_key(NUMBERS[2])
    desk.choose(word, {"channel": "webhook", **CHOSEN, "opted_out": "low_balance"})
    assert one.take_up() == 4
    one.deliver("webhook")
    assert summed(CassandraDeliveries(connection)) == {"sent": 1, "failed": 2, "opted_out": 1}
    failed = [row["number"] for row in desk.deliveries("failed", 9)]
    assert desk.retry(failed[:1]) == 1
    assert desk.retry(failed[:1]) == 0
    assert desk.retry(None) == 1
    channel.fate = lambda _message: None
    one.deliver("webhook")
    assert desk.status()["states"] == {"webhook": {"sent": 3, "opted_out": 1}}
    assert desk.status()["behind"] == 0
    assert desk.choices(word) == [{"channel": "webhook", **CHOSEN, "opted_out": "low_balance"}]
    with pytest.raises(Refused, match="no words"):
        desk.choose(word, {"channel": "webhook", **CHOSEN, "language": "xx"})
    desk.choose(word, {"channel": "email", **CHOSEN, "address": "anna@mail.example"})
    assert {row["channel"]: row["address"] for row in desk.choices(word)} == {
        "email": "anna@mail.example",
        "webhook": "",
    }
    assert (desk.forget(word, "email"), desk.forget(word), desk.choices(word)) == (1, 1, [])


def test_what_is_long_done_is_let_go(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whole blocks, all but the newest, and counted: at every moment all that was planned is accounted for."""
    monkeypatch.setattr(stored, "BLOCK", 8)  # two alerts
    clock = Clock()
    one = life(connection, [alert(number) for number in range(1, 8)], Remembering(), clock)
    one.take_up()
    one.deliver("webhook")
    assert summed(CassandraDeliveries(connection)) == {"sent": 7}
    assert one.ledger.let_go(NOON_US) == 0
    assert one.ledger.let_go(NOON_US + 1) == 5
    counts = CassandraDeliveries(connection).counts()
    assert (counts["alerts"], counts["planned"], counts["let_go"]) == (7, 7, 5)
    assert summed(CassandraDeliveries(connection)) == {"sent": 2}
    assert CassandraDeliveries(connection).let_go(NOON_US + 1) == 0
