"""What every route is given: the platform behind its ports, who is asking, and the body they sent.

`Needs` is on every route that is not public (`app.py` asserts it), and runs before anything of the request
but its headers is read. `JsonBody` then reads at most as much as is allowed, exactly, and checks its shape.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import polars as pl
from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from trunkline import ports
from trunkline.api.access import READ_PERSON, Access, Caller, Right
from trunkline.api.exact import read_json
from trunkline.api.heat import HeatBoard
from trunkline.api.metrics import Metrics
from trunkline.api.options import ApiOptions
from trunkline.api.people import People
from trunkline.api.problems import Problem, validation_sentence
from trunkline.api.studies import Studies
from trunkline.api.workers import Workers
from trunkline.charging.sharing import concerning, place_of
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.grouped import Rows

SESSION_COOKIE = "trunkline_session"
PAGE_HEADER = "x-trunkline"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


Reconcile = Callable[[], dict[str, Any]]
TariffFiles = Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Watching:
    """The network's side of the platform."""

    reader: ports.NetworkReader
    intake: ports.NetworkIntake
    board: HeatBoard
    service: ports.ServiceDesk | None = None
    listeners: Callable[[], list[dict[str, Any]]] = list  # what each took and refused since the start


@dataclass(frozen=True)
class Desk:
    """The platform as the routes see it."""

    reader: ports.Reader
    intake: ports.Intake
    audit: ports.AuditTrail
    catalogue: Callable[[], Catalogue]
    access: Access
    people: People
    options: ApiOptions
    metrics: Metrics
    now_us: Callable[[], int]
    reconcile: Reconcile | None
    tariff_files: TariffFiles | None
    network: Watching | None = None
    bills: ports.Bills | None = None
    transfers: ports.Transfers | None = None
    reservations: ports.Reservations | None = None
    vouchers: ports.Vouchers | None = None
    rerates: ports.Rerates | None = None
    deliveries: ports.Deliveries | None = None
    studies: Studies | None = None
    workers: Workers = tuple

    def saw(self, caller: Caller, action: str, subscriber: int = 0, detail: str = "") -> None:
        """Write down a look or a change, before it is answered: what cannot be audited does not happen."""
        self.audit.record(
            ports.AuditEvent(self.now_us(), caller.name, caller.role.name.lower(), action, subscriber, detail)
        )

    def account(self, word: int) -> Rows:
        """What concerns a subscriber of the account that it uses: its own rows and what it shares; empty: unknown."""
        owner, member = self.catalogue().members.account_of(word)
        return concerning(self.reader.account(owner), member, self.catalogue())

    def reserved(self, word: int) -> dict[tuple[int, int, int, int], int]:
        """How much of each balance of a subscriber's account is promised or set apart, by `balances.place_of`."""
        if self.reservations is None:
            return {}
        owner, _ = self.catalogue().members.account_of(word)
        return {place_of(row): amount for row, amount in self.reservations.amounts(owner)}

    def usage(
        self, word: int | None, from_us: int, until_us: int, limit: int, offset: int = 0
    ) -> pl.DataFrame:
        """Charged usage, newest first: a member's own, an owner's with all members'; of everyone for None."""
        if word is None:
            return self.reader.usage(None, from_us, until_us, limit, offset)
        owner, member = self.catalogue().members.account_of(word)
        return self.reader.usage(owner, from_us, until_us, limit, offset, member or None)

    def entries(self, word: int, from_us: int, until_us: int, limit: int, offset: int = 0) -> pl.DataFrame:
        """Ledger entries, newest first: of a member's own balances, or of the whole account for its owner."""
        owner, member = self.catalogue().members.account_of(word)
        return self.reader.entries(owner, from_us, until_us, limit, offset, member or None)

    def who(self, owner: int, member: int | None) -> int:
        """The dial word of a member of an account; of the owner for 0."""
        return self.catalogue().members.words_of(owner).get(member or 0, owner)

    def subscriber(self, said: str) -> int:
        """The dial word of a number or reference that a caller gave."""
        word = self.people.word(said)
        if word is None:
            raise Problem(
                400,
                "bad_number",
                "This is neither a number in international form nor a reference (~ and 16 hex digits).",
            )
        return word


def desk_of(request: Request) -> Desk:
    """The desk of the application that answers this request."""
    desk: Desk = request.app.state.desk
    return desk


def caller_of(request: Request) -> Caller:
    """Who `Needs` let in."""
    caller: Caller = request.state.caller
    return caller


AtDesk = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(caller_of)]


@dataclass(frozen=True)
class Needs:
    """A route's demand: the caller has this right, by bearer token or by the page's session."""

    right: Right

    async def __call__(self, request: Request) -> None:
        """Let the caller in, or answer 401 or 403."""
        caller = identify(request)
        if caller is None:
            raise Problem(
                401,
                "not_signed_in",
                "Send a valid token as 'Authorization: Bearer …', or sign in to the page again.",
                {"WWW-Authenticate": 'Bearer realm="trunkline"'},
            )
        if not caller.may(self.right):
            raise Problem(
                403,
                "not_allowed",
                f"The role {caller.role.name.lower()} may not do this; {self.right.role.name.lower()} and higher may.",
            )
        request.state.caller = caller


def identify(request: Request) -> Caller | None:
    """The caller behind a request's token or session."""
    access = desk_of(request).access
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme:
        return access.by_token(token.strip()) if scheme.lower() == "bearer" else None
    secret = request.cookies.get(SESSION_COOKIE)
    if secret is None:
        return None
    if request.method not in _SAFE and PAGE_HEADER not in request.headers:
        raise Problem(403, "foreign_page", "A signed-in page sends the header X-Trunkline with every change.")
    return access.by_session(secret)


def wants_full(caller: Caller, numbers: str) -> bool:
    """Whether numbers are shown in full: only when asked for, and only to those who may see a person."""
    if numbers not in ("masked", "full"):
        raise Problem(400, "invalid_request", "numbers is 'masked' or 'full'.")
    if numbers == "full" and not caller.may(READ_PERSON):
        raise Problem(
            403, "not_allowed", f"Numbers in full need the role {READ_PERSON.role.name.lower()} or higher."
        )
    return numbers == "full"


async def read_body(request: Request) -> bytes:
    """The body, decompressed; at most as large as the options allow, however it is sent."""
    limit = desk_of(request).options.body_octets_max
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise Problem(415, "unsupported_encoding", "Send the body as it is, or with Content-Encoding: gzip.")
    inflate = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    parts, size = [], 0
    async for chunk in request.stream():
        try:
            part = inflate.decompress(chunk, limit + 1 - size) if inflate else chunk
        except zlib.error as error:
            raise Problem(400, "bad_gzip", "The body is not gzip, although it says so.") from error
        size += len(part)
        if size > limit:
            raise Problem(413, "too_large", f"A body may have {limit:,} octets; send it in several parts.")
        parts.append(part)
    if inflate and not inflate.eof:
        raise Problem(400, "bad_gzip", "The gzip body ends too early.")
    return b"".join(parts)


def media_type(request: Request) -> str:
    """The body's media type without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class JsonBody:
    """A route's body: JSON in the shape of `model`, with exact numbers."""

    model: type[BaseModel]

    async def __call__(self, request: Request) -> BaseModel:
        """The body, or answer 400, 413 or 415."""
        if media_type(request) != "application/json":
            raise Problem(415, "unsupported_media_type", "Send JSON with Content-Type: application/json.")
        body = await read_body(request)
        try:
            return self.model.model_validate(read_json(body))
        except ValidationError as error:
            raise Problem(400, "invalid_body", validation_sentence(list(error.errors()))) from error
        except (ValueError, RecursionError) as error:
            raise Problem(400, "not_json", f"The body is not JSON that we can read: {error}") from error
