"""Calls under way on the page, in a real Chromium: all of them, those with a gap, by page, and none."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.api.memory_store import MemoryStore
from tests.page.conftest import Opened
from tests.page.serve import NUMBERS, Served, served
from tests.page.test_page import AXE, call, hand_in, reference
from tests.rooms.charging.test_calls import charged, part
from trunkline.api.access import Role
from trunkline.kernel.dial import to_key

OF_EACH = 3
CALLERS = [f"4477009020{at:02d}" for at in range(60)]
GAPS = CALLERS[4::7]


def under_way(store: MemoryStore) -> None:
    """Sixty subscribers with a call of two or three parts under way; every seventh misses the second part."""
    known = [
        next(iter(charged("plain", part(1, 10), part(2 + gap, 4 + more, seq=2)).accounts.values())).tolist()
        for gap in (0, 1)
        for more in range(OF_EACH)
    ]
    for at, number in enumerate(CALLERS):
        store.accounts[to_key(number)] = known[at % OF_EACH + (OF_EACH if number in GAPS else 0)]


@pytest.fixture(scope="module")
def world() -> Iterator[Served]:
    """A server whose subscribers are on the telephone."""
    with served(60) as world:
        under_way(world.store)
        yield world


def test_calls_are_read_page_by_page(opened: Opened) -> None:
    """Each call once, masked, with what it cost and what is missing; the age of what is shown is said."""
    opened.sign_in(Role.CARE)
    page = opened.page
    opened.go("calls")
    table = page.get_by_role("table", name="Calls under way")
    expect(table.locator("tbody tr")).to_have_count(50)
    row = table.locator("tbody tr").filter(has_text=CALLERS[4][-3:])
    for text in ("4477•••••004", "voice", "2026-11-21 00:00", "15 min 00 s", "1.40", "part 2"):
        expect(row).to_contain_text(text)
    expect(page.get_by_text("ago")).to_have_text(re.compile("^Read [1-9]"))
    page.get_by_role("button", name="Further").click()
    expect(table.locator("tbody tr")).to_have_count(len(CALLERS) - 50)
    expect(page.get_by_role("status").filter(has_text="10 calls")).to_be_visible()
    expect(page.get_by_role("button", name="From the beginning")).to_be_focused()
    page.keyboard.press("Enter")
    expect(table.locator("tbody tr")).to_have_count(50)
    expect(page.get_by_role("button", name="Further")).to_be_focused()
    assert not any(number in page.content() for number in CALLERS)
    whose = f"#/subscriber/{reference(opened, CALLERS[4])}"
    expect(row.get_by_role("link")).to_have_attribute("href", whose)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_those_with_a_gap_by_keyboard(opened: Opened, scheme: str) -> None:
    """A viewer chooses them without a mouse and without a way to people; axe finds nothing in either colours."""
    page = opened.page
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    opened.sign_in(Role.VIEWER)
    opened.go("calls")
    table = page.get_by_role("table", name="Calls under way")
    expect(table.locator("tbody tr")).to_have_count(50)
    expect(page.get_by_role("heading", name="Calls", level=1)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Only those that miss a part")).to_be_focused()
    page.keyboard.press("Space")
    expect(table.locator("tbody tr")).to_have_count(len(GAPS))
    expect(table.locator("tbody tr").filter(has_text="part 2")).to_have_count(len(GAPS))
    expect(table.get_by_role("link")).to_have_count(0)
    expect(page.get_by_role("button", name="Further")).to_have_count(0)
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [each["id"] for each in found["violations"]] == []
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_none_is_explained_and_looked_for_again(opened: Opened) -> None:
    """Without a call under way the view says when one would stand here; looking again finds the one that came."""
    opened.sign_in(Role.VIEWER)
    page, store = opened.page, opened.world.store
    kept = {word: store.accounts.pop(word) for word in map(to_key, CALLERS)}
    opened.go("calls")
    expect(page.get_by_text("No call is under way. A call stands here while")).to_be_visible()
    page.get_by_label("Only those that miss a part").check()
    expect(page.get_by_text("No part is missing")).to_be_visible()
    store.accounts |= kept
    hand_in(opened, call(NUMBERS[0], "whole"))  # a whole call is not under way
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_role("table", name="Calls under way").locator("tbody tr")).to_have_count(len(GAPS))
