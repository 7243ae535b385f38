"""Deliveries add up at every moment, each alert is counted once on each channel, and a crash costs a repetition."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.delivery.small import NOON_US, Clock, Remembering, alert, delivering, summed
from trunkline.charging.delivery import Quiet, Usual, pause_us
from trunkline.kernel.dial import to_key
from trunkline.ports import AlertMessage, TryLater, Undeliverable
from trunkline.stores.embedded.deliveries import EmbeddedDeliveries
from trunkline.stores.embedded.disk import Disk

HOUR_US = 3_600_000_000
EXAMPLES = int(os.environ.get("TRUNKLINE_TEST_EXAMPLES", "40"))


class Crash(BaseException):
    """The machine stops; nothing after it happens."""


class CrashingDisk(Disk):
    """Stops at the n-th commit: before it is durable, or just after."""

    def __init__(self, at: int, *, after: bool) -> None:
        """Count down."""
        self.left, self.behind = at, after

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crash

    def before(self, _operation: str, _path: Path) -> None:
        """Stop before it is durable."""
        if not self.behind:
            self._count()

    def after(self, _operation: str, _path: Path) -> None:
        """Stop when it is durable, and nobody knows."""
        if self.behind:
            self._count()


@settings(max_examples=EXAMPLES)
@given(
    crashes=st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=8),
    lost=st.lists(st.integers(0, 40), max_size=6, unique=True),
    count=st.integers(1, 6),
)
def test_each_alert_is_sent_once_whatever_crashes(
    crashes: list[tuple[int, bool]], lost: list[int], count: int
) -> None:
    """Under any order of crashes between write, send and write, every alert arrives, and the ledger counts it once."""
    rows = [alert(number) for number in range(1, count + 1)]
    received: list[AlertMessage] = []
    sends = 0

    def fate(message: AlertMessage) -> None:
        nonlocal sends
        sends += 1
        received.append(message)
        if sends in lost:  # it was taken, and we stop before we hear of it
            raise Crash

    with TemporaryDirectory() as name:
        lives = [CrashingDisk(at, after=after) for at, after in crashes] + [Disk()] * (len(lost) + 1)
        for disk in lives:
            life = delivering(Path(name), rows, Remembering(fate=fate), disk=disk)
            try:
                while life.take_up():
                    summed(life.ledger)
                while life.deliver("webhook")[0]:
                    summed(life.ledger)
            except Crash:
                pass
            finally:
                life.ledger.close()
        ledger = EmbeddedDeliveries(Path(name))
        assert summed(ledger) == {"sent": count}
        assert ledger.counts()["alerts"] == count
        ledger.close()
    keys = {message.key for message in received}
    assert keys == {f"{row['alert_id']}.webhook" for row in rows}
    for key in keys:  # a repetition says that it is one
        attempts = [message.attempt for message in received if message.key == key]
        assert attempts == sorted(set(attempts))


@settings(max_examples=EXAMPLES)
@given(
    fates=st.lists(st.sampled_from(["take", "later", "never", "silence"]), min_size=1, max_size=30),
    count=st.integers(1, 8),
)
def test_states_add_up_whatever_receivers_do(fates: list[str], count: int) -> None:
    """Taken, refused, put off or silent: at every moment all that was planned is in one state, and all ends."""
    said = iter(fates * 100)

    def fate(_message: AlertMessage) -> None:
        match next(said):
            case "later":
                raise TryLater("answered 503", reached=True)
            case "never":
                raise Undeliverable("answered 410")
            case "silence":
                raise TryLater("no answer")

    clock = Clock()
    with TemporaryDirectory() as name:
        channel = Remembering(fate=fate)
        life = delivering(Path(name), [alert(at) for at in range(1, count + 1)], channel, clock=clock)
        life.take_up()
        states = summed(life.ledger)
        for _ in range(200):
            life.deliver("webhook")
            states = summed(life.ledger)
            clock.us += HOUR_US
        assert states.get("sent", 0) == len({message.key for message in channel.taken}) == len(channel.taken)
        assert states.get("sent", 0) + states.get("failed", 0) == count
        life.ledger.close()


def test_attempts_end_in_a_dead_letter_that_can_be_offered_again(tmp_path: Path) -> None:
    """After the last attempt it is a dead letter with its reason; offered again, it keeps its name and counts on."""
    clock, channel = Clock(), Remembering()

    def refused(_message: AlertMessage) -> None:
        raise TryLater("answered 500", reached=True)

    channel.fate = refused
    life = delivering(tmp_path, [alert(1)], channel, clock=clock)
    life.take_up()
    for failures in range(1, 5):
        assert life.deliver("webhook") == (1, True)
        assert life.deliver("webhook") == (0, True), "it is not due before its pause is over"
        clock.us += pause_us(f"{1:032x}.webhook", failures)
    (row,) = life.ledger.deliveries("failed", 10)
    assert (row["attempts"], row["reason"]) == (4, "answered 500")
    assert life.ledger.retry([row["number"]], clock.us) == 1
    assert life.ledger.retry(None, clock.us) == 0
    channel.fate = lambda _message: None
    assert life.deliver("webhook") == (1, True)
    (message,) = channel.taken
    assert (message.attempt, message.key) == (5, f"{1:032x}.webhook")
    assert summed(life.ledger) == {"sent": 1}


def test_silence_ends_the_turn(tmp_path: Path) -> None:
    """When nobody answers, the others are not tried in vain, and lose no attempt."""

    def silent(_message: AlertMessage) -> None:
        raise TryLater("no answer")

    life = delivering(tmp_path, [alert(at) for at in (1, 2, 3)], Remembering(fate=silent))
    life.take_up()
    assert life.deliver("webhook") == (1, False)
    assert sorted(row["attempts"] for row in life.ledger.deliveries(None, 10)) == [0, 0, 1]


def test_quiet_hours_hold_back_and_then_let_go(tmp_path: Path) -> None:
    """At night it is held, in the morning delivered; a blocking one is told at once."""
    clock = Clock(NOON_US + 11 * HOUR_US)  # 23:00 in London
    channel = Remembering()
    usual = Usual(("webhook",), quiet=Quiet(22 * 60, 7 * 60), urgent=frozenset({"low_balance"}))
    rows = [alert(1), alert(2, threshold=0)]
    life = delivering(tmp_path, rows, channel, usual=usual, clock=clock)
    life.take_up()
    life.deliver("webhook")
    assert [message.key for message in channel.taken] == [f"{2:032x}.webhook"]
    assert summed(life.ledger) == {"held": 1, "sent": 1}
    clock.us = NOON_US + 19 * HOUR_US - 1  # a moment before seven
    assert life.deliver("webhook") == (0, True)
    clock.us += 1
    assert life.deliver("webhook") == (1, True)
    assert summed(life.ledger) == {"sent": 2}


def test_choices_decide_and_may_change_on_the_way(tmp_path: Path) -> None:
    """A customer's own channel and language count; whoever opts out while it waits is not told."""
    word = to_key("447700900002")
    channels = Remembering(), Remembering("email")
    life = delivering(tmp_path, [alert(1), alert(4)], *channels, usual=Usual(("webhook",)))
    said = {
        "channel": "email",
        "address": "a@example.org",
        "language": "de",
        "time_zone": "",
        "quiet_hours": "",
    }
    life.ledger.choose([(word, {**said, "opted_out": ""})])
    life.take_up()
    assert life.deliver("webhook") == (0, True)
    row = life.ledger.due("email", NOON_US, 1)[0]
    life._try(channels[1], row)
    (message,) = channels[1].taken
    assert (message.address, message.language) == ("a@example.org", "de")
    assert message.short == "Ihr Guthaben ist unter 1,00 EUR: es bleiben 0,99 EUR."
    life.ledger.choose([(word, {**said, "opted_out": "all"})])
    life.deliver("email")
    assert summed(life.ledger) == {"sent": 1, "opted_out": 1}


def test_every_alert_is_accounted_for_even_without_a_channel(tmp_path: Path) -> None:
    """Too old, no channel, a channel that is not set up: each has its state, and none is dropped."""
    word = to_key("447700900003")
    usual = Usual(("webhook",), oldest_us=HOUR_US)
    rows = [alert(1), alert(2), alert(3, time_us=NOON_US - 2 * HOUR_US)]
    life = delivering(tmp_path, rows, Remembering(), usual=usual)
    said = dict.fromkeys(("address", "language", "time_zone", "quiet_hours", "opted_out"), "")
    life.ledger.choose([(word, {**said, "channel": "sms"})])
    life.take_up()
    life.deliver("webhook")
    assert summed(life.ledger) == {"sent": 1, "failed": 1, "too_old": 1}
    (tmp_path / "other").mkdir()
    nobody = delivering(tmp_path / "other", [alert(1)], usual=Usual())
    nobody.take_up()
    assert summed(nobody.ledger) == {"no_channel": 1}


def test_what_is_let_go_is_counted(tmp_path: Path) -> None:
    """Retention removes what is done with, keeps what is open, and the sum stays."""
    clock = Clock()
    life = delivering(tmp_path, [alert(1), alert(2)], Remembering(), clock=clock)
    life.take_up()
    life._try(life.channels["webhook"], life.ledger.due("webhook", clock.us, 1)[0])
    assert life.ledger.let_go(clock.us + 1) == 1
    assert summed(life.ledger) == {"waiting": 1}


def test_nobody_else_may_read_the_ledger(tmp_path: Path) -> None:
    """It holds addresses."""
    life = delivering(tmp_path, [])
    life.ledger.close()
    assert (tmp_path / "deliveries.sqlite").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "words", [{"channel": "email", "address": "a@example.org"}, {"channel": "sms", "address": ""}]
)
def test_choices_are_forgotten(tmp_path: Path, words: dict[str, Any]) -> None:
    """What was forgotten is in no row any more."""
    life = delivering(tmp_path, [])
    said = dict.fromkeys(("language", "time_zone", "quiet_hours", "opted_out"), "")
    life.ledger.choose([(7, {**said, **words})])
    assert life.ledger.choices(7) == [{**words, **said}]
    assert life.ledger.forget(7) == 1
    assert life.ledger.choices(7) == []
