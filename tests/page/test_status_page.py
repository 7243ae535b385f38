"""The view of the machinery in a real Chromium: a cluster's workers, and one process without any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, expect

from tests.page.conftest import Opened
from tests.page.serve import now_us, served
from tests.page.test_page import AXE
from trunkline.api.access import Role
from trunkline.api.workers import Worker

LAG = {"trunkline.work/2": 1_200, "trunkline.work/10": 34, "trunkline.work/1": 0}


def words() -> list[Worker]:
    """Two workers of the kafka engine, one of them silent, and a delivery."""
    now = now_us()
    well = Worker("rack-a", "kafka", now, 5_000_000, 43_210.4, LAG, 73_000_000, now - 2_000_000, 3)
    silent = replace(
        well, name="rack-b", told_us=now - 90_000_000, records_per_s=0.0, lag={"trunkline.work/3": 7}
    )
    return [well, silent, Worker("host-1.balances", "delivery", now, 4_000_000, 900.0)]


@pytest.fixture
def cluster(browser: Browser) -> Iterator[Opened]:
    """The page of a cluster."""
    with served(50, workers=words) as world:
        context = browser.new_context(viewport={"width": 1280, "height": 860})
        opened = Opened(context.new_page(), world)
        yield opened
        context.close()
    assert not opened.wrong, opened.wrong


def test_workers_are_watched(cluster: Opened) -> None:
    """Each worker with lag, throughput, state, age, rebalances; who is silent is marked, what waits most is first."""
    cluster.sign_in(Role.VIEWER)
    cluster.go("status")
    page = cluster.page
    table = page.get_by_role("table", name="Workers")
    row = table.get_by_role("row").filter(has_text="rack-a")
    for text in ("kafka", "5,000,000", "43,210", "1,234", "73.00 MB", "2 s ago", "3"):
        expect(row).to_contain_text(text)
    expect(row).not_to_contain_text("silent")
    expect(table.get_by_role("row").filter(has_text="rack-b")).to_contain_text("silent")
    expect(table.get_by_role("row").filter(has_text="host-1.balances")).to_contain_text("\N{EN DASH}")
    expect(page.locator(".figures")).to_contain_text("1,234")  # what the silent one had may be another's now
    waiting = page.get_by_role("table", name="Waiting, by partition").get_by_role("row")
    expect(waiting.nth(1)).to_contain_text("trunkline.work/2")
    expect(waiting).to_have_count(4)  # its head, and the partitions where something waits
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [each["id"] for each in found["violations"]] == []


def test_one_process_says_so(opened: Opened) -> None:
    """Without a cluster there are no workers; what is kept is shown."""
    opened.sign_in()
    opened.go("status")
    expect(opened.page.get_by_text("one process takes, charges and serves")).to_be_visible()
    expect(opened.page.locator(".figures")).to_contain_text("process carries everything")
