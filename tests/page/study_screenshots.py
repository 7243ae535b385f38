"""Takes the pictures of what people try out or put right: `python -m tests.page.study_screenshots`.

A what-if, a shadow run, a re-rating, calls under way and the deliveries of alerts, each light and dark.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.delivery.small import desk_of_deliveries
from tests.page.conftest import ARGUMENTS, CHROMIUM
from tests.page.serve import Served, served
from tests.page.test_calls_page import under_way
from tests.rerating.small import charged, rerating
from tests.what_if.day import DEARER, UNPRICED, charged_day, studies_of
from tests.what_if.old_system import compared
from trunkline.api.access import Role

OUT = Path(__file__).parents[2] / "docs" / "screenshots"
PATIENCE_MS = 240_000


def pictures(browser: Browser, world: Served, role: Role, name: str, show: Callable[[Page], None]) -> None:
    """One view, light and dark."""
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 1280, "height": 1000}, color_scheme=scheme)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(world.link(role), timeout=PATIENCE_MS)
        page.wait_for_selector("#pulse[data-state=live]")
        show(page)
        page.screenshot(path=OUT / f"{name}-{scheme}.png")
        context.close()


def studies(browser: Browser, folder: Path) -> None:
    """A draft that makes calls dearer, and an old system that charges a cent more now and then."""
    day = charged_day(folder)
    draft = sorted(day.draft(folder / "draft", DEARER, UNPRICED).iterdir())
    shadow = compared(day, folder)["id"]

    def what_if(page: Page) -> None:
        page.evaluate("location.hash = '#/whatif'")
        page.get_by_label("All files of the draft").set_input_files(draft)
        page.get_by_role("button", name="Price it").click()
        page.get_by_role("table", name="Subscribers by what they would pay").wait_for()

    def shadow_run(page: Page) -> None:
        page.evaluate(f"location.hash = '#/shadow/{shadow}'")
        page.get_by_role("img", name="Money apart by day").wait_for()

    with served(60, studies=studies_of(day.data)) as world:
        pictures(browser, world, Role.BILLING, "what-if", what_if)
        pictures(browser, world, Role.BILLING, "shadow-run", shadow_run)


def corrected(browser: Browser, folder: Path) -> None:
    """An October that was charged by a wrong tariff, previewed."""

    def preview(page: Page) -> None:
        page.evaluate("location.hash = '#/rerating'")
        page.get_by_label("First day (UTC)").fill("2026-10-01")
        page.get_by_label("Last day (UTC)").fill("2026-10-31")
        page.get_by_role("button", name="Preview").click()
        page.get_by_role("table", name="Who is corrected most").wait_for()

    charged(folder, right=False, last=12)
    with rerating(folder, right=True) as (_, rerates), served(60, rerates=rerates) as world:
        pictures(browser, world, Role.BILLING, "re-rating", preview)


def delivered(browser: Browser, folder: Path) -> None:
    """Deliveries by state, and a dead letter."""

    def deliveries(page: Page) -> None:
        page.evaluate("location.hash = '#/alerts'")
        page.get_by_text("Delivery to customers").click()
        expect(page.get_by_role("table", name="Dead letters, newest first")).to_contain_text("410")

    with desk_of_deliveries(folder) as desk, served(60, deliveries=desk) as world:
        pictures(browser, world, Role.ADMIN, "deliveries", deliveries)


def telephoning(browser: Browser, _: Path) -> None:
    """Calls under way, some with a part missing."""

    def calls(page: Page) -> None:
        page.evaluate("location.hash = '#/calls'")
        page.get_by_role("table", name="Calls under way").wait_for()

    with served(60) as world:
        under_way(world.store)
        pictures(browser, world, Role.CARE, "calls", calls)


TAKEN = {"day": studies, "october": corrected, "calls": telephoning, "alerts": delivered}


def main() -> None:
    """All of them, or those that are named: day, october, calls, alerts."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for name in sys.argv[1:] or TAKEN:
            (Path(folder) / name).mkdir()
            TAKEN[name](browser, Path(folder) / name)
        browser.close()


if __name__ == "__main__":
    main()
