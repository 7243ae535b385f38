"""Bills over HTTP: our own routes and TMF678, over a real data folder; roles, masking, audit, forms, and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import orjson
import pytest

from tests.api.conftest import TOKENS
from tests.api.memory_store import MemoryStore
from tests.api.small_catalogue import CATALOGUE
from tests.billing.small import PEOPLE, billing, charge, number, records
from trunkline import ports
from trunkline.api.access import Role, Token, digest
from trunkline.api.app import create_app
from trunkline.api.exact import read_json
from trunkline.api.options import ApiOptions
from trunkline.bootstrap.bills import FolderBills
from trunkline.charging.bills.payable import worth
from trunkline.kernel.dial import to_key
from trunkline.kernel.money import to_text

SWAGGER = Path(__file__).parents[1] / "data" / "tmf" / "TMF678-CustomerBill-v4.0.0.swagger.json"
TMF = "/tmf-api/customerBillManagement/v4"
NOW_US = 1_796_000_000_000_000


@dataclass
class Desk:
    """An application with bills, and a client for each role."""

    bills: FolderBills
    store: MemoryStore
    port: ports.Bills | None

    def client(self, role: Role = Role.BILLING) -> httpx.AsyncClient:
        """A client with this role's token."""
        app = create_app(
            self.store, self.store, self.store, lambda: CATALOGUE,
            [Token(role.name.lower(), role, digest(text)) for role, text in TOKENS.items()],
            ApiOptions(reference_key=b"k" * 32), bill_port=self.port, now_us=lambda: NOW_US,
        )  # fmt: skip
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {TOKENS[role]}"}
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8450", headers=headers)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FolderBills]:
    """October's bills of a small operator."""
    folder = tmp_path_factory.mktemp("bills")
    with billing(folder) as (platform, bills):
        charge(platform, folder / "a.ndjson", records(1, 31))
        bills.run(202610)
        yield bills


@pytest.fixture
def desk(made: FolderBills) -> Desk:
    """A desk that knows the same people."""
    store = MemoryStore(lambda: NOW_US)
    for at in range(PEOPLE):
        store.enrol(number(at), 1_000_000)
    return Desk(made, store, made)


def fits(name: str, item: Any) -> None:
    """Assert that a value is what TM Forum's definition of that name says, and nothing more."""
    definitions = {
        key: {part: value for part, value in each.items() if part != "discriminator"}
        | ({"additionalProperties": False} if "properties" in each else {})
        for key, each in orjson.loads(SWAGGER.read_bytes())["definitions"].items()
    }
    schema = {"$ref": f"#/definitions/{name}", "definitions": definitions}
    validator = jsonschema_rs.Draft4Validator(schema, validate_formats=True)
    errors = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(item)]
    assert not errors, errors


@pytest.mark.anyio
async def test_bills_fit_tm_forums_definitions(desk: Desk) -> None:
    """Bills and rates are TMF678's resources; amounts are exact, and rates and taxes add up to the bill."""
    async with desk.client() as client:
        answer = await client.get(f"{TMF}/customerBill", params={"limit": 5})
        assert answer.headers["X-Total-Count"] == str(PEOPLE)
        bills = read_json(answer.content)
        assert len(bills) == 5
        for bill in bills:
            fits("CustomerBill", orjson.loads(orjson.dumps(bill, default=float)))
            rates = read_json(
                (
                    await client.get(
                        f"{TMF}/appliedCustomerBillingRate", params={"bill.id": bill["id"], "limit": 1000}
                    )
                ).content
            )
            for rate in rates:
                fits("AppliedCustomerBillingRate", orjson.loads(orjson.dumps(rate, default=float)))
            lines = sum(rate["taxExcludedAmount"]["value"] for rate in rates)
            added = sum(tax["taxAmount"]["value"] for tax in bill["taxItem"] if tax["taxCategory"] != "levy")
            assert lines + added == bill["taxIncludedAmount"]["value"]
            one = await client.get(
                f"{TMF}/appliedCustomerBillingRate/{rates[0]['id']}", params={"fields": "name"}
            )
            assert set(read_json(one.content)) == {"id", "href", "name"}
        mine = await client.get(f"{TMF}/customerBill", params={"billingAccount.id": number(3)})
        assert [bill["billingAccount"]["id"] for bill in read_json(mine.content)] == [
            bills[3]["billingAccount"]["id"]
        ]
        nobody = await client.get(f"{TMF}/customerBill", params={"relatedParty.id": "no number"})
        assert read_json(nobody.content) == []


@pytest.mark.anyio
async def test_a_bill_in_another_currency(desk: Desk) -> None:
    """Lines and total in the ledger's currency; what is due in the other one, with rate, date and publisher."""
    [word] = desk.bills.bills(to_key(number(14)), None, 1)
    name, kept = word["bill_id"], word["payable"]
    async with desk.client() as client:
        told = (await client.get(f"/api/v1/bills/{name}")).json()
        assert (told["currency"], told["payable"]["currency"]) == ("EUR", "KWD")
        assert told["payable"]["total_micros"] == told["payable"]["owed_micros"] == kept["micros"]
        text = "1 KWD = 2.80001 EUR (since 2026-11-01T23:00:00Z, Example Bank)"
        assert told["payable"]["text"] == text
        page = await client.get(f"/api/v1/bills/{name}/file", params={"format": "html"})
        assert f"Total in KWD: {text}" in page.text
        assert f"{to_text(kept['micros'])} KWD until" in page.text
        bill = read_json((await client.get(f"{TMF}/customerBill/{name}")).content)
        fits("CustomerBill", orjson.loads(orjson.dumps(bill, default=float)))
        due = Decimal(kept["micros"]).scaleb(-6)
        assert bill["amountDue"] == bill["remainingAmount"] == {"unit": "KWD", "value": due}
        assert bill["taxIncludedAmount"]["unit"] == "EUR"
        half = {"amount_micros": told["total_micros"] // 2, "text": "half of it"}
        left = (await client.post(f"/api/v1/bills/{name}/credits", json=half)).json()["bill"]
        assert left["payable"]["owed_micros"] == worth(left["owed_micros"], kept)
        rest = {"amount_micros": left["owed_micros"], "text": "and the rest"}
        gone = (await client.post(f"/api/v1/bills/{name}/credits", json=rest)).json()["bill"]
        assert (gone["state"], gone["payable"]["owed_micros"]) == ("credited", 0)


@pytest.mark.anyio
async def test_a_bill_is_put_on_hold_and_taken_off(desk: Desk) -> None:
    """`onHold` is a dispute; a state that follows from money cannot be set."""
    name = desk.bills.bills(None, None, 1, 1)[0]["bill_id"]
    async with desk.client() as client:
        path = f"{TMF}/customerBill/{name}"
        before = (await client.get(path)).json()["state"]
        held = await client.patch(path, json={"state": "onHold"})
        assert (held.status_code, held.json()["state"]) == (200, "onHold")
        assert (await client.patch(path, json={"state": "partiallyPaid"})).status_code == 409
        assert (await client.patch(path, json={"state": before})).json()["state"] == before
        assert (await client.patch(path, json={"state": "gone"})).status_code == 400


@pytest.mark.anyio
async def test_who_may_see_and_do_what(desk: Desk) -> None:
    """Looking at a bill takes the role that may see a person, ordering that of money; every look is written down."""
    name = desk.bills.bills(None, None, 1)[0]["bill_id"]
    credit = {"amount_micros": 10_000, "text": "goodwill"}
    async with desk.client(Role.VIEWER) as client:
        periods = (await client.get("/api/v1/bills/periods")).json()["items"]
        assert [(row["payable_currency"], row["bills"]) for row in periods] == [
            ("EUR", PEOPLE - 4),
            ("KWD", 4),
        ]
        assert (await client.get(f"/api/v1/bills/{name}")).status_code == 403
    async with desk.client(Role.CARE) as client:
        seen = await client.get(f"/api/v1/bills/{name}", params={"items": True})
        assert seen.status_code == 200
        assert number(0) not in seen.text
        assert seen.json()["subscriber"] == "4915••••••000"
        assert number(0) in (await client.get(f"/api/v1/bills/{name}", params={"numbers": "full"})).text
        assert (await client.post(f"/api/v1/bills/{name}/credits", json=credit)).status_code == 403
        assert (await client.post("/api/v1/bills/runs", json={"period": "2026-10"})).status_code == 403
    assert [(event.action, event.role) for event in desk.store.looked] == [("read_bill", "care")] * 2


@pytest.mark.anyio
async def test_orders_and_refusals(desk: Desk) -> None:
    """A run bills each account once; a credit note is one, however often it is sent; refusals say why."""
    name = desk.bills.bills(None, None, 1, 2)[0]["bill_id"]
    async with desk.client() as client:
        again = (await client.post("/api/v1/bills/runs", json={"period": "2026-10"})).json()
        assert (again["bills"], again["billed"]) == (0, PEOPLE)
        assert (await client.post("/api/v1/bills/runs", json={"period": "2026-13"})).status_code == 400
        order = {"amount_micros": 250_000, "text": "goodwill"}
        first = await client.post(f"/api/v1/bills/{name}/credits", json=order)
        second = await client.post(f"/api/v1/bills/{name}/credits", json=order)
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json()["movement_id"] == second.json()["movement_id"]
        assert second.json()["bill"]["credited_micros"] == 250_000
        much = await client.post(f"/api/v1/bills/{name}/credits", json={**order, "amount_micros": 2**40})
        assert (much.status_code, much.json()["code"]) == (409, "refused")
        for missing in ("202610-00", "nothing", "202699-00ff"):
            assert (await client.get(f"/api/v1/bills/{missing}")).status_code == 404
        assert (await client.get(f"{TMF}/appliedCustomerBillingRate/{name}.9999")).status_code == 404


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("form", "kind", "start"),
    [
        ("pdf", "application/pdf", b"%PDF-"),
        ("html", "text/html", b"<!doctype html>"),
        ("json", "application/json", b"{"),
    ],
)
async def test_files(desk: Desk, form: str, kind: str, start: bytes) -> None:
    """A bill is handed on in three forms, the same to the octet each time, with masked numbers and no script."""
    name = desk.bills.bills(None, None, 1)[0]["bill_id"]
    async with desk.client(Role.CARE) as client:
        path = f"/api/v1/bills/{name}/file"
        answer = await client.get(path, params={"format": form, "items": True})
        assert answer.headers["content-type"].startswith(kind)
        assert answer.content.startswith(start)
        assert answer.content == (await client.get(path, params={"format": form, "items": True})).content
        assert number(0).encode() not in answer.content
        assert b"<script" not in answer.content
        if form == "html":
            assert "116.23" in answer.text
            assert "4917" in answer.text
            assert "4917012345678" not in answer.text


@pytest.mark.anyio
async def test_a_preview_and_a_process_without_bills(desk: Desk) -> None:
    """The running period is shown by number; a process that makes no bills says so."""
    async with desk.client() as client:
        seen = await client.get(f"/api/v1/subscribers/{number(1)}/bills/preview")
        assert (seen.status_code, seen.json()["state"], seen.json()["period"]) == (200, "preview", "2026-11")
        listed = await client.get(f"/api/v1/subscribers/{number(1)}/bills")
        assert len(listed.json()["items"]) == 1
        assert (await client.get("/api/v1/subscribers/4999/bills")).status_code == 404
    desk.port = None
    async with desk.client() as client:
        for path in ("/api/v1/bills", "/api/v1/bills/202610-00", f"{TMF}/customerBill"):
            assert (await client.get(path)).status_code == 501
