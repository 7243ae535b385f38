"""Bills of a cluster are looked at, previewed, disputed and credited as embedded ones are, without Spark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from tests.api.memory_store import MemoryStore
from tests.api.small_catalogue import CATALOGUE
from tests.cluster.spark.operator import MONTH, NEXT, Operator, operator
from tests.cluster.spark.test_books import Buckets, charge, embedded, plain
from trunkline.api.access import Role, Token, digest
from trunkline.api.app import create_app
from trunkline.api.options import ApiOptions
from trunkline.bootstrap.bills import FolderBills
from trunkline.bootstrap.cluster_bills import ClusterBills, part_of
from trunkline.engines.plan import buckets_of
from trunkline.kernel.dial import to_text
from trunkline.kernel.grouped import Rows
from trunkline.ports import Busy, Movement, Refused
from trunkline.records.charging import ACCOUNTS, CHARGED, ENTRIES, Cause
from trunkline.stores.embedded.note_files import NoteFiles

RUNNING_US = int(datetime(2024, 11, 21, tzinfo=UTC).timestamp()) * 1_000_000
TIME = {CHARGED.name: "start_us", ENTRIES.name: "time_us"}


class Delivered:
    """What the topics of some buckets hold, as whoever serves has it (the part of `ports.Reader` that bills ask)."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets, self._rows = buckets, buckets.rows()

    def account(self, subscriber: int) -> Rows:
        """Rows of one account."""
        keys = pl.Series([subscriber], dtype=pl.UInt64).to_numpy()
        (at,) = buckets_of(keys, len(self._rows)).tolist()
        return self._buckets.state(at).gather(ACCOUNTS, keys).rows_of(subscriber)

    def usage(self, subscriber: int, from_us: int, until_us: int, limit: int) -> pl.DataFrame:
        """Charged usage."""
        return self._of(CHARGED.name, subscriber, from_us, until_us).head(limit)

    def entries(self, subscriber: int, from_us: int, until_us: int, limit: int) -> pl.DataFrame:
        """Ledger entries."""
        return self._of(ENTRIES.name, subscriber, from_us, until_us).head(limit)

    def _of(self, stream: str, subscriber: int, from_us: int, until_us: int) -> pl.DataFrame:
        every = pl.concat([rows[stream] for rows in self._rows.values() if stream in rows])
        within = pl.col(TIME[stream]).is_between(from_us, until_us, closed="left")
        return every.filter((pl.col("subscriber") == subscriber) & within)


class Ledger:
    """Books movements once by name; may be silent, or refuse."""

    def __init__(self) -> None:
        self.booked: dict[str, int] = {}
        self.silent = self.refuses = False

    def move(self, movements: Sequence[Movement]) -> list[dict[str, Any]]:
        """As `ports.Intake.move`."""
        if self.silent:
            raise Busy(5)
        return [self._one(each) for each in movements]

    def _one(self, movement: Movement) -> dict[str, Any]:
        if self.refuses:
            return {"status": "refused", "reason": "unknown_balance"}
        known = movement.movement_id in self.booked
        assert movement.cause == Cause.CREDIT
        assert self.booked.setdefault(movement.movement_id, movement.amount) == movement.amount
        return {"status": "repeated" if known else "booked", "reason": ""}


def beside(buckets: Buckets, ledger: Ledger, now_us: int = RUNNING_US) -> ClusterBills:
    """The cluster's bills."""
    reader: Callable[[], Any] = lambda: Delivered(buckets)  # noqa: E731 -- typed as a port's part
    return ClusterBills(buckets.files, lambda: buckets.catalogue, reader, ledger.move, lambda: now_us)


@pytest.fixture
def people(tmp_path: Path) -> Operator:
    """The operator."""
    return operator(tmp_path / "operator")


@pytest.fixture
def billed(people: Operator, tmp_path: Path) -> tuple[Buckets, Ledger]:
    """A cluster whose October is billed."""
    buckets = Buckets(tmp_path, people.tariffs)
    buckets.carry(people.october)
    buckets.bill(MONTH)
    buckets.book(buckets.files.bills(limit=1000))
    return buckets, Ledger()


def test_previews_and_uses_are_the_embedded_ones(
    people: Operator, billed: tuple[Buckets, Ledger], tmp_path: Path
) -> None:
    """Of every account, before its first bill and behind it, late records too; and the uses that stand on a bill."""
    buckets, ledger = billed
    with embedded(tmp_path, people.tariffs) as (platform, bills):
        charge(platform, tmp_path / "a.ndjson", people.october)
        assert bills.run(MONTH).bills == len(buckets.files.bills(limit=1000))
        for name, lines in (("b", people.late), ("c", people.november)):
            charge(platform, tmp_path / f"{name}.ndjson", lines)
            buckets.carry(lines)
        known = FolderBills(tmp_path / "embedded", lambda: platform.catalogue, now_us=lambda: RUNNING_US)
        mine = beside(buckets, ledger)
        words = [bill["subscriber"] for bill in known.bills(None, MONTH, 1000)]
        wanted, found = ([each.preview(word) for word in words] for each in (known, mine))
        assert plain([row for row in found if row]) == plain([row for row in wanted if row])
        assert {row["period"] for row in found if row} == {NEXT}
        assert all(row["state"] == row["bill_id"] == "preview" for row in found if row)
        assert any(line["earlier"] for row in found if row for line in row["lines"])
        assert mine.preview(1) is None
        assert mine.periods() == known.periods()
        for theirs, ours in zip(known.bills(None, None, 3), mine.bills(None, None, 3), strict=True):
            uses = [each.items(bill, 10_000) for each, bill in ((known, theirs), (mine, ours))]
            assert uses[0]["record_id"].to_list() == uses[1]["record_id"].to_list()
            assert len(uses[0])
    early = datetime(2024, 10, 20, tzinfo=UTC)
    october = beside(buckets, ledger, int(early.timestamp()) * 1_000_000)
    assert [october.preview(word) for word in words] == [None] * len(words), "their October is billed"
    with pytest.raises(Refused, match="made by Spark"):
        mine.run(NEXT)


def test_half_of_a_use_is_none_yet(billed: tuple[Buckets, Ledger]) -> None:
    """Usage whose entries were not delivered yet, and the other way round, is on no preview, and breaks none."""
    buckets, _ = billed
    reader = Delivered(buckets)
    word = int(buckets.files.bills(limit=1)["subscriber"].item())
    usage, entries = (ask(word, -(2**62), 2**62, 10**6) for ask in (reader.usage, reader.entries))
    charged = usage.filter(pl.col("charged_micros") > 0)["seq"]
    without = pl.col("seq") != int(charged.max())  # type: ignore[arg-type]
    rows, last = reader.account(word), buckets.files.last_of(word)[:0]
    whole = part_of(word, rows, last, usage, entries)
    assert len(whole.usage) == len(usage)
    for half in (
        part_of(word, rows, last, usage.filter(without), entries),
        part_of(word, rows, last, usage, entries.filter(without)),
    ):
        assert half.usage["seq"].to_list() == whole.usage.filter(without)["seq"].to_list()
        assert half.entries["seq"].to_list() == whole.entries.filter(without)["seq"].to_list()


def test_a_dispute_stands_until_it_is_settled(billed: tuple[Buckets, Ledger]) -> None:
    """Written down in its turn, told with the bill, in whichever process it was said."""
    buckets, ledger = billed
    mine, other = beside(buckets, ledger), beside(buckets, ledger)
    bill_id = mine.bills(None, None, 1)[0]["bill_id"]
    with pytest.raises(Refused, match="not disputed"):
        mine.dispute(bill_id, "anna", "over", settled=True)
    mine.dispute(bill_id, "anna", "calls  of the 5th")
    with pytest.raises(Refused, match="disputed already"):
        other.dispute(bill_id, "ben", "calls of the 6th")
    found = other.bill(bill_id)
    assert found is not None
    assert (found["state"], [note["text"] for note in found["notes"]]) == ("disputed", ["calls of the 5th"])
    other.dispute(bill_id, "ben", "agreed", settled=True)
    assert [each["state"] for each in mine.bills(None, None, 1)] == ["issued"]
    with pytest.raises(Refused, match="no bill"):
        mine.dispute("202410-0", "anna", "what")
    with pytest.raises(Refused, match="Say why"):
        mine.dispute(bill_id, "anna", " ")


def test_a_credit_note_is_booked_once(billed: tuple[Buckets, Ledger]) -> None:
    """Whoever died or heard nothing after it was written down: the same order, or whoever serves, books it once."""
    buckets, ledger = billed
    mine = beside(buckets, ledger)
    bill = next(each for each in mine.bills(None, None, 100) if each["total_micros"] > 5_000_000)
    ledger.silent = True
    with pytest.raises(Busy):
        mine.credit(bill["bill_id"], 2_000_000, "anna", "goodwill")
    found = mine.bill(bill["bill_id"])
    assert found is not None
    assert (found["credited_micros"], found["notes"][0]["action"]) == (2_000_000, "credit (waiting)")
    ledger.silent = False
    assert (mine.go_on(), mine.go_on()) == (1, 0)
    name = mine.credit(bill["bill_id"], 2_000_000, "ben", "goodwill")
    assert ledger.booked == {name: 2_000_000}
    second = mine.credit(bill["bill_id"], 2_000_000, "ben", "goodwill", "again")
    assert ledger.booked == {name: 2_000_000, second: 2_000_000}
    with pytest.raises(Refused, match="at most what is left"):
        mine.credit(bill["bill_id"], bill["total_micros"], "anna", "all of it")
    ledger.refuses = True
    for _ in range(2):
        with pytest.raises(Refused, match="ledger refused"):
            mine.credit(bill["bill_id"], 1_000_000, "anna", "more")
    ledger.refuses = False
    rest = bill["total_micros"] - 4_000_000
    mine.credit(bill["bill_id"], rest, "anna", "the rest")
    found = mine.bill(bill["bill_id"])
    assert found is not None
    assert (found["state"], found["credited_micros"]) == ("credited", bill["total_micros"])
    assert sum(ledger.booked.values()) == bill["total_micros"]


def test_two_at_once_credit_no_more_than_the_bill(billed: tuple[Buckets, Ledger]) -> None:
    """Of many who give all of a bill back at one moment one does, whichever process each works in."""
    buckets, ledger = billed
    bill = next(each for each in beside(buckets, ledger).bills(None, None, 100) if each["total_micros"] > 0)

    def credit(at: int) -> str | None:
        try:
            return beside(buckets, ledger).credit(
                bill["bill_id"], bill["total_micros"], f"p{at}", "all", str(at)
            )
        except Refused:
            return None

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(credit, range(16)))
    assert [answer for answer in answers if answer] == list(ledger.booked)
    assert list(ledger.booked.values()) == [bill["total_micros"]]
    assert [each.number for each in NoteFiles(buckets.files.folder).notes(bill["bill_id"])] == [0]


@pytest.mark.anyio
async def test_over_http_as_embedded(billed: tuple[Buckets, Ledger]) -> None:
    """Lists, one bill, files, TMF678, disputes and credit notes; a run is ordered of Spark."""
    buckets, ledger = billed
    port = beside(buckets, ledger)
    rows = port.bills(None, None, 1000)
    store = MemoryStore(lambda: RUNNING_US)
    for row in rows:
        store.enrol(to_text(row["subscriber"]), 1_000_000)
    token = Token("billing", Role.BILLING, digest("a-token-of-the-tests"))
    options = ApiOptions(reference_key=b"k" * 32)
    app = create_app(store, store, store, lambda: CATALOGUE, [token], options, bill_port=port)
    headers = {"Authorization": "Bearer a-token-of-the-tests"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    bill = next(row for row in rows if row["total_micros"] > 2_000_000)
    path = f"/api/v1/bills/{bill['bill_id']}"
    tmf = f"/tmf-api/customerBillManagement/v4/customerBill/{bill['bill_id']}"
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1:8450", headers=headers
    ) as client:
        listed = (await client.get("/api/v1/bills?limit=200")).json()["items"]
        assert sorted(each["bill_id"] for each in listed) == sorted(row["bill_id"] for row in rows)
        periods = (await client.get("/api/v1/bills/periods")).json()["items"]
        assert sum(each["bills"] for each in periods) == len(rows)
        items = (await client.get(f"{path}?items=true")).json()["items"]
        assert len(items) == len(port.items(bill, 10_000)) > 0
        assert (await client.get(f"{path}/file?format=pdf")).content.startswith(b"%PDF")
        assert (await client.patch(tmf, json={"state": "onHold"})).json()["state"] == "onHold"
        assert (await client.get(path)).json()["state"] == "disputed"
        order = {"amount_micros": 1_000_000, "text": "goodwill"}
        ledger.silent = True
        assert (await client.post(f"{path}/credits", json=order)).status_code == 429
        ledger.silent = False
        credited = await client.post(f"{path}/credits", json=order)
        assert credited.status_code == 201
        assert ledger.booked == {credited.json()["movement_id"]: 1_000_000}
        refused = await client.post("/api/v1/bills/runs", json={"period": "2024-11"})
        assert (refused.status_code, "--engine spark" in refused.json()["message"]) == (409, True)
