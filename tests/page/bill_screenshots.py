"""Takes the pictures of a bill in docs/screenshots: `python -m tests.page.bill_screenshots`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.billing.small import billing, charge, records
from tests.page.conftest import ARGUMENTS, CHROMIUM
from tests.page.serve import served
from trunkline.api.access import Role

OUT = Path(__file__).parents[2] / "docs" / "screenshots"
PATIENCE_MS = 120_000


def main() -> None:
    """The bill of a small operator's subscriber, light and dark."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, billing(Path(folder)) as (platform, bills):
        charge(platform, Path(folder) / "a.ndjson", records(1, 31))
        bills.run(202610)
        name = bills.bills(None, None, 1)[0]["bill_id"]
        with served(60, bills=bills) as world, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": 1280, "height": 1100}, color_scheme=scheme)
                page = context.new_page()
                page.set_default_timeout(PATIENCE_MS)
                page.goto(world.link(Role.BILLING), timeout=PATIENCE_MS)
                page.wait_for_selector("#pulse[data-state=live]")
                page.evaluate(f"location.hash = '#/bills/{name}'")
                page.get_by_role("table", name=f"Bill {name}").wait_for()
                page.screenshot(path=OUT / f"bill-{scheme}.png")
                context.close()
            browser.close()


if __name__ == "__main__":
    main()
