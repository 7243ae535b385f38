"""Vouchers and what an account holds, in a real Chromium: batches are made and blocked, a code is redeemed."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.giving.small import number
from tests.page.conftest import Opened
from tests.page.serve import Served, now_us, served
from tests.page.test_page import reference
from tests.vouchers.small import Clock, codes, vouching
from trunkline.api.access import Role
from trunkline.bootstrap.vouchers import FolderVouchers
from trunkline.kernel.dial import to_key
from trunkline.kernel.grouped import Rows
from trunkline.ports import NotReserved, Reservation
from trunkline.records.online import Hold, WouldUse
from trunkline.records.usage import Kind

AXE = gzip.decompress((Path(__file__).parents[1] / "data" / "axe" / "axe.min.js.gz").read_bytes()).decode()
HOUR_US = 3_600_000_000
WHO = number(0)


class Kept:
    """Reservations in memory (`ports.Reservations`): one amount set apart, one quota, one use that is owed."""

    def __init__(self) -> None:
        """All of one subscriber."""
        word, at = to_key(WHO), now_us()
        self.holds = [
            Hold("00000000000000a1", word, 0, "main", 0, 0, 600_000, 0, at, at + HOUR_US),
            Hold("00000000000000b2", word, 0, "", int(Kind.DATA), 10, 40_000_000, 0, at - 1, at + HOUR_US),
            Hold("00000000000000c3", word, 0, "", int(Kind.VOICE), 1, 0, 61_000, at - 2, None),
        ]

    def reserve(self, order: Reservation) -> Reservation:
        """Nothing more is taken."""
        raise NotReserved("not_enough", f"{order.amount} is too much.")

    def release(self, subscriber: int, name: str) -> bool:
        """Give one back."""
        before = len(self.holds)
        self.holds = [each for each in self.holds if (each.owner, each.name) != (subscriber, name)]
        return len(self.holds) < before

    def of(self, subscriber: int | None) -> list[Reservation]:
        """What is set apart."""
        return [
            Reservation(each.name, each.owner, each.balance, each.units, each.time_us, each.until_us or 0)
            for each in self.holds
            if not each.kind and subscriber in (None, each.owner)
        ]

    def amounts(self, owner: int) -> list[tuple[Rows, int]]:
        """Not by balance."""
        del owner
        return []

    def held(self, owner: int) -> list[Hold]:
        """All of them."""
        return [each for each in self.holds if each.owner == owner]

    def usable(self, use: WouldUse) -> tuple[int, str]:
        """As much as is wanted."""
        return use.units, ""


@pytest.fixture(scope="module")
def vouchers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FolderVouchers]:
    """Vouchers of a real data folder."""
    with vouching(tmp_path_factory.mktemp("vouchers"), Clock()) as (_, _, made):
        yield made


@pytest.fixture(scope="module")
def world(vouchers: FolderVouchers) -> Iterator[Served]:
    """A server over it, with reservations of the one subscriber whom both know."""
    with served(60, vouchers=vouchers, reservations=Kept()) as world:
        world.store.enrol(WHO, 1_000_000)
        yield world


@pytest.mark.timeout(600)
def test_a_batch_is_made_activated_redeemed_and_blocked(opened: Opened, vouchers: FolderVouchers) -> None:
    """As a clerk does it, with what became of each voucher; no code stands on the page."""
    opened.sign_in(Role.BILLING)
    page = opened.page
    opened.go("vouchers")
    expect(page.get_by_text("There are no vouchers yet.")).to_be_visible()
    page.get_by_label("Name").fill("autumn")
    page.get_by_label("How many").fill("3")
    page.get_by_label("What each is worth").fill("10.00")
    page.get_by_label("First day on which it is no longer redeemed").fill("2099-01-01")
    page.get_by_role("button", name="Make").click()
    table = page.get_by_role("table", name="Batches of vouchers")
    expect(table).to_contain_text("10.00")
    page.get_by_role("button", name="Activate batch autumn").click()
    expect(page.locator("#said")).to_contain_text("is in circulation")
    given = codes(vouchers, "autumn")
    opened.go(f"subscriber/{reference(opened, WHO)}")
    page.get_by_label("Code, 16 digits").fill(given[0])
    page.get_by_role("button", name="Redeem").click()
    expect(page.locator("#said")).to_contain_text("of voucher autumn-1")
    page.get_by_label("Code, 16 digits").fill(given[0])
    page.get_by_role("button", name="Redeem").click()
    expect(page.locator("#voucher-wrong")).not_to_be_empty()
    opened.wrong = [
        each for each in opened.wrong if "409" not in each
    ]  # what a refusal leaves on the console
    opened.go("vouchers")
    page.get_by_label("Batch", exact=True).fill("autumn")
    page.get_by_label("Number within the batch").fill("2")
    page.get_by_role("button", name="Look up").click()
    page.get_by_role("button", name="Block this voucher").click()
    expect(page.get_by_text("autumn-2: blocked")).to_be_visible()
    page.get_by_role("button", name="Block batch autumn").click()
    expect(table.get_by_role("row", name="autumn")).to_contain_text("blocked")
    assert not any(code in page.content() for code in given)
    page.evaluate(AXE)
    assert page.evaluate("async () => (await axe.run()).violations.map((each) => each.id)") == []
    assert opened.abroad == []


@pytest.mark.timeout(600)
def test_what_is_held_is_shown_and_released(opened: Opened) -> None:
    """Each with what it holds; only what was set apart can be released."""
    opened.sign_in(Role.BILLING)
    page = opened.page
    opened.go(f"subscriber/{reference(opened, WHO)}")
    table = page.get_by_role("table", name="Set apart and promised")
    for text in (
        "set apart",
        "0.60 EUR",
        "promised",
        "40.00 MB",
        "data, group 10",
        "used, not charged yet",
        "1 min 01",
    ):
        expect(table).to_contain_text(text)
    expect(page.get_by_role("button", name="Release reservation")).to_have_count(1)
    page.evaluate(AXE)
    assert page.evaluate("async () => (await axe.run()).violations.map((each) => each.id)") == []
    page.get_by_role("button", name="Release reservation 00000000000000a1").click()
    expect(page.locator("#said")).to_contain_text("was released")
    expect(table).not_to_contain_text("set apart")
    expect(page.get_by_role("button", name="Release reservation")).to_have_count(0)


def test_it_is_not_for_everybody(opened: Opened) -> None:
    """Care sees what is held and releases nothing, and does not find the vouchers."""
    opened.sign_in(Role.CARE)
    expect(opened.page.get_by_role("link", name="Vouchers")).to_have_count(0)
    opened.go(f"subscriber/{reference(opened, WHO)}")
    expect(opened.page.get_by_role("table", name="Set apart and promised")).to_contain_text("promised")
    expect(opened.page.get_by_role("button", name="Release reservation")).to_have_count(0)
