"""What the inside needs of the outside, and what people's tools may ask of the platform.

Engines drive the steps; these are the questions and orders that do not drive anything: reading what was
committed, handing in usage and movements, and writing down who looked at whom. One store answers them embedded,
another on a cluster, and the command line, the API and the page know only this page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from trunkline.kernel.grouped import Grouped, Keys, Rows, State
from trunkline.records.online import Hold, WouldUse


class Busy(Exception):
    """The platform cannot take more now; offer it again after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        """Say when to come back."""
        super().__init__(f"The platform is catching up; offer it again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class Refused(Exception):
    """An order that can never be carried out as it stands; the text says what to change."""


class NoAnswer(Exception):
    """A server of the cluster does not answer now; the text says what was done, and what to do."""


class DiskFull(Exception):
    """A write found no room; nothing is half done. Make room and start again: it goes on where it stopped."""

    def __init__(self, folder: Path, detail: str) -> None:
        """Say where and how much."""
        super().__init__(
            f"No room on the disk of {folder}: {detail}. Make room and start again; nothing was lost."
        )
        self.folder = folder


class FolderInUse(Exception):
    """Another process writes to the data folder; only one may."""


class FolderDamaged(Exception):
    """A file that the manifest names is missing or not as it was written; restore a backup."""


class NearlyAllRejected(Exception):
    """Nearly every record of a file was rejected: the wrong mapping or tariff, most likely, so it was stopped."""


@dataclass(frozen=True)
class Accounting:
    """Everything received is accounted for: `received == rated + duplicate + rejected + held`.

    Of telemetry, what is not set aside is `measured` or one of the `events`, where usage is `rated`.
    """

    source: str
    received: int
    rated: int
    duplicate: int
    rejected: int
    held: int
    charged_micros: int
    measured: int = 0
    events: int = 0

    @property
    def sums(self) -> tuple[int, int, int, int, int, int]:
        """What adds up over batches of usage: received, rated, duplicate, rejected, held, charged micro-units."""
        return self.received, self.rated, self.duplicate, self.rejected, self.held, self.charged_micros


@dataclass(frozen=True)
class Receipt:
    """Usage that is durable: how many records (lines) were taken, and where they stand in the spool."""

    records: int
    file: int
    offset: int


@dataclass(frozen=True)
class Movement:
    """An order to move money or units; the same `movement_id` is booked once, with the same answer."""

    movement_id: str
    cause: int  # records.charging.Cause
    subscriber: int  # dial word
    balance: str  # name of the balance definition
    amount: int
    time_us: int
    valid_until_s: int


@dataclass(frozen=True)
class AuditEvent:
    """Who did what to whose data; no personal value in it but the subscriber's dial word."""

    time_us: int
    actor: str
    role: str
    action: str
    subscriber: int  # 0 when it concerns nobody
    detail: str


class Reader(Protocol):
    """Answers from what is committed; usable from any process while one other process writes."""

    def account(self, subscriber: int) -> Rows:
        """Rows of one account (`records.charging.ACCOUNT_ROW`); empty when the subscriber is unknown."""

    def subscribers(self, after: int, limit: int) -> list[int]:
        """Dial words of known subscribers above `after`, ascending."""

    def accounts_after(self, after: int, limit: int) -> Grouped:
        """The accounts of the next subscribers above `after`, ascending; none behind the last one."""

    def usage(
        self,
        subscriber: int | None,
        from_us: int,
        until_us: int,
        limit: int,
        offset: int = 0,
        member: int | None = None,
    ) -> pl.DataFrame:
        """Charged usage (`records.charging.CHARGED`), newest first; of everyone when subscriber is None.

        A `member` of a shared account narrows it to what that member used.
        """

    def usage_record(self, source: str, record_id: str) -> pl.DataFrame:
        """The charged usage of one record identity; no row when there is none."""

    def corrections_of(self, usage: pl.DataFrame) -> pl.DataFrame:
        """Corrections (`records.charging.CORRECTIONS`) of some charged usage, and those that it made of others."""

    def entries(
        self,
        subscriber: int | None,
        from_us: int,
        until_us: int,
        limit: int,
        offset: int = 0,
        member: int | None = None,
    ) -> pl.DataFrame:
        """Ledger entries (`records.charging.ENTRIES`), newest first.

        A `member` of a shared account narrows it to that member's balances.
        """

    def alerts(self, after: int, limit: int, subscriber: int | None = None) -> pl.DataFrame:
        """Alerts in the order of commit with a running `number` above `after`."""

    def rejects(self, reason: str | None, limit: int, offset: int = 0) -> pl.DataFrame:
        """Rejected and not yet settled records: `number, file, path, line, source, mapping, reason, detail, raw`."""

    def held(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Conflicts that wait for a person: `number, file, path, line, source, record_id, reason, raw`."""

    def accounting(self) -> list[Accounting]:
        """One row a source, over all time."""

    def status(self) -> dict[str, Any]:
        """Files and their positions, counts, sizes, the newest event time, the last commit."""

    def movements(self, subscriber: int | None, limit: int, offset: int = 0) -> pl.DataFrame:
        """Booked and refused movements, newest first: the columns of MOVEMENTS plus `status`, `reason`."""

    def reconciliations(self, limit: int) -> list[dict[str, Any]]:
        """Past reconciliations, newest first."""

    def audit(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Audit events, newest first."""


class Intake(Protocol):
    """Orders to the one process that writes; each returns only when its effect is durable."""

    def usage(self, mapping: str, lines: bytes, source: str | None = None) -> Receipt:
        """Take usage lines for the named mapping; raises `Busy` or `Refused`. `source` wins over the mapping's."""

    def move(self, movements: Sequence[Movement]) -> list[dict[str, Any]]:
        """Book movements; one answer each: `{"movement_id", "status": "booked"|"repeated"|"refused", "reason"}`."""

    def settle_reject(self, number: int, lines: bytes | None, actor: str) -> None:
        """Offer a rejected record again with corrected bytes, or close it for good when `lines` is None."""

    def settle_held(self, number: int, decision: str, actor: str) -> None:
        """Decide a conflict: "discard" the second record, or "charge" it as usage of its own."""


@dataclass(frozen=True)
class IncidentNote:
    """What a person did about an incident: `own` (text: who has it now) or `note` (text: what is said)."""

    incident_id: str
    time_us: int
    actor: str
    action: str
    text: str


@dataclass(frozen=True)
class Maintenance:
    """A planned maintenance: what it touches and when; it holds back alerting, never monitoring and never a clear."""

    window_id: str
    objects: tuple[str, ...]  # names; what hangs on them by topology is held back with them
    begin_us: int
    end_us: int
    reason: str
    actor: str


@dataclass(frozen=True)
class BillNote:
    """What a person said of a bill: `dispute`, `settle` (the dispute is over) or `credit` (a credit note)."""

    bill_id: str
    time_us: int
    actor: str
    action: str
    amount_micros: int  # of a credit note; else 0
    movement_id: str | None  # of a credit note
    text: str


@dataclass(frozen=True)
class BillRun:
    """What one bill run did: a row an account and why, all accounts accounted for."""

    period: int
    bills: int  # made by this run
    billed: int  # had a bill of this period or a later one before
    running: int  # their period is not over yet
    behind: int  # must first get the bill of an earlier period
    ahead: int  # begin after this period
    total_micros: int
    seconds: float
    payable_micros: Mapping[str, int] = field(default_factory=dict)  # by the currency bills are to be paid in


@dataclass(frozen=True)
class Transfer:
    """What one subscriber handed on to another, or is to."""

    transfer_id: str
    giver: int  # dial word
    receiver: int
    balance: str  # name of the balance definition
    amount: int  # that the receiver gets, in the balance's unit
    time_us: int
    fee_micros: int = 0  # that it cost the giver besides


class Transfers(Protocol):
    """Handing on between subscribers, whose accounts may lie apart."""

    def transfer(self, order: Transfer) -> tuple[Transfer, bool]:
        """Book a transfer: as it was booked, and whether that was done before under its name.

        Raises `NotTransferred` with the reason, and `Refused` when the name was used for another transfer.
        """

    def transfers(self, subscriber: int | None, limit: int, offset: int = 0) -> list[Transfer]:
        """Booked transfers of one subscriber, as giver or receiver, or of all; the newest first."""

    def found(self, transfer_id: str) -> Transfer | None:
        """One booked transfer."""


@dataclass(frozen=True)
class Reservation:
    """An amount of one balance that is set apart for a while, or is to be."""

    name: str
    subscriber: int  # dial word of the account's owner
    balance: str  # name of the balance definition
    amount: int  # in the balance's unit
    time_us: int
    until_us: int


class Reservations(Protocol):
    """Amounts set apart beside what online charging promises; nothing of it is in the ledger."""

    def reserve(self, order: Reservation) -> Reservation:
        """Set an amount apart, once for each name: as it is kept, under the name that it is kept by.

        Raises `NotReserved` with the reason.
        """

    def release(self, subscriber: int, name: str) -> bool:
        """Give a reservation back; whether there was one of that name."""

    def of(self, subscriber: int | None) -> list[Reservation]:
        """What is set apart now, of one subscriber or of all; the newest first."""

    def amounts(self, owner: int) -> list[tuple[Rows, int]]:
        """Rows of an account of which something is promised, set apart, or used and not charged yet; how much of it."""

    def held(self, owner: int) -> list[Hold]:
        """All that is set apart of an account, promised to sessions, or used and not charged yet; the newest first."""

    def usable(self, use: WouldUse) -> tuple[int, str]:
        """How many units of a use would be granted now, and why it cannot be judged; nothing is promised."""


class NotReserved(Exception):
    """Nothing was set apart."""

    def __init__(self, reason: str, text: str) -> None:
        """Say why, for programs and for people."""
        super().__init__(text)
        self.reason = reason


class NotTransferred(Exception):
    """A transfer cannot be; nothing was booked. The reason is one of `charging.transfers.TRANSFER_REASONS`."""

    def __init__(self, reason: str, text: str) -> None:
        """Say why, for programs and for people."""
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class VoucherBatch:
    """Vouchers that are alike: what each is worth, and until when."""

    batch: str  # name: letters, digits, - and _
    balance: str  # name of the balance definition that it adds to
    amount: int  # in the balance's unit
    valid_days: int | None  # so long from redeeming on may it be used; None = for ever
    expires_us: int  # from then on it cannot be redeemed
    size: int  # vouchers, numbered from 1
    state: str  # made, active or blocked
    made_us: int
    actor: str


@dataclass(frozen=True)
class VoucherCounts:
    """What became of the vouchers of a batch: made = unused + used + blocked + expired."""

    made: int
    unused: int
    used: int
    blocked: int
    expired: int


@dataclass(frozen=True)
class Redemption:
    """A voucher that was redeemed."""

    mark: str  # of the order that redeemed it
    subscriber: int  # dial word
    batch: str
    number: int
    balance: str
    amount: int
    valid_until_s: int
    time_us: int


@dataclass(frozen=True)
class Voucher:
    """One voucher as it stands."""

    batch: str
    number: int
    state: str  # made, active, used, blocked or expired
    redeemed: Redemption | None


class Vouchers(Protocol):
    """Codes that are worth something once."""

    def make(self, batch: VoucherBatch) -> bool:
        """Make a batch; False when it was made before. Raises `Refused` when its name is that of another one."""

    def batches(self) -> list[tuple[VoucherBatch, VoucherCounts]]:
        """All batches with their accounting, the newest first."""

    def batch(self, name: str) -> tuple[VoucherBatch, VoucherCounts]:
        """One batch with its accounting; raises `Refused` when there is none."""

    def codes(self, name: str) -> Iterator[tuple[int, str]]:
        """Number and code of every voucher of a batch. Who calls this can spend them."""

    def voucher(self, name: str, number: int) -> Voucher:
        """One voucher; raises `Refused` when there is none."""

    def change(self, name: str, number: int | None, action: str, actor: str) -> None:
        """`activate`, `block` or `unblock` a batch, or block or unblock one voucher of it; raises `Refused`."""

    def redeem(self, redeem_id: str, subscriber: int, code: str) -> tuple[Redemption, bool]:
        """Redeem a code for a subscriber: what it brought, and whether this order had done so before.

        Raises `NotRedeemed` with the reason, and `Refused` when the order's name was used for another voucher.
        """


class NotRedeemed(Exception):
    """A voucher brings nothing; nothing was booked. The reason is one of `charging.vouchers.VOUCHER_REASONS`."""

    def __init__(self, reason: str, text: str) -> None:
        """Say why, for programs and for people."""
        super().__init__(text)
        self.reason = reason


class Bills(Protocol):
    """What came of periods: previews, bills, disputes and credit notes. A bill is a row of `records.bills.BILLS`."""

    def preview(self, subscriber: int) -> dict[str, Any] | None:
        """The bill of the running period as it would be if it ended with what is known now; None for a stranger."""

    def run(self, period: int) -> BillRun:
        """Make the bills of a period that is over; each is made once. Raises `Refused`."""

    def bills(
        self, subscriber: int | None, period: int | None, limit: int, offset: int = 0, *, lines: bool = True
    ) -> list[dict[str, Any]]:
        """Bills, the newest period first; each with `state` and `credited_micros`."""

    def bill(self, bill_id: str) -> dict[str, Any] | None:
        """One bill, with `state`, `credited_micros` and `notes`."""

    def periods(self) -> list[dict[str, Any]]:
        """What was billed by period, the newest first, a row for each currency that bills are to be paid in.

        `period, payable_currency, bills, total_micros, tax_micros, paid_micros, payable_micros`.
        """

    def items(self, bill: dict[str, Any], limit: int) -> pl.DataFrame:
        """Charged usage that stands on a bill, in order of time."""

    def dispute(self, bill_id: str, actor: str, text: str, *, settled: bool = False) -> None:
        """Write down that a bill is disputed, or that the dispute is settled; raises `Refused`."""

    def credit(self, bill_id: str, amount_micros: int, actor: str, text: str, name: str | None = None) -> str:
        """Give some of a bill back; the credit note's name. The same order again books nothing; raises `Refused`."""


@dataclass(frozen=True)
class Rerated:
    """What one order to book a re-rating did; every account of the preview is in one of the first three counts."""

    rerate_id: str
    booked: int  # accounts
    repeated: int  # were booked before
    moved: int  # something happened to them since the preview; they stay as they are
    records: int
    micros: int  # that were taken in all, less what was given back
    seconds: float


class Rerates(Protocol):
    """Records under a corrected tariff or contract: previews that are kept, and booking them."""

    def preview(
        self,
        from_us: int,
        until_us: int,
        subscriber: int | None = None,
        plan: str | None = None,
        tariffs: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Work out what a stretch of time comes to under the tariff in force, or a draft's files; raises `Refused`."""

    def rerates(self, limit: int) -> list[dict[str, Any]]:
        """Previews, the newest first, each with `state` and what was booked of it."""

    def rerate(self, rerate_id: str) -> dict[str, Any] | None:
        """One preview; None when there is none of that name."""

    def corrections(self, rerate_id: str) -> pl.DataFrame:
        """The corrections (`records.charging.CORRECTIONS`) of a preview, in the order of the records."""

    def book(self, rerate_id: str) -> Rerated:
        """Book what a preview shows; what is booked already stays so. Raises `Refused`."""


class NetworkReader(Protocol):
    """Answers about the network from what is committed; usable from any process while another one writes."""

    def kpis(
        self,
        objects: Sequence[int] | None,
        kpi: str | None,
        from_us: int,
        until_us: int,
        limit: int,
        scope: int | None = None,
    ) -> pl.DataFrame:
        """KPIs (`records.network.KPIS`) whose window ends within a stretch of time, newest first."""

    def tiles(self, layer: str | None, metric: str | None, at_us: int) -> pl.DataFrame:
        """How every tile (`records.network.HEAT`) stood at a moment."""

    def anomalies(self, limit: int, offset: int = 0, objects: int | None = None) -> pl.DataFrame:
        """Findings of the detector with a running `number`, newest first."""

    def risks(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Forecasts with a running `number`, newest first."""

    def alarms(
        self,
        limit: int,
        offset: int = 0,
        *,
        alarm_id: str | None = None,
        number: int | None = None,
        active: bool | None = None,
        object_: int | None = None,
        severity: int | None = None,
        security: bool | None = None,
    ) -> list[dict[str, Any]]:
        """Alarms as they stand, the worst and then the newest first."""

    def alarm_changes(self, alarm_id: str, limit: int = 1000) -> pl.DataFrame:
        """The life of one alarm (`records.network.ALARMS` with `number`), oldest first."""

    def changes_after(self, number: int, limit: int) -> pl.DataFrame:
        """Alarm changes of all alarms in the order of commit, above a running `number`."""

    def alarm_attributes(self, alarm_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What other systems said of alarms and we do not work out ourselves."""

    def alarm_tasks(
        self, kind: str, limit: int, offset: int = 0, number: int | None = None
    ) -> list[dict[str, Any]]:
        """Tasks that were ordered on alarms, newest first: `number`, `time_us` and what was kept."""

    def incidents(
        self, limit: int, offset: int = 0, *, incident_id: str | None = None, is_open: bool | None = None
    ) -> list[dict[str, Any]]:
        """Incidents as they stand: open ones first, by money a minute, customers and severity."""

    def incident_changes(self, incident_id: str, limit: int = 1000) -> pl.DataFrame:
        """The life of one incident (`records.network.INCIDENTS` with `number`), oldest first."""

    def incident_notes(self, incident_id: str, limit: int = 1000) -> list[dict[str, Any]]:
        """What people did about an incident, oldest first."""

    def budgets(self) -> pl.DataFrame:
        """How every agreement stands (`records.network_sums.BUDGETS` with `number`)."""

    def alarm_counts(self) -> dict[str, int]:
        """What became of all that was raised: raised = active + cleared + deduplicated + suppressed + correlated."""

    def rejects(self, reason: str | None, limit: int, offset: int = 0) -> pl.DataFrame:
        """Rejected and not yet settled telemetry, in the columns of `Reader.rejects`."""

    def held(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Telemetry that a person should see, in the columns of `Reader.held`."""

    def customers(self, incident_id: str) -> list[int]:
        """Dial words of the customers who were told of an incident, ascending."""

    def accounting(self) -> list[Accounting]:
        """One row a source, over all time."""

    def counts(self) -> dict[str, int]:
        """How many alarms, incidents and findings there are, and what is newest."""


class NetworkIntake(Protocol):
    """Orders to the process that watches the network; each returns only when its effect is durable."""

    def telemetry(self, mapping: str, octets: bytes, source: str | None = None) -> Receipt:
        """Take telemetry for the named mapping; raises `Busy` or `Refused`."""

    def settle_reject(self, number: int, octets: bytes | None, actor: str) -> None:
        """Offer rejected telemetry again with corrected octets, or close it for good when there are none."""

    def discard(self, number: int, actor: str) -> None:
        """Take a held record off the list: what came first stands."""

    def signal(self, signals: pl.DataFrame) -> list[str]:
        """Carry an operator's hand on alarms (`records.network.SIGNALS`); the names of the alarms it changed.

        A row without `alarm_key` or `object` gets them from what it says.
        """

    def annotate(self, alarm_id: str, attributes: Mapping[str, Any]) -> None:
        """Keep what another system says of an alarm and we do not work out ourselves; null forgets it."""

    def add_task(self, kind: str, time_us: int, body: Mapping[str, Any]) -> int:
        """Keep a task that somebody ordered on alarms, and what came of it; its number."""

    def note(self, note: IncidentNote) -> None:
        """Write down what a person did about an incident."""

    def maintenance(self) -> list[Maintenance]:
        """Planned windows, the latest end first."""

    def preview(self, window: Maintenance) -> dict[str, Any]:
        """What a window would touch, before it is planned: objects, cells, customers; raises `Refused`."""

    def plan(self, window: Maintenance) -> None:
        """Plan a window, or replace the one of the same name; raises `Refused`."""

    def cancel(self, window_id: str) -> None:
        """Forget a window; raises `Refused` when there is none."""

    def places(self) -> dict[str, Any]:
        """The inventory as the map needs it: `areas`, `cells`, `sites`, `links`, and the `tiles` of each layer."""

    def expected(self, name: str, kpi: str, from_us: int, until_us: int) -> pl.DataFrame:
        """What was expected of a KPI of one thing: `end_us`, `low_milli`, `high_milli`, oldest first."""

    def names(self, objects: Sequence[int]) -> list[str]:
        """Names of the objects that the inventory knows."""


class ServiceDesk(Protocol):
    """What is done for customers whom an incident hits, beyond telling them."""

    def preview(self, incident_id: str) -> dict[str, Any]:
        """What the rules give back for an incident: `rule` (null when none fits), `minutes`, `customers`, `booked`,
        `total_micros`, `most_micros` and `items` of `subscriber`, `amount_micros`, `status`; raises `Refused`.
        """

    def book(self, incident_id: str, actor: str, role: str) -> dict[str, Any]:
        """Book what the preview shows; what is booked already stays so. Raises `Refused`."""


class TryLater(Exception):
    """A message could not be handed over now; offer it again, not before `retry_after_s` where that is known.

    `reached` says whether somebody answered at all: when nobody does, the next message would not be taken either.
    """

    def __init__(self, reason: str, retry_after_s: int = 0, *, reached: bool = False) -> None:
        """Say why in words without anybody's address."""
        super().__init__(reason)
        self.retry_after_s, self.reached = retry_after_s, reached


class Undeliverable(Exception):
    """A message that will never be taken as it stands; the text says why, without anybody's address."""


@dataclass(frozen=True)
class AlertMessage:
    """One alert on its way to one customer by one channel, in words and as facts."""

    key: str  # names the delivery: the same at each attempt, so that a receiver drops what it has already
    attempt: int  # from 1; above it, the receiver may have it already
    address: str  # "" where the channel has one of its own
    subscriber: str  # the number
    language: str
    subject: str
    text: str
    short: str
    alert: Mapping[str, Any]  # the columns of `records.charging.ALERTS` without `subscriber` and `seq`
    now_s: int


class AlertChannel(Protocol):
    """A way out to customers. One thread hands it messages, one after the other."""

    name: str  # one of `charging.delivery.CHANNELS`

    def send(self, message: AlertMessage) -> None:
        """Hand a message over; returns when it was taken. Raises `TryLater` or `Undeliverable`."""


class Deliveries(Protocol):
    """What became of alerts on their way to customers, and what customers chose; any thread may ask."""

    def status(self) -> dict[str, Any]:
        """`channels` and `languages` there are, `states` by channel, `alerts` taken up, `planned` deliveries, those
        `let_go` after their time, and how many alerts it is `behind` (at most 10,000 are counted).

        At every moment `planned` is the sum of all states and of `let_go`.
        """

    def deliveries(self, state: str | None, limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """Deliveries, newest first: `number, alert_id, channel, subscriber, kind, state, attempts, due_us, changed_us,
        reason`.
        """

    def retry(self, numbers: Sequence[int] | None) -> int:
        """Offer dead letters again, all of them when no numbers are given; how many there were."""

    def choices(self, subscriber: int) -> list[dict[str, Any]]:
        """What one customer chose, a row a channel: `channel, address, language, time_zone, quiet_hours, opted_out`."""

    def choose(self, subscriber: int, said: Mapping[str, str]) -> None:
        """Keep one channel's choice, instead of an earlier one; raises `Refused`."""

    def forget(self, subscriber: int, channel: str | None = None) -> int:
        """Forget what a customer chose, for one channel or for all; how many choices there were."""


class AuditTrail(Protocol):
    """Where every look at personal data and every change is written down."""

    def record(self, event: AuditEvent) -> None:
        """Write one event durably."""


@dataclass(frozen=True)
class SourceFile:
    """A file, spool or upload that is read, and how far what was read of it is committed."""

    file: int
    path: Path
    source: str
    mapping: str
    kind: str  # "ingest", "watched" or "spool"
    offset: int = 0  # octets, after decompression
    line: int = 1  # number of the next record's first line
    records: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class Progress:
    """How far one file is read once a commit is durable; `ended` says how it ended: "" while it goes on."""

    file: int
    offset: int
    line: int
    records: int
    rejected: int
    ended: str = ""  # "done", or why it was stopped


@dataclass(frozen=True)
class Settled:
    """A person's decision about a record that was set aside."""

    table: str  # "rejected" or "held"
    number: int
    decision: str
    actor: str


@dataclass(frozen=True)
class Commit:
    """Everything that becomes true at one moment, or not at all."""

    number: int
    time_us: int
    next_seq: int
    frames: Mapping[str, pl.DataFrame] = field(default_factory=dict)  # rows by the name of their stream
    states: Sequence[tuple[State, Grouped]] = ()
    progress: Sequence[Progress] = ()
    counts: Sequence[Accounting] = ()
    movements: Sequence[tuple[Movement, int, str, str]] = ()  # with its seq, status and reason
    settled: Sequence[Settled] = ()
    written: object = None  # what a store has written of it beforehand (`EngineStore.prepare`)


class EngineStore(Protocol):
    """What an engine needs of the one store it writes to."""

    number: int  # of the last commit
    next_seq: int  # the next arrival number

    def gather(self, state: State, keys: Keys) -> Grouped:
        """What ascending `keys` hold, with everything that was put, committed or not."""

    def put(self, state: State, groups: Grouped, number: int) -> None:
        """What keys hold from now on; durable when commit `number` is."""

    def prepare(self, commit: Commit) -> Commit:
        """Write the large parts of a commit that is not due yet; other commits may come before it.

        It may get another number and more states until then. What is never committed is removed at the next start.
        """

    def commit(self, commit: Commit) -> None:
        """Make everything in it true at once; raises `DiskFull` and leaves everything as it was."""

    def begin_file(self, path: Path, mapping: str, source: str, kind: str) -> SourceFile:
        """Register a file, or find how far it was read by a run that ended early; keeps its octets."""

    def end_file(self, file: int, reason: str) -> None:
        """Stop reading a file for good; its position stays."""

    def append(self, mapping: str, source: str, lines: bytes, heading: bytes = b"") -> tuple[SourceFile, int]:
        """Append whole lines durably to a spool; the spool, and where in it they end. Any thread may call."""

    def open_files(self, kind: str) -> list[SourceFile]:
        """Files that were begun and are not read to their end, oldest first."""

    def booked(self, movement_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Status and reason of the movements that are committed."""

    def set_aside(self, table: str, number: int) -> SetAside:
        """One rejected or held record; raises `Refused` when it is unknown or settled."""

    def settle(self, settled: Settled) -> None:
        """Write down a decision that moves no money."""

    def newest_us(self) -> int | None:
        """End of the newest day of event time that the state knows; None before any."""

    def durable_end(self, file: int) -> int | None:
        """Where the durable octets of a spool end while it is written to; None when it is closed."""

    def status(self) -> dict[str, Any]:
        """Sizes, counts and costs that only the writing process knows."""

    def close(self) -> None:
        """Stop what runs in the background and let others write."""


@dataclass(frozen=True)
class SetAside:
    """A record that was set aside, as it came."""

    number: int
    file: int
    path: Path  # where the octets of its file are kept
    line: int
    offset: int
    source: str
    mapping: str
    record_id: str
    reason: str
    raw: bytes


class UnknownSession(Exception):
    """A request names a charging session that was never opened, or was released."""


@dataclass(frozen=True)
class QuotaRequest:
    """A request of one charging session (3GPP TS 32.290): what was used, and what is wanted, by rating group.

    `said` holds the columns of `records.online.REQUESTS` that say who uses what; a session need not say them again.
    """

    subscriber: int  # dial word; 0 where the session has said it
    session: int  # digest that names it
    invocation: int  # the requester's sequence number; the same one is answered as before
    action: int  # records.online.Action
    begins: bool  # it opens its session
    time_us: int
    until_us: int  # a promise made for it ends
    groups: Sequence[tuple[int, int, int]]  # rating group, units used, units wanted
    said: Mapping[str, Any] = field(default_factory=dict)
    place: int | None = None  # where its session lies, as its name told; None where all lie in one place


@dataclass(frozen=True)
class QuotaAnswer:
    """What one rating group may use now; fewer units than wanted are the last ones."""

    group: int
    invocation: int
    wanted: int
    granted: int
    reason: str  # why there are none, where that is not the money


# The answer for each rating group, or why there is none: `UnknownSession` where the session is not open.
Told = list[QuotaAnswer] | BaseException


class OnlineCharging(Protocol):
    """Promises of money and units before they are used; any thread may ask."""

    def place(self, subscriber: int) -> int | None:
        """Where the sessions of a subscriber lie; None where all lie in one place."""

    def ask(self, request: QuotaRequest, answered: Callable[[Told], None]) -> None:
        """Ask; `answered` is called once, in a thread of the platform's that must not wait, when it is durable."""
