"""Alerts on their way to customers: taken up once, tried until they are taken, and given up loudly.

One thread takes alerts up in the order of their commit and writes down what is to be done by which channel; a thread
a channel does it. An attempt is written down before it is made and its end after it, so a machine that stops in between
delivers once more under the same name, says so, and counts it once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from trunkline.charging.choices import ChoiceError, parse_choice, read_choices
from trunkline.charging.delivery import (
    FAILED,
    HELD,
    NO_CHANNEL,
    OPTED_OUT,
    SENT,
    WAITING,
    Choice,
    Planned,
    Usual,
    judge,
    key_of,
    parse_kinds,
    parse_quiet,
    pause_us,
    ways,
)
from trunkline.charging.messages import Templates, Words, figures, told
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.dial import to_text
from trunkline.ports import (
    AlertChannel,
    AlertMessage,
    Reader,
    Refused,
    TryLater,
    Undeliverable,
)
from trunkline.records.charging import RowKind, Unit

log = logging.getLogger("trunkline.alerts")

AT_ONCE = 500
NUMBERS_AT_ONCE = 500
COUNTED_AT_MOST = 10_000
A_TURN = 50
LOOK_EVERY_S = 0.25
REST_S = 2.0  # of a channel where nobody answers
CHOSEN_OTHERWISE = "the customer chose otherwise"
NOT_SET_UP = "the channel is not set up"


def choice_of(said: Mapping[str, str]) -> Choice:
    """A kept choice."""
    return Choice(
        said["channel"],
        said["address"],
        said["language"],
        said["time_zone"],
        parse_quiet(said["quiet_hours"]) if said["quiet_hours"] else None,
        parse_kinds(said["opted_out"]),
    )


def kept(choice: Choice) -> dict[str, str]:
    """A choice as it is kept."""
    return {
        "channel": choice.channel,
        "address": choice.address,
        "language": choice.language,
        "time_zone": choice.time_zone,
        "quiet_hours": "" if choice.quiet is None else str(choice.quiet),
        "opted_out": " ".join(choice.has_opted_out_of),
    }


class DeliveryLedger(Protocol):
    """Where it is written what became of every alert on every channel, and what customers chose.

    What a call writes is durable when it returns. Any thread may call; who was let `begin` a delivery tries it.
    """

    def taken(self) -> int:
        """Running number of the last alert that was taken up."""

    def plan(self, planned: Sequence[Planned], alerts: int, last: int, now_us: int) -> None:
        """Take up so many alerts, up to the number `last`; an alert that was planned before stays as it was."""

    def due(self, channel: str, now_us: int, limit: int) -> list[dict[str, Any]]:
        """Open deliveries of a channel whose time has come, those that wait longest first."""

    def begin(self, number: int) -> int:
        """Write down that a delivery is tried now; which attempt it is. 0 when it is not ours to try."""

    def change(self, number: int, state: str, due_us: int, now_us: int, reason: str = "") -> None:
        """Say what became of an open delivery; one that is not open stays as it is."""

    def retry(self, numbers: Sequence[int] | None, now_us: int) -> int:
        """Open dead letters again, all of them when no numbers are given; how many there were."""

    def let_go(self, before_us: int) -> int:
        """Remove what was done with before a moment; how many rows."""

    def deliveries(self, state: str | None, limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """Deliveries, newest first."""

    def counts(self) -> dict[str, Any]:
        """`states` (by channel), `alerts`, `planned`, `let_go` and `taken`."""

    def choices(self, subscriber: int) -> list[dict[str, str]]:
        """What a customer chose, a row a channel."""

    def choose(self, chosen: Sequence[tuple[int, dict[str, str]]]) -> None:
        """Keep choices, each instead of an earlier one of its customer and channel."""

    def forget(self, subscriber: int, channel: str | None = None) -> int:
        """Forget what a customer chose, for one channel or for all; how many choices there were."""

    def close(self) -> None:
        """Let go of it."""


class LedgerDeliveries:
    """Deliveries and choices of a data folder or a keyspace (`ports.Deliveries`)."""

    def __init__(
        self,
        ledger: DeliveryLedger,
        reader: Reader,
        channels: Sequence[str],
        languages: Sequence[str],
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """`channels` are those that are set up."""
        self._ledger, self._reader, self._now_us = ledger, reader, now_us
        self._channels, self._languages = tuple(channels), tuple(languages)

    def status(self) -> dict[str, Any]:
        """See `ports.Deliveries`."""
        counts = self._ledger.counts()
        behind = len(self._reader.alerts(counts.pop("taken"), COUNTED_AT_MOST))
        return {
            "channels": list(self._channels),
            "languages": list(self._languages),
            "behind": behind,
            **counts,
        }

    def deliveries(self, state: str | None, limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """Deliveries, newest first."""
        return self._ledger.deliveries(state, limit, offset)

    def retry(self, numbers: Sequence[int] | None) -> int:
        """Offer dead letters again; how many there were."""
        now_us = self._now_us()
        if numbers is None:
            return self._ledger.retry(None, now_us)
        parts = range(0, len(numbers), NUMBERS_AT_ONCE)
        return sum(self._ledger.retry(numbers[at : at + NUMBERS_AT_ONCE], now_us) for at in parts)

    def choices(self, subscriber: int) -> list[dict[str, Any]]:
        """What one customer chose."""
        return [dict(row) for row in self._ledger.choices(subscriber)]

    def choose(self, subscriber: int, said: Mapping[str, str]) -> None:
        """Keep one channel's choice; raises `Refused`."""
        try:
            choice = parse_choice(said)
        except ChoiceError as error:
            raise Refused(str(error).replace("\n", "; ") + ".") from error
        self._assert_spoken(choice)
        self._ledger.choose([(subscriber, kept(choice))])

    def load(self, name: str, content: bytes) -> list[int]:
        """Keep the choices of a file, all or none; whose they are. Raises `Refused`."""
        try:
            found = read_choices(name, content)
        except ChoiceError as error:
            raise Refused(str(error)) from error
        for _, choice in found:
            self._assert_spoken(choice)
        self._ledger.choose([(word, kept(choice)) for word, choice in found])
        return [word for word, _ in found]

    def forget(self, subscriber: int, channel: str | None = None) -> int:
        """Forget what a customer chose."""
        return self._ledger.forget(subscriber, channel)

    def let_go(self, before_us: int) -> int:
        """Remove deliveries that were done with before a moment; how many."""
        return self._ledger.let_go(before_us)

    def _assert_spoken(self, choice: Choice) -> None:
        if choice.language and choice.language not in self._languages:
            known = ", ".join(self._languages)
            raise Refused(f"There are no words in {choice.language!r}; there are in {known}.")


@dataclass
class AlertDelivery:
    """Takes alerts up and delivers them. One thread takes up, one a channel delivers."""

    reader: Reader
    ledger: DeliveryLedger
    channels: Mapping[str, AlertChannel]
    usual: Usual
    templates: Templates
    catalogue: Callable[[], Catalogue]
    attempts_max: int = 12
    per_second: int = 20
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    look_every_s: float = LOOK_EVERY_S

    # -- taking up ----------------------------------------------------------------------------------------

    def take_up(self) -> int:
        """Write down what is to be done with the next alerts; how many there were."""
        after = self.ledger.taken()
        alerts = self.reader.alerts(after, AT_ONCE)
        if not len(alerts):
            return 0
        now_us = self.now_us()
        planned = [each for row in alerts.iter_rows(named=True) for each in self._planned(row, now_us)]
        self.ledger.plan(planned, len(alerts), int(alerts["number"][-1]), now_us)
        return len(alerts)

    def _planned(self, alert: Mapping[str, Any], now_us: int) -> list[Planned]:
        subscriber = alert["subscriber"]
        chosen = ways([choice_of(each) for each in self.ledger.choices(subscriber)], self.usual)
        common = (alert["number"], alert["alert_id"])
        if not chosen:
            return [Planned(*common, "none", subscriber, alert["kind"], NO_CHANNEL, now_us)]
        oldest_us = self.usual.oldest_us
        zone = "UTC" if oldest_us and now_us - alert["time_us"] > oldest_us else self._zone(subscriber)
        found = []
        for choice in chosen:
            verdict = judge(alert, choice, self.usual, zone, now_us)
            state, due_us, reason = verdict.state, verdict.due_us, ""
            if state in (WAITING, HELD) and choice.channel not in self.channels:
                state, due_us, reason = FAILED, now_us, NOT_SET_UP
            found.append(Planned(*common, choice.channel, subscriber, alert["kind"], state, due_us, reason))
        return found

    # -- delivering ---------------------------------------------------------------------------------------

    def deliver(self, channel: str, stop: threading.Event | None = None) -> tuple[int, bool]:
        """Try what is due by one channel; how many were tried, and whether anybody answered."""
        tried = 0
        for row in self.ledger.due(channel, self.now_us(), A_TURN):
            if stop is not None and stop.is_set():
                break
            reached = self._try(self.channels[channel], row)
            tried += 1
            if not reached:
                return tried, False
            if stop is not None:
                stop.wait(1 / self.per_second)
        return tried, True

    def _try(self, channel: AlertChannel, row: Mapping[str, Any]) -> bool:
        """One attempt, unless it is not wanted any more; False when nobody answered."""
        now_us, number = self.now_us(), row["number"]
        chosen = {each["channel"]: choice_of(each) for each in self.ledger.choices(row["subscriber"])}
        choice = chosen.get(channel.name)
        if choice is None and not chosen and channel.name in self.usual.channels:
            choice = Choice(channel.name)
        alerts = self.reader.alerts(row["alert"] - 1, 1)
        if not len(alerts) or alerts["alert_id"][0] != row["alert_id"]:
            self.ledger.change(number, FAILED, now_us, now_us, "the alert is not kept any more")
            return True
        if choice is None:
            self.ledger.change(number, OPTED_OUT, now_us, now_us, CHOSEN_OTHERWISE)
            return True
        alert = alerts.row(0, named=True)
        zone = self._zone(row["subscriber"])
        # What was taken up in time is told, however long it takes.
        verdict = judge(alert, choice, replace(self.usual, oldest_us=0), zone, now_us)
        if verdict.state != WAITING:
            self.ledger.change(number, verdict.state, verdict.due_us, now_us)
            return True
        attempt = self.ledger.begin(number)
        if attempt == 0:
            return True
        return self._sent(channel, row, self._message(row, alert, choice, zone, attempt))

    def _sent(self, channel: AlertChannel, row: Mapping[str, Any], message: AlertMessage) -> bool:
        number, failures = row["number"], message.attempt - row["counted_from"]
        try:
            channel.send(message)
        except Undeliverable as error:
            self._give_up(row, str(error))
            return True
        except TryLater as error:
            if failures >= self.attempts_max:
                self._give_up(row, str(error))
            else:
                now_us = self.now_us()
                pause = max(pause_us(message.key, failures), error.retry_after_s * 1_000_000)
                self.ledger.change(number, WAITING, now_us + pause, now_us, str(error))
            return error.reached
        now_us = self.now_us()
        self.ledger.change(number, SENT, now_us, now_us)
        return True

    def _give_up(self, row: Mapping[str, Any], reason: str) -> None:
        now_us = self.now_us()
        self.ledger.change(row["number"], FAILED, now_us, now_us, reason)
        log.error(
            "an alert was not delivered",
            extra={"delivery": row["number"], "channel": row["channel"], "cause": reason},
        )

    def _message(
        self, row: Mapping[str, Any], alert: Mapping[str, Any], choice: Choice, zone: str, attempt: int
    ) -> AlertMessage:
        language = choice.language or self.usual.language
        catalogue = self.catalogue()
        names = figures(
            self.templates,
            language,
            alert,
            unit_of(alert, catalogue),
            catalogue.currency,
            choice.time_zone or zone,
        )
        words: Words = told(self.templates, language, alert, names)
        hidden = ("subscriber", "seq", "number")
        return AlertMessage(
            key_of(row["alert_id"], row["channel"]),
            attempt,
            choice.address.removeprefix("+") if choice.channel == "sms" else choice.address,
            to_text(row["subscriber"]),
            language,
            words.subject,
            words.text,
            words.short,
            {name: value for name, value in alert.items() if name not in hidden},
            self.now_us() // 1_000_000,
        )

    def _zone(self, subscriber: int) -> str:
        """Name of the time zone of an account; the operator's where there is none."""
        catalogue = self.catalogue()
        owner, member = catalogue.members.account_of(subscriber)
        rows = self.reader.account(owner)
        mine = rows[(rows["kind"] == RowKind.SUBSCRIPTION) & (rows["member"] == member)]
        if not len(mine):
            return catalogue.time_zones[catalogue.default_zone]
        number = int(mine[mine["valid_from_s"].argmax()]["granted"]) & 0xFFFF
        known = catalogue.time_zones[number] if number < len(catalogue.time_zones) else ""
        return known or catalogue.time_zones[catalogue.default_zone]

    # -- as long as the platform runs ---------------------------------------------------------------------

    def works(self, stop: threading.Event) -> list[tuple[str, Callable[[], None]]]:
        """What runs in threads of its own: names and functions that return when `stop` is set."""
        delivering = [
            (f"alerts-{name}", lambda name=name: self._go_on(stop, lambda: self._deliver(name, stop)))
            for name in self.channels
        ]
        return [("alerts", lambda: self._go_on(stop, self._take_up)), *delivering]

    def _take_up(self) -> float:
        return 0.0 if self.take_up() == AT_ONCE else self.look_every_s

    def _deliver(self, channel: str, stop: threading.Event) -> float:
        tried, reached = self.deliver(channel, stop)
        if not reached:
            return REST_S
        return 0.0 if tried == A_TURN else self.look_every_s

    def _go_on(self, stop: threading.Event, turn: Callable[[], float]) -> None:
        """Turn after turn; trouble of a turn never stops the charging beside it, and is never silent."""
        while not stop.is_set():
            try:
                rest_s = turn()
            except Exception:
                log.exception("alerts could not be delivered; trying again")
                rest_s = REST_S
            stop.wait(rest_s)


def unit_of(alert: Mapping[str, Any], catalogue: Catalogue) -> int:
    """What the value of an alert counts (`records.charging.Unit`)."""
    name = alert["balance"]
    if alert["kind"] == "allowance":
        for names, units in (
            (catalogue.balances, catalogue.tables.balance_unit),
            (catalogue.counters, catalogue.tables.counter_unit),
        ):
            with suppress(ValueError):
                return int(units[names.index(name)])
    return int(Unit.MONEY)
