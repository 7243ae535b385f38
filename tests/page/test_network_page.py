"""The NOC's views in a real Chromium: the map is drawn, the queue leads to incidents, and nothing needs a mouse."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import h3
import polars as pl
import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.network.watching import simulated, truth, watch
from tests.page.conftest import ARGUMENTS, CHROMIUM, Opened
from tests.page.serve import Served, served
from trunkline.api.access import Role
from trunkline.bootstrap.replay import pieces
from trunkline.network.inventory import FINEST
from trunkline.simulator import Settings

AXE = Path(__file__).parents[1] / "data" / "axe" / "axe.min.js.gz"
DRAWING = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
SMALL = Settings(seed=7, subscribers=1_000, cells=40, hours=6, start=date(2026, 11, 3))
PATIENCE_MS = 60_000
TABS = 200
BAD = ("critical", "major", "minor", "warning", "indeterminate")


@pytest.fixture(scope="module")
def drawing(driver: Playwright) -> Iterator[Browser]:
    """A browser that draws maps without a graphics card."""
    arguments = [each for each in ARGUMENTS if each != "--disable-gpu"] + DRAWING
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of a simulated day with its faults."""
    return simulated(tmp_path_factory.mktemp("day"), SMALL)


@pytest.fixture(scope="module")
def watched(day: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A small network an hour into an outage of that day."""
    outage = truth(day).filter(kind="cell_outage").row(0, named=True)
    data = tmp_path_factory.mktemp("data")
    with watch(data, day / "inventory") as watching, served(20, network=watching.watching) as server:
        for piece in pieces(day):
            if piece.end_us <= outage["begin_us"] + 3_600_000_000:
                watching.tell(piece)
        watching.settle()
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
    expect(visitor.page.get_by_text("tiles, the worst first.")).to_be_visible()
    moment = visitor.page.get_by_label("Moment")
    moment.focus()
    visitor.page.keyboard.press("ArrowLeft")
    expect(visitor.page.get_by_text("An earlier moment is shown: 2026-11-03")).to_contain_text("old")
    visitor.page.keyboard.press("End")
    expect(visitor.page.locator("#back-said")).to_have_text("now")


def test_a_hexagon_names_the_cells_that_lie_in_it(visitor: Opened) -> None:
    """Each row of the table leads to cells of its own hexagon, by another reckoning of which that is."""
    visitor.sign_in(Role.VIEWER)
    visitor.go("network")
    visitor.page.wait_for_selector("#map[data-drawn=yes] canvas")
    rows = visitor.page.get_by_role("table", name="Tiles, severity").locator("tbody tr")
    expect(rows.get_by_role("link")).not_to_have_count(0)
    places = visitor.page.evaluate("() => fetch('/api/v1/network/places').then((answer) => answer.json())")[
        "said"
    ]
    at = {cell["name"]: (cell["latitude"], cell["longitude"]) for cell in places["cells"]}
    lying: dict[str, list[str]] = {}
    for name, place in at.items():
        lying.setdefault(h3.cell_to_parent(h3.latlng_to_cell(*place, FINEST), 5), []).append(name)
    for row in rows.all():
        tile, where = row.locator("td").nth(1).inner_text(), row.get_by_role("link").all_inner_texts()
        assert where == sorted(lying.get(tile, []))[:3]
        rest = len(lying.get(tile, [])) - 3
        assert (f"and {rest} more" in row.inner_text()) == (rest > 0)


def test_tiles_in_a_bad_state_carry_their_letter_on_the_map(visitor: Opened) -> None:
    """As many letters are drawn as the table has tiles that are not well."""
    visitor.sign_in(Role.VIEWER)
    visitor.go("network")
    visitor.page.wait_for_selector("#map[data-drawn=yes] canvas")
    visitor.page.get_by_label("Tiles", exact=True).select_option("area")
    rows = visitor.page.get_by_role("table", name="Tiles, severity").locator("tbody tr")
    expect(rows).not_to_have_count(0)
    counts = {name: rows.filter(has=visitor.page.get_by_title(name, exact=True)).count() for name in BAD}
    words = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    assert words
    expect(visitor.page.locator("#map canvas")).to_have_attribute(
        "aria-label", f"Map of the network, tiles in view: {words}; the table below says the same."
    )


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


def tab_to(page: Page, wanted: str) -> None:
    """Go on by the tabulator until what has the focus matches a selector."""
    for _ in range(TABS):
        page.keyboard.press("Tab")
        if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            return
    pytest.fail(f"no {wanted} among {TABS} things that can be reached by keyboard")


def test_the_night_shift_needs_no_mouse(visitor: Opened) -> None:
    """From the queue into an incident, taking it, noting something, giving it back, and an earlier map: by keyboard."""
    page = visitor.page
    visitor.sign_in(Role.CARE)
    visitor.go("network")
    queue = page.get_by_role("region", name="Incidents").get_by_role("link")
    expect(queue).not_to_have_count(0)
    tab_to(page, "a[href*='#/network/incident/']")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Money a minute")).to_be_visible()
    tab_to(page, "section[aria-label=Act] .actions button")
    names = {"Take it": "Give it back", "Give it back": "Take it"}
    done = names[page.evaluate("document.activeElement.textContent")]
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=done)).to_be_visible()
    tab_to(page, "#note")
    page.keyboard.type("seen from the keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("cell", name="seen from the keyboard")).to_be_visible()
    tab_to(page, "a[href='#/network']")
    page.keyboard.press("Enter")
    expect(queue).not_to_have_count(0)
    tab_to(page, "#back")


STEPS_BACK = """async () => {
  const layer = document.getElementById("layer").value;
  const newest = (await (await fetch("/api/v1/network")).json()).said.newest_heat_us;
  for (let steps = 1; steps < 60; steps += 1) {
    const asked = new URLSearchParams({ layer, metric: "PRBUsageDl", at: newest - steps * 300e6 });
    if ((await (await fetch(`/api/v1/network/heat?${asked}`)).json()).items.length) return steps;
  }
}"""


def test_an_earlier_map_says_what_the_interface_says_of_that_moment(visitor: Opened) -> None:
    """Each tile of the table is one of REST's `at=`, with its number of cells and its value."""
    page = visitor.page
    visitor.sign_in(Role.VIEWER)
    visitor.go("network")
    page.get_by_label("Shows").select_option("PRBUsageDl")
    rows = page.get_by_role("table", name="Tiles, PRBUsageDl").locator("tbody tr")
    expect(rows).not_to_have_count(0)
    expect(page.get_by_text("Newest figures of 2026-11-03 03:4")).to_be_visible()  # all of it is there
    steps = page.evaluate(STEPS_BACK)  # a day that is played fast has moments of which nothing was drawn
    with page.expect_response(lambda answer: "at=" in answer.url) as answered:
        page.get_by_label("Moment").fill(str(-5 * steps))
    told = answered.value.json()["items"]
    assert told
    expect(page.get_by_text(f"{min(50, len(told))} of {len(told)} tiles")).to_be_visible()
    assert rows.count() == min(50, len(told))
    said = {(row["tile"].lstrip("0"), f"{row['value_milli'] / 1000:g}", str(row["cells"])) for row in told}
    shown = {tuple(row.locator("td, th").all_inner_texts()[1:4]) for row in rows.all()}
    assert shown <= said
    assert len(shown) == rows.count()


def test_a_cell_shows_its_kpis_and_findings(visitor: Opened) -> None:
    """A chart with a table twin, findings with their why, alarms."""
    visitor.sign_in(Role.VIEWER)
    visitor.go("network/cell/C0001")
    visitor.page.get_by_label("KPI", exact=True).select_option("PRBUsageDl")
    visitor.page.get_by_text("The same as a table").click()
    rows = visitor.page.get_by_role("table", name="PRBUsageDl").locator("tbody tr")
    expect(rows).not_to_have_count(0)


PAINTED = """
(name) => {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  probe.fillRect(0, 0, 1, 1);
  const wanted = probe.getImageData(0, 0, 1, 1).data, drawn = document.querySelector(".chart canvas");
  const { data } = drawn.getContext("2d").getImageData(0, 0, drawn.width, drawn.height);
  let count = 0;
  for (let at = 0; at < data.length; at += 4)
    if ([0, 1, 2].every((part) => Math.abs(data[at + part] - wanted[part]) <= 2) && data[at + 3] > 250) count += 1;
  return count;
}
"""


def test_what_was_expected_is_drawn_behind_what_was_measured(visitor: Opened, day: Path) -> None:
    """The band is painted, its ends are in the table as the interface tells them, and what lies outside is marked."""
    fault = truth(day).filter(pl.col("kind") == "cell_outage").row(0, named=True)
    visitor.sign_in(Role.VIEWER)
    visitor.go(f"network/cell/{fault['root']}")
    visitor.page.get_by_label("KPI", exact=True).select_option("CellAvailability")
    visitor.page.get_by_text("The same as a table").click()
    rows = visitor.page.get_by_role("table", name="CellAvailability").locator("tbody tr")
    expect(rows.filter(has_text=" to ")).not_to_have_count(0)
    band = visitor.page.evaluate(
        "(of) => fetch(`/api/v1/network/expected?object=${of}&kpi=CellAvailability`).then((answer) => answer.json())",
        fault["root"],
    )["items"]
    said = {f"{row['low_milli'] / 1000:g} to {row['high_milli'] / 1000:g}" for row in band}
    shown = {text for text in rows.locator("td:nth-child(3)").all_inner_texts() if text}
    assert shown <= said
    expect(rows.filter(has_text="unusual")).not_to_have_count(0)
    assert visitor.page.evaluate(PAINTED, "--info-soft") > 100


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
@pytest.mark.parametrize(
    "view", ["network", "network/incident", "network/cell/C0001", "network/maintenance", "network/rejects"]
)
def test_views_are_for_everybody(drawing: Browser, watched: Served, view: str, scheme: str) -> None:
    """No rule of WCAG 2.2 AA that a machine can check is broken, in light and dark."""
    context = drawing.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    opened = Opened(context.new_page(), watched)
    opened.page.set_default_timeout(PATIENCE_MS)
    opened.sign_in(Role.ADMIN)
    if view == "network/incident":
        incidents = opened.page.evaluate(
            "() => fetch('/api/v1/network/incidents').then((answer) => answer.json())"
        )
        view = f"{view}/{incidents['items'][0]['incident_id']}"
    opened.go(view)
    opened.page.wait_for_selector({"network": "#map[data-drawn=yes]"}.get(view, "main table, main .empty"))
    opened.page.evaluate(gzip.decompress(AXE.read_bytes()).decode())
    found = opened.page.evaluate(
        "() => axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] })"
        ".then((said) => said.violations.map((each) => [each.id, each.nodes.map((node) => node.html.slice(0, 200))]))"
    )
    context.close()
    assert found == []
