"""A small, honest platform in memory behind the ports: the API's tests talk to it as they would to a real store.

It keeps the promises that the ports state (accounting adds up, a movement is booked once, alerts run in number)
with one flat price for everything, so that a test can work out every amount in its head: 0.10 a minute of
voice, 0.05 a message or event, 0.01 a megabyte.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import polars as pl

from tests.api.small_catalogue import CATALOGUE, MAIN, MINUTES, PAYG
from trunkline import ports
from trunkline.kernel import dial
from trunkline.kernel.grouped import Grouped, Rows
from trunkline.records.charging import (
    ACCOUNT_ROW,
    ALERTS,
    CHARGED,
    CORRECTIONS,
    ENTRIES,
    MOVEMENTS,
    NEVER_S,
    Cause,
    RowKind,
    Unit,
)
from trunkline.records.usage import Direction, Kind

LOW_MICROS = 1_000_000

REJECT_SCHEMA = {
    "number": pl.Int64, "file": pl.Int32, "path": pl.String, "line": pl.Int64, "source": pl.String,
    "mapping": pl.String, "reason": pl.String, "detail": pl.String, "raw": pl.Binary,
}  # fmt: skip
HELD_SCHEMA = {
    "number": pl.Int64, "file": pl.Int32, "path": pl.String, "line": pl.Int64, "source": pl.String,
    "record_id": pl.String, "reason": pl.String, "raw": pl.Binary,
}  # fmt: skip
MOVEMENT_SCHEMA: dict[str, Any] = {**MOVEMENTS.record.schema, "status": pl.String, "reason": pl.String}
AUDIT_SCHEMA = {
    "time_us": pl.Int64, "actor": pl.String, "role": pl.String, "action": pl.String, "subscriber": pl.UInt64,
    "detail": pl.String,
}  # fmt: skip


@dataclass
class MemoryStore:
    """Reader, intake and audit trail at once."""

    now_us: Callable[[], int]
    busy: bool = False
    accounts: dict[int, list[Any]] = field(default_factory=dict)
    charged: list[dict[str, Any]] = field(default_factory=list)
    booked: list[dict[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    moved: list[dict[str, Any]] = field(default_factory=list)
    looked: list[ports.AuditEvent] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    seen: dict[tuple[str, str], bytes] = field(default_factory=dict)
    lines_taken: int = 0
    numbered: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    # -- making it up

    def enrol(self, number: str, balance_micros: int, minutes: int = 0, credit_micros: int = 0) -> int:
        """A prepaid subscriber with money and perhaps an allowance of this month."""
        word = dial.to_key(number)
        rows = np.zeros(3 if minutes else 2, ACCOUNT_ROW)
        rows[0] = (RowKind.SUBSCRIPTION, 0, PAYG, 0, 0, credit_micros, 65536, 0, NEVER_S)
        rows[1] = (RowKind.BALANCE, 0, MAIN, 0, 0, balance_micros, 0, 0, NEVER_S)
        if minutes:
            begun_s = self.now_us() // 1_000_000 // 86_400 * 86_400
            rows[2] = (
                RowKind.BALANCE, 0, MINUTES, begun_s // 86_400, 0, minutes * 60_000, minutes * 60_000, begun_s,
                begun_s + 30 * 86_400,
            )  # fmt: skip
        self.accounts[word] = list(rows)
        return word

    # -- ports.Intake

    def usage(self, *given: Any, **named: Any) -> Any:
        """Both ports call it `usage`: lines of a mapping come in, or charged usage is read."""
        if given and isinstance(given[0], str):
            return self._take(*given, **named)
        return self._read_usage(*given, **named)

    def _take(self, mapping: str, lines: bytes, source: str | None = None) -> ports.Receipt:  # noqa: ARG002 - the port's
        if self.busy:
            raise ports.Busy(3)
        if mapping != "trunkline":
            raise ports.Refused(f"There is no mapping {mapping!r}.")
        with self.lock:
            at, taken = self.lines_taken, 0
            for line in lines.split(b"\n"):
                if line.strip():
                    taken += 1
                    self.lines_taken += 1
                    self._record(line, self.lines_taken)
            return ports.Receipt(taken, 1, at)

    def move(self, movements: Sequence[ports.Movement]) -> list[dict[str, Any]]:
        """Book each once."""
        with self.lock:
            return [self._move(each) for each in movements]

    def settle_reject(self, number: int, lines: bytes | None, actor: str) -> None:  # noqa: ARG002 - the port's
        """Take it off the list; corrected bytes go through the same door as all others."""
        with self.lock:
            found = next((each for each in self.rejected if each["number"] == number), None)
            if found is None:
                raise ports.Refused("This record is settled already, or never was rejected.")
            self.rejected.remove(found)
            if lines is not None:
                self._count(found["source"], "rejected", -1)
                self._count(found["source"], "received", -1)
                self._record(lines.strip(), found["line"])

    def settle_held(self, number: int, decision: str, actor: str) -> None:  # noqa: ARG002 - the port's
        """Discard it, or charge it as usage of its own."""
        with self.lock:
            found = next((each for each in self.waiting if each["number"] == number), None)
            if found is None:
                raise ports.Refused("This conflict is decided already, or never was one.")
            self.waiting.remove(found)
            self._count(found["source"], "held", -1)
            if decision == "discard":
                self._count(found["source"], "duplicate", 1)
                return
            said = orjson.loads(found["raw"])
            said["id"] = f"{said['id']}#held-{number}"
            self._count(found["source"], "received", -1)
            self._record(orjson.dumps(said), found["line"])

    # -- ports.AuditTrail

    def record(self, event: ports.AuditEvent) -> None:
        """Kept for as long as the store."""
        with self.lock:
            self.looked.append(event)

    # -- ports.Reader

    def account(self, subscriber: int) -> Rows:
        """The account's rows."""
        with self.lock:
            return np.array(self.accounts.get(subscriber, []), ACCOUNT_ROW)

    def subscribers(self, after: int, limit: int) -> list[int]:
        """Known words, ascending."""
        with self.lock:
            return sorted(word for word in self.accounts if word > after)[:limit]

    def accounts_after(self, after: int, limit: int) -> Grouped:
        """The next accounts, ascending."""
        words = self.subscribers(after, limit)
        rows = [self.account(word) for word in words]
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in rows])]).astype(np.int64)
        return Grouped(np.array(words, np.uint64), offsets, np.concatenate([np.empty(0, ACCOUNT_ROW), *rows]))

    def _read_usage(
        self,
        subscriber: int | None,
        from_us: int,
        until_us: int,
        limit: int,
        offset: int = 0,
        member: int | None = None,
    ) -> pl.DataFrame:
        with self.lock:
            rows = [
                row
                for row in reversed(self.charged)
                if (subscriber is None or row["subscriber"] == subscriber)
                and from_us <= row["start_us"] < until_us
                and (member is None or row.get("member") == member)
            ]
        return pl.DataFrame(rows[offset : offset + limit], schema=CHARGED.record.schema)

    def corrections_of(self, usage: pl.DataFrame) -> pl.DataFrame:  # noqa: ARG002 - the port's
        """This one is never corrected."""
        return CORRECTIONS.record.empty()

    def usage_record(self, source: str, record_id: str) -> pl.DataFrame:
        """By identity."""
        with self.lock:
            rows = [row for row in self.charged if (row["source"], row["record_id"]) == (source, record_id)]
        return pl.DataFrame(rows, schema=CHARGED.record.schema)

    def entries(
        self,
        subscriber: int | None,
        from_us: int,
        until_us: int,
        limit: int,
        offset: int = 0,
        member: int | None = None,
    ) -> pl.DataFrame:
        """Newest first."""
        with self.lock:
            rows = [
                row
                for row in reversed(self.booked)
                if (subscriber is None or row["subscriber"] == subscriber)
                and from_us <= row["time_us"] < until_us
                and (member is None or row.get("member") == member)
            ]
        return pl.DataFrame(rows[offset : offset + limit], schema=ENTRIES.record.schema)

    def alerts(self, after: int, limit: int, subscriber: int | None = None) -> pl.DataFrame:
        """In the order of commit."""
        with self.lock:
            rows = [
                row
                for row in self.told
                if row["number"] > after and (subscriber is None or row["subscriber"] == subscriber)
            ]
        return pl.DataFrame(rows[:limit], schema={**ALERTS.record.schema, "number": pl.Int64})

    def rejects(self, reason: str | None, limit: int, offset: int = 0) -> pl.DataFrame:
        """Open ones."""
        with self.lock:
            rows = [row for row in self.rejected if reason is None or row["reason"] == reason]
        return pl.DataFrame(rows[offset : offset + limit], schema=REJECT_SCHEMA)

    def held(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Undecided ones."""
        with self.lock:
            return pl.DataFrame(self.waiting[offset : offset + limit], schema=HELD_SCHEMA)

    def accounting(self) -> list[ports.Accounting]:
        """By source."""
        with self.lock:
            return [
                ports.Accounting(source=source, **counts) for source, counts in sorted(self.counts.items())
            ]

    def status(self) -> dict[str, Any]:
        """What a page shows."""
        with self.lock:
            return {
                "commits": self.lines_taken,
                "committed_us": self.now_us(),
                "newest_us": max((row["start_us"] for row in self.charged), default=0),
                "rejected_open": len(self.rejected),
                "held_open": len(self.waiting),
                "alerts": len(self.told),
            }

    def movements(self, subscriber: int | None, limit: int, offset: int = 0) -> pl.DataFrame:
        """Newest first."""
        with self.lock:
            rows = [
                row for row in reversed(self.moved) if subscriber is None or row["subscriber"] == subscriber
            ]
        return pl.DataFrame(rows[offset : offset + limit], schema=MOVEMENT_SCHEMA)

    def reconciliations(self, limit: int) -> list[dict[str, Any]]:
        """Newest first."""
        return self.results[::-1][:limit]

    def audit(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Newest first."""
        with self.lock:
            rows = [vars(event) for event in reversed(self.looked)]
        return pl.DataFrame(rows[offset : offset + limit], schema=AUDIT_SCHEMA)

    def reconcile(self) -> dict[str, Any]:
        """Recomputing what was computed here gives the same, of course."""
        result = {
            "number": len(self.results) + 1,
            "time_us": self.now_us(),
            "records": len(self.charged),
            "differences": 0,
            "difference_micros": 0,
            "causes": {"missing": 0, "duplicate": 0, "late": 0, "rounding": 0, "tariff_version": 0},
        }
        self.results.append(result)
        return result

    # -- charging

    def _count(self, source: str, name: str, by: int = 1) -> None:
        names = ("received", "rated", "duplicate", "rejected", "held", "charged_micros")
        self.counts.setdefault(source, dict.fromkeys(names, 0))[name] += by

    def _record(self, line: bytes, number: int) -> None:
        said = _read(line)
        source = str(said.get("source") or "trunkline")
        self._count(source, "received")
        reason, detail = self._why_not(said)
        if reason:
            self._count(source, "rejected")
            self.numbered += 1
            place = {
                "number": self.numbered,
                "file": 1,
                "path": "spool/1.ndjson",
                "line": number,
                "source": source,
            }
            self.rejected.append(
                place | {"mapping": "trunkline", "reason": reason, "detail": detail, "raw": line}
            )
            return
        identity = (source, str(said["id"]))
        if identity in self.seen and self.seen[identity] == line:
            self._count(source, "duplicate")
        elif identity in self.seen:
            self._count(source, "held")
            self.numbered += 1
            place = {
                "number": self.numbered,
                "file": 1,
                "path": "spool/1.ndjson",
                "line": number,
                "source": source,
            }
            self.waiting.append(place | {"record_id": identity[1], "reason": "another payload", "raw": line})
        else:
            self.seen[identity] = line
            self._charge(said, source, number)

    def _why_not(self, said: dict[str, Any]) -> tuple[str, str]:
        """The first reason, in the written order."""
        if not said:
            return "unreadable", "not a JSON object"
        if not said.get("id"):
            return "missing_id", ""
        if not said.get("subscriber"):
            return "missing_subscriber", ""
        digits = str(said["subscriber"]).removeprefix("+")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 16:
            return "bad_number", "subscriber"
        if str(said.get("type")).upper() not in Kind.__members__:
            return "unknown_kind", ""
        if _moment_us(said.get("start")) is None:
            return "bad_time", "start"
        if not all(
            _whole(said.get(name, 0)) for name in ("duration_ms", "octets_up", "octets_down", "events")
        ):
            return "bad_quantity", ""
        if dial.to_key(digits) not in self.accounts:
            return "unknown_subscriber", ""
        return "", ""

    def _charge(self, said: dict[str, Any], source: str, line: int) -> None:
        kind, word = Kind[said["type"].upper()], dial.to_key(str(said["subscriber"]).removeprefix("+"))
        units, price = _priced(kind, said)
        rows = self.accounts[word]
        covered = 0
        for row in rows:
            if kind is Kind.VOICE and row["kind"] == RowKind.BALANCE and row["definition"] == MINUTES:
                covered = min(units, int(row["value"]))
                row["value"] -= covered
        charged = 0 if units and covered == units else price
        main = next(row for row in rows if row["kind"] == RowKind.BALANCE and row["definition"] == MAIN)
        before = int(main["value"])
        main["value"] -= charged
        self._count(source, "rated")
        self._count(source, "charged_micros", charged)
        seq = len(self.charged) + 1
        start_us = _moment_us(said["start"])
        assert start_us is not None, "checked before"
        self.charged.append(
            dict.fromkeys(CHARGED.record.schema)
            | {
                "seq": seq, "file": 1, "line": line, "source": source, "record_id": str(said["id"]), "identity": seq,
                "check": seq, "kind": int(kind), "direction": int(Direction.ORIGINATING), "report": 0,
                "subscriber": word, "calling": word, "called": dial.to_key(str(said.get("called", ""))),
                "start_us": start_us, "units": units, "visited_plmn": 0, "cell": said.get("cell"), "slice": 0,
                "service": said.get("service"), "plan": "payg@2026-01-01", "destination": "uk_mobile",
                "list_micros": price, "charged_micros": charged, "allowance_units": covered, "late": False,
            }
        )  # fmt: skip
        if charged:
            self._entry(seq, word, start_us, Cause.USAGE, charged, before, before - charged)
        if before >= LOW_MICROS > before - charged:
            self._alert(seq, word, start_us, before - charged)

    def _entry(
        self, seq: int, word: int, time_us: int, cause: Cause, amount: int, before: int, after: int
    ) -> None:
        sides = ("balance", "revenue") if after < before else ("topups", "balance")
        self.booked.append(
            {
                "seq": seq, "part": 0, "subscriber": word, "time_us": time_us, "cause": int(cause),
                "unit": int(Unit.MONEY), "debit": sides[0], "credit": sides[1], "amount": abs(amount),
                "balance": "main", "period": 0, "before": before, "after": after, "granted": 0,
            }
        )  # fmt: skip

    def _alert(self, seq: int, word: int, time_us: int, value: int) -> None:
        number = len(self.told) + 1
        self.told.append(
            {
                "alert_id": f"low-{number}", "seq": seq, "subscriber": word, "time_us": time_us,
                "kind": "low_balance", "balance": "main", "threshold": LOW_MICROS, "value": value, "period": 0,
                "number": number,
            }
        )  # fmt: skip

    def _move(self, order: ports.Movement) -> dict[str, Any]:
        if any(row["movement_id"] == order.movement_id for row in self.moved):
            return {"movement_id": order.movement_id, "status": "repeated", "reason": ""}
        reason = self._book(order)
        status = "refused" if reason else "booked"
        self.moved.append({"seq": len(self.moved) + 1, **vars(order), "status": status, "reason": reason})
        return {"movement_id": order.movement_id, "status": status, "reason": reason}

    def _book(self, order: ports.Movement) -> str:
        if order.subscriber not in self.accounts:
            return "unknown_subscriber"
        if order.balance not in CATALOGUE.balances:
            return "unknown_balance"
        definition = CATALOGUE.balances.index(order.balance)
        rows = self.accounts[order.subscriber]
        row = next((r for r in rows if r["kind"] == RowKind.BALANCE and r["definition"] == definition), None)
        if row is None:
            new = np.zeros(1, ACCOUNT_ROW)
            new[0] = (RowKind.BALANCE, 0, definition, 0, 0, 0, 0, 0, min(order.valid_until_s, NEVER_S))
            row = new[0]
            rows.append(row)
        before = int(row["value"])
        if definition != MAIN and before + order.amount < 0:
            return "not_enough"
        if abs(before + order.amount) >= 2**62:
            return "bad_amount"
        row["value"] = before + order.amount
        if definition != MAIN:
            row["granted"] += max(0, order.amount)
        seq = len(self.charged) + len(self.moved) + 1
        self._entry(
            seq,
            order.subscriber,
            order.time_us,
            Cause(order.cause),
            order.amount,
            before,
            before + order.amount,
        )
        return ""


def _read(line: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _moment_us(said: object) -> int | None:
    try:
        return int(datetime.fromisoformat(str(said)).timestamp() * 1000) * 1000
    except (ValueError, OverflowError):
        return None


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _priced(kind: Kind, said: dict[str, Any]) -> tuple[int, int]:
    """Units and price at the one flat tariff."""
    if kind is Kind.VOICE:
        units = said.get("duration_ms", 0)
        return units, -(-units // 60_000) * 100_000
    if kind is Kind.DATA:
        units = said.get("octets_up", 0) + said.get("octets_down", 0)
        return units, -(-units // 1_000_000) * 10_000
    units = said.get("events", 1)
    return units, units * 50_000
