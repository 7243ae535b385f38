"""The page in a real Chromium: what an operator does with it, by mouse, keyboard and screen reader."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import orjson
import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Opened
from tests.page.serve import NUMBERS, now_us, stamp
from trunkline.api.access import Role
from trunkline.kernel import dial

VIEWS = [
    "overview",
    "subscriber",
    "alerts",
    "rejects",
    "conflicts",
    "reconciliation",
    "status",
    "tariffs/payg",
    "audit",
]
AXE = gzip.decompress((Path(__file__).parents[1] / "data" / "axe" / "axe.min.js.gz").read_bytes()).decode()


def hand_in(opened: Opened, *records: dict[str, object]) -> None:
    """Usage arrives."""
    opened.world.store.usage("trunkline", b"\n".join(orjson.dumps(record) for record in records))


def call(number: str, name: str, **change: object) -> dict[str, object]:
    """A call of two minutes to the first number."""
    said = {"id": name, "source": "msc-test", "type": "voice", "subscriber": number, "called": NUMBERS[0]}
    return {**said, "duration_ms": 120_000, "start": stamp(now_us()), **change}


def reference(opened: Opened, number: str) -> str:
    """The reference of a number."""
    people = opened.world.app.state.desk.people  # type: ignore[attr-defined]
    return str(people.reference(dial.to_key(number)))


def look_up(opened: Opened, number: str) -> None:
    """Find a subscriber as a person does."""
    opened.go("subscriber")
    opened.page.get_by_label("Telephone number").fill(number)
    opened.page.get_by_role("button", name="Find").click()
    opened.page.wait_for_selector("[data-balance=main]")


def test_a_link_signs_in_once(opened: Opened) -> None:
    """The first visit is in; the second use of the link says why not, and a token helps."""
    page, link = opened.page, opened.world.link(Role.BILLING)
    page.goto(link)
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.locator("#who")).to_contain_text("billing")
    assert "code=" not in page.url
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto(link)
    expect(page.get_by_role("alert").first).to_contain_text("used before")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("This token is not known")).to_be_visible()
    page.get_by_label("Token").fill(opened.world.tokens[Role.VIEWER])
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#who")).to_contain_text("viewer")
    expect(page.get_by_role("navigation", name="Views")).not_to_contain_text("Subscriber")
    opened.wrong = [text for text in opened.wrong if "401" not in text]


def test_the_overview_moves_by_itself(opened: Opened) -> None:
    """Usage that arrives shows within seconds: count, money, newest rows; and the equation still adds up."""
    opened.sign_in()
    page = opened.page
    equation = page.locator("#equation")
    expect(equation).to_contain_text("adds up")
    before = int(re.sub(r"\D", "", equation.locator("strong").first.inner_text()))
    hand_in(opened, *(call(NUMBERS[3], f"move-{at}") for at in range(30)))
    expect(equation.locator("strong").first).to_have_text(f"{before + 30:,}", timeout=5_000)
    expect(page.get_by_role("table", name="Accounting by source")).to_contain_text("msc-test")
    expect(page.get_by_role("table", name="Newest usage")).to_contain_text("4477•••••004")
    page.get_by_text("The same as a table").click()
    twin = page.get_by_role("table", name="Records and money a second")
    expect(twin.get_by_role("row")).not_to_have_count(0)
    expect(page.locator(".chart canvas")).to_be_visible()


def test_a_subscriber_as_it_happens(opened: Opened) -> None:
    """Found by number, shown masked, in full on request, and moving while somebody calls."""
    opened.sign_in()
    page, number = opened.page, NUMBERS[7]
    look_up(opened, f"+44 {number[2:6]} {number[6:]}")
    assert number not in page.url
    assert reference(opened, number) in page.url
    expect(page.locator("#who-is-it")).to_have_text("4477•••••008")
    before = page.locator("[data-balance=minutes_100] .left").inner_text()
    hand_in(opened, call(number, "as-it-happens"))
    expect(page.locator("[data-balance=minutes_100] .left")).not_to_have_text(before, timeout=5_000)
    expect(page.locator("#usage tbody tr").first).to_contain_text("2 min 00 s")
    page.get_by_role("button", name="Show numbers in full").click()
    expect(page.locator("#who-is-it")).to_have_text(number)
    page.get_by_text("Ledger entries").click()
    expect(page.get_by_role("table", name="Ledger entries")).to_contain_text("balance → revenue")
    page.get_by_label("Telephone number").fill("4477009999")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_text("No such subscriber")).to_be_visible()
    opened.wrong = [text for text in opened.wrong if "404" not in text]


def test_topping_up(opened: Opened) -> None:
    """Exact to the cent, once for a press, with a word about what is wrong with an amount."""
    opened.sign_in(Role.BILLING)
    page, number = opened.page, "447700970001"
    word = opened.world.store.enrol(number, 250_000)
    look_up(opened, number)
    expect(page.locator("[data-balance=main]")).to_contain_text("0.25 EUR")
    page.get_by_label("Amount").fill("ten")
    page.get_by_role("button", name="Top up").click()
    expect(page.get_by_text("Enter an amount in EUR")).to_be_visible()
    page.get_by_label("Amount").fill("10.29")
    page.get_by_role("button", name="Top up").dblclick()
    expect(page.get_by_role("status")).to_contain_text("Main topped up by 10.29 EUR")
    expect(page.locator("[data-balance=main]")).to_contain_text("10.54 EUR")
    assert [row["amount"] for row in opened.world.store.moved if row["subscriber"] == word] == [10_290_000]


def test_a_reject_is_corrected_and_charged(opened: Opened) -> None:
    """From the reason to the line, mended, offered again, and gone from the list."""
    opened.sign_in()
    page, store = opened.page, opened.world.store
    hand_in(opened, call("447700999999", "to-correct", source="msc-wrong"))
    number = store.rejected[-1]["number"]
    opened.go("rejects")
    page.get_by_role("button", name=re.compile("unknown subscriber")).click()
    expect(page.get_by_role("table", name="Rejected records").get_by_role("row")).to_have_count(4)
    page.get_by_role("button", name=f"Correct record {number}", exact=True).click()
    box = page.get_by_label("The record as msc-wrong sent it (mapping trunkline)")
    expect(box).to_have_value(re.compile("447700999999"))
    box.fill("{ this is no record")
    page.get_by_role("button", name="Offer again").click()
    expect(page.get_by_role("status")).to_contain_text("offered again")
    page.get_by_role("button", name=re.compile("^All")).click()
    again = store.rejected[-1]["number"]
    page.get_by_role("button", name=f"Correct record {again}", exact=True).click()
    page.get_by_label(re.compile("The record as")).fill(orjson.dumps(call(NUMBERS[2], "corrected")).decode())
    page.get_by_role("button", name="Offer again").click()
    expect(page.get_by_role("button", name=f"Correct record {again}", exact=True)).to_have_count(0)
    assert store.charged[-1]["record_id"] == "corrected"
    other = store.rejected[0]["number"]
    page.get_by_role("button", name=f"Correct record {other}", exact=True).click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Close for good").click()
    expect(page.get_by_role("status")).to_contain_text(f"Record {other} is closed")
    assert all(row["number"] != other for row in store.rejected)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export all").click()
    assert download.value.suggested_filename == "rejects.ndjson"


def test_a_conflict_is_decided(opened: Opened) -> None:
    """Both records are shown, and the decision takes it off the list."""
    opened.sign_in()
    page = opened.page
    hand_in(opened, call(NUMBERS[4], "twice"), call(NUMBERS[4], "twice", duration_ms=5))
    opened.go("conflicts")
    conflict = page.get_by_role("region", name=re.compile("Conflict")).filter(has_text="msc-test · twice")
    expect(conflict).to_contain_text("voice, 4477•••••005")
    expect(conflict).to_contain_text('"duration_ms":5')
    conflict.get_by_role("button", name="Discard the second").click()
    expect(conflict).to_have_count(0)
    assert all(row["record_id"] != "twice" for row in opened.world.store.waiting)


def test_the_books_are_reconciled(opened: Opened) -> None:
    """One press, a result by cause."""
    opened.sign_in()
    page = opened.page
    opened.go("reconciliation")
    page.get_by_role("button", name="Reconcile now").click()
    expect(page.get_by_text("the books agree")).to_be_visible()
    expect(page.get_by_role("table", name="Differences by cause")).to_contain_text("Tariff version")


def test_tariffs_are_read_and_checked(opened: Opened, tmp_path: Path) -> None:
    """Prices in words; mistakes with their lines."""
    opened.sign_in()
    page = opened.page
    opened.go("tariffs")
    page.get_by_role("link", name=re.compile("payg")).click()
    expect(page.get_by_role("table", name="Prices")).to_contain_text("0.10 per 60s")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("operator:\n  name: X\n  colour: blue\n")
    page.get_by_label("All files of the tariff").set_input_files(wrong)
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_role("table", name="Mistakes")).to_contain_text("wrong.yaml:")


def test_lower_roles_see_less(opened: Opened) -> None:
    """A viewer has no links to people and no buttons that would be refused."""
    opened.sign_in(Role.VIEWER)
    page = opened.page
    expect(page.get_by_role("table", name="Newest usage")).to_contain_text("4477•••••")
    assert page.get_by_role("table", name="Newest usage").get_by_role("link").count() == 0
    opened.go("rejects")
    expect(page.get_by_role("table", name="Rejected records").get_by_role("row").first).to_be_visible()
    assert page.get_by_role("button", name=re.compile("^Correct")).count() == 0
    opened.go(f"subscriber/{reference(opened, NUMBERS[1])}")
    expect(page.get_by_text("may not see this")).to_be_visible()
    opened.go("reconciliation")
    expect(page.get_by_role("heading", level=1)).to_have_text("Reconciliation")
    assert page.get_by_role("button", name="Reconcile now").count() == 0


def test_nothing_a_network_sends_becomes_markup(opened: Opened) -> None:
    """A record full of tags is shown as the text it is."""
    opened.sign_in()
    page = opened.page
    evil = "<img src=x onerror=alert(1)>"
    hand_in(opened, call(NUMBERS[6], evil, source=evil, type="fax"))
    for view in ("overview", "rejects"):
        opened.go(view)
        expect(page.get_by_text(evil).first).to_be_visible()
    assert page.locator("main img").count() == 0


def test_the_keyboard_alone_is_enough(opened: Opened) -> None:
    """Skip link, views, search and a top-up without a mouse, and the focus is always visible."""
    opened.sign_in()
    page, number = opened.page, "447700970002"
    opened.world.store.enrol(number, 1_500_000)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.locator("#nav a").first.focus()
    for _ in range(page.locator("#nav a").count()):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.view") == "subscriber":
            break
    expect(page.get_by_role("link", name="Subscriber", exact=True)).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Subscriber")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type(number)
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-balance=main]")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "topup-amount":
            break
    page.keyboard.type("5")
    page.keyboard.press("Enter")
    expect(page.locator("[data-balance=main]")).to_contain_text("6.50 EUR")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_accessible(opened: Opened, scheme: str) -> None:
    """The checker axe finds nothing wrong in any view, in either colours: names, roles, contrast, order of headings."""
    opened.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    opened.sign_in()
    views = [*VIEWS, f"subscriber/{reference(opened, NUMBERS[1])}"]
    found = []
    for view in views:
        opened.go(view)
        settle(opened.page)
        if view == "rejects":
            opened.page.get_by_role("button", name=re.compile("^Correct")).first.click()
        opened.page.evaluate(AXE)
        said = opened.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        found += [
            f"{view}: {each['id']} at {each['nodes'][0]['html'][:120]} {each['nodes'][0]['failureSummary'][:200]}"
            for each in said["violations"]
        ]
    assert not found, "\n".join(found)


def settle(page: Page) -> None:
    """Wait until a view has what it asked for."""
    page.wait_for_timeout(100)
    expect(page.locator(".loading")).to_have_count(0)


def test_colours_follow_the_system_and_the_button(opened: Opened) -> None:
    """Dark when the system is, light or dark when the button says so, remembered."""
    page = opened.page

    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    page.emulate_media(color_scheme="light")
    opened.sign_in()
    light = background()
    page.emulate_media(color_scheme="dark")
    dark = background()
    assert light != dark
    button = page.locator("#theme")
    button.click()
    assert background() == light
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    assert background() == light
    button.click()
    button.click()
    expect(button).to_contain_text("Auto")
    assert background() == dark


def test_a_narrow_window_needs_no_sideways_scrolling(opened: Opened) -> None:
    """At 320 pixels every view fits; wide tables scroll inside themselves."""
    opened.page.set_viewport_size({"width": 320, "height": 640})
    opened.sign_in()
    for view in [*VIEWS, f"subscriber/{reference(opened, NUMBERS[1])}"]:
        opened.go(view)
        settle(opened.page)
        width = opened.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 320, f"{view} is {width} pixels wide"


def test_a_lost_line_is_said_and_comes_back(opened: Opened) -> None:
    """Figures that are old are never shown as if they were live."""
    opened.sign_in()
    page = opened.page
    page.context.set_offline(offline=True)
    page.evaluate("import('/page/live.js').then((live) => { live.stop(); live.start(); })")
    expect(page.locator("#pulse")).to_have_attribute("data-state", "lost")
    page.context.set_offline(offline=False)
    expect(page.locator("#pulse")).to_have_attribute("data-state", "live", timeout=15_000)
    opened.wrong = [
        text for text in opened.wrong if "ERR_INTERNET_DISCONNECTED" not in text and "WebSocket" not in text
    ]
