"""Delivering alerts: who is told by which channel, and when.

An alert says that a mark was crossed; this says whether its customer hears of it now, after a quiet night, or never
because that is what was chosen. It knows the hour only by being told it, so the same alert and the same choices lead
to the same answer wherever and however often they are asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b

from trunkline.charging.service import GOES_ON, ISSUE, RESTORED
from trunkline.charging.tariffs.calendars import time_zone

WEBHOOK, EMAIL, SMS = "webhook", "email", "sms"
CHANNELS = (WEBHOOK, EMAIL, SMS)
KINDS = ("allowance", "low_balance", "spend_cap", ISSUE, RESTORED, GOES_ON)
EVERY_KIND = "all"

# What becomes of an alert on a channel; every one is in exactly one of these.
WAITING, HELD, SENT, FAILED, OPTED_OUT, TOO_OLD, NO_CHANNEL = (
    "waiting", "held", "sent", "failed", "opted_out", "too_old", "no_channel",
)  # fmt: skip
STATES = (WAITING, HELD, SENT, FAILED, OPTED_OUT, TOO_OLD, NO_CHANNEL)
OPEN = (WAITING, HELD)  # something is still to be done

MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000
_DAY_MIN = 1440
_FIRST_PAUSE_US = 2_000_000
_LONGEST_PAUSE_US = HOUR_US
_SPAN = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True)
class Quiet:
    """Minutes of the local day between which nobody is told; over midnight when the end is before the beginning."""

    from_min: int = 0
    until_min: int = 0  # the same as the beginning: no quiet at all

    def holds(self, minute: int) -> bool:
        """Whether a minute of the day is quiet."""
        if self.from_min <= self.until_min:
            return self.from_min <= minute < self.until_min
        return minute >= self.from_min or minute < self.until_min

    def __str__(self) -> str:
        """As people write it."""
        if self.from_min == self.until_min:
            return "none"
        return "-".join(f"{at // 60:02d}:{at % 60:02d}" for at in (self.from_min, self.until_min))


NEVER_QUIET = Quiet()


@dataclass(frozen=True)
class Planned:
    """What is to be done with one alert on one channel."""

    alert: int  # its running number
    alert_id: str
    channel: str
    subscriber: int
    kind: str
    state: str
    due_us: int
    reason: str = ""


@dataclass(frozen=True)
class Choice:
    """By which channel a customer is told, and how. Empty fields are as the operator has them."""

    channel: str
    address: str = ""  # of a webhook or a mailbox; of SMS the customer's own number
    language: str = ""
    time_zone: str = ""  # else the account's
    quiet: Quiet | None = None  # None: the operator's
    opted_out: frozenset[str] = frozenset()  # kinds; EVERY_KIND for all

    @property
    def has_opted_out_of(self) -> Sequence[str]:
        """The kinds that are not told, in their order."""
        return [kind for kind in (EVERY_KIND, *KINDS) if kind in self.opted_out]


@dataclass(frozen=True)
class Usual:
    """What holds for customers who chose nothing else."""

    channels: tuple[str, ...] = ()
    language: str = "en"
    quiet: Quiet = NEVER_QUIET
    urgent: frozenset[str] = frozenset()  # kinds whose critical alerts are told at any hour
    oldest_us: int = 0  # an alert of usage longer ago is told to nobody; 0: however old


@dataclass(frozen=True)
class Verdict:
    """What is to be done with an alert on one channel, and from when on (us UTC)."""

    state: str
    due_us: int


def severity(kind: str, threshold: int) -> str:
    """How much an alert matters to the customer: `info`, `warning` or `critical`."""
    if kind.startswith("service_"):
        return ("critical" if threshold == 1 else "warning") if kind == ISSUE else "info"
    if kind == "low_balance":
        return "warning" if threshold > 0 else "critical"
    if threshold >= 100:
        return "critical"
    return "warning" if threshold >= 80 else "info"


def ways(chosen: Sequence[Choice], usual: Usual) -> list[Choice]:
    """By which channels a customer is told: those that were chosen, else the usual ones."""
    return list(chosen) or [Choice(channel) for channel in usual.channels]


def judge(
    alert: Mapping[str, object], choice: Choice, usual: Usual, account_zone: str, now_us: int
) -> Verdict:
    """What is to be done now with an alert (`kind`, `threshold`, `time_us`) on a channel."""
    kind, threshold, time_us = str(alert["kind"]), _whole(alert["threshold"]), _whole(alert["time_us"])
    if kind in choice.opted_out or EVERY_KIND in choice.opted_out:
        return Verdict(OPTED_OUT, now_us)
    if usual.oldest_us and now_us - time_us > usual.oldest_us:
        return Verdict(TOO_OLD, now_us)
    if kind in usual.urgent and severity(kind, threshold) == "critical":
        return Verdict(WAITING, now_us)
    quiet = usual.quiet if choice.quiet is None else choice.quiet
    due_us = quiet_until_us(quiet, choice.time_zone or account_zone, now_us)
    return Verdict(WAITING if due_us == now_us else HELD, due_us)


def quiet_until_us(quiet: Quiet, zone: str, now_us: int) -> int:
    """The first moment from now on that is not quiet: now itself, or the beginning of a minute.

    Found by asking each minute what the clock on the wall says then, so that a night with an hour twice or an hour
    missing is as quiet as its clocks say.
    """
    minute = now_us // MINUTE_US
    found = _first_not_quiet(quiet, zone, minute)
    return now_us if found == minute else found * MINUTE_US


@lru_cache(4096)
def _first_not_quiet(quiet: Quiet, zone: str, minute: int) -> int:
    local = time_zone(zone)
    for at in range(minute, minute + 2 * _DAY_MIN):
        wall = datetime.fromtimestamp(at * 60, UTC).astimezone(local)
        if not quiet.holds(wall.hour * 60 + wall.minute):
            return at
    raise AssertionError("no day is quiet from end to end")


def pause_us(key: str, attempts: int) -> int:
    """How long to wait after so many failed attempts: doubled each time, at most an hour, and between a half and the
    whole of that by the delivery's own name, so that what failed together does not come again together.
    """
    whole = min(_LONGEST_PAUSE_US, _FIRST_PAUSE_US << min(attempts - 1, 20))
    share = int.from_bytes(blake2b(f"{key}/{attempts}".encode(), digest_size=8).digest(), "big") % 1024
    return whole * (1024 + share) // 2048  # rounded down to microseconds


def key_of(alert_id: str, channel: str) -> str:
    """Name of one delivery: the same each time it is tried, so that a receiver can drop what it has already."""
    return f"{alert_id}.{channel}"


def parse_quiet(text: str) -> Quiet:
    """Quiet hours as people write them, such as 22:00-07:00, or none; raises ValueError with a sentence."""
    if text.strip().lower() == "none":
        return NEVER_QUIET
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} are no quiet hours such as 22:00-07:00, or none")
    hours = [int(each) for each in found.groups()]
    if max(hours[0], hours[2]) > 23 or max(hours[1], hours[3]) > 59:
        raise ValueError(f"{text!r} names a time that no clock shows")
    return Quiet(hours[0] * 60 + hours[1], hours[2] * 60 + hours[3])


def parse_kinds(text: str) -> frozenset[str]:
    """Kinds of alerts by name, separated by blanks or commas; raises ValueError with a sentence."""
    kinds = frozenset(re.split(r"[\s,|]+", text.strip())) - {""}
    unknown = sorted(kinds - {*KINDS, EVERY_KIND})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no kind of alert; known are {', '.join(KINDS)}, and all")
    return kinds


def _whole(value: object) -> int:
    assert isinstance(value, int), f"an alert's number is a whole one: {value!r}"
    return value
