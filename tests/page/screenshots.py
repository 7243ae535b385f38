"""Takes the pictures in docs/screenshots, on days that are the same every time.

`python -m tests.page.screenshots` takes all of them; with `money` or `network` behind it only those.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import date
from pathlib import Path

import polars as pl
from playwright.sync_api import Page, expect, sync_playwright

from tests.network.watching import Watch, simulated, truth, watch
from tests.page.conftest import ARGUMENTS, CHROMIUM
from tests.page.serve import NUMBERS, Served, served, trickling
from tests.page.test_status_page import words
from tests.waiting import until
from trunkline.api.access import Role
from trunkline.bootstrap.replay import pieces
from trunkline.records.network import WORTH
from trunkline.simulator import Settings

DRAWING = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
WATCHED = Settings(seed=7, subscribers=2_000, cells=60, hours=8, start=date(2026, 11, 3))
PATIENCE_MS = 300_000
OUT = Path(__file__).parents[2] / "docs" / "screenshots"
SAMPLES = 60
INTO_US = 900_000_000  # so far into a cut of many cells the pictures are taken


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


def take_network(page: Page, world: Served, name: str) -> None:
    """The NOC's views: the map by severity, an incident, a cell's chart, planned work."""
    page.set_default_timeout(PATIENCE_MS)
    page.goto(world.link(Role.ADMIN))
    page.wait_for_selector("#pulse[data-state=live]")
    page.evaluate("location.hash = '#/network'")
    page.wait_for_selector("#map[data-drawn=yes] canvas")
    expect(page.get_by_role("table", name="Tiles, severity").get_by_role("link")).not_to_have_count(0)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=OUT / f"network-{name}.png", full_page=True)
    incidents = page.evaluate("() => fetch('/api/v1/network/incidents').then((answer) => answer.json())")[
        "items"
    ]
    chosen = max(incidents, key=lambda row: row["affected_count"])
    page.evaluate(f"location.hash = '#/network/incident/{chosen['incident_id']}'")
    page.get_by_role("table", name="Time line, newest first").wait_for()
    page.screenshot(path=OUT / f"network-incident-{name}.png")
    page.evaluate("location.hash = '#/network/cell/C0034'")
    page.get_by_label("KPI", exact=True).select_option("DLDelay_Air")
    page.wait_for_load_state("networkidle")
    page.screenshot(path=OUT / f"network-cell-{name}.png")
    page.evaluate("location.hash = '#/network/maintenance'")
    page.get_by_label("Name", exact=True).wait_for()
    page.screenshot(path=OUT / f"network-maintenance-{name}.png")


def main() -> None:
    """All pictures, or those of one side."""
    OUT.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or ["money", "network"]
    if "money" in wanted:
        money()
    if "network" in wanted:
        network()


def network() -> None:
    """Light and dark, after a part of a day with its faults."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        day, data = simulated(Path(folder) / "day", WATCHED), Path(folder) / "data"
        arguments = [each for each in ARGUMENTS if each != "--disable-gpu"] + DRAWING
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        with watch(data, day / "inventory") as watching, served(20, network=watching.watching) as world:
            pay(watching)
            cut = truth(day).filter(kind="backhaul_cut").row(0, named=True)
            for piece in pieces(day):  # what the night shift sees a quarter of an hour into it
                if piece.end_us <= cut["begin_us"] + INTO_US:
                    watching.tell(piece)
            watching.settle()
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
                take_network(context.new_page(), world, scheme)
                context.close()
        browser.close()


def pay(watching: Watch) -> None:
    """Customers and money at every cell, as rated usage would tell."""
    cells = watching.network.inventory.cells["object"]
    number = pl.int_range(len(cells), eager=True)
    worth = pl.DataFrame(
        {
            "object": cells,
            "subscribers": 20 + number * 7 % 90,
            "micros_per_minute": 40_000 + number * 7_919 % 300_000,
        }
    )
    watching.network.engine.replace_table(WORTH.name, worth).result()


def money() -> None:
    """Light, dark, and a telephone."""
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
