"""Delivery on the page, in a real Chromium: states, a dead letter offered again, and a customer's choices."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.delivery.small import NUMBERS, desk_of_deliveries
from tests.page.conftest import Opened
from tests.page.serve import Served, served
from trunkline.api.access import Role

AXE = gzip.decompress((Path(__file__).parents[1] / "data" / "axe" / "axe.min.js.gz").read_bytes()).decode()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with three deliveries, of which one is a dead letter."""
    with (
        desk_of_deliveries(tmp_path_factory.mktemp("deliveries")) as deliveries,
        served(60, deliveries=deliveries) as world,
    ):
        world.store.enrol(NUMBERS[0], 5_000_000)
        yield world


def test_a_dead_letter_is_offered_again(opened: Opened) -> None:
    """It says why it was given up; an administrator retries it, and it waits."""
    opened.sign_in(Role.ADMIN)
    page = opened.page
    opened.go("alerts")
    page.get_by_text("Delivery to customers").click()
    expect(page.get_by_role("table", name="Deliveries by channel and state")).to_contain_text("webhook")
    dead = page.get_by_role("table", name="Dead letters, newest first")
    expect(dead).to_contain_text("answered 410")
    page.evaluate(AXE)
    said = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [each["id"] for each in said["violations"]] == []
    page.get_by_role("button", name="Retry delivery").first.click()
    expect(page.get_by_text("1 wait again.")).to_be_visible()
    expect(page.get_by_text("None. Everything reached somebody")).to_be_visible()


def test_a_customers_choices(opened: Opened) -> None:
    """Kept, shown masked, and forgotten; a mistake is told in words."""
    opened.sign_in(Role.CARE)
    page = opened.page
    opened.go("subscriber")
    page.get_by_label("Telephone number").fill(NUMBERS[0])
    page.get_by_role("button", name="Find").click()
    page.get_by_text("How this customer is told of alerts").click()
    expect(page.get_by_text("Nothing was chosen")).to_be_visible()
    page.get_by_label("Channel", exact=True).select_option("email")
    page.get_by_label("Address").fill("anna.example@mail.example")
    page.get_by_label("Language").fill("de")
    page.get_by_label("Quiet hours").fill("21:00-08:00")
    page.get_by_role("button", name="Keep this choice").click()
    table = page.get_by_role("table", name="How this customer is told")
    expect(table).to_contain_text("a\u2022\u2022\u2022@mail.example")
    expect(table).to_contain_text("21:00-08:00")
    assert "anna.example@mail.example" not in table.inner_text()
    page.get_by_role("button", name="Forget email").click()
    expect(page.get_by_text("Nothing was chosen")).to_be_visible()
