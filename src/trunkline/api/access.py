"""Who may do what: roles, rights, tokens and sign-in, decided here and nowhere else.

Every route and socket names one `Right`; the table below says which role has it. Tokens reach us only as
digests, so neither a settings file nor a memory dump of it gives anybody in. A page signs in through a link
that works once; its session lives in memory and ends with the process.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from threading import Lock


class Role(IntEnum):
    """Each role may do all that the ones before it may."""

    VIEWER = 1
    CARE = 2
    BILLING = 3
    ADMIN = 4


@dataclass(frozen=True)
class Right:
    """Something that can be allowed: its name, the lowest role that has it, and what it means."""

    name: str
    role: Role
    text: str


WATCH = Right(
    "watch", Role.VIEWER, "See rates, accounting, status, alerts and newest usage, with numbers masked."
)
READ_TARIFFS = Right("read_tariffs", Role.VIEWER, "See plans and prices.")
READ_METRICS = Right("read_metrics", Role.VIEWER, "Read /metrics and the description of this interface.")
READ_PERSON = Right(
    "read_person", Role.CARE, "See one person's balances, usage and movements; numbers in full on request."
)
HAND_IN = Right("hand_in", Role.BILLING, "Hand in usage.")
MOVE_MONEY = Right("move_money", Role.BILLING, "Top up and adjust balances.")
MAKE_VOUCHERS = Right(
    "make_vouchers", Role.BILLING, "Make batches of vouchers, read their codes, activate and block them."
)
CHARGE_ONLINE = Right(
    "charge_online", Role.BILLING, "Reserve quota and report its use, as network functions do."
)
SETTLE = Right(
    "settle", Role.BILLING, "See rejected and held records as they came, correct, close and decide them."
)
RECONCILE = Right("reconcile", Role.BILLING, "Start a reconciliation.")
CHECK_TARIFFS = Right("check_tariffs", Role.BILLING, "Check the text of a tariff before it is put in force.")
WHAT_IF = Right(
    "what_if",
    Role.BILLING,
    "Price stored usage with a draft tariff; see and export what-ifs and shadow runs.",
)
WATCH_NETWORK = Right(
    "watch_network",
    Role.VIEWER,
    "See the map, KPIs, findings, alarms, incidents and the accounting of telemetry.",
)
OPERATE_NETWORK = Right(
    "operate_network",
    Role.CARE,
    "Create, change, acknowledge, comment, group and clear alarms; own and annotate incidents.",
)
PLAN_MAINTENANCE = Right("plan_maintenance", Role.BILLING, "Preview, plan and cancel maintenance windows.")
CHOOSE_DELIVERY = Right(
    "choose_delivery", Role.CARE, "Keep and forget how a customer is told of alerts: channel, address, hours."
)
RETRY_DELIVERY = Right("retry_delivery", Role.ADMIN, "Offer alerts again that could not be delivered.")
READ_AUDIT = Right("read_audit", Role.ADMIN, "See who looked at and changed whose data.")
SUBSCRIBE = Right("subscribe", Role.ADMIN, "Register addresses that are told of new usage and movements.")
INVITE = Right("invite", Role.ADMIN, "Make sign-in links for other people.")

RIGHTS = (
    WATCH,
    READ_TARIFFS,
    READ_METRICS,
    READ_PERSON,
    HAND_IN,
    MOVE_MONEY,
    MAKE_VOUCHERS,
    CHARGE_ONLINE,
    SETTLE,
    RECONCILE,
    CHECK_TARIFFS,
    WHAT_IF,
    WATCH_NETWORK,
    OPERATE_NETWORK,
    PLAN_MAINTENANCE,
    CHOOSE_DELIVERY,
    RETRY_DELIVERY,
    READ_AUDIT,
    SUBSCRIBE,
    INVITE,
)


@dataclass(frozen=True)
class Token:
    """A bearer token as settings hold it: whose it is, what it may do, and its SHA-256 in hexadecimal."""

    name: str
    role: Role
    sha256: str


@dataclass(frozen=True)
class Caller:
    """Who is asking. `session` is empty for a bearer token, and names the page's session otherwise."""

    name: str
    role: Role
    session: str = ""

    def may(self, right: Right) -> bool:
        """Whether this caller's role has the right."""
        return self.role >= right.role


def digest(text: str) -> str:
    """The form in which tokens, codes and sessions are kept."""
    return sha256(text.encode()).hexdigest()


@dataclass
class _Lease:
    """A code or a session: whose, and until when."""

    caller: Caller
    until_s: float


@dataclass
class Access:
    """Knows tokens, sign-in codes and sessions. Safe to use from several threads."""

    tokens: Sequence[Token]
    now_s: Callable[[], float]
    code_s: int = 3600
    session_s: int = 12 * 3600
    sessions_max: int = 1000
    _codes: dict[str, _Lease] = field(default_factory=dict)
    _sessions: dict[str, _Lease] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def by_token(self, token: str) -> Caller | None:
        """The caller behind a bearer token. All tokens are compared, so timing tells nothing."""
        given, found = digest(token), None
        for known in self.tokens:
            if hmac.compare_digest(given, known.sha256.lower()):
                found = Caller(known.name, known.role)
        return found

    def issue_code(self, name: str, role: Role) -> str:
        """A sign-in code that works once, within `code_s` seconds."""
        code = secrets.token_urlsafe(24)
        with self._lock:
            self._forget_old(self._codes)
            self._codes[digest(code)] = _Lease(Caller(name, role), self.now_s() + self.code_s)
        return code

    def redeem(self, code: str) -> str | None:
        """A new session for a sign-in code, which is then used up; None when it is unknown or too old."""
        with self._lock:
            self._forget_old(self._codes)
            lease = self._codes.pop(digest(code), None)
        return None if lease is None else self.open_session(lease.caller)

    def open_session(self, caller: Caller) -> str:
        """The secret of a new session, for the cookie."""
        secret = secrets.token_urlsafe(32)
        key = digest(secret)
        with self._lock:
            self._forget_old(self._sessions)
            if len(self._sessions) >= self.sessions_max:
                self._sessions.pop(next(iter(self._sessions)))
            until_s = self.now_s() + self.session_s
            self._sessions[key] = _Lease(Caller(caller.name, caller.role, session=key), until_s)
        return secret

    def by_session(self, secret: str) -> Caller | None:
        """The caller behind a session cookie; None when it has ended."""
        with self._lock:
            lease = self._sessions.get(digest(secret))
            return None if lease is None or lease.until_s <= self.now_s() else lease.caller

    def still_in(self, caller: Caller) -> bool:
        """Whether a caller who came in before may stay: long-lived sockets ask this again and again."""
        if not caller.session:
            return True
        with self._lock:
            lease = self._sessions.get(caller.session)
            return lease is not None and lease.until_s > self.now_s()

    def end_session(self, caller: Caller) -> None:
        """Sign out."""
        with self._lock:
            self._sessions.pop(caller.session, None)

    def _forget_old(self, leases: dict[str, _Lease]) -> None:
        now_s = self.now_s()
        for key in [key for key, lease in leases.items() if lease.until_s <= now_s]:
            del leases[key]
