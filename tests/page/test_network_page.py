"""The NOC's views in a real Chromium: the map is drawn, the queue leads to incidents, and nothing needs a mouse."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect

from tests.network.watching import simulated, watch
from tests.page.conftest import ARGUMENTS, CHROMIUM, Opened
from tests.page.serve import Served, served
from trunkline.api.access import Role
from trunkline.simulator import Settings

AXE = Path(__file__).parents[1] / "data" / "axe" / "axe.min.js.gz"
DRAWING = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
SMALL = Settings(seed=7, subscribers=1_000, cells=40, hours=6, start=date(2026, 11, 3))
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def drawing(driver: Playwright) -> Iterator[Browser]:
    """A browser that draws maps without a graphics card."""
    arguments = [each for each in ARGUMENTS if each != "--disable-gpu"] + DRAWING
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A small network after a quarter of a day with its faults."""
    day = simulated(tmp_path_factory.mktemp("day"), SMALL)
    data = tmp_path_factory.mktemp("data")
    with watch(data, day / "inventory") as watching, served(20, network=watching.watching) as server:
        watching.play(day)
        yield server


@pytest.fixture
def visitor(drawing: Browser, watched: Served) -> Iterator[Opened]:
    """A fresh visitor; nothing may go wrong in the page or leave the machine."""
    context = drawing.new_context(viewport={"width": 1280, "height": 900})
    opened = Opened(context.new_page(), watched)
    opened.page.set_default_timeout(PATIENCE_MS)
    yield opened
    context.close()
    assert not opened.wrong, opened.wrong
    assert [url for url in opened.abroad if not url.startswith("blob:")] == []


def test_the_map_is_drawn_without_the_internet_and_has_a_twin(visitor: Opened) -> None:
    """Tiles are there by severity and by KPI, in a table too, and an earlier moment can be looked at by keyboard."""
    visitor.sign_in(Role.VIEWER)
    visitor.go("network")
    visitor.page.wait_for_selector("#map[data-drawn=yes] canvas")
    expect(visitor.page.get_by_text("Newest figures of")).to_be_visible()
    visitor.page.get_by_label("Shows").select_option("PRBUsageDl")
    rows = visitor.page.get_by_role("table", name="Tiles, PRBUsageDl").locator("tbody tr")
    expect(rows).not_to_have_count(0)
    moment = visitor.page.get_by_label("Moment")
    moment.focus()
    visitor.page.keyboard.press("ArrowLeft")
    expect(visitor.page.get_by_text("An earlier moment is shown.")).to_be_visible()
    visitor.page.keyboard.press("End")
    expect(visitor.page.locator("#back-said")).to_have_text("now")


def test_an_incident_is_read_taken_and_annotated(visitor: Opened) -> None:
    """From the address of an incident: why, whom it hits, the time line; taking it and noting something."""
    visitor.sign_in(Role.CARE)
    incidents = visitor.page.evaluate(
        "() => fetch('/api/v1/network/incidents').then((answer) => answer.json())"
    )["items"]
    assert incidents
    visitor.go(f"network/incident/{incidents[0]['incident_id']}")
    expect(visitor.page.get_by_text("Money a minute")).to_be_visible()
    expect(visitor.page.get_by_role("table", name="Time line, newest first")).to_be_visible()
    visitor.page.get_by_role("button", name="Take it").click()
    expect(visitor.page.get_by_role("button", name="Give it back")).to_be_visible()
    visitor.page.get_by_label("Note").fill("a crew is on its way")
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.get_by_role("cell", name="a crew is on its way")).to_be_visible()


def test_a_cell_shows_its_kpis_and_findings(visitor: Opened) -> None:
    """A chart with a table twin, findings with their why, alarms."""
    visitor.sign_in(Role.VIEWER)
    visitor.go("network/cell/C0001")
    visitor.page.get_by_label("KPI", exact=True).select_option("PRBUsageDl")
    visitor.page.get_by_text("The same as a table").click()
    rows = visitor.page.get_by_role("table", name="PRBUsageDl").locator("tbody tr")
    expect(rows).not_to_have_count(0)


def test_bandwidth_is_shown_when_it_is_opened(visitor: Opened) -> None:
    """The busiest interfaces with what goes in and out, as the API tells it, each with a way to its charts."""
    visitor.sign_in(Role.VIEWER)
    visitor.go("network")
    visitor.page.get_by_text("What goes through interfaces").click()
    rows = visitor.page.get_by_role("table", name="Interfaces, the busiest first").locator("tbody tr")
    expect(rows).not_to_have_count(0)
    told = visitor.page.evaluate(
        "() => fetch('/api/v1/network/kpis?kpi=IfInRate&limit=100').then((answer) => answer.json())"
    )["items"]
    newest: dict[str, float] = {}
    for row in told:
        newest.setdefault(row["name"], row["value_milli"] / 1_000_000)
    shown = {
        str(row.locator("td, th").nth(0).inner_text()): row.locator("td, th").nth(1).inner_text()
        for row in rows.all()
    }
    assert {name: f"{mbits:.3f}" for name, mbits in newest.items() if name in shown} == shown
    rows.first.get_by_role("link").click()
    expect(visitor.page.get_by_label("KPI", exact=True)).to_be_visible()


def test_maintenance_is_previewed_before_it_is_planned(visitor: Opened) -> None:
    """What a window holds back is shown first; then it is planned and can be cancelled."""
    visitor.sign_in(Role.BILLING)
    visitor.go("network/maintenance")
    visitor.page.get_by_label("Name", exact=True).fill("mast work")
    visitor.page.get_by_label("What is worked on").fill("C0001")
    visitor.page.get_by_label("From (UTC)").fill("2026-11-03T06:00")
    visitor.page.get_by_label("Until (UTC)").fill("2026-11-03T08:00")
    visitor.page.get_by_role("button", name="Preview").click()
    expect(visitor.page.get_by_text("1: C0001")).to_be_visible()
    visitor.page.get_by_role("button", name="Plan it").click()
    visitor.page.get_by_role("button", name="Cancel mast work").click()
    expect(visitor.page.get_by_text("No maintenance is planned.")).to_be_visible()


def test_rejected_telemetry_is_corrected(visitor: Opened) -> None:
    """A record that could not be used is shown with its reason, corrected, and gone from the list."""
    visitor.sign_in(Role.BILLING)
    line = (
        '{"cell":"C0001","technology":"NR","begin":"2026-11-03T05:55:00Z","end":"2026-11-03T06:00:00Z",'
        '"CPU.Load":-3}'
    )
    visitor.page.evaluate(
        "(line) => fetch('/api/v1/network/telemetry?mapping=cells_ndjson&source=shown', { method: 'POST',"
        " headers: { 'X-Trunkline': 'page', 'Content-Type': 'application/octet-stream' }, body: line + '\\n' })",
        line,
    )
    visitor.page.wait_for_function(
        "() => fetch('/api/v1/network/rejects').then((answer) => answer.json())"
        ".then((said) => said.items.some((row) => row.source === 'shown'))"
    )
    visitor.go("network/rejects")
    row = visitor.page.get_by_role("row").filter(has_text="shown")
    expect(row).to_contain_text("bad value")
    row.get_by_role("button", name="Correct").click()
    text = visitor.page.get_by_label("The record as shown sent it")
    expect(text).to_have_value(line)
    text.fill(line.replace("-3", "7"))
    visitor.page.get_by_role("button", name="Offer again").click()
    expect(visitor.page.get_by_text("was offered again")).to_be_visible()
    expect(visitor.page.get_by_role("row").filter(has_text="shown")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["network", "network/cell/C0001", "network/maintenance", "network/rejects"])
def test_views_are_for_everybody(drawing: Browser, watched: Served, view: str, scheme: str) -> None:
    """No rule of WCAG 2.2 AA that a machine can check is broken, in light and dark."""
    context = drawing.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    opened = Opened(context.new_page(), watched)
    opened.page.set_default_timeout(PATIENCE_MS)
    opened.sign_in(Role.ADMIN)
    opened.go(view)
    opened.page.wait_for_selector({"network": "#map[data-drawn=yes]"}.get(view, "main table, main .empty"))
    opened.page.evaluate(gzip.decompress(AXE.read_bytes()).decode())
    found = opened.page.evaluate(
        "() => axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] })"
        ".then((said) => said.violations.map((each) => [each.id, each.nodes.map((node) => node.html.slice(0, 200))]))"
    )
    context.close()
    assert found == []
