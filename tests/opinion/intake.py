"""Usage files as an auditor reads them: our own schema, line by line, and nothing counted twice.

What cannot be charged gets the reason that stands first in the written order; a copy is a duplicate, another
content under the same name is held for a person; a session's growing counters become what each report adds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.opinion.calendars import to_us
from tests.opinion.pricing import Use
from tests.opinion.quantities import micros
from tests.opinion.tariff import KINDS, slice_number

REASONS = (
    "unreadable",
    "not_usage",
    "missing_id",
    "missing_original",
    "missing_subscriber",
    "bad_number",
    "unknown_kind",
    "bad_time",
    "in_the_future",
    "too_old",
    "bad_quantity",
    "bad_amount",
)
DAY_US = 86_400_000_000
WINDOW_DAYS = 35
SAME_START_US = 60_000_000
LARGEST = 2**53
DEFAULT_SOURCE = "trunkline"


@dataclass(frozen=True)
class Record:
    """A line that says everything it must."""

    line: int
    source: str
    record_id: str
    said: tuple[tuple[str, Any], ...]

    def __getitem__(self, name: str) -> Any:
        """One of the things it says."""
        return dict(self.said)[name]


@dataclass(frozen=True)
class Refused:
    """A line that cannot be charged, and why."""

    line: int
    reason: str


@dataclass
class Session:
    """The highest counters that a session has reported."""

    start_us: int
    last_us: int
    up: int = 0
    down: int = 0
    duration_ms: int = 0


@dataclass
class Intake:
    """The way of every line: read, known or new, measured."""

    now_us: int
    oldest_us: int
    default_source: str = DEFAULT_SOURCE
    received: int = 0
    duplicates: int = 0
    held: list[Record] = field(default_factory=list)
    withdrawing: list[Record] = field(
        default_factory=list
    )  # what cancels or corrects, in the order of arrival
    refused: list[Refused] = field(default_factory=list)
    seen: dict[tuple[str, str], tuple[tuple[str, Any], ...]] = field(default_factory=dict)
    sessions: dict[tuple[str, str], list[Session]] = field(default_factory=dict)

    def uses(self, lines: Iterable[bytes]) -> Iterator[Use]:
        """The uses that are to be charged, in the order of arrival; blank lines are no records."""
        for line in lines:
            if not line.strip():
                continue
            self.received += 1
            record = read_record(self.received, line, self.now_us, self.oldest_us, self.default_source)
            if isinstance(record, Refused):
                self.refused.append(record)
            elif (record.source, record.record_id) not in self.seen:
                self.seen[record.source, record.record_id] = record.said
                if record["action"]:
                    self.withdrawing.append(record)
                else:
                    yield self.measured(record)
            elif self.seen[record.source, record.record_id] == record.said:
                self.duplicates += 1
            else:
                self.held.append(record)

    def measured(self, record: Record) -> Use:
        """The use with its units: what a report adds to all that its session has reported before."""
        up, down, duration_ms, start_us = (record[name] for name in ("up", "down", "duration_ms", "start_us"))
        if record["report"] and record["report"] not in PARTS:
            session = self._session(record)
            added = [
                max(new - old, 0)
                for new, old in ((up, session.up), (down, session.down), (duration_ms, session.duration_ms))
            ]
            session.up, session.down = max(up, session.up), max(down, session.down)
            session.duration_ms = max(duration_ms, session.duration_ms)
            up, down, duration_ms = added
            start_us, session.last_us = min(session.last_us, start_us), max(session.last_us, start_us)
        units = {"voice": duration_ms, "data": up + down}.get(record["kind"], record["events"])
        return Use(
            seq=record.line,
            source=record.source,
            record_id=record.record_id,
            units=units,
            start_us=start_us,
            **self._of_call(record),
            **{name: record[name] for name in TAKEN_OVER},
        )

    @staticmethod
    def _of_call(record: Record) -> dict[str, Any]:
        """The call that a record is a part of: partial records are of one, and the reports of a call."""
        report = record["report"]
        if report not in PARTS and (not report or record["kind"] != "voice"):
            return {}
        return {
            "session": record["session"],
            "part": record["part"],
            "last": report in ("last", "stop"),
            "begun_us": record["session_start_us"],
        }

    def _session(self, record: Record) -> Session:
        """The session that a report belongs to; the same name with another beginning is another one."""
        known = self.sessions.setdefault((record.source, record["session"]), [])
        for session in known:
            if abs(session.start_us - record["session_start_us"]) <= SAME_START_US:
                return session
        known.append(Session(record["session_start_us"], record["session_start_us"]))
        return known[-1]


PARTS = ("partial", "last")
REPORTS = ("start", "interim", "stop", *PARTS)
TAKEN_OVER = (
    "kind",
    "subscriber",
    "direction",
    "calling",
    "called",
    "amount_micros",
    "currency",
    "visited_plmn",
    "slice",
    "five_qi",
    "service",
)


def read_record(line: int, text: bytes, now_us: int, oldest_us: int, default_source: str) -> Record | Refused:
    """One line, judged: everything wrong with it is noted, and the first reason in the written order is given."""
    try:
        said = json.loads(text.decode("utf-8"))
    except ValueError:
        return Refused(line, "unreadable")
    if not isinstance(said, dict):
        return Refused(line, "unreadable")
    wrong: set[str] = set()
    reader = Reader(said, wrong)
    kind = reader.word("type", KINDS, "")
    action = reader.word("action", ("cancel", "correct"), "") if "action" in said else ""
    report = reader.word("report", REPORTS, "none") if said.get("report") else ""
    part = reader.count("part")
    report = "last" if part and not report else report
    if report in PARTS and not part:
        wrong.add("bad_quantity")
    start_us = reader.time("start", "start_us")
    if start_us is None:
        wrong.add("bad_time")
    elif start_us > now_us + DAY_US:
        wrong.add("in_the_future")
    elif start_us < oldest_us:
        wrong.add("too_old")
    values = {
        "kind": kind,
        "report": report,
        "part": part if report in PARTS else 0,
        "direction": reader.word("direction", ("originating", "terminating"), "originating"),
        "subscriber": reader.number("subscriber", required=True),
        "calling": reader.identity("calling"),
        "called": reader.number("called"),
        "start_us": start_us,
        "duration_ms": reader.count(
            "duration_ms", required=kind == "voice" and report != "start" and action != "cancel"
        ),
        "up": reader.count("octets_up"),
        "down": reader.count("octets_down"),
        "events": reader.count("events", default=1 if kind in ("sms", "iot", "content") else 0),
        "amount_micros": reader.amount("amount", required=kind == "content" and action != "cancel"),
        "currency": str(said.get("currency") or ""),
        "visited_plmn": int(said.get("visited_plmn") or 0),
        "slice": slice_number(str(said["snssai"])) if said.get("snssai") else 0,
        "five_qi": reader.count("five_qi"),
        "service": str(said.get("service") or ""),
        "session": str(said.get("session") or "") if report else "",
        "cell": said.get("cell"),
        "cause": said.get("cause"),
        "action": action,
        "of": str(said.get("of") or "") if action else "",
    }
    if action and not values["of"]:
        wrong.add("missing_original")
    if (
        kind == "data"
        and report != "start"
        and action != "cancel"
        and not {"octets_up", "octets_down"} & set(said)
    ):
        wrong.add("bad_quantity")
    if not said.get("id") or (report and not values["session"]):
        wrong.add("missing_id")
    if report:
        values["session_start_us"] = reader.session_start(report, start_us, values["duration_ms"])
    if wrong:
        return Refused(line, min(wrong, key=REASONS.index))
    return Record(line, str(said.get("source") or default_source), str(said["id"]), tuple(values.items()))


class Reader:
    """Reads what a line says, and notes what is wrong with it."""

    def __init__(self, said: dict[str, Any], wrong: set[str]) -> None:
        """Remember the line, and where to note."""
        self.said = said
        self.wrong = wrong

    def word(self, name: str, known: tuple[str, ...], default: str) -> str:
        """A word out of a list."""
        value = self.said.get(name, default)
        if value not in known:
            self.wrong.add("unknown_kind")
            return ""
        return str(value)

    def number(self, name: str, required: bool = False) -> str:
        """A telephone number in international digits."""
        text = str(self.said.get(name) or "")
        if not text and required:
            self.wrong.add("missing_subscriber")
        digits = _international(text)
        if text and not re.fullmatch(r"[0-9*#]+", digits):
            self.wrong.add("bad_number")
        return digits

    def identity(self, name: str) -> str:
        """Who calls; that may be a name."""
        return _international(str(self.said.get(name) or ""))

    def time(self, written: str, counted: str) -> int | None:
        """A moment as ISO 8601 text or as microseconds since 1970."""
        if counted in self.said and written not in self.said:
            return int(self.said[counted])
        try:
            value = datetime.fromisoformat(str(self.said.get(written)))
        except ValueError:
            return None
        return to_us(value if value.tzinfo else value.replace(tzinfo=UTC))

    def session_start(self, report: str, start_us: int | None, duration_ms: object) -> int | None:
        """When the session began: as written, the time of its start report, or the report's time less its duration."""
        if "session_start" in self.said or "session_start_us" in self.said:
            found = self.time("session_start", "session_start_us")
        elif start_us is None or report in ("start", *PARTS):
            found = start_us
        else:
            found = start_us - int(str(duration_ms)) * 1000 if "duration_ms" in self.said else None
        if found is None:
            self.wrong.add("bad_time")
        return found

    def count(self, name: str, default: int = 0, required: bool = False) -> int:
        """A whole quantity that is not negative."""
        if self.said.get(name) in (None, ""):
            if required:
                self.wrong.add("bad_quantity")
            return default
        text = str(self.said[name])
        if not re.fullmatch(r"\d+", text):
            self.wrong.add("bad_quantity")
            return default
        return int(text)

    def amount(self, name: str, required: bool) -> int:
        """A price of up to six decimals."""
        text = str(self.said.get(name) or "")
        if re.fullmatch(r"\d+(\.\d{1,6})?", text):
            return micros(text)
        if text or required:
            self.wrong.add("bad_amount")
        return 0


def _international(text: str) -> str:
    return (
        text.strip().removeprefix("+").removeprefix("00") if text.strip()[:1] in ("+", "0") else text.strip()
    )
