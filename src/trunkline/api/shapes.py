"""The shapes of our own interface, written once: they check what comes in and describe what goes out.

Amounts are whole micro-units of the operator's currency, times are microseconds UTC, durations milliseconds:
the same numbers that the ledger holds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


class Order(BaseModel):
    """Something that is sent to us; a field that we do not know is a mistake, not a wish to be ignored."""

    model_config = ConfigDict(extra="forbid")


class Person(BaseModel):
    """A subscriber: the number (masked unless asked for in full) and the reference to use in addresses."""

    number: str
    ref: str


class SourceAccounting(BaseModel):
    """What became of a source's records."""

    source: str
    received: int
    rated: int
    duplicate: int
    rejected: int
    held: int
    charged_micros: int


class AccountingAnswer(BaseModel):
    """Everything received is accounted for: received = rated + duplicate + rejected + held."""

    currency: str
    balanced: bool
    total: SourceAccounting
    sources: list[SourceAccounting]


class StatusAnswer(BaseModel):
    """Files, positions, sizes and times, as the store tells them."""

    status: dict[str, Any]


class WorkerAnswer(BaseModel):
    """The last word of one worker; null where its engine knows no such thing."""

    name: str
    engine: str = Field(description="kafka, spark, or delivery: the way of results into the serving store.")
    silent_s: float = Field(description="Seconds since its last word; it says one every two seconds.")
    silent: bool = Field(description="So many words did not come that it is stuck, gone or cut off.")
    records: int = Field(description="Carried since it began.")
    records_per_s: float
    lag_messages: int = Field(description="Messages that wait in its partitions.")
    lag: dict[str, int] = Field(description="The same by topic/partition.")
    state_octets: int | None
    checkpoint_age_s: float | None = Field(description="Since it last made something durable.")
    rebalances: int | None = Field(description="How often it was given partitions or lost them.")


class WorkersAnswer(BaseModel):
    """The workers of a cluster; none where one process carries everything."""

    items: list[WorkerAnswer]


class RowsAnswer(BaseModel):
    """Rows with the columns that docs/reference/records.md describes, and whether there are more."""

    items: list[dict[str, Any]]
    more: bool


class SaidAnswer(BaseModel):
    """One thing and all that is known of it."""

    said: dict[str, Any]


class ReceiptAnswer(BaseModel):
    """Usage that is durable and will be charged."""

    records: int
    file: int
    offset: int


class UsageRow(BaseModel):
    """One use and what it cost."""

    source: str
    record_id: str
    kind: str
    direction: str
    subscriber: Person
    calling: str
    called: str
    start_us: int
    units: int
    unit: str
    visited_plmn: int
    cell: str
    service: str
    plan: str
    destination: str
    list_micros: int
    charged_micros: int
    allowance_units: int
    late: bool
    corrected_micros: int = Field(description="What its corrections add to `charged_micros`.")
    cancelled_by: str | None = Field(description="The record of the same source that cancelled it.")
    corrected_by: str | None = Field(description="The record of the same source that took its place.")
    corrects: str | None = Field(description="The record of the same source whose place it took.")


class UsageAnswer(BaseModel):
    """Usage, newest first."""

    currency: str
    items: list[UsageRow]


class BalanceRow(BaseModel):
    """A balance: units left of what was given; money in micro-units, time in ms, data in octets."""

    key: str
    name: str
    unit: str
    left: int
    granted: int
    main: bool
    shared: bool = False
    carried: bool = Field(default=False, description="Whether it was carried over from an earlier period.")
    state: Literal["active", "future", "expired"]
    valid_from: str | None
    valid_until: str | None


class PlanRow(BaseModel):
    """A plan that the subscriber has or had."""

    name: str
    payment: str
    credit_limit_micros: int
    valid_from: str | None
    state: str


class TopUpChoice(BaseModel):
    """A balance that may be added to."""

    name: str
    unit: str
    main: bool


class CounterRow(BaseModel):
    """What was used in a period."""

    name: str
    unit: str
    used: int
    cap_micros: int | None
    state: str
    valid_from: str | None
    valid_until: str | None


class CallRow(BaseModel):
    """A call that is told in parts and not over: what came of it until now."""

    kind: str
    unit: str
    begun: str
    ended: str = Field(description="Until when it is known.")
    used: int
    charged_micros: int
    parts: int = Field(description="How many came; 0 for a call that reports its counters.")
    missing: list[int] = Field(description="Parts before the last that came, which did not come.")


class TransferChoice(BaseModel):
    """A balance that may be handed on: how much at a time, in its unit, and what that costs."""

    name: str
    unit: str
    least: int
    most: int
    fee_micros: int
    fee_millionths: int = Field(description="Millionths of the amount, besides; 0 for units.")


class ShareRow(BaseModel):
    """What one member took of one shared balance in a period."""

    subscriber: Person
    balance: str
    unit: str
    used: int
    limit: int | None
    state: str
    valid_from: str | None
    valid_until: str | None


class AccountAnswer(BaseModel):
    """A subscriber's account."""

    subscriber: Person
    currency: str
    plans: list[PlanRow]
    balances: list[BalanceRow]
    can_top_up: list[TopUpChoice]
    can_transfer: list[TransferChoice]
    can_redeem: bool = Field(default=False, description="Whether vouchers can be redeemed here.")
    can_reserve: bool = Field(default=False, description="Whether something can be set apart here.")
    counters: list[CounterRow]
    calls: list[CallRow] = []
    owner: Person | None = None
    members: list[Person] = []
    shares: list[ShareRow] = []


class EntryRow(BaseModel):
    """A ledger entry."""

    seq: int
    part: int
    time_us: int
    cause: str
    unit: str
    debit: str
    credit: str
    amount: int
    balance: str
    before: int
    after: int


class EntriesAnswer(BaseModel):
    """Ledger entries, newest first."""

    items: list[EntryRow]


class FindOrder(Order):
    """A number to look up; in the body, so that it stands in no address."""

    number: str = Field(max_length=40)


class TopUpOrder(Order):
    """Units to add to a balance: money in micro-units, time in ms, data in octets."""

    balance: str = Field(max_length=200, description="Name of the balance, such as main.")
    amount: int = Field(gt=0, lt=2**62)
    valid_until: str | None = Field(
        None, max_length=40, description="ISO 8601 moment at which what is added ends; null for never."
    )


class MovementAnswer(BaseModel):
    """What became of a movement."""

    movement_id: str
    status: Literal["booked", "repeated"]
    balance: str
    amount: int


class RejectRow(BaseModel):
    """A rejected record that waits to be corrected or closed."""

    number: int
    file: int | None
    path: str
    line: int | None
    source: str
    mapping: str
    reason: str
    detail: str
    raw: str | None = Field(description="The record as it came; null unless asked for and allowed.")


class RejectsAnswer(BaseModel):
    """Rejected and not yet settled records."""

    items: list[RejectRow]
    more: bool


class ReasonRow(BaseModel):
    """A reason, what it means, and how many open rejects have it."""

    reason: str
    text: str
    count: int


class ReasonsAnswer(BaseModel):
    """Open rejects by reason; `complete` is false when there are more than were counted."""

    complete: bool
    items: list[ReasonRow]


class CorrectOrder(Order):
    """The corrected record, as one line of the mapping that read it first."""

    text: str = Field(min_length=1, max_length=1_000_000)


class HeldRow(BaseModel):
    """A record whose identity was used before by a record that says something else."""

    number: int
    file: int | None
    path: str
    line: int | None
    source: str
    record_id: str
    reason: str
    raw: str | None
    first: UsageRow | None = Field(
        description="What was charged under this identity; null unless raw is asked for."
    )


class HeldAnswer(BaseModel):
    """Conflicts that wait for a person."""

    currency: str
    items: list[HeldRow]
    more: bool


class DecideOrder(Order):
    """What is to happen with a conflict."""

    decision: Literal["discard", "charge"]


class AlertRow(BaseModel):
    """A threshold that was crossed; `number` runs, so that a reader can resume."""

    number: int
    alert_id: str
    subscriber: Person
    time_us: int
    kind: str
    balance: str
    threshold: int
    value: int
    severity: Literal["info", "warning", "critical"]
    currency: str


class AlertsAnswer(BaseModel):
    """Alerts in the order of commit."""

    items: list[AlertRow]


class ReconciliationsAnswer(BaseModel):
    """Past reconciliations, newest first, and whether one is under way."""

    running: bool
    items: list[dict[str, Any]]


class StartedAnswer(BaseModel):
    """Work that goes on behind the answer."""

    running: bool


class PlanSummary(BaseModel):
    """A plan and its versions."""

    name: str
    versions: list[str]


class TariffsAnswer(BaseModel):
    """The tariff in force."""

    fingerprint: str
    currency: str
    default_plan: str | None
    plans: list[PlanSummary]


class PlanAnswer(BaseModel):
    """A plan in words: one table each of versions, prices, balances, counters and time bands."""

    name: str
    currency: str
    more_prices: int = Field(description="Prices beyond `limit` and `offset` that were left out.")
    versions: list[dict[str, str]]
    prices: list[dict[str, str]]
    balances: list[dict[str, str]]
    counters: list[dict[str, str]]
    schedules: list[dict[str, str]]


class CheckOrder(Order):
    """Files of a tariff by name, as text."""

    files: dict[str, str] = Field(max_length=200)


class MistakeRow(BaseModel):
    """A mistake in a tariff and its place."""

    file: str
    line: int
    column: int
    text: str


class CheckAnswer(BaseModel):
    """All mistakes of a tariff; none when it can be used."""

    ok: bool
    mistakes: list[MistakeRow]


class WhoAnswer(BaseModel):
    """Who is signed in and what they may do."""

    name: str
    role: str
    rights: list[str]


class TokenOrder(Order):
    """A bearer token that becomes the page's session."""

    token: str = Field(max_length=400)


class InviteOrder(Order):
    """Whom a sign-in link is for."""

    name: str = Field(min_length=1, max_length=100)
    role: Literal["viewer", "care", "billing", "admin"]


class InviteAnswer(BaseModel):
    """A link that works once."""

    link: str
    minutes: int


class AuditRow(BaseModel):
    """Who did what to whose data."""

    time_us: int
    actor: str
    role: str
    action: str
    subscriber: Person | None
    detail: str


class AuditAnswer(BaseModel):
    """Audit events, newest first."""

    items: list[AuditRow]
