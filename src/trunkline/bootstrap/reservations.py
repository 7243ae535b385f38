"""Amounts set apart of one balance for a while (TMF654 reserveBalance), kept where online charging keeps its promises.

A reservation is a session that uses nothing: it stands beside the quotas of network functions, is weighed against them
and they against it, ends by itself, and outlives a crash, all like theirs. Its name is made of who ordered it and its
key, so an order that comes again finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Protocol

import numpy as np

from trunkline.charging.online import reserved
from trunkline.charging.tariffs.catalogue import Catalogue
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
from trunkline.records.online import APART, SESSIONS, Action
from trunkline.records.usage import Direction

PATIENCE_S = 30.0


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
        online: OnlineCharging,
        reader: Looks,
        catalogue: Callable[[], Catalogue],
        clock_us: Callable[[], int],
    ) -> None:
        """Nothing is kept here: `online` decides and remembers, `reader` tells."""
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

    def _sessions(self, subscriber: int | None) -> Iterator[tuple[int, Rows]]:
        if subscriber is not None:
            owner, _ = self._catalogue().members.account_of(subscriber)
            yield owner, self._reader.of_key(SESSIONS, owner)
            return
        every = self._reader.every(SESSIONS)
        for at, owner in enumerate(every.keys.tolist()):
            yield owner, every.rows[every.offsets[at] : every.offsets[at + 1]]

    def _asked(self, request: QuotaRequest) -> list[QuotaAnswer]:
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
