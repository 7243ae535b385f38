"""Where a bucket answers those who ask for quota: its sessions, what they owe, and the turn that writes it all.

Promises, what was used and what it cost change in the bucket's own turns, so an answer is read by whoever asked when
it is true and never before. A bucket is carried by one thread; a promise therefore needs no lock, and what is owed is
charged between two answers, in the turn that strikes it off.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import orjson
import polars as pl
from confluent_kafka import Message as Taken

from trunkline.engines.kafka.asking import (
    ELSEWHERE,
    FAILED,
    UNKNOWN,
    Asked,
    answers_out,
    asked_in,
    held_out,
)
from trunkline.engines.kafka.bucket import ASKED, MOST_TRIES, Bucket
from trunkline.engines.kafka.router import aside
from trunkline.engines.loop import POISON
from trunkline.engines.online import OnlineRules, Sessions, opened, owing
from trunkline.engines.plan import buckets_of
from trunkline.engines.wire import Message, Unreadable
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.members import Members
from trunkline.ports import QuotaRequest

log = logging.getLogger(__name__)

QUIET_S = 0.25  # nobody asked for so long: what is owed is charged
OWED_S = 2.0  # and after so long at the latest
CHARGED_AT_ONCE = 1_000  # accounts
LINES_OCTETS = 4 << 20  # of one charge; an account that owes more is charged by itself
TRIED, TRIES = "asked_tried", "asked_tries"  # in `more`: a request that is tried alone, and how often it was
_TROUBLE_AROUND = (MemoryError, OSError)


class Desk:
    """Answers the requests of one bucket."""

    def __init__(
        self, bucket: Bucket, rules: OnlineRules, tables: Mapping[str, object], now_us: int, now_s: float
    ) -> None:
        """Know the sessions that the bucket holds."""
        self.bucket, self._rules, self._tables = bucket, rules, tables
        held = bucket.memories[rules.sessions.name].held
        kept = bucket.gather(rules.sessions, held.all_keys())
        self._sessions = Sessions(rules, opened(kept), owing(kept, rules), now_us)
        self._owed_s = self._asked_s = now_s  # since when something is owed; when somebody asked last
        self._told: dict[str, list[list[Any]]] = {}  # by door
        self._everybody: dict[str, list[int]] = {}

    @property
    def position(self) -> int:
        """The next request."""
        return self.bucket.more.get(ASKED, 0)

    @property
    def open(self) -> int:
        """How many sessions are open."""
        return self._sessions.open

    # -- answering ----------------------------------------------------------------------------------------

    def answer(self, taken: Sequence[Taken], now_s: float) -> None:
        """Carry requests; those of one session one after another, looks behind them all."""
        rounds: list[dict[int, tuple[Asked, Taken]]] = []
        looks = []
        seen: dict[int, int] = {}
        for message in taken:
            self.bucket.more[ASKED] = (message.offset() or 0) + 1
            try:
                asked = asked_in(message.value() or b"")
            except Unreadable as error:
                self._set_aside(None, message, str(error))
                continue
            if asked.request is None:
                looks.append(asked)
            elif self._is_elsewhere(asked.request):
                self._tell(asked, ELSEWHERE)
            else:
                at = seen[asked.session] = seen.get(asked.session, -1) + 1
                if at == len(rounds):
                    rounds.append({})
                rounds[at][asked.session] = asked, message
        was_owing = bool(self._sessions.owing)
        for each in rounds:
            self._carry(list(each.values()))
        for look in looks:
            self._tell(look, self._looked(look.owner))
        self._asked_s = now_s
        if self._sessions.owing and not was_owing:
            self._owed_s = now_s
        self._send()

    def _is_elsewhere(self, request: QuotaRequest) -> bool:
        """Whether a session that begins belongs to an account of another bucket: the door knows other members."""
        if not request.begins:
            return False
        members = cast("Members", self._tables[self._rules.members.name])
        owners, _ = members.place(np.array([request.subscriber], np.uint64))
        return int(buckets_of(owners, self.bucket.plan.buckets)[0]) != self.bucket.number

    def _carry(self, batch: Sequence[tuple[Asked, Taken]]) -> None:
        """Answer a batch; when that breaks, one by one, and the one that breaks it is set aside."""
        requests = [asked.request for asked, _ in batch if asked.request]
        try:
            left, answers = self._sessions.carry(requests, self.bucket, self._tables, self.bucket.commit + 1)
        except _TROUBLE_AROUND:
            raise
        except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 -- whatever breaks it, one request is to blame
            if len(batch) > 1:
                for each in batch:
                    self._carry([each])
                return
            asked, message = batch[0]
            self._set_aside(asked, message, f"{POISON}: answering broke with {type(error).__name__}")
            return
        if left is not None:
            self.bucket.changed(self._rules.sessions, left)
        for asked, _ in batch:
            told = answers.get(asked.session)
            if told is not None and asked.request is not None:
                self._sessions.remember(asked.request)
            self._tell(asked, UNKNOWN if told is None else answers_out(told))

    def _looked(self, owner: int | None) -> dict[str, Any]:
        """What an account and its sessions hold, or all sessions by their owners."""
        rules, bucket = self._rules, self.bucket
        if owner is None:
            keys = bucket.memories[rules.sessions.name].held.all_keys()
            every = bucket.gather(rules.sessions, keys)
            return {"owners": every.keys.tolist(), "counts": np.diff(every.offsets).tolist(),
                    "sessions": held_out(every.rows)}  # fmt: skip
        keys = np.array([owner], np.uint64)
        return {
            "sessions": held_out(bucket.gather(rules.sessions, keys).rows),
            "account": held_out(bucket.gather(rules.accounts, keys).rows),
        }

    def _set_aside(self, asked: Asked | None, message: Taken, reason: str) -> None:
        """Keep a request that nobody can answer, where people look; who asked is told that it failed."""
        where = message.topic() or "", message.partition() or 0, message.offset() or 0
        self.bucket.tell(aside(self.bucket.plan, *where, message.value() or b"", reason))
        if asked is not None:
            self._tell(asked, FAILED)

    def _tell(self, asked: Asked, told: Any) -> None:  # noqa: ANN401 -- as JSON has it
        self._told.setdefault(asked.door, []).append([asked.number, told])

    def _send(self) -> None:
        """Have what doors are told written with the turn."""
        plan, number = self.bucket.plan, self.bucket.number
        for door, told in self._told.items():
            self.bucket.tell(Message(plan.replies, number, orjson.dumps(told), door.encode()))
        if self._everybody:
            self.bucket.tell(Message(plan.replies, number, orjson.dumps(self._everybody)))
        self._told, self._everybody = {}, {}

    # -- one request alone, for it may be the one that workers die of ---------------------------------------

    def announced(self, message: Taken) -> bool:
        """Write down which request is tried next; whether it may be tried once more."""
        more, offset = self.bucket.more, message.offset() or 0
        if more.get(TRIED) != offset:
            more[TRIED], more[TRIES] = offset, 0
        more[TRIES] += 1
        return more[TRIES] <= MOST_TRIES

    def give_up(self, message: Taken) -> None:
        """Set aside the request that workers die of."""
        self.bucket.more[ASKED] = (message.offset() or 0) + 1
        try:
            asked: Asked | None = asked_in(message.value() or b"")
        except Unreadable:
            asked = None
        self._set_aside(asked, message, POISON)
        self._send()

    # -- what nobody asked for ------------------------------------------------------------------------------

    def lapse(self, now_us: int) -> bool:
        """Let go of what was promised to sessions that were not heard of in time; whether there were any."""
        lapsed = self._sessions.lapsed(now_us)
        if not lapsed:
            return False
        self._close(lapsed)
        self._send()
        return True

    def _close(self, lapsed: Sequence[QuotaRequest]) -> None:
        """Carry what closes sessions; when that breaks, one by one, and the one that breaks it stays as it is."""
        try:
            left, answers = self._sessions.carry(lapsed, self.bucket, self._tables, self.bucket.commit + 1)
        except _TROUBLE_AROUND:
            raise
        except (Exception, pl.exceptions.PanicException):
            if len(lapsed) > 1:
                for each in lapsed:
                    self._close([each])
            else:
                log.exception("a session that vanished could not be closed")
            return
        if left is not None:
            self.bucket.changed(self._rules.sessions, left)
        for each in lapsed:
            self._sessions.remember(each)
        self._everybody.setdefault("ended", []).extend(answers)

    def richer(self, owners: Sequence[int]) -> None:
        """Let every door know of accounts that hold more than they did."""
        self._everybody.setdefault("richer", []).extend(owners)
        self._send()

    def owes(self, now_s: float) -> bool:
        """Whether it is time to charge what was used."""
        if not self._sessions.owing:
            return False
        return now_s >= min(self._asked_s + QUIET_S, self._owed_s + OWED_S)

    def charge(self, now_us: int, now_s: float) -> int:
        """Charge what is owed and strike it off, as much as fits into a turn; how many records that was."""
        rules, bucket = self._rules, self.bucket
        every = sorted(self._sessions.owing)
        count = min(len(every), CHARGED_AT_ONCE)
        while True:
            owing_now = bucket.gather(rules.sessions, np.array(every[:count], np.uint64))
            due = rules.owed(owing_now)
            lines = rules.lines(due, cast("Members", self._tables[rules.members.name])) if len(due) else b""
            if len(lines) <= LINES_OCTETS or count == 1:
                break
            count = max(1, count // 2)
        self._sessions.owing.difference_update(every[:count])
        self._owed_s = now_s
        if not lines:
            return 0
        bucket.carry_lines(lines, rules.mapping, rules.source, now_us)
        left: Grouped = rules.struck(owing_now, owing_now)
        bucket.keep(rules.sessions, left)
        return len(due)
