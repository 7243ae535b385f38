"""Bills on the page, in a real Chromium over a real data folder: preview, list, one bill, dispute, credit note, run."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.billing.small import PEOPLE, billing, charge, number, records
from tests.page.conftest import Opened
from tests.page.serve import Served, served
from trunkline.api.access import Role
from trunkline.bootstrap.bills import FolderBills
from trunkline.kernel.dial import to_key
from trunkline.kernel.money import to_text

AXE = gzip.decompress((Path(__file__).parents[1] / "data" / "axe" / "axe.min.js.gz").read_bytes()).decode()
SHOTS = Path(__file__).parents[2] / "docs" / "screenshots"


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FolderBills]:
    """October's bills of a small operator."""
    folder = tmp_path_factory.mktemp("bills")
    with billing(folder) as (platform, made):
        charge(platform, folder / "a.ndjson", records(1, 31))
        charge(platform, folder / "b.ndjson", records(1, 9, 11))
        made.run(202610)
        yield made


@pytest.fixture(scope="module")
def world(bills: FolderBills) -> Iterator[Served]:
    """A server that has them; its small store knows the same people."""
    with served(60, bills=bills) as world:
        for at in range(PEOPLE):
            world.store.enrol(number(at), 5_000_000)
        yield world


def test_from_the_number_to_the_bill(opened: Opened, bills: FolderBills) -> None:
    """A number leads to the preview and the bills so far, and from there to one bill with its lines and forms."""
    opened.sign_in(Role.BILLING)
    page = opened.page
    opened.go("bills")
    expect(page.get_by_role("table", name="Billed periods")).to_contain_text("2026-10")
    expect(page.get_by_role("table", name="Newest bills").locator("tbody tr")).to_have_count(PEOPLE)
    page.get_by_label("Telephone number").fill(number(0))
    page.get_by_role("button", name="Find bills").click()
    expect(page.get_by_role("heading", name="The running period, as it stands")).to_be_visible()
    made = bills.bills(to_key(number(0)), None, 1)[0]
    page.get_by_role("link", name=made["bill_id"]).click()
    table = page.get_by_role("table", name=f"Bill {made['bill_id']}")
    expect(table).to_contain_text("VAT 19 %")
    expect(table).to_contain_text("116.23")
    expect(page.locator("main")).to_contain_text("4915••••••000")
    assert number(0) not in page.content()
    page.get_by_label("Why").first.fill("the calls of the 5th")
    page.get_by_role("button", name="Dispute").click()
    expect(page.get_by_role("heading", name="Settle the dispute")).to_be_visible()
    page.get_by_label("Amount").fill("1.50")
    page.get_by_label("Why", exact=True).fill("goodwill")
    page.get_by_role("button", name="Credit note").click()
    expect(page.locator("main")).to_contain_text("credit: goodwill")
    found = bills.bill(made["bill_id"])
    assert found is not None
    assert (found["state"], found["credited_micros"]) == ("disputed", 1_500_000)


def test_a_bill_in_another_currency(opened: Opened, bills: FolderBills) -> None:
    """Lists tell both totals side by side; the bill shows what is to be paid, with rate, date and publisher."""
    opened.sign_in(Role.BILLING)
    page = opened.page
    opened.go("bills")
    expect(page.get_by_role("table", name="Billed periods").locator("tbody tr")).to_have_count(2)
    expect(page.get_by_role("table", name="Newest bills")).to_contain_text("KWD")
    made = bills.bills(to_key(number(14)), None, 1)[0]
    page.get_by_role("link", name=made["bill_id"]).click()
    expect(page.locator("main")).to_contain_text(
        "1 KWD = 2.80001 EUR (since 2026-11-01T23:00:00Z, Example Bank)"
    )
    expect(page.locator("main")).to_contain_text(f"{to_text(made['payable']['micros'])} KWD")


def test_a_run_from_the_page(opened: Opened) -> None:
    """A period is billed from the page; what is billed already is told, and a wrong month is refused in words."""
    opened.sign_in(Role.BILLING)
    page = opened.page
    opened.go("bills")
    page.get_by_label("Period to bill").fill("October")
    page.get_by_role("button", name="Make bills").click()
    expect(page.get_by_role("alert").filter(has_text="such as 2026-10")).to_be_visible()
    page.get_by_label("Period to bill").fill("2026-10")
    page.get_by_role("button", name="Make bills").click()
    expect(page.get_by_text(f"0 bills were made; {PEOPLE} were there")).to_be_visible()


def test_who_only_looks_cannot_order(opened: Opened, bills: FolderBills) -> None:
    """Care sees bills and orders nothing; whoever may not see a person does not find the view."""
    opened.sign_in(Role.CARE)
    name = bills.bills(None, None, 1)[0]["bill_id"]
    opened.go(f"bills/{name}")
    expect(opened.page.get_by_role("link", name="As PDF")).to_be_visible()
    expect(opened.page.get_by_role("button", name="Credit note")).to_have_count(0)
    with opened.page.expect_download() as waiting:
        opened.page.get_by_role("link", name="As PDF").click()
    assert Path(waiting.value.path()).read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_everybody(opened: Opened, bills: FolderBills, scheme: str) -> None:
    """No finding of axe on a bill or the list, in either colours."""
    page = opened.page
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    opened.sign_in(Role.ADMIN)
    name = bills.bills(None, None, 1)[0]["bill_id"]
    for view, title in (("bills", "Billed periods"), (f"bills/{name}", f"Bill {name}")):
        opened.go(view)
        page.get_by_role("table", name=title).wait_for()
        page.evaluate(AXE)
        found = page.evaluate("async () => (await axe.run(document)).violations.map((each) => each.id)")
        assert found == []
