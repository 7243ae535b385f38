"""Syslog: RFC 5424, and RFC 3164 as programs really write it, and what each message means by the mapping's rules.

A message that no rule of the mapping matches is kept as an event that raises no alarm: a log is not a list of faults.
Identical octets of one host are one message, because the older format knows seconds only and has no number: a copy
that the network made and the same news twice in a second cannot be told apart, and both say nothing new.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

import polars as pl

from trunkline.kernel.envelope import unescaped
from trunkline.network.telemetry import clock
from trunkline.network.telemetry.lines import NEVER_RECEIVED, Lines
from trunkline.network.telemetry.mapping import Mapping, Meaning
from trunkline.network.telemetry.readings import Readings

# RFC 5424 6: HEADER SP STRUCTURED-DATA [SP MSG]; names are up to 255 characters, lengths are not judged here.
_NEW = re.compile(
    r"<(\d{1,3})>([1-9]\d{0,2}) (\S+) (\S+) (\S+) (\S+) (\S+) "
    r'(-|(?:\[[^ =\]"]+(?: [^ =\]"]+="(?:[^"\\\]]|\\.)*")*\])+)(?: (.*))?',
    re.DOTALL,
)
# RFC 3164 4.1, and the ISO time that rsyslog's forwarding format puts in its place.
_OLD = re.compile(
    r"<(\d{1,3})>(?:([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)|(\d{4}-\d\d-\d\dT\S+)) (\S+) (.*)", re.DOTALL
)
_TAG = re.compile(r"([^\s:\[\]]{1,64})(?:\[([^\]\s]{1,64})\])?: ?(.*)", re.DOTALL)
_MONTHS = {
    name: at
    for at, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], start=1
    )
}
_HIGHEST_PRI = 191
_Heard = tuple[int, str, int, int, str, str, str, str]
"""Record, text, priority, time, host, program, message id, and what is said."""
# RFC 5424 table 2 in the words of X.733: emergency, alert, critical, error, warning, notice, informational, debug.
_SEVERITIES = (1, 1, 1, 2, 4, 5, 5, 5)
_FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip


# What Python's expressions and those of the compiled matcher mean alike in printable ASCII: plain characters, classes
# without sets in them, groups, choices, and repetitions. Anything else is asked of each message by itself.
_ALIKE = re.compile(
    r"(?:\(\?i\))?(?:\(\?:|\(\?P<[a-z]+>|[()|.?*+^$]|\{\d+(?:,\d*)?\}|\\[dDwWsSb.\-+*?()|/]"
    r"|\[\^?(?:\\[dws.]|[\w /.,:;=%#@!]|-(?!-))+\]|[\w /,:;=%#@!\"'<>-])*",
    re.ASCII,
)


def read_messages(lines: Lines, mapping: Mapping, readings: Readings) -> None:
    """Read each line as one syslog message."""
    rules = [(re.compile(meaning.match), meaning) for meaning in mapping.meanings]
    received = lines.places.received_us.tolist()
    heard: list[_Heard] = []
    for record, message in enumerate(lines.messages):
        if record in lines.done:
            continue
        octets = unescaped(message) if lines.enveloped[record] else message
        text = octets.decode(errors="replace").rstrip("\n\0 \r")
        if not text:
            readings.reject(record, "unreadable", "an empty message")
            continue
        _hear(record, text, lines.peers[record], received[record], mapping, readings, heard)
    for each, may_mean in zip(heard, suspects([said for *_, said in heard], mapping), strict=True):
        _tell(each, rules if may_mean else [], readings)


def suspects(said: list[str], mapping: Mapping) -> list[bool]:
    """Which messages a rule may be found in: most say nothing that any rule is about, and all are asked at once."""
    if not said:
        return []
    texts = pl.Series(said, dtype=pl.String)
    suspects = pl.Series([not (text.isascii() and text.isprintable()) for text in said])
    for meaning in mapping.meanings:
        if not _ALIKE.fullmatch(meaning.match):
            return [True] * len(said)
        suspects |= texts.str.contains(meaning.match, strict=False).fill_null(value=True)
    return suspects.to_list()


def _hear(
    record: int, text: str, peer: str, received_us: int, mapping: Mapping, readings: Readings,
    heard: list[_Heard],
) -> None:  # fmt: skip
    """The parts of one message."""
    parts = _parts(text, received_us, mapping.times.zone)
    if parts is None:
        readings.reject(record, "unreadable", "not a syslog message: no <priority> up to 191 and header")
        return
    priority, time_us, host, program, message_id, said = parts
    if host in ("", "-"):
        host = peer
    if not host:
        readings.reject(record, "missing_object", "the message names no host, and came in no envelope")
        return
    if time_us is None and received_us != NEVER_RECEIVED and peer:
        time_us = received_us
    if time_us is None:
        readings.reject(record, "bad_time", "the message has no time that can be read")
        return
    heard.append((record, text, priority, time_us, host, program, message_id, said))


def _tell(message: _Heard, rules: list[tuple[re.Pattern[str], Meaning]], readings: Readings) -> None:
    """One message as an event, by the first rule that is found in it."""
    record, text, priority, time_us, host, program, message_id, said = message
    for pattern, meaning in rules:
        found = pattern.search(said)
        if found:
            fields = {name: text or "" for name, text in found.groupdict().items()}
            fields |= {"host": host, "program": program, "message_id": message_id, "message": said}
            name, cause, problem = meant(meaning, fields)
            readings.event(
                record, f"{host}\x1f{text}", name or host, time_us,
                _SEVERITIES[priority & 7] if meaning.severity is None else meaning.severity,
                event_type=meaning.event_type, cause=cause, problem=problem,
                text=said, security=meaning.security, alarm=meaning.alarm,
            )  # fmt: skip
            return
    readings.event(
        record, f"{host}\x1f{text}", host, time_us, _SEVERITIES[priority & 7], cause=_FACILITIES[priority >> 3],
        problem=program if message_id in ("", "-") else message_id, text=said, alarm=False,
    )  # fmt: skip


def meant(meaning: Meaning, fields: dict[str, str]) -> tuple[str, str, str]:
    """Object, cause and problem of a meaning, with what was found put in; a part that lacks something is empty."""
    return (
        _put(_pieces(meaning.object), fields),
        _put(_pieces(meaning.cause), fields),
        _put(_pieces(meaning.problem), fields),
    )


def _put(pieces: tuple[str, ...], fields: dict[str, str]) -> str:
    """A template with its fields put in; empty when one is missing."""
    if len(pieces) == 1:
        return pieces[0]
    found = [fields.get(name, "") for name in pieces[1::2]]
    if not all(found):
        return ""
    return "".join([text for pair in zip(pieces[::2], [*found, ""], strict=True) for text in pair])


@lru_cache(maxsize=1024)
def _pieces(template: str) -> tuple[str, ...]:
    """Text, field, text, field, ..., text."""
    return tuple(re.split(r"\{(\w+)\}", template))


def _parts(text: str, received_us: int, zone: str) -> tuple[int, int | None, str, str, str, str] | None:
    """Priority, time, host, program, message id and what is said; None when it is no syslog message."""
    found = _NEW.fullmatch(text)
    if found:
        pri, _, stamp, host, program, _, message_id, _, said = found.groups()
        time_us = None if stamp == "-" else clock.micros(stamp, "iso8601", "UTC")
        if int(pri) > _HIGHEST_PRI or (stamp != "-" and time_us is None):
            return None
        said = (said or "").removeprefix("\ufeff").strip()
        return int(pri), time_us, host, "" if program == "-" else program, message_id, said
    found = _OLD.fullmatch(text)
    if not found or int(found[1]) > _HIGHEST_PRI:
        return None
    pri, old, new, host, rest = found.groups()
    time_us = _with_year(old, received_us, zone) if old else clock.micros(new, "iso8601", zone)
    tagged = _TAG.fullmatch(rest)
    program, said = (tagged[1], tagged[3]) if tagged else ("", rest)
    return int(pri), time_us, host, program, "", said.strip()


def _with_year(stamp: str, received_us: int, zone: str) -> int | None:
    """A time without a year, in the year that brings it nearest to its reception; without a reception there is none."""
    if received_us == NEVER_RECEIVED:
        return None
    return _nearest(stamp, received_us // 3_600_000_000, zone)


@lru_cache(maxsize=4096)
def _nearest(stamp: str, received_h: int, zone: str) -> int | None:
    """The nearest year, judged by the hour of reception, so that a second's many messages are worked out once."""
    month = _MONTHS.get(stamp[:3])
    if month is None:
        return None
    received = datetime.fromtimestamp(received_h * 3600, UTC)
    best: int | None = None
    for year in (received.year - 1, received.year, received.year + 1):
        moment = clock.micros(f"{year}-{month:02d}-{stamp[4:6].strip():0>2}T{stamp[7:]}", "iso8601", zone)
        if moment is not None and (best is None or abs(moment - received_h * 3_600_000_000) < abs(
            best - received_h * 3_600_000_000
        )):  # fmt: skip
            best = moment
    return best
