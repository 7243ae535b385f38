"""What an incident gives back, on its page: seen by care with masked numbers, booked by billing, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.network.test_customers import ANNA, BEN, CALLS, House, house
from tests.page.conftest import Opened
from tests.page.serve import Served, served
from trunkline.api.access import Role
from trunkline.api.desk import Watching
from trunkline.api.heat import HeatBoard
from trunkline.bootstrap.network import NetworkHands
from trunkline.engines.embedded.intake import Spooling

AT_TABLE = "Customers and amounts"


@pytest.fixture
def hit(tmp_path: Path) -> Iterator[tuple[House, Served]]:
    """An incident that hit two customers and is over; what it gives them is booked by hand."""
    with house(tmp_path, "by hand") as at:
        at.charge(tmp_path, "before", CALLS)
        at.raise_alarm("C1", 0)
        at.service.look(at_once=True)
        at.raise_alarm("C1", 200, over=True)
        at.service.look(at_once=True)
        board = HeatBoard(at.watch.reader)
        board.load()
        hands = NetworkHands(at.watch, Spooling(at.watch.engine))
        with served(20, network=Watching(at.watch.reader, hands, board, at.service)) as server:
            yield at, server


@pytest.fixture
def visitor(browser: Browser, hit: tuple[House, Served]) -> Iterator[Opened]:
    """A fresh visitor; nothing may go wrong in the page."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = Opened(context.new_page(), hit[1])
    yield opened
    context.close()
    assert not opened.wrong, opened.wrong


def test_what_an_incident_gives_back_is_seen_and_booked_once(
    visitor: Opened, hit: tuple[House, Served]
) -> None:
    """Care sees whom and how much and cannot book; billing is asked before money moves, and only once."""
    at, _ = hit
    (incident,) = at.watch.reader.incidents(10)
    page = visitor.page
    visitor.sign_in(Role.CARE)
    visitor.go(f"network/incident/{incident['incident_id']}")
    given = page.get_by_role("region", name="Given back")
    expect(given).to_contain_text("The rule “power” gives 2 customers")
    expect(given).to_contain_text("0 are booked")
    expect(page.get_by_role("button", name="Book the credits")).to_have_count(0)
    given.get_by_text(AT_TABLE).first.click()
    rows = given.get_by_role("table", name=AT_TABLE).locator("tbody tr")
    expect(rows).to_have_count(2)
    shown = given.inner_text()
    assert ANNA not in shown
    assert BEN not in shown
    assert at.given()[ANNA] == 0

    page.context.clear_cookies()
    visitor.sign_in(Role.BILLING)
    visitor.go(f"network/incident/{incident['incident_id']}")
    asked: list[str] = []

    def answer(dialog: object) -> None:
        asked.append(dialog.message)  # type: ignore[attr-defined]
        dialog.accept()  # type: ignore[attr-defined]

    page.on("dialog", answer)
    page.get_by_role("button", name="Book the credits").click()
    expect(given).to_contain_text("2 are booked")
    expect(page.get_by_role("button", name="Book the credits")).to_have_count(0)
    (question,) = asked
    assert question.startswith("Give 2 customers")
    assert at.given()[ANNA] == at.given()[BEN] == 1_000_000
