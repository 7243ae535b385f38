"""A hand in the data folder for commands that change something: the folder itself, or the process that writes to it."""

from __future__ import annotations

import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import orjson
import typer

from trunkline.bootstrap.platform import opened
from trunkline.bootstrap.transfers import FolderTransfers
from trunkline.bootstrap.vouchers import FolderVouchers
from trunkline.kernel.dial import to_text
from trunkline.ports import FolderInUse, Movement, Redemption, Refused, Transfer
from trunkline.settings import Folders, Guessing, Http, Keeping, read

if TYPE_CHECKING:
    from trunkline.bootstrap.serve import Serving

TOKEN = "TRUNKLINE_TOKEN"  # noqa: S105 -- the name of a variable, not what it holds
PATIENCE_S = 60

Url = Annotated[
    str | None,
    typer.Option(
        envvar="TRUNKLINE_URL",
        help="Address of the running trunkline; its token is read from TRUNKLINE_TOKEN.",
    ),
]


class Orders(Protocol):
    """What commands can change, wherever it is kept."""

    def move(self, movement: Movement) -> dict[str, Any]:
        """Book a movement."""

    def transfer(self, order: Transfer) -> dict[str, Any]:
        """Book a transfer; raises `NotTransferred` or `Refused`."""

    def redeem(self, redeem_id: str, subscriber: int, code: str) -> dict[str, Any]:
        """Redeem a voucher; raises `NotRedeemed` or `Refused`."""

    def correct(self, number: int, lines: bytes) -> None:
        """Offer a rejected record again with corrected bytes."""

    def close(self, number: int) -> None:
        """Close a rejected record for good."""

    def decide(self, number: int, decision: str) -> None:
        """Decide a conflict."""


class Hand(Orders, Protocol):
    """What commands can change in a data folder, or at the process that writes to it."""

    def release(self, subscriber: int, name: str) -> bool:
        """Give a reservation back; whether there was one. Raises `NotReserved` or `Refused`."""


@contextmanager
def over_http(url: str) -> Iterator[Hand]:
    """The running platform at an address."""
    yield _Remote(url)


@contextmanager
def hand(data: Path, url: str | None) -> Iterator[Hand]:
    """The way in: over HTTP when an address is given, else the data folder."""
    if url:
        with over_http(url) as remote:
            yield remote
        return
    from trunkline.bootstrap import serve

    try:
        with opened(read(Folders, data=data)) as platform:
            serving = serve.prepare(platform, Http(), Keeping())
            yield _Local(serving)
            _drain(serving)
    except FolderInUse as error:
        raise FolderInUse(
            f"{error} Ask that one: give its address with --url, and a token in {TOKEN}"
            " (trunkline token add NAME --role billing)."
        ) from error


def _drain(serving: Serving) -> None:
    """Charge what was offered again before the folder is let go."""
    stop = threading.Event()

    def look(*_: object) -> None:
        if serving.sources.unread_octets == 0:
            stop.set()

    look()
    if not stop.is_set():
        serving.platform.engine.drive(serving.sources, stop, look)


def told_transfer(booked: Transfer, repeated: bool) -> dict[str, Any]:
    """A transfer as a command tells it."""
    names = ("transfer_id", "balance", "amount", "fee_micros")
    return {"status": "repeated" if repeated else "booked", **{name: getattr(booked, name) for name in names}}


def told_redemption(done: Redemption, repeated: bool) -> dict[str, Any]:
    """What a voucher brought, as a command tells it."""
    return {
        "status": "repeated" if repeated else "booked",
        "voucher": f"{done.batch}-{done.number}",
        "balance": done.balance,
        "amount": done.amount,
    }


class _Local:
    def __init__(self, serving: Serving) -> None:
        self._intake = serving.intake
        self._reader = serving.reader
        self._platform = platform = serving.platform
        self._transfers = FolderTransfers(platform.folders.data, platform.engine)
        self._vouchers = FolderVouchers(
            platform.folders.data, lambda: time.time_ns() // 1000, platform.engine, read(Guessing)
        )

    def move(self, movement: Movement) -> dict[str, Any]:
        return self._intake.move([movement])[0]

    def transfer(self, order: Transfer) -> dict[str, Any]:
        return told_transfer(*self._transfers.transfer(order))

    def redeem(self, redeem_id: str, subscriber: int, code: str) -> dict[str, Any]:
        return told_redemption(*self._vouchers.redeem(redeem_id, subscriber, code))

    def release(self, subscriber: int, name: str) -> bool:
        from trunkline.bootstrap.reservations import by_hand

        platform = self._platform
        with by_hand(platform.engine, self._reader, lambda: platform.catalogue) as reservations:
            return reservations.release(subscriber, name)

    def correct(self, number: int, lines: bytes) -> None:
        self._intake.settle_reject(number, lines, "operator")

    def close(self, number: int) -> None:
        self._intake.settle_reject(number, None, "operator")

    def decide(self, number: int, decision: str) -> None:
        self._intake.settle_held(number, decision, "operator")


class _Remote:
    def __init__(self, url: str) -> None:
        self._url = url

    def move(self, movement: Movement) -> dict[str, Any]:
        found = ask(self._url, "/api/v1/subscribers/find", {"number": to_text(movement.subscriber)})
        body = {"balance": movement.balance, "amount": movement.amount}
        return ask(
            self._url,
            f"/api/v1/subscribers/{found['ref']}/topups",
            body,
            {"Idempotency-Key": movement.movement_id},
        )

    def transfer(self, order: Transfer) -> dict[str, Any]:
        giver, receiver = (
            ask(self._url, "/api/v1/subscribers/find", {"number": to_text(word)})["ref"]
            for word in (order.giver, order.receiver)
        )
        told = ask(
            self._url,
            f"/api/v1/subscribers/{giver}/transfers",
            {"to": receiver, "balance": order.balance, "amount": order.amount},
            {"Idempotency-Key": order.transfer_id},
        )
        return {name: told[name] for name in ("transfer_id", "status", "balance", "amount", "fee_micros")}

    def redeem(self, redeem_id: str, subscriber: int, code: str) -> dict[str, Any]:
        found = ask(self._url, "/api/v1/subscribers/find", {"number": to_text(subscriber)})
        key = {"Idempotency-Key": redeem_id}
        told = ask(self._url, f"/api/v1/subscribers/{found['ref']}/vouchers", {"code": code}, key)
        return {name: told[name] for name in ("status", "voucher", "balance", "amount")}

    def release(self, subscriber: int, name: str) -> bool:
        found = ask(self._url, "/api/v1/subscribers/find", {"number": to_text(subscriber)})
        ask(self._url, f"/api/v1/subscribers/{found['ref']}/reservations/{name}/release", {})
        return True

    def correct(self, number: int, lines: bytes) -> None:
        ask(self._url, f"/api/v1/rejects/{number}/correct", {"text": lines.decode()})

    def close(self, number: int) -> None:
        ask(self._url, f"/api/v1/rejects/{number}/close", {})

    def decide(self, number: int, decision: str) -> None:
        ask(self._url, f"/api/v1/held/{number}/decide", {"decision": decision})


def ask(
    url: str, path: str, body: dict[str, Any] | None = None, more: dict[str, str] | None = None
) -> dict[str, Any]:
    """What the running platform answers to a body, or to a question when there is none; raises `Refused`."""
    if not url.startswith(("http://", "https://")):
        raise Refused(f"{url} is no address. It begins with http:// or https://.")
    url = url.rstrip("/")
    headers = {
        **(more or {}),
        "Content-Type": "application/json",
        "Authorization": f"Bearer {os.environ.get(TOKEN, '')}",
    }
    octets = None if body is None else orjson.dumps(body)
    request = urllib.request.Request(url + path, octets, headers)  # noqa: S310 -- checked above
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310 -- checked above
            answer: dict[str, Any] = orjson.loads(response.read() or b"{}")
            return answer
    except urllib.error.HTTPError as error:
        raise Refused(f"{url} refused it ({error.code}): {_told(error.read())}") from error
    except (urllib.error.URLError, TimeoutError) as error:
        raise Refused(f"{url} does not answer: {error}. Is it the right address?") from error


def _told(body: bytes) -> str:
    try:
        return str(orjson.loads(body).get("message") or orjson.loads(body).get("reason"))
    except (orjson.JSONDecodeError, AttributeError):
        return "no reason given"
