"""Re-rating on the page, in a real Chromium over a real data folder: previewed, looked at, booked after a question."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.billing.small import number
from tests.page.conftest import Opened
from tests.page.serve import Served, served
from tests.rerating.small import charged, rerating
from trunkline.api.access import Role
from trunkline.bootstrap.rerating import FolderRerates

AXE = gzip.decompress((Path(__file__).parents[1] / "data" / "axe" / "axe.min.js.gz").read_bytes()).decode()


@pytest.fixture(scope="module")
def rerates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FolderRerates]:
    """A folder whose October was charged by a wrong tariff."""
    folder = tmp_path_factory.mktemp("rerates")
    charged(folder, right=False, last=12)
    with rerating(folder, right=True) as (_, made):
        yield made


@pytest.fixture(scope="module")
def world(rerates: FolderRerates) -> Iterator[Served]:
    """A server over it."""
    with served(60, rerates=rerates) as world:
        yield world


@pytest.mark.timeout(600)
def test_preview_and_book(opened: Opened, rerates: FolderRerates) -> None:
    """Days are chosen, the difference is shown by plan and masked account, and booked after a question."""
    opened.sign_in(Role.BILLING)
    page = opened.page
    opened.go("rerating")
    page.get_by_label("First day (UTC)").fill("2026-10-01")
    page.get_by_label("Last day (UTC)").fill("2026-10-31")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", name="2026-10-01 to 2026-10-31: preview")).to_be_visible(
        timeout=120_000
    )
    expect(page.get_by_role("table", name="By plan")).to_contain_text("plain")
    expect(page.get_by_role("table", name="Who is corrected most")).to_contain_text("4915••••••")
    assert not any(number(at) in page.content() for at in range(24))
    page.evaluate(AXE)
    found = page.evaluate("async () => (await axe.run()).violations.map((each) => each.id)")
    assert found == []
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Book it").click()
    expect(page.get_by_role("heading", name="2026-10-01 to 2026-10-31: booked")).to_be_visible(
        timeout=120_000
    )
    expect(page.get_by_role("button", name="Book it")).to_have_count(0)
    assert [each["state"] for each in rerates.rerates(10)] == ["booked"]


def test_it_is_not_for_everybody(opened: Opened) -> None:
    """Who may not move money does not find the view."""
    opened.sign_in(Role.CARE)
    expect(opened.page.get_by_role("link", name="Re-rating")).to_have_count(0)
