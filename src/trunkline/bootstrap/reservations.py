"""Amounts set apart of one balance for a while (TMF654 reserveBalance), kept where online charging keeps its promises.

A reservation is a session that uses nothing: it stands beside the quotas of network functions, is weighed against them
and they against it, ends by itself, and outlives a crash, all like theirs. Its name is made of who ordered it and its
key, so an order that comes again finds it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from trunkline.bootstrap.online import online_of
from trunkline.charging.online import owing, reserved, usable
from trunkline.charging.quota import unlimited
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.embedded.engine import Engine
from trunkline.kernel.grouped import Grouped, Rows, State
from trunkline.kernel.identity import digest_of
from trunkline.ports import (
    Busy,
    NotReserved,
    OnlineCharging,
    QuotaAnswer,
    QuotaRequest,
    Reservation,
    Told,
    UnknownSession,
)
from trunkline.records.online import APART, REFUSALS, REQUEST_ROW, SESSIONS, Action, Hold, WouldUse
from trunkline.records.usage import Direction
from trunkline.stores.embedded.reader import EmbeddedReader

PATIENCE_S = 30.0
NOBODYS = 2**64 - 1  # the name of a question's session, which is never kept


class Looks(Protocol):
    """Whoever tells what accounts and their sessions hold."""

    def account(self, subscriber: int) -> Rows:
        """Rows of one account."""

    def of_key(self, state: State, key: int) -> Rows:
        """Rows of a state under one key."""

    def every(self, state: State) -> Grouped:
        """All of a state."""


class OnlineReservations:
    """Reservations (`ports.Reservations`) over online charging, of a data folder or of a cluster."""

    def __init__(
        self,
        online: OnlineCharging | None,
        reader: Looks,
        catalogue: Callable[[], Catalogue],
        clock_us: Callable[[], int],
    ) -> None:
        """Nothing is kept here: `online` decides and remembers, `reader` tells; without `online` only to be read."""
        self._online, self._reader, self._catalogue, self._clock_us = online, reader, catalogue, clock_us

    def reserve(self, order: Reservation) -> Reservation:
        """Set an amount apart, wholly or not at all, once for each name."""
        session = digest_of(f"reservation {order.name}")[0] or 1
        number = self._catalogue().balances.index(order.balance)
        said = dict.fromkeys(("calling", "called", "visited_plmn", "slice", "five_qi"), 0)
        said |= {"kind": APART, "direction": int(Direction.ORIGINATING), "start_us": order.time_us}
        request = QuotaRequest(
            order.subscriber, session, 1, int(Action.RESERVE), begins=True, time_us=order.time_us,
            until_us=order.until_us, groups=((number, 0, order.amount),), said=said | {"service": None},
        )  # fmt: skip
        (answer,) = self._asked(request)
        kept = next((each for each in self.of(order.subscriber) if each.name == name_of(session)), None)
        if kept is not None and (kept.amount, kept.balance) != (order.amount, order.balance):
            raise NotReserved("key_reused", "This name was used for another reservation; take a new one.")
        if kept is None or answer.granted < order.amount:
            raise NotReserved(
                "not_enough",
                "The balance does not hold so much beside what is promised and set apart already.",
            )
        return kept

    def release(self, subscriber: int, name: str) -> bool:
        """Give a reservation back; whether there was one."""
        if not any(each.name == name for each in self.of(subscriber)):
            return False
        now_us = self._clock_us()
        request = QuotaRequest(
            subscriber, int(name, 16), 2, int(Action.RELEASE), begins=False, time_us=now_us, until_us=now_us,
            groups=(),
        )  # fmt: skip
        try:
            self._asked(request)
        except UnknownSession:
            return False
        return True

    def of(self, subscriber: int | None) -> list[Reservation]:
        """What is set apart now, of one account or of all; the newest first."""
        now_us, balances = self._clock_us(), self._catalogue().balances
        found = [
            Reservation(
                name_of(int(row["session"])), owner, balances[int(row["group"])], int(row["granted"]),
                int(row["asked_us"]), int(row["until_us"]),
            )
            for owner, rows in self._sessions(subscriber)
            for row in rows[(rows["kind"] == APART) & (rows["until_us"] > now_us) & (rows["granted"] > 0)]
        ]  # fmt: skip
        return sorted(found, key=lambda each: (-each.time_us, each.name))

    def amounts(self, owner: int) -> list[tuple[Rows, int]]:
        """Rows of an account of which something is promised, set apart, or used and not charged yet; how much of it."""
        rows = self._reader.account(owner)
        sessions = self._reader.of_key(SESSIONS, owner)
        account = Grouped(np.array([owner], np.uint64), np.array([0, len(rows)], np.int64), rows)
        amounts = reserved(sessions, account, self._clock_us(), self._catalogue())
        return [(row, int(amount)) for row, amount in zip(rows, amounts.tolist(), strict=True) if amount > 0]

    def held(self, owner: int) -> list[Hold]:
        """All that is set apart of an account, promised to sessions, or used and not charged yet; the newest first."""
        rows, now_us, balances = (
            self._reader.of_key(SESSIONS, owner),
            self._clock_us(),
            self._catalogue().balances,
        )
        waits = owing(rows)
        there = rows[(waits | (rows["until_us"] > now_us)) & (rows["used"] + rows["granted"] > 0)]
        found = []
        for row, due in zip(there, owing(there).tolist(), strict=True):
            apart, group = int(row["kind"]) == APART, int(row["group"])
            found.append(
                Hold(
                    name_of(int(row["session"])), owner, int(row["member"]), balances[group] if apart else "",
                    int(row["kind"]), 0 if apart else group, 0 if due else int(row["granted"]), int(row["used"]),
                    int(row["asked_us"]), None if due else int(row["until_us"]),
                )
            )  # fmt: skip
        return sorted(found, key=lambda each: (-each.time_us, each.name, each.group, each.owed))

    def usable(self, use: WouldUse) -> tuple[int, str]:
        """How many units of a use would be granted now, and why it cannot be judged; nothing is promised."""
        catalogue = self._catalogue()
        owner, member = catalogue.members.account_of(use.subscriber)
        keys = np.array([owner], np.uint64)
        account, sessions = self._reader.account(owner), self._reader.of_key(SESSIONS, owner)
        request = np.zeros(1, REQUEST_ROW)
        request["subscriber"], request["member"], request["session"] = owner, member, NOBODYS
        request["action"], request["says"], request["wanted"] = int(Action.RESERVE), True, use.units
        request["time_us"] = request["until_us"] = self._clock_us()
        request["kind"], request["direction"] = use.kind, int(Direction.ORIGINATING)
        request["calling"], request["called"], request["service"] = (
            use.subscriber,
            use.called,
            use.service.encode(),
        )
        request["start_us"] = use.start_us
        most = unlimited(1)
        most["rate_micros"], most["per_units"] = use.rate_micros, use.per_units
        if use.cost_micros is not None:
            most["cost_micros"] = use.cost_micros
        of_key = (np.array([0, len(rows)], np.int64) for rows in (sessions, account))
        grouped = [
            Grouped(keys, offsets, rows) for offsets, rows in zip(of_key, (sessions, account), strict=True)
        ]
        units, refusal = usable(request, most, grouped[0], grouped[1], catalogue)
        return int(units[0]), REFUSALS[int(refusal[0])]

    def _sessions(self, subscriber: int | None) -> Iterator[tuple[int, Rows]]:
        if subscriber is not None:
            owner, _ = self._catalogue().members.account_of(subscriber)
            yield owner, self._reader.of_key(SESSIONS, owner)
            return
        every = self._reader.every(SESSIONS)
        for at, owner in enumerate(every.keys.tolist()):
            yield owner, every.rows[every.offsets[at] : every.offsets[at + 1]]

    def _asked(self, request: QuotaRequest) -> list[QuotaAnswer]:
        assert self._online is not None, "these reservations are only to be read"
        answer: Future[list[QuotaAnswer]] = Future()

        def answered(told: Told) -> None:
            if isinstance(told, BaseException):
                answer.set_exception(told)
            else:
                answer.set_result(told)

        self._online.ask(request, answered)
        try:
            return answer.result(PATIENCE_S)
        except (Busy, TimeoutError):
            raise NotReserved("no_answer", "The answer took too long; send the order again.") from None


def name_of(session: int) -> str:
    """A reservation's name once it is kept."""
    return f"{session:016x}"


@contextmanager
def by_hand(
    engine: Engine, reader: EmbeddedReader, catalogue: Callable[[], Catalogue]
) -> Iterator[OnlineReservations]:
    """The reservations of a folder that no running process writes to, for one command; what is owed is charged, too."""
    online, stop = online_of(engine, reader), threading.Event()
    trouble: list[BaseException] = []

    def run() -> None:
        try:
            online.run(stop)
        except BaseException as error:  # noqa: BLE001 -- raised in the thread that waits for this one
            trouble.append(error)

    worker = threading.Thread(target=run, name="online")
    worker.start()
    try:
        yield OnlineReservations(online, reader, catalogue, engine.clock_us)
    finally:
        stop.set()
        worker.join()
    if trouble:
        raise trouble[0]
