"""Takes the pictures in docs/screenshots: `python -m tests.page.screenshots`, on a day that is the same every time."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.page.conftest import ARGUMENTS, CHROMIUM
from tests.page.serve import NUMBERS, Served, served, trickling
from tests.page.test_status_page import words
from tests.waiting import until
from trunkline.api.access import Role

OUT = Path(__file__).parents[2] / "docs" / "screenshots"
SAMPLES = 60


def take(page: Page, world: Served, name: str) -> None:
    """One picture a view."""
    page.goto(world.link(Role.ADMIN))
    until(lambda: len(world.app.state.live.samples) >= SAMPLES, "enough samples to draw")  # type: ignore[attr-defined]
    page.get_by_role("table", name="Newest usage").wait_for()
    page.screenshot(path=OUT / f"overview-{name}.png")
    page.evaluate("location.hash = '#/subscriber'")
    page.get_by_label("Telephone number").fill(NUMBERS[1])
    page.get_by_role("button", name="Find").click()
    page.wait_for_selector("[data-balance=main]")
    expect(page.locator("#usage tbody tr")).not_to_have_count(0)
    page.screenshot(path=OUT / f"subscriber-{name}.png")
    page.evaluate("location.hash = '#/rejects'")
    page.get_by_role("button", name="Correct record").first.click()
    page.screenshot(path=OUT / f"rejects-{name}.png")
    page.evaluate("location.hash = '#/tariffs/payg'")
    page.get_by_role("table", name="Prices").wait_for()
    page.screenshot(path=OUT / f"tariffs-{name}.png")
    page.evaluate("location.hash = '#/reconciliation'")
    page.get_by_role("button", name="Reconcile now").click()
    page.get_by_text("the books agree").wait_for()
    page.get_by_role("button", name="Dismiss").click()
    page.screenshot(path=OUT / f"reconciliation-{name}.png")


def take_status(page: Page, world: Served, name: str) -> None:
    """How a cluster's workers are."""
    page.goto(world.link(Role.VIEWER))
    page.evaluate("location.hash = '#/status'")
    page.get_by_role("table", name="Waiting, by partition").wait_for()
    page.screenshot(path=OUT / f"status-{name}.png")


def main() -> None:
    """Light, dark, and a telephone."""
    OUT.mkdir(parents=True, exist_ok=True)
    with served(period_s=0.5) as world, trickling(world), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme=scheme)
            take(context.new_page(), world, scheme)
            with served(50, workers=words) as cluster:
                take_status(context.new_page(), cluster, scheme)
            context.close()
        context = browser.new_context(viewport={"width": 360, "height": 720}, device_scale_factor=2)
        page = context.new_page()
        page.goto(world.link(Role.CARE))
        page.get_by_role("table", name="Newest usage").wait_for()
        page.screenshot(path=OUT / "overview-narrow.png")
        browser.close()


if __name__ == "__main__":
    main()
