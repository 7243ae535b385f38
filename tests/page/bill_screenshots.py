"""Takes the pictures of bills in docs/screenshots: `python -m tests.page.bill_screenshots`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.billing.small import billing, charge, number, records
from tests.page.conftest import ARGUMENTS, CHROMIUM
from tests.page.serve import served
from trunkline.api.access import Role
from trunkline.kernel.dial import to_key

ABROAD = number(14)  # one whose plan is billed in another currency
OUT = Path(__file__).parents[2] / "docs" / "screenshots"
PATIENCE_MS = 120_000


def main() -> None:
    """All of a small operator, one in its currency and one to be paid in another, light and dark."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, billing(Path(folder)) as (platform, bills):
        charge(platform, Path(folder) / "a.ndjson", records(1, 31))
        bills.run(202610)
        name = bills.bills(None, None, 1)[0]["bill_id"]
        abroad = bills.bills(to_key(ABROAD), None, 1)[0]["bill_id"]
        with served(60, bills=bills) as world, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": 1280, "height": 1100}, color_scheme=scheme)
                page = context.new_page()
                page.set_default_timeout(PATIENCE_MS)
                page.goto(world.link(Role.BILLING), timeout=PATIENCE_MS)
                page.wait_for_selector("#pulse[data-state=live]")
                page.evaluate("location.hash = '#/bills'")
                page.get_by_role("table", name="Newest bills").wait_for()
                page.screenshot(path=OUT / f"bills-{scheme}.png")
                for picture, shown in (("bill", name), ("bill-abroad", abroad)):
                    page.evaluate(f"location.hash = '#/bills/{shown}'")
                    page.get_by_role("table", name=f"Bill {shown}").wait_for()
                    page.screenshot(path=OUT / f"{picture}-{scheme}.png")
                context.close()
            browser.close()


if __name__ == "__main__":
    main()
