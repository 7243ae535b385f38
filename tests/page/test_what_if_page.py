"""What if on the page, in a real Chromium over a real data folder: a draft is handed in, and its answer can be read."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.conftest import Opened
from tests.page.serve import Served, served
from tests.what_if.day import DEARER, UNPRICED, Day, charged_day, studies_of
from tests.what_if.old_system import compared
from trunkline.api.access import Role

AXE = gzip.decompress((Path(__file__).parents[1] / "data" / "axe" / "axe.min.js.gz").read_bytes()).decode()
WORKED_OUT_MS = 240_000


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """A charged day."""
    return charged_day(tmp_path_factory.mktemp("day"))


@pytest.fixture(scope="module")
def world(day: Day) -> Iterator[Served]:
    """A server that compares tariffs over it."""
    with served(60, studies=studies_of(day.data)) as world:
        yield world


def assert_readable(opened: Opened) -> None:
    """No finding of axe in either colours."""
    for scheme in ("light", "dark"):
        opened.page.emulate_media(color_scheme=scheme)
        opened.page.wait_for_function(
            "() => document.getAnimations().every((each) => each.playState !== 'running')"
        )
        opened.page.evaluate(AXE)
        found = opened.page.evaluate(
            "async () => (await axe.run(document)).violations.map((each) => each.id)"
        )
        assert found == []


@pytest.mark.timeout(600)
def test_from_the_draft_to_the_answer(opened: Opened, day: Day, tmp_path: Path) -> None:
    """Files of a draft lead to a table and a chart of who would pay more, readable by everybody, and to a CSV file."""
    opened.sign_in(Role.BILLING)
    page = opened.page
    opened.go("whatif")
    expect(page.get_by_text("No answer yet.")).to_be_visible()
    files = page.get_by_label("All files of the draft")
    draft = day.draft(tmp_path / "draft", DEARER, UNPRICED)
    broken = tmp_path / "plan_broken.yaml"
    broken.write_text("plan: [\n")
    files.set_input_files([broken])
    page.get_by_role("button", name="Price it").click()
    expect(page.get_by_role("alert").filter(has_text="mistakes")).to_be_visible()
    files.set_input_files(sorted(draft.iterdir()))
    page.get_by_role("button", name="Price it").click()
    bands = page.get_by_role("table", name="Subscribers by what they would pay")
    expect(bands).to_contain_text("the same", timeout=WORKED_OUT_MS)
    expect(page.get_by_role("img", name="Subscribers by how much less or more")).to_be_visible()
    expect(page.get_by_role("table", name="By plan")).to_contain_text("iot fleet")
    expect(page.get_by_role("table", name="Records without a price")).to_contain_text("Tariff not found")
    assert "•" in page.get_by_role("table", name="Who would pay most more").inner_text()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="As CSV").click()
    assert Path(waiting.value.path()).read_text().startswith("part,name,records,")
    assert_readable(opened)
    opened.wrong = [
        line for line in opened.wrong if "400" not in line
    ]  # the browser tells of the refused draft


def test_who_may_not_compare_does_not_find_the_view(opened: Opened) -> None:
    """Care does not see it in the list of views, and is told why when it comes by the address."""
    opened.sign_in(Role.CARE)
    opened.go("whatif")
    expect(opened.page.locator("main")).to_contain_text("may not see this")
    expect(opened.page.get_by_role("link", name="What if")).to_have_count(0)


def test_a_shadow_run_can_be_read(opened: Opened, day: Day, tmp_path: Path) -> None:
    """A comparison is listed with its gate, and read by cause, day and bill by everybody."""
    name = compared(day, tmp_path)["id"]
    opened.sign_in(Role.BILLING)
    page = opened.page
    opened.go("shadow")
    expect(page.get_by_role("table", name="Comparisons")).to_contain_text("not passed")
    opened.go(f"shadow/{name}")
    expect(page.get_by_role("table", name="By cause")).to_contain_text("Tariff")
    expect(page.get_by_role("img", name="Money apart by day")).to_be_visible()
    expect(page.get_by_role("table", name="Trend by day")).to_contain_text("%")
    assert "•" in page.get_by_role("table", name="Bills that differ most").inner_text()
    assert_readable(opened)
